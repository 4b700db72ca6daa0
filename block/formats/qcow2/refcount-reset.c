/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recomputing all refcounts, when the file refers to nothing but its header and tables. */
#include "block/formats/qcow2/refcount.h"

/* Marks block @i as kept, then the block that counts its cluster, and so on. */
static void keep_block(const Qcow2 *q, bool *keep, uint64_t i)
{
    while (i < q->reftable_len && !keep[i]) {
        keep[i] = true;
        i = refblock_cluster(q, i) >> q->refblock_bits;
    }
}

static void keep_blocks(const Qcow2 *q, bool *keep, uint64_t off, uint64_t len)
{
    for (uint64_t c = off >> q->cluster_bits; len && c <= (off + len - 1) >> q->cluster_bits; c++)
        keep_block(q, keep, c >> q->refblock_bits);
}

/* Which blocks count header, tables, and each other. Caller frees; NULL: no memory. */
static bool *blocks_kept(const Qcow2 *q)
{
    bool *keep = g_try_new0(bool, MAX(q->reftable_len, 1));

    if (!keep)
        return NULL;
    keep_blocks(q, keep, 0, q->cluster);
    keep_blocks(q, keep, q->reftable_off, q->reftable_clusters * q->cluster);
    keep_blocks(q, keep, q->l1_off, q->l1_len * UINT64_C(8));
    return keep;
}

static int cluster_order(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* The clusters of all blocks, by number, @*len of them. Caller frees; NULL: no memory. */
static uint64_t *block_clusters(const Qcow2 *q, uint32_t *len)
{
    uint64_t *list = g_try_new(uint64_t, MAX(q->reftable_len, 1));

    *len = 0;
    for (uint32_t i = 0; list && i < q->reftable_len; i++)
        if (refblock_cluster(q, i))
            list[(*len)++] = refblock_cluster(q, i);
    if (list)
        qsort(list, *len, sizeof(*list), cluster_order);
    return list;
}

static bool is_within(const Qcow2 *q, uint64_t cluster, uint64_t off, uint64_t len)
{
    uint64_t at = cluster << q->cluster_bits;

    return at >= off && at < off + len;
}

/*
 * Block @i counts header, tables and blocks, and nothing else. @next is the first of the blocks'
 * clusters that this block or a later one counts; returns the first that a later one counts.
 */
static const uint64_t *block_reset(Qcow2 *q, uint64_t i, void *block, const uint64_t *next,
                                   const uint64_t *end)
{
    for (uint64_t k = 0; k < refblock_entries(q); k++) {
        uint64_t cluster = (i << q->refblock_bits) + k, count;

        count = !cluster ||
                is_within(q, cluster, q->reftable_off, q->reftable_clusters * q->cluster) ||
                is_within(q, cluster, q->l1_off, q->l1_len * UINT64_C(8));
        for (; next < end && *next == cluster; next++)
            count += count < q->refcount_max;
        if (qcow2_count_at(q, block, k) != count)
            refcount_change(q, block, k, count);
    }
    return next;
}

/*
 * Each block gets its final counts, those of the blocks' own clusters included, before the next one
 * is read: if that fails, what was changed may be written, and leaves leaks at worst.
 */
static CO int blocks_reset(Qcow2 *q, const bool *keep)
{
    uint32_t len;
    g_autofree uint64_t *clusters = block_clusters(q, &len);
    const uint64_t *next = clusters, *end = clusters + len;

    if (!clusters)
        return -ENOMEM;
    for (uint32_t i = 0; i < q->reftable_len; i++) {
        void *block = NULL;
        int r = keep[i] ? qcow2_refblock_get(q, i, &block) : 0;

        if (r < 0)
            return r;
        while (next < end && *next >> q->refblock_bits < i)
            next++;
        if (block)
            next = block_reset(q, i, block, next, end);
    }
    return 0;
}

/* Takes the blocks that are not kept out of the table. Their clusters are freed after its write. */
static void blocks_drop(Qcow2 *q, const bool *keep)
{
    for (uint32_t i = 0; i < q->reftable_len; i++) {
        uint64_t cluster = refblock_cluster(q, i), by = cluster >> q->refblock_bits;

        if (!cluster || keep[i])
            continue;
        cache_forget(&q->refblocks, cluster << q->cluster_bits, q->cluster);
        q->reftable[i] = 0;
        reftable_mark(q, i);
        if (by < q->reftable_len && keep[by])
            qcow2_free_later(q, cluster << q->cluster_bits, q->cluster, FREE_OTHER);
    }
}

CO int qcow2_refcount_reset(Qcow2 *q)
{
    int r = qcow2_reftable_load(q);
    g_autofree bool *keep = r < 0 ? NULL : blocks_kept(q);
    CO_LOCKED(&q->refcount_lock);

    if (!keep)
        return r < 0 ? r : -ENOMEM;
    /* The reference triggers these blkdebug events here: rules for them make the emptying fail. */
    edge_event(q->storage, EV_REFTABLE_UPDATE);
    edge_event(q->storage, EV_REFBLOCK_ALLOC);
    q->free_hint = q->bytes_off = 0;
    r = blocks_reset(q, keep);
    if (r >= 0)
        blocks_drop(q, keep);
    return r;
}
