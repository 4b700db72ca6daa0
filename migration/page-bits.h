/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Maps with a bit for each page of memory, in words, which several threads may use. */
#ifndef MIGRATION_PAGE_BITS_H
#define MIGRATION_PAGE_BITS_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

/* Bits of a word. */
enum { WORD = 8 * sizeof(unsigned long) };

/* The first page from @at on whose bit is @value, below @end; @end: there is none. */
static inline size_t find_bit(const unsigned long *bits, size_t at, size_t end, bool value)
{
    while (at < end) {
        unsigned long all = __atomic_load_n(&bits[at / WORD], __ATOMIC_ACQUIRE);
        unsigned long word = (value ? all : ~all) >> at % WORD;

        if (word)
            return MIN(at + __builtin_ctzl(word), end);
        at += WORD - at % WORD;
    }
    return end;
}

#endif
