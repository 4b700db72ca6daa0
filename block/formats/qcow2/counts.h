/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A number for each host cluster, for work that looks at all of them: counted references, changes
 * to be made. Memory is taken for neighbourhoods that are touched, not for the size of the file.
 */
#ifndef BLOCK_FORMATS_QCOW2_COUNTS_H
#define BLOCK_FORMATS_QCOW2_COUNTS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { COUNTS_CHUNK_BITS = 10, COUNTS_CHUNK = 1 << COUNTS_CHUNK_BITS };

typedef struct {
    uint32_t **chunks;   /* NULL: all zero */
    uint64_t n;          /* clusters */
} Counts;

/* For clusters below @n. False if there is no memory. */
bool counts_init(Counts *c, uint64_t n);
void counts_clear(Counts *c);
/* The chunk of cluster @i, made if need be; NULL if there is no memory. */
uint32_t *counts_chunk(Counts *c, uint64_t i);

static inline uint32_t counts_get(const Counts *c, uint64_t i)
{
    const uint32_t *chunk = c->chunks[i >> COUNTS_CHUNK_BITS];

    return chunk ? chunk[i & (COUNTS_CHUNK - 1)] : 0;
}

/* Adds @by; it stays at the maximum. @i is below n. False if there is no memory. */
static inline bool counts_add(Counts *c, uint64_t i, uint32_t by)
{
    uint32_t *chunk = counts_chunk(c, i), *at = &chunk[i & (COUNTS_CHUNK - 1)];

    if (!chunk)
        return false;
    *at = *at + by < *at ? UINT32_MAX : *at + by;
    return true;
}

static inline bool counts_set(Counts *c, uint64_t i, uint32_t to)
{
    uint32_t *chunk = counts_chunk(c, i);

    if (chunk)
        chunk[i & (COUNTS_CHUNK - 1)] = to;
    return chunk;
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Counts, counts_clear)

#endif
