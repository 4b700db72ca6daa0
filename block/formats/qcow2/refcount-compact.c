/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Refcount blocks and table move towards the beginning of the file. */
#include "block/formats/qcow2/refcount.h"
#include <string.h>

CO int qcow2_clusters_in_use(Qcow2 *q, uint64_t from, uint64_t *n)
{
    int r = qcow2_reftable_load(q);

    *n = 0;
    for (uint64_t i = from >> q->refblock_bits; i < q->reftable_len && r >= 0; i++) {
        uint64_t first = i << q->refblock_bits;
        void *block;

        r = qcow2_refblock_get(q, i, &block);
        for (uint64_t k = 0; r >= 0 && block && k < refblock_entries(q); k++)
            *n += first + k >= from && qcow2_count_at(q, block, k);
    }
    return MIN(r, 0);
}

/* True if block @i counts nothing, or nothing but its own cluster. */
static bool block_is_idle(const Qcow2 *q, uint64_t i, const void *block)
{
    uint64_t first = i << q->refblock_bits, own = refblock_cluster(q, i);

    for (uint64_t k = 0; k < refblock_entries(q); k++)
        if (first + k != own && qcow2_count_at(q, block, k))
            return false;
    return i > 0;
}

/* Removes block @i, which nothing needs. */
static void block_drop(Qcow2 *q, uint64_t i)
{
    uint64_t cluster = refblock_cluster(q, i), off = cluster << q->cluster_bits;

    cache_forget(&q->refblocks, off, q->cluster);
    qcow2_overlap_remove(q, OVERLAP_REFBLOCK, off, q->cluster);
    q->reftable[i] = 0;
    reftable_mark(q, i);
    if (cluster >> q->refblock_bits != i)
        qcow2_free_later(q, off, q->cluster, FREE_OTHER);
}

/* Takes @n adjacent clusters below @limit. 1: *@start; 0: there are none. */
static CO int take_below(Qcow2 *q, uint64_t n, uint64_t limit, uint64_t *start)
{
    uint64_t len = n;
    int r = space_take(q, n, &len, start);

    if (r < 0 || *start + n <= limit)
        return r < 0 ? r : 1;
    return MIN(refcount_add(q, *start, len, -1), 0);
}

/* Moves block @i to a free cluster below @limit, if there is one. */
static CO int block_move(Qcow2 *q, uint64_t i, uint64_t limit)
{
    uint64_t old = refblock_cluster(q, i) << q->cluster_bits, start, off;
    g_autofree uint8_t *copy = g_try_malloc(q->cluster);
    void *block;
    int r = copy ? take_below(q, 1, limit, &start) : -ENOMEM;

    if (r <= 0)
        return r;
    off = start << q->cluster_bits;
    r = qcow2_overlap_check(q, 0, off, q->cluster);
    if (r >= 0)
        r = qcow2_refblock_get(q, i, &block);
    if (r >= 0)
        memcpy(copy, block, q->cluster);
    if (r >= 0)
        r = cache_get_new(&q->refblocks, off, &block);
    if (r < 0) {
        refcount_add(q, start, 1, -1);
        return r;
    }
    memcpy(block, copy, q->cluster);
    cache_forget(&q->refblocks, old, q->cluster);
    q->reftable[i] = off;
    reftable_mark(q, i);
    qcow2_overlap_remove(q, OVERLAP_REFBLOCK, old, q->cluster);
    qcow2_overlap_add(q, OVERLAP_REFBLOCK, off, q->cluster);
    qcow2_free_later(q, old, q->cluster, FREE_OTHER);
    return 0;
}

/* The table moves when it is written next. */
static CO int table_move(Qcow2 *q, uint64_t limit)
{
    uint64_t end = (q->reftable_off >> q->cluster_bits) + q->reftable_clusters, start;
    int r;

    if (end <= limit || q->reftable_next_off)
        return 0;
    r = take_below(q, q->reftable_clusters, limit, &start);
    if (r > 0 && !q->reftable_next_off) {
        q->reftable_next_off = start << q->cluster_bits;
        q->reftable_next_clusters = q->reftable_clusters;
    }
    return MIN(r, 0);
}

CO int qcow2_refblocks_compact(Qcow2 *q, uint64_t limit)
{
    CO_LOCKED(&q->refcount_lock);
    int r = table_move(q, limit);

    for (uint64_t i = 0; i < q->reftable_len && r >= 0; i++) {
        void *block;

        r = qcow2_refblock_get(q, i, &block);
        if (r < 0 || !block)
            continue;
        if (block_is_idle(q, i, block))
            block_drop(q, i);
        else if (refblock_cluster(q, i) >= limit)
            r = block_move(q, i, limit);
    }
    return r;
}
