/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_X86_LIB_COMPARE_H
#define TESTS_X86_LIB_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Compares @cases random instructions of @seed in @bits (32 or 64) with the host's processor and
 * prints how many there were of each class. Fails the running test if any differs, after showing
 * some. False if the host cannot be asked.
 */
bool compare_with_host(unsigned bits, uint64_t seed, uint64_t cases);

/* One instruction, as hexadecimal digits, in a mode of 32 or 64 bits. */
typedef struct {
    unsigned bits;
    const char *code;
} KnownCode;

/* Compares each of @codes, whose last has no code, from @cases random states. */
bool compare_known_with_host(const KnownCode *codes, uint64_t cases);

#endif
