/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A number for each cluster. */
#include "block/formats/qcow2/counts.h"

bool counts_init(Counts *c, uint64_t n)
{
    c->n = n;
    c->chunks = g_try_new0(uint32_t *, (n >> COUNTS_CHUNK_BITS) + 1);
    return c->chunks;
}

void counts_clear(Counts *c)
{
    for (uint64_t i = 0; c->chunks && i <= c->n >> COUNTS_CHUNK_BITS; i++)
        g_free(c->chunks[i]);
    g_clear_pointer(&c->chunks, g_free);
}

uint32_t *counts_chunk(Counts *c, uint64_t i)
{
    uint32_t **at = &c->chunks[i >> COUNTS_CHUNK_BITS];

    if (!*at)
        *at = g_try_new0(uint32_t, COUNTS_CHUNK);
    return *at;
}
