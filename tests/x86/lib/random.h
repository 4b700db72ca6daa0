/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers that look random and are the same in every run with the same seed. */
#ifndef TESTS_X86_LIB_RANDOM_H
#define TESTS_X86_LIB_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t state; /* any value but 0 */
} Random;

static inline uint64_t random_next(Random *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * UINT64_C(0x2545f4914f6cdd1d);
}

/* From 0 to @n - 1. */
static inline unsigned random_below(Random *r, unsigned n)
{
    return (random_next(r) >> 32) * n >> 32;
}

/* True in @percent of a hundred cases. */
static inline bool random_chance(Random *r, unsigned percent)
{
    return random_below(r, 100) < percent;
}

#endif
