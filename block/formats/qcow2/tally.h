/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reference counts of host clusters in memory, for check: usually one byte each, eight in
 * neighbourhoods where a count is large, nothing where all are 0.
 */
#ifndef BLOCK_FORMATS_QCOW2_TALLY_H
#define BLOCK_FORMATS_QCOW2_TALLY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { TALLY_BITS = 16, TALLY_CHUNK = 1 << TALLY_BITS, TALLY_SMALL_MAX = UINT8_MAX };

typedef struct {
    uint8_t *narrow;     /* at most one of the two */
    uint64_t *wide;
} TallyChunk;

typedef struct {
    TallyChunk *chunks;
    uint64_t n;          /* clusters */
    bool failed;         /* there was no memory: counts are wrong */
} Tally;

/* For clusters below @n, all 0. False if there is no memory. */
bool tally_init(Tally *t, uint64_t n);
void tally_clear(Tally *t);
void tally_add_slow(Tally *t, uint64_t i, uint64_t by);
void tally_set(Tally *t, uint64_t i, uint64_t to);
/* The first cluster at or after @from whose counts differ (the end if there is none). */
uint64_t tally_next_difference(const Tally *a, const Tally *b, uint64_t from);
/* One more than the last cluster with a count; 0: none. */
uint64_t tally_end(const Tally *t);
/* The largest count in the chunk of cluster @i. */
uint64_t tally_max(const Tally *t, uint64_t i);
/* True if all counts in [@from, @from + @count) are 0. */
bool tally_is_zero(const Tally *t, uint64_t from, uint64_t count);

static inline uint64_t tally_get(const Tally *t, uint64_t i)
{
    const TallyChunk *c = &t->chunks[i >> TALLY_BITS];

    return c->narrow ? c->narrow[i & (TALLY_CHUNK - 1)]
                     : c->wide ? c->wide[i & (TALLY_CHUNK - 1)] : 0;
}

/* Eight counts from big-endian numbers of 16 bits at @from, if they are small; @i: multiple of 8. */
static inline bool tally_load8(Tally *t, uint64_t i, const uint8_t *from)
{
    uint8_t *narrow = t->chunks[i >> TALLY_BITS].narrow;
    uint8_t *to, high = 0;

    if (!narrow)
        return false;
    to = narrow + (i & (TALLY_CHUNK - 1));
    for (unsigned k = 0; k < 8; k++) {
        high |= from[2 * k];
        to[k] = from[2 * k + 1];
    }
    return !high;
}

/* Adds @by to the count of cluster @i, below n. */
static inline void tally_add(Tally *t, uint64_t i, uint32_t by)
{
    uint8_t *narrow = t->chunks[i >> TALLY_BITS].narrow;
    uint8_t *at = narrow ? narrow + (i & (TALLY_CHUNK - 1)) : NULL;

    if (at && *at + (uint64_t)by <= TALLY_SMALL_MAX)
        *at = (uint8_t)(*at + by);
    else
        tally_add_slow(t, i, by);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Tally, tally_clear)

#endif
