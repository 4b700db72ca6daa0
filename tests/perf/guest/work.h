/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work for comparing an emulated processor with a real one: the same functions run in a guest
 * without a system (start.S, guest.c) and as a program of the host (native.c). Each does its work
 * @n times over and returns a checksum.
 */
#ifndef TESTS_PERF_GUEST_WORK_H
#define TESTS_PERF_GUEST_WORK_H

#include <stdint.h>

typedef struct {
    const char *name;
    uint64_t (*run)(unsigned n);
    unsigned n; /* for some tenths of a second under emulation */
} Work;

extern const Work works[];

/* The work @name; works[0], which does nothing, if there is none. */
const Work *work_find(const char *name);

#endif
