/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding free clusters in the file and taking them.
 *
 * A new block takes the first free cluster of those it counts, so it counts itself. A table that
 * becomes too small is replaced: reftable_next_off says where the new one goes until
 * qcow2_reftable_write has switched the header over.
 */
#include "block/formats/qcow2/refcount.h"
#include "util/trace.h"
#include <string.h>

/* ---- finding. Callers hold refcount_lock. --------------------------------------------------- */

/* The first index in [@from, @to) whose count is 0 (@free) or not 0; @to if there is none. */
static uint64_t block_search(const Qcow2 *q, const void *block, uint64_t from, uint64_t to,
                             bool free)
{
    if (q->refcount_order == 4) {
        const uint8_t *p = block;

        while (from < to && !(p[2 * from] | p[2 * from + 1]) != free)
            from++;
        return from;
    }
    while (from < to && !qcow2_count_at(q, block, from) != free)
        from++;
    return from;
}

/*
 * The first run of at least @min free clusters at or after @from: *@start, and *@len up to @max.
 */
CO int space_find(Qcow2 *q, uint64_t from, uint64_t min, uint64_t max, uint64_t *start,
                  uint64_t *len)
{
    uint64_t limit = (ENTRY_OFFSET >> q->cluster_bits) + 1;

    *start = from;
    *len = 0;
    while (*len < max) {
        uint64_t at = *start + *len, base = at - refblock_index(q, at), end = base +
                                                                              refblock_entries(q);
        void *block;
        int r;

        if (at >= limit)
            return -EFBIG;
        if (at >> q->refblock_bits >= q->reftable_len) {   /* nothing is in use after it */
            *len = MIN(max, limit - *start);
            return *len < min ? -EFBIG : 0;
        }
        r = qcow2_refblock_get(q, at >> q->refblock_bits, &block);
        if (r < 0)
            return r;
        /* No further than is asked for: otherwise each allocation would scan a whole block. */
        uint64_t bound = MIN(end, at + (max - *len));
        uint64_t used = block ? base + block_search(q, block, at - base, bound - base, false)
                              : bound;
        *len = used - *start;
        if (used == bound)
            continue;
        if (*len >= min)
            break;
        *start = base + block_search(q, block, used - base, end - base, true);
        *len = 0;
    }
    *len = MIN(*len, max);
    return 0;
}

/* Makes block @i at the free cluster @at, which this or another block counts. */
static CO int block_make(Qcow2 *q, uint64_t i, uint64_t at)
{
    uint64_t off = at << q->cluster_bits;
    void *block;
    int r;

    edge_event(q->storage, EV_REFBLOCK_ALLOC);
    if (!at)
        return qcow2_corrupt(q, true,
                             "Preventing invalid allocation of refcount block at offset 0");
    r = qcow2_overlap_check(q, 0, off, q->cluster);
    if (r >= 0)
        r = cache_get_new(&q->refblocks, off, &block);
    if (r < 0)
        return r;
    q->reftable[i] = off;
    reftable_mark(q, i);
    qcow2_overlap_add(q, OVERLAP_REFBLOCK, off, q->cluster);
    return 0;
}

/* How many blocks are missing to count [@start, @start + @len). */
static uint64_t blocks_missing(const Qcow2 *q, uint64_t start, uint64_t len)
{
    uint64_t missing = 0;

    for (uint64_t i = start >> q->refblock_bits; i <= (start + len - 1) >> q->refblock_bits; i++)
        missing += i >= q->reftable_len || !(q->reftable[i] & REFTABLE_OFFSET);
    return missing;
}

/* Makes the missing blocks for [@start, @start + @len) at its first clusters, and counts those. */
static CO int blocks_make(Qcow2 *q, uint64_t start, uint64_t len)
{
    uint64_t at = start;
    int r;

    for (uint64_t i = start >> q->refblock_bits; i <= (start + len - 1) >> q->refblock_bits; i++) {
        if (q->reftable[i] & REFTABLE_OFFSET)
            continue;
        r = block_make(q, i, at++);
        if (r < 0)
            return r;
    }
    return at > start ? refcount_add(q, start, at - start, 1) : 0;
}

/* Makes the table long enough for block @i, in memory. */
static int table_grow(Qcow2 *q, uint64_t i)
{
    uint64_t bytes = round_up(MAX(i + 1, q->reftable_len + q->reftable_len / 2) * 8, q->cluster);
    uint64_t *table;

    bytes = MIN(bytes, QCOW2_REFTABLE_BYTES_MAX);
    if (bytes <= i * 8)
        return -EFBIG;
    table = g_try_realloc(q->reftable, bytes);
    if (!table)
        return -ENOMEM;
    memset(table + q->reftable_len, 0, bytes - q->reftable_len * 8);
    q->reftable = table;
    q->reftable_len = bytes / 8;
    return 0;
}

/*
 * Takes @min to *@len adjacent free clusters; *@len becomes their number, *@start the first.
 * -EAGAIN: the table is too short for what was found, which *@start and *@len say.
 */
static CO int take_run_now(Qcow2 *q, uint64_t min, uint64_t *len, uint64_t *start)
{
    uint64_t max = *len, missing = 0, needed;
    int r = 0;

    for (;;) {
        r = space_find(q, q->free_hint, min + missing, max + missing, start, len);
        if (r < 0)
            return r;
        if (max > min)   /* not more than one block's, so that one missing block is enough */
            *len = MIN(*len, MAX(refblock_part(q, *start, *len), min + missing));
        if ((*start + *len - 1) >> q->refblock_bits >= q->reftable_len)
            return -EAGAIN;
        needed = blocks_missing(q, *start, *len);
        if (*len >= min + needed)
            break;
        missing = needed;
    }
    r = needed ? blocks_make(q, *start, *len) : 0;
    *start += needed;
    *len = MIN(*len - needed, max);
    if (r >= 0)
        r = refcount_add(q, *start, *len, 1);
    if (r >= 0 && min == 1)
        q->free_hint = *start + *len;
    return r;
}

/* Finds a place in the file for a table that has grown. */
static CO int table_place(Qcow2 *q)
{
    uint64_t clusters = q->reftable_len * UINT64_C(8) >> q->cluster_bits, start, len = clusters;
    int r = take_run_now(q, clusters, &len, &start);

    if (r == -EAGAIN) {
        r = table_grow(q, q->reftable_len);
        return r < 0 ? r : table_place(q);
    }
    if (r < 0)
        return r;
    q->reftable_next_off = start << q->cluster_bits;
    q->reftable_next_clusters = clusters;
    return 0;
}

/* As take_run_now; a table that is too short grows. */
CO int space_take(Qcow2 *q, uint64_t min, uint64_t *len, uint64_t *start)
{
    uint64_t max = *len;
    int r = qcow2_reftable_load(q);

    while (r >= 0) {
        if (reftable_is_homeless(q)) {
            r = table_place(q);
            continue;
        }
        *len = max;
        r = take_run_now(q, min, len, start);
        if (r != -EAGAIN)
            return r;
        edge_event(q->storage, EV_REFTABLE_GROW);
        if (q->reftable_next_off && !q->reftable_moving)    /* outgrown before it was written */
            refcount_add(q, q->reftable_next_off >> q->cluster_bits, q->reftable_next_clusters, -1);
        q->reftable_next_off = 0;
        r = table_grow(q, (*start + *len - 1) >> q->refblock_bits);
    }
    return r;
}

/* ---- taking --------------------------------------------------------------------------------- */

CO int qcow2_cluster_alloc(Qcow2 *q, uint64_t *clusters, uint64_t *host)
{
    CO_LOCKED(&q->refcount_lock);
    int r;

    edge_event(q->storage, EV_CLUSTER_ALLOC);
    r = space_take(q, 1, clusters, host);
    *host <<= q->cluster_bits;
    if (r >= 0 && !*host)
        r = qcow2_corrupt(q, true, "Preventing invalid allocation of data cluster at offset 0");
    TRACE(qcow2_alloc_data, "host=%" PRIu64 " clusters=%" PRIu64 " result=%d", *host, *clusters, r);
    return r;
}

CO int qcow2_table_alloc(Qcow2 *q, uint64_t bytes, uint64_t *host)
{
    CO_LOCKED(&q->refcount_lock);
    uint64_t clusters = MAX(div_round_up(bytes, q->cluster), 1);
    int r;

    edge_event(q->storage, EV_CLUSTER_ALLOC);
    r = space_take(q, clusters, &clusters, host);
    *host <<= q->cluster_bits;
    if (r >= 0 && !*host)
        r = qcow2_corrupt(q, true, "Preventing invalid allocation of L2 table at offset 0");
    TRACE(qcow2_alloc_table, "host=%" PRIu64 " clusters=%" PRIu64 " result=%d", *host, clusters, r);
    return r;
}

/* Is cluster @c free and counted by a block? Then takes it. 1: taken, 0: not, negative errno. */
static CO int take_this(Qcow2 *q, uint64_t c)
{
    void *block;
    int r = qcow2_refblock_get(q, c >> q->refblock_bits, &block);

    if (r < 0)
        return r;
    if (!block || qcow2_count_at(q, block, refblock_index(q, c)))
        return 0;
    refcount_change(q, block, refblock_index(q, c), 1);
    return 1;
}

/* Goes on in the host cluster that the last compressed cluster ended in. 1: done. */
static CO int bytes_append(Qcow2 *q, uint64_t len)
{
    uint64_t c = q->bytes_off >> q->cluster_bits, count;
    int r = qcow2_refcount_get(q, c, &count);

    if (r < 0)
        return r;
    if (!count || count >= q->refcount_max)
        return 0;
    if (qcow2_within(q, q->bytes_off) + len > q->cluster) {
        r = take_this(q, c + 1);
        if (r <= 0)
            return r;
    }
    r = refcount_add(q, c, 1, 1);
    return r < 0 ? r : 1;
}

CO int qcow2_bytes_alloc(Qcow2 *q, uint64_t len, uint64_t *host)
{
    CO_LOCKED(&q->refcount_lock);
    int r = 0;

    edge_event(q->storage, EV_CLUSTER_ALLOC_BYTES);
    if (q->bytes_off)
        r = bytes_append(q, len);
    if (r < 0)
        return r;
    if (!r) {
        uint64_t one = 1, start;

        r = space_take(q, 1, &one, &start);
        if (r < 0)
            return r;
        q->bytes_off = start << q->cluster_bits;
        if (!start)
            return qcow2_corrupt(q, true,
                                 "Preventing invalid allocation of compressed cluster at offset 0");
    }
    *host = q->bytes_off;
    q->bytes_off += len;
    if (!qcow2_within(q, q->bytes_off))
        q->bytes_off = 0;
    return 0;
}

/* ---- what is free --------------------------------------------------------------------------- */

CO int qcow2_first_free(Qcow2 *q, uint64_t *cluster)
{
    CO_LOCKED(&q->refcount_lock);
    uint64_t len;
    int r = qcow2_reftable_load(q);

    return r < 0 ? r : space_find(q, q->free_hint, 1, 1, cluster, &len);
}

CO void qcow2_free_space_discard(Qcow2 *q)
{
    CO_LOCKED(&q->refcount_lock);
    uint64_t end = div_round_up(edge_size(q->storage), q->cluster), start, len;

    for (uint64_t at = 0; at < end; at = start + len) {
        if (space_find(q, at, 1, end - at, &start, &len) < 0 || start >= end)
            return;
        edge_discard(q->storage, start << q->cluster_bits, len << q->cluster_bits);
    }
}
