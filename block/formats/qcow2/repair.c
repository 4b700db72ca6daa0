/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing refcounts that agree with the references found.
 *
 * Where blocks exist for all that is referred to, they are changed where they are. Otherwise new
 * ones and a new table are written behind the end of the file, where nothing can be lost and
 * nothing refers to (a file that was cut may have lost what it refers to there); when they are
 * durable one write of the header's sector switches to them, and only then the old ones are free. A
 * cut at any point leaves the old refcounts or the new ones.
 */
#include "block/formats/qcow2/check.h"
#include <inttypes.h>
#include <string.h>

CO int check_barrier(Check *c)
{
    int r = c->unflushed ? qcow2_barrier(c->q) : 0;

    if (r >= 0)
        c->unflushed = false;
    return r;
}

static int failed(GError **err, int r, const char *what)
{
    err_set_errno(err, r, "Could not write %s", what);
    return r;
}

/* ---- in place ------------------------------------------------------------------------------- */

/* Counts to write for cluster @i; those not to be repaired stay as they are. */
static uint64_t count_wanted(const Check *c, uint64_t i)
{
    uint64_t refs = counts_get(&c->refs, i), now = counts_get(&c->counts, i);
    bool repair = refs < now ? c->fix & CHECK_FIX_LEAKS : c->fix & CHECK_FIX_ERRORS;

    return repair ? refs : now;
}

/* Block @index: all its counts from memory; those behind them stay. */
static CO int block_rewrite(Check *c, uint64_t index, GError **err)
{
    Qcow2 *q = c->q;
    uint64_t off = c->reftable[index] & REFTABLE_OFFSET, first = index << q->refblock_bits;
    uint64_t n = MIN(UINT64_C(1) << q->refblock_bits, c->counts.n - first);
    g_autofree uint8_t *block = g_try_malloc(q->cluster);
    int r = block ? qcow2_file_read(q, off, block, q->cluster) : -ENOMEM;

    for (uint64_t i = 0; r >= 0 && i < n; i++) {
        uint64_t v = count_wanted(c, first + i);

        if (v == counts_get(&c->counts, first + i))
            continue;
        qcow2_count_put(q, block, i, v);
        counts_set(&c->counts, first + i, v);
        c->counts_changed = true;
    }
    /* The file must not get what memory does not have: the COPIED flags follow that. */
    if (r >= 0 && c->counts.failed)
        r = -ENOMEM;
    if (r >= 0)
        r = edge_pwrite_buf(q->storage, off, block, q->cluster);
    c->unflushed = true;
    return r < 0 ? failed(err, r, "a refcount block") : 0;
}

static CO int reftable_rewrite(Check *c, GError **err)
{
    Qcow2 *q = c->q;
    uint64_t bytes = c->reftable_len * UINT64_C(8);
    g_autofree uint8_t *buf = g_try_malloc(MAX(bytes, 1));
    int r = buf ? 0 : -ENOMEM;

    for (uint32_t i = 0; i < c->reftable_len && buf; i++)
        be64_put(buf + i * UINT64_C(8), c->reftable[i]);
    c->unflushed = true;
    if (r >= 0)
        r = edge_pwrite_buf(q->storage, q->reftable_off, buf, bytes);
    return r < 0 ? failed(err, r, "the refcount table") : 0;
}

CO int repair_counts(Check *c, GError **err)
{
    Qcow2 *q = c->q;
    uint64_t i = counts_next_difference(&c->refs, &c->counts, 0);
    int r = 0;

    if (c->reftable_changed)
        r = reftable_rewrite(c, err);
    while (r >= 0 && i < c->refs.n) {
        uint64_t index = i >> q->refblock_bits;

        if (index < c->reftable_len && c->reftable[index] && count_wanted(c, i) !=
                                                             counts_get(&c->counts, i))
            r = block_rewrite(c, index, err);
        i = counts_next_difference(&c->refs, &c->counts, i + 1);
    }
    return r;
}

/* ---- anew ----------------------------------------------------------------------------------- */

typedef struct {
    uint64_t first;          /* cluster: blocks, then the table */
    uint64_t blocks;
    uint64_t table_clusters;
    uint64_t *table;         /* entries of the new table */
    uint64_t table_len;
} Plan;

/* References to cluster @i, be it behind the end of the file. */
static uint64_t refs_to(const Check *c, uint64_t i)
{
    uint64_t n = i < c->refs.n ? counts_get(&c->refs, i) : 0;

    if (i >= c->clusters && i - c->clusters < c->far.n)
        n = MIN(n + counts_get(&c->far, i - c->clusters), c->q->refcount_max);
    return n;
}

/* Moves @p to where nothing refers to. False: no such place was found. */
static bool plan_place(const Check *c, Plan *p)
{
    uint64_t i = p->first, end = c->clusters + c->far.n;

    for (; i < p->first + p->blocks + p->table_clusters && i < end; i++)
        if (refs_to(c, i))
            p->first = i + 1;
    return i < end;
}

/* Does block @index count anything? */
static bool block_is_needed(const Check *c, const Plan *p, uint64_t index)
{
    uint64_t n = UINT64_C(1) << c->q->refblock_bits, first = index * n, behind = c->clusters;
    uint64_t end = p->first + p->blocks + p->table_clusters;
    uint64_t far = MAX(first, behind), far_end = MIN(first + n, p->first);

    return (first < end && first + n > p->first) ||
           (first < c->refs.n && !counts_is_zero(&c->refs, first, n)) ||
           (far < far_end && !counts_is_zero(&c->far, far - behind, far_end - far));
}

/* How many blocks and how long a table: each counts itself, so it grows until it fits. */
static int plan_make(Check *c, Plan *p)
{
    Qcow2 *q = c->q;

    p->first = MAX(div_round_up(edge_size(q->storage), q->cluster), c->clusters);
    while (plan_place(c, p)) {
        uint64_t end = p->first + p->blocks + p->table_clusters, blocks = 0;
        uint64_t table_clusters;

        p->table_len = div_round_up(end, UINT64_C(1) << q->refblock_bits);
        table_clusters = div_round_up(p->table_len * 8, q->cluster);
        for (uint64_t i = 0; i < p->table_len; i++)
            blocks += block_is_needed(c, p, i);
        if (table_clusters * q->cluster > QCOW2_REFTABLE_BYTES_MAX)
            return -EFBIG;
        if (blocks <= p->blocks && table_clusters <= p->table_clusters)
            return 0;
        p->blocks = MAX(blocks, p->blocks);
        p->table_clusters = MAX(table_clusters, p->table_clusters);
    }
    return -ENOSPC;
}

/* The count that cluster @i will have. The file grows over what is before the new tables. */
static uint64_t planned_count(const Check *c, const Plan *p, uint64_t i)
{
    if (i < p->first)
        return refs_to(c, i);
    return i < p->first + p->blocks + p->table_clusters;
}

static CO int plan_write_blocks(Check *c, Plan *p)
{
    Qcow2 *q = c->q;
    g_autofree uint8_t *block = g_try_malloc(q->cluster);
    uint64_t next = p->first;

    if (!block)
        return -ENOMEM;
    for (uint64_t index = 0; index < p->table_len; index++) {
        uint64_t first = index << q->refblock_bits;
        int r;

        if (!block_is_needed(c, p, index))
            continue;
        memset(block, 0, q->cluster);
        for (uint64_t i = 0; i < UINT64_C(1) << q->refblock_bits; i++)
            qcow2_count_put(q, block, i, planned_count(c, p, first + i));
        r = edge_pwrite_buf(q->storage, next << q->cluster_bits, block, q->cluster);
        if (r < 0)
            return r;
        p->table[index] = next++ << q->cluster_bits;
    }
    return 0;
}

static CO int plan_write_table(Check *c, const Plan *p)
{
    Qcow2 *q = c->q;
    uint64_t bytes = p->table_clusters * q->cluster;
    g_autofree uint8_t *buf = g_try_malloc0(bytes);

    if (!buf)
        return -ENOMEM;
    for (uint64_t i = 0; i < p->table_len; i++)
        be64_put(buf + i * 8, p->table[i]);
    return edge_pwrite_buf(q->storage, (p->first + p->blocks) << q->cluster_bits, buf, bytes);
}

/* The header names the new table from here on. */
static CO int plan_switch(Check *c, const Plan *p)
{
    Qcow2 *q = c->q;
    uint64_t old_off = q->reftable_off;
    uint32_t old_clusters = q->reftable_clusters;
    bool done;
    int r = qcow2_barrier(q);

    if (r < 0)
        return r;
    q->reftable_off = (p->first + p->blocks) << q->cluster_bits;
    q->reftable_clusters = (uint32_t)p->table_clusters;
    r = qcow2_header_switch(q, &done);
    if (!done) {
        q->reftable_off = old_off;
        q->reftable_clusters = old_clusters;
    }
    return r;
}

/* The counts become what the new blocks say. */
static int counts_grow(Check *c, const Plan *p)
{
    uint64_t end = p->first + p->blocks + p->table_clusters;
    Counts grown[2] = {};

    if (!counts_init(&grown[0], end) || !counts_init(&grown[1], end)) {
        counts_clear(&grown[0]);
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < end; i++) {
        uint64_t v = planned_count(c, p, i);

        if (v) {
            counts_set(&grown[0], i, v);
            counts_set(&grown[1], i, v);
        }
    }
    counts_clear(&c->metadata);
    c->metadata = (Counts){};
    counts_clear(&c->refs);
    counts_clear(&c->counts);
    c->refs = grown[0];
    c->counts = grown[1];
    c->clusters = end;
    return c->refs.failed || c->counts.failed ? -ENOMEM : 0;
}

static int cluster_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The old table and blocks are referred to no more. */
static CO int old_release(Check *c, GError **err)
{
    g_array_sort(c->old_blocks, cluster_order);
    for (guint i = 0; i < c->old_blocks->len; i++) {
        uint64_t cluster = g_array_index(c->old_blocks, uint64_t, i);
        uint64_t now = counts_get(&c->refs, cluster);

        counts_set(&c->refs, cluster, now ? now - 1 : 0);
        if (i + 1 < c->old_blocks->len &&
            g_array_index(c->old_blocks, uint64_t, i + 1) == cluster)
            continue;
        check_tell(c, "Repairing cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64 "\n",
                   cluster, counts_get(&c->counts, cluster), counts_get(&c->refs, cluster));
        /* Only space: an error changes nothing else. */
        if (!counts_get(&c->refs, cluster))
            edge_discard(c->q->storage, cluster << c->q->cluster_bits, c->q->cluster);
    }
    return repair_counts(c, err);
}

CO int repair_rebuild(Check *c, GError **err)
{
    g_autofree uint64_t *table = NULL;
    Plan p = {};
    int r;

    check_tell(c, "Rebuilding refcount structure\n");
    r = check_barrier(c);
    if (r >= 0)
        r = plan_make(c, &p);
    if (r < 0)
        return failed(err, r, "new refcounts");
    p.table = table = g_try_new0(uint64_t, MAX(p.table_len, 1));
    r = table ? plan_write_blocks(c, &p) : -ENOMEM;
    if (r >= 0)
        r = plan_write_table(c, &p);
    if (r >= 0)
        r = plan_switch(c, &p);
    if (r >= 0)
        r = counts_grow(c, &p);
    if (r < 0)
        return failed(err, r, "new refcounts");
    g_free(c->reftable);
    c->reftable = g_steal_pointer(&table);
    c->reftable_len = (uint32_t)p.table_len;
    c->reftable_changed = false;
    c->counts_changed = true;
    g_hash_table_remove_all(c->unknown);
    return old_release(c, err);
}
