/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reference counts in memory, in chunks of 65536 clusters (the last has what is left). */
#include "block/formats/qcow2/tally.h"
#include "util/size.h"
#include "util/span.h"
#include <string.h>

static uint64_t chunk_count(const Tally *t)
{
    return div_round_up(t->n, TALLY_CHUNK);
}

/* Clusters that the chunk of cluster @i stands for: fewer in the last. */
static uint64_t chunk_len(const Tally *t, uint64_t i)
{
    return MIN(t->n - (i >> TALLY_BITS << TALLY_BITS), TALLY_CHUNK);
}

bool tally_init(Tally *t, uint64_t n)
{
    t->n = n;
    t->failed = false;
    t->chunks = g_try_new0(TallyChunk, MAX(chunk_count(t), 1));
    return t->chunks;
}

void tally_clear(Tally *t)
{
    for (uint64_t i = 0; t->chunks && i < chunk_count(t); i++) {
        g_free(t->chunks[i].narrow);
        g_free(t->chunks[i].wide);
    }
    g_clear_pointer(&t->chunks, g_free);
}

static bool chunk_widen(TallyChunk *c, uint64_t len)
{
    c->wide = g_try_new0(uint64_t, len);
    if (!c->wide)
        return false;
    for (unsigned i = 0; c->narrow && i < len; i++)
        c->wide[i] = c->narrow[i];
    g_clear_pointer(&c->narrow, g_free);
    return true;
}

void tally_set(Tally *t, uint64_t i, uint64_t to)
{
    TallyChunk *c = &t->chunks[i >> TALLY_BITS];

    if (!c->narrow && !c->wide) {
        if (!to)
            return;
        c->narrow = g_try_new0(uint8_t, chunk_len(t, i));
        if (!c->narrow) {
            t->failed = true;
            return;
        }
    }
    if (!c->wide && to > TALLY_SMALL_MAX && !chunk_widen(c, chunk_len(t, i))) {
        t->failed = true;
        return;
    }
    if (c->wide)
        c->wide[i & (TALLY_CHUNK - 1)] = to;
    else
        c->narrow[i & (TALLY_CHUNK - 1)] = (uint8_t)to;
}

void tally_add_slow(Tally *t, uint64_t i, uint64_t by)
{
    tally_set(t, i, tally_get(t, i) + by);
}

static bool chunk_is_empty(const TallyChunk *c)
{
    return !c->narrow && !c->wide;
}

uint64_t tally_next_difference(const Tally *a, const Tally *b, uint64_t from)
{
    while (from < a->n) {
        const TallyChunk *x = &a->chunks[from >> TALLY_BITS], *y = &b->chunks[from >> TALLY_BITS];
        uint64_t end = MIN(a->n, ((from >> TALLY_BITS) + 1) << TALLY_BITS);
        bool whole = !(from & (TALLY_CHUNK - 1));

        if ((chunk_is_empty(x) && chunk_is_empty(y)) ||
            (whole && x->narrow && y->narrow && !memcmp(x->narrow, y->narrow, end - from))) {
            from = end;
            continue;
        }
        for (; from < end; from++)
            if (tally_get(a, from) != tally_get(b, from))
                return from;
    }
    return a->n;
}

uint64_t tally_end(const Tally *t)
{
    uint64_t end = t->n;

    while (end) {
        uint64_t start = (end - 1) >> TALLY_BITS << TALLY_BITS;

        if (chunk_is_empty(&t->chunks[start >> TALLY_BITS])) {
            end = start;
            continue;
        }
        for (; end > start; end--)
            if (tally_get(t, end - 1))
                return end;
    }
    return 0;
}

uint64_t tally_max(const Tally *t, uint64_t i)
{
    const TallyChunk *c = &t->chunks[i >> TALLY_BITS];
    uint64_t len = chunk_len(t, i), max = 0;

    for (unsigned k = 0; c->narrow && k < len; k++)
        max = MAX(max, c->narrow[k]);
    for (unsigned k = 0; c->wide && k < len; k++)
        max = MAX(max, c->wide[k]);
    return max;
}

bool tally_is_zero(const Tally *t, uint64_t from, uint64_t count)
{
    uint64_t end = MIN(from + count, t->n);

    while (from < end) {
        const TallyChunk *c = &t->chunks[from >> TALLY_BITS];
        uint64_t at = from & (TALLY_CHUNK - 1), len = MIN(end - from, TALLY_CHUNK - at);

        if (c->narrow && !buffer_is_zero(c->narrow + at, len))
            return false;
        if (c->wide && !buffer_is_zero(c->wide + at, len * sizeof(*c->wide)))
            return false;
        from += len;
    }
    return true;
}
