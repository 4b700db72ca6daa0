/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another width of refcounts. All counts are gathered, written in the new width behind the end of
 * the file together with a new table, made durable, and the header is switched over: width, place
 * and size of the table lie in its first sector, so a cut leaves the old or the new structures.
 */
#include "block/formats/qcow2/tree.h"
#include <string.h>

typedef struct {
    Counts counts;           /* as they shall be */
    uint64_t first, blocks, table_clusters;   /* new clusters: blocks, then the table */
    uint64_t *table;
    uint64_t len;            /* entries of it */
} Widening;

static void widening_clear(Widening *w)
{
    counts_clear(&w->counts);
    g_free(w->table);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Widening, widening_clear)

/* All counts but those of the structures that go. */
static CO int gather(Qcow2 *q, uint64_t clusters, Counts *c)
{
    int r = 0;

    for (uint64_t i = 0; i < clusters && r >= 0; i++) {
        uint64_t count;

        r = qcow2_refcount_get(q, i, &count);
        if (r >= 0)
            counts_set(c, i, count);
    }
    return r >= 0 && c->failed ? -ENOMEM : r;
}

static void uncount(Qcow2 *q, Counts *c, uint64_t off, uint64_t len)
{
    for (uint64_t i = off >> q->cluster_bits; i < (off + len) >> q->cluster_bits && i < c->n; i++)
        if (counts_get(c, i))
            counts_set(c, i, counts_get(c, i) - 1);
}

static void uncount_old(Qcow2 *q, Counts *c)
{
    uncount(q, c, q->reftable_off, q->reftable_clusters * q->cluster);
    for (uint32_t i = 0; i < q->reftable_len; i++)
        if (q->reftable[i] & REFTABLE_OFFSET)
            uncount(q, c, q->reftable[i] & REFTABLE_OFFSET, q->cluster);
}

/* Every block up to the end is made: simple, and nearly all are needed. */
static int plan(const Qcow2 *new, uint64_t clusters, Widening *w)
{
    uint64_t end;

    w->first = clusters;
    w->blocks = w->table_clusters = 1;
    do {
        end = w->first + w->blocks + w->table_clusters;
        w->blocks = div_round_up(end, UINT64_C(1) << new->refblock_bits);
        w->table_clusters = div_round_up(w->blocks * 8, new->cluster);
    } while (end != w->first + w->blocks + w->table_clusters);
    w->len = w->table_clusters * (new->cluster / 8);
    if (w->len * 8 > QCOW2_REFTABLE_BYTES_MAX)
        return -EFBIG;
    w->table = g_try_new0(uint64_t, w->len);
    return w->table ? 0 : -ENOMEM;
}

static CO int write_block(Qcow2 *q, const Qcow2 *new, Widening *w, uint64_t i, uint8_t *block)
{
    uint64_t off = (w->first + i) << q->cluster_bits,
             end = w->first + w->blocks + w->table_clusters;

    memset(block, 0, q->cluster);
    for (uint64_t k = 0; k < UINT64_C(1) << new->refblock_bits; k++) {
        uint64_t cluster = (i << new->refblock_bits) + k, count = 0;

        if (cluster >= w->first && cluster < end)
            count = 1;
        else if (cluster < w->counts.n)
            count = counts_get(&w->counts, cluster);
        if (count > new->refcount_max)
            return -EOVERFLOW;
        if (count)
            qcow2_count_put(new, block, k, count);
    }
    w->table[i] = off;
    return edge_pwrite_buf(q->storage, off, block, q->cluster);
}

static CO int write_structures(Qcow2 *q, const Qcow2 *new, Widening *w)
{
    g_autoptr(Aligned) block = aligned_try_alloc(q->cluster);
    g_autofree uint8_t *table = g_try_malloc(w->len * 8);
    int r = block && table ? 0 : -ENOMEM;

    for (uint64_t i = 0; i < w->blocks && r >= 0; i++)
        r = write_block(q, new, w, i, block);
    for (uint64_t i = 0; i < w->len && r >= 0; i++)
        be64_put(table + 8 * i, w->table[i]);
    if (r >= 0)
        r = edge_pwrite_buf(q->storage, (w->first + w->blocks) << q->cluster_bits, table,
                            w->len * 8);
    return r < 0 ? r : qcow2_barrier(q);
}

/* The header and we use the new structures from now on. */
static CO int switch_over(Qcow2 *q, const Qcow2 *new, Widening *w)
{
    uint64_t old_off = q->reftable_off;
    uint32_t old_clusters = q->reftable_clusters;
    unsigned old_order = q->refcount_order;
    bool done;
    int r;

    q->reftable_off = (w->first + w->blocks) << q->cluster_bits;
    q->reftable_clusters = w->table_clusters;
    q->refcount_order = new->refcount_order;
    r = qcow2_header_switch(q, &done);
    if (!done) {
        q->reftable_off = old_off;
        q->reftable_clusters = old_clusters;
        q->refcount_order = old_order;
        return r;
    }
    qcow2_set_geometry(q);
    g_free(q->reftable);
    q->reftable = g_steal_pointer(&w->table);
    q->reftable_len = w->len;
    q->reftable_dirty_from = q->reftable_dirty_to = 0;
    q->free_hint = q->bytes_off = 0;
    cache_drop_all(&q->refblocks);
    qcow2_overlap_free(q);
    return r;
}

CO bool qcow2_refcount_width_change(Qcow2 *q, unsigned order, GError **err)
{
    uint64_t clusters = div_round_up(edge_size(q->storage), q->cluster);
    g_auto(Widening) w = {};
    Qcow2 new = *q;
    int r = qcow2_commit_all(q);

    if (r >= 0)
        r = qcow2_reftable_load(q);
    if (r >= 0)
        r = counts_init(&w.counts, clusters) ? gather(q, clusters, &w.counts) : -ENOMEM;
    if (r >= 0) {
        uncount_old(q, &w.counts);
        new.refcount_order = order;
        qcow2_set_geometry(&new);
        r = plan(&new, clusters, &w);
    }
    if (r >= 0)
        r = write_structures(q, &new, &w);
    if (r == -EOVERFLOW)
        return err_set(err, EINVAL, "A cluster is used more often than refcounts of %u bits can "
                       "count", 1u << order);
    if (r >= 0)
        r = switch_over(q, &new, &w);
    return r < 0 ? err_set_errno(err, r, "Could not change the width of refcounts") : true;
}
