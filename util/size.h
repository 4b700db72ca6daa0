/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes: units, checked arithmetic, rounding, text to number and back. */
#ifndef UTIL_SIZE_H
#define UTIL_SIZE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define KiB (UINT64_C(1) << 10)
#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)
#define TiB (UINT64_C(1) << 40)

/* *@out = @a + @b or @a * @b. False, with *@out untouched in meaning, when it does not fit. */
static inline bool size_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool size_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool is_power_of_2(uint64_t v)
{
    return v && !(v & (v - 1));
}

/* @align is a power of two. round_up wraps to 0 past the last multiple below 2^64. */
static inline uint64_t round_down(uint64_t v, uint64_t align)
{
    return v & ~(align - 1);
}

static inline uint64_t round_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

static inline bool is_aligned(uint64_t v, uint64_t align)
{
    return !(v & (align - 1));
}

static inline uint64_t div_round_up(uint64_t v, uint64_t by)
{
    return v / by + (v % by != 0);
}

/* What the programs add when a text is no size; scripts know it. */
#define SIZE_SUFFIXES                                                                              \
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"                 \
    "and exabytes, respectively."

/*
 * Reads a size: white space, a '+' or nothing, a decimal number with an optional fraction, and an
 * optional suffix b k M G T P E (1024-based, either case). A hexadecimal number has no fraction,
 * and b and e are digits of it. The result is rounded to the nearest byte; a fraction of bytes is
 * no size. @unit multiplies a number without suffix (1 for bytes). Sets *@out and, unless NULL,
 * *@end to the first byte after the size; with @end NULL the text must end there.
 * Returns 0, -EINVAL (not a size) or -ERANGE (does not fit in 64 bits).
 */
int size_parse(const char *text, uint64_t unit, uint64_t *out, const char **end);

/* "196 KiB", "1.5 GiB": three significant digits, 1024-based. Caller frees. */
char *size_format(uint64_t bytes);

#endif
