/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is copied: the sources of a CopyJob, one after the other, what they are made of and hold. */
#ifndef QEMU_IMG_COPY_INPUT_H
#define QEMU_IMG_COPY_INPUT_H

#include "qemu-img/copy.h"

typedef enum { RUN_DATA, RUN_ZERO, RUN_SKIP } RunKind;

/* A run of the input that is alike. */
typedef struct {
    RunKind kind;
    uint64_t end;        /* bytes */
} Run;

/* The source that holds what is at @off of the input. */
CopySource *input_source(const CopyJob *j, uint64_t off);
/*
 * The run that begins at @off. With salvage, what is not known counts as data. One call at a time.
 * 0 or a negative errno.
 */
CO int input_look(const CopyJob *j, uint64_t off, Run *run);
/* Reads what is at @off. With salvage, zeroes for what cannot be read. 0 or a negative errno. */
CO int input_read(const CopyJob *j, uint64_t off, Span buf);

#endif
