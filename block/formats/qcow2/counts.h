/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A count for each host cluster in memory, for work that looks at all of them: references found,
 * refcounts as they shall be. Memory is taken for chunks of clusters that are not all 0, and no
 * more bytes for each count than the largest in its chunk needs: usually one.
 */
#ifndef BLOCK_FORMATS_QCOW2_COUNTS_H
#define BLOCK_FORMATS_QCOW2_COUNTS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { COUNTS_BITS = 16, COUNTS_CHUNK = 1 << COUNTS_BITS, COUNTS_NARROW_MAX = UINT8_MAX };

typedef struct {
    void *at;            /* NULL: all 0 */
    unsigned bytes;      /* of each count: 1 (narrow), 2, 4 or 8 */
} CountsChunk;

typedef struct {
    CountsChunk *chunks;
    uint64_t n;          /* clusters */
    bool failed;         /* there was no memory: counts are wrong */
} Counts;

/* For clusters below @n, all 0. False if there is no memory. */
bool counts_init(Counts *c, uint64_t n);
void counts_clear(Counts *c);
uint64_t counts_get_wide(const Counts *c, uint64_t i);
void counts_add_slow(Counts *c, uint64_t i, uint64_t by);
void counts_set(Counts *c, uint64_t i, uint64_t to);
/* The first cluster in [@from, @end) whose count is not 0; @end if there is none. */
uint64_t counts_next(const Counts *c, uint64_t from, uint64_t end);
/* The first cluster at or after @from whose counts differ (the end if there is none). */
uint64_t counts_next_difference(const Counts *a, const Counts *b, uint64_t from);
/* One more than the last cluster with a count; 0: none. */
uint64_t counts_end(const Counts *c);
/* The largest count in the chunk of cluster @i. */
uint64_t counts_max(const Counts *c, uint64_t i);
/* True if all counts in [@from, @from + @count) are 0. */
bool counts_is_zero(const Counts *c, uint64_t from, uint64_t count);

/* The counts of the chunk with number @chunk, if it is narrow, else NULL; good until one is set. */
static inline uint8_t *counts_narrow(const Counts *c, uint64_t chunk)
{
    return c->chunks[chunk].bytes == 1 ? c->chunks[chunk].at : NULL;
}

static inline uint64_t counts_get(const Counts *c, uint64_t i)
{
    const uint8_t *narrow = counts_narrow(c, i >> COUNTS_BITS);

    return narrow ? narrow[i & (COUNTS_CHUNK - 1)] : counts_get_wide(c, i);
}

/* Eight counts from big-endian numbers of 16 bits at @from, if small; @i: a multiple of 8. */
static inline bool counts_load8(Counts *c, uint64_t i, const uint8_t *from)
{
    uint8_t *narrow = counts_narrow(c, i >> COUNTS_BITS);
    uint8_t *to, high = 0;

    if (!narrow)
        return false;
    to = narrow + (i & (COUNTS_CHUNK - 1));
    for (unsigned k = 0; k < 8; k++) {
        high |= from[2 * k];
        to[k] = from[2 * k + 1];
    }
    return !high;
}

/* Adds @by to the count of cluster @i, below n; it stays at the maximum. */
static inline void counts_add(Counts *c, uint64_t i, uint64_t by)
{
    uint8_t *narrow = counts_narrow(c, i >> COUNTS_BITS);
    uint8_t *at = narrow ? narrow + (i & (COUNTS_CHUNK - 1)) : NULL;

    if (at && by <= (unsigned)COUNTS_NARROW_MAX - *at)
        *at = (uint8_t)(*at + by);
    else
        counts_add_slow(c, i, by);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Counts, counts_clear)

#endif
