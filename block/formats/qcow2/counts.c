/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counts of clusters in memory, in chunks of 65536 clusters (the last has what is left). */
#include "block/formats/qcow2/counts.h"
#include "util/size.h"
#include "util/span.h"
#include <string.h>

static uint64_t chunk_count(const Counts *c)
{
    return div_round_up(c->n, COUNTS_CHUNK);
}

/* Clusters that the chunk of cluster @i stands for: fewer in the last. */
static uint64_t chunk_len(const Counts *c, uint64_t i)
{
    return MIN(c->n - (i >> COUNTS_BITS << COUNTS_BITS), COUNTS_CHUNK);
}

bool counts_init(Counts *c, uint64_t n)
{
    c->n = n;
    c->failed = false;
    c->chunks = g_try_new0(CountsChunk, MAX(chunk_count(c), 1));
    return c->chunks;
}

void counts_clear(Counts *c)
{
    for (uint64_t i = 0; c->chunks && i < chunk_count(c); i++)
        g_free(c->chunks[i].at);
    g_clear_pointer(&c->chunks, g_free);
}

/* ---- one chunk ------------------------------------------------------------------------------- */

static uint64_t chunk_get(const CountsChunk *c, uint64_t i)
{
    switch (c->bytes) {
    case 1:
        return ((const uint8_t *)c->at)[i];
    case 2:
        return ((const uint16_t *)c->at)[i];
    case 4:
        return ((const uint32_t *)c->at)[i];
    case 8:
        return ((const uint64_t *)c->at)[i];
    default:
        return 0;
    }
}

/* @to fits. */
static void chunk_put(CountsChunk *c, uint64_t i, uint64_t to)
{
    switch (c->bytes) {
    case 1:
        ((uint8_t *)c->at)[i] = (uint8_t)to;
        break;
    case 2:
        ((uint16_t *)c->at)[i] = (uint16_t)to;
        break;
    case 4:
        ((uint32_t *)c->at)[i] = (uint32_t)to;
        break;
    case 8:
        ((uint64_t *)c->at)[i] = to;
        break;
    }
}

/* Bytes that a count needs which is not 0. */
static unsigned bytes_for(uint64_t count)
{
    return count <= UINT8_MAX ? 1 : count <= UINT16_MAX ? 2 : count <= UINT32_MAX ? 4 : 8;
}

/* Makes room for counts of @bytes in a chunk of @len clusters. False if there is no memory. */
static bool chunk_widen(CountsChunk *c, uint64_t len, unsigned bytes)
{
    CountsChunk wide = { g_try_malloc0_n(len, bytes), bytes };

    if (!wide.at)
        return false;
    for (uint64_t i = 0; c->at && i < len; i++)
        chunk_put(&wide, i, chunk_get(c, i));
    g_free(c->at);
    *c = wide;
    return true;
}

/* ---- one cluster ----------------------------------------------------------------------------- */

uint64_t counts_get_wide(const Counts *c, uint64_t i)
{
    return chunk_get(&c->chunks[i >> COUNTS_BITS], i & (COUNTS_CHUNK - 1));
}

void counts_set(Counts *c, uint64_t i, uint64_t to)
{
    CountsChunk *chunk = &c->chunks[i >> COUNTS_BITS];
    uint8_t *narrow = counts_narrow(c, i >> COUNTS_BITS);

    if (narrow && to <= COUNTS_NARROW_MAX) {
        narrow[i & (COUNTS_CHUNK - 1)] = (uint8_t)to;
        return;
    }
    if (!chunk->at && !to)
        return;
    if (bytes_for(to) > chunk->bytes && !chunk_widen(chunk, chunk_len(c, i), bytes_for(to))) {
        c->failed = true;
        return;
    }
    chunk_put(chunk, i & (COUNTS_CHUNK - 1), to);
}

void counts_add_slow(Counts *c, uint64_t i, uint64_t by)
{
    uint64_t now = counts_get(c, i);

    counts_set(c, i, by > UINT64_MAX - now ? UINT64_MAX : now + by);
}

/* ---- many ------------------------------------------------------------------------------------ */

/* The end of the chunk of cluster @i, or @end if that comes before. */
static uint64_t chunk_end(uint64_t i, uint64_t end)
{
    return MIN(end, ((i >> COUNTS_BITS) + 1) << COUNTS_BITS);
}

uint64_t counts_next(const Counts *c, uint64_t from, uint64_t end)
{
    while (from < end) {
        uint64_t stop = chunk_end(from, end);

        if (!c->chunks[from >> COUNTS_BITS].at)
            from = stop;
        for (; from < stop; from++)
            if (counts_get(c, from))
                return from;
    }
    return end;
}

uint64_t counts_next_difference(const Counts *a, const Counts *b, uint64_t from)
{
    while (from < a->n) {
        uint64_t chunk = from >> COUNTS_BITS, end = chunk_end(from, a->n);
        const uint8_t *x = counts_narrow(a, chunk), *y = counts_narrow(b, chunk);
        bool whole = !(from & (COUNTS_CHUNK - 1));

        if ((!a->chunks[chunk].at && !b->chunks[chunk].at) ||
            (whole && x && y && !memcmp(x, y, end - from))) {
            from = end;
            continue;
        }
        for (; from < end; from++)
            if (counts_get(a, from) != counts_get(b, from))
                return from;
    }
    return a->n;
}

uint64_t counts_end(const Counts *c)
{
    uint64_t end = c->n;

    while (end) {
        uint64_t start = (end - 1) >> COUNTS_BITS << COUNTS_BITS;

        if (!c->chunks[start >> COUNTS_BITS].at) {
            end = start;
            continue;
        }
        for (; end > start; end--)
            if (counts_get(c, end - 1))
                return end;
    }
    return 0;
}

uint64_t counts_max(const Counts *c, uint64_t i)
{
    const CountsChunk *chunk = &c->chunks[i >> COUNTS_BITS];
    const uint8_t *narrow = counts_narrow(c, i >> COUNTS_BITS);
    uint64_t len = chunk_len(c, i), max = 0;

    for (uint64_t k = 0; narrow && k < len; k++)
        max = MAX(max, narrow[k]);
    for (uint64_t k = 0; chunk->at && !narrow && k < len; k++)
        max = MAX(max, chunk_get(chunk, k));
    return max;
}

bool counts_is_zero(const Counts *c, uint64_t from, uint64_t count)
{
    uint64_t end = MIN(from + count, c->n);

    while (from < end) {
        const CountsChunk *chunk = &c->chunks[from >> COUNTS_BITS];
        uint64_t at = from & (COUNTS_CHUNK - 1), stop = chunk_end(from, end);

        if (chunk->at && !buffer_is_zero((const uint8_t *)chunk->at + at * chunk->bytes,
                                         (stop - from) * chunk->bytes))
            return false;
        from = stop;
    }
    return true;
}
