/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work on all tables of an L1 table at once. Tables lie anywhere in the file, in the worst case in
 * random order; sorted, the file is read from front to back, and counts of clusters are gathered in
 * memory before any refcount block is touched, so each block is loaded once.
 */
#include "block/formats/qcow2/tree.h"
#include "block/formats/qcow2/compress.h"
#include <string.h>

enum { READ_MAX = 4 << 20 };

CO uint64_t *tree_l1_read(Qcow2 *q, uint64_t off, uint32_t len, int *r)
{
    uint64_t bytes = len * UINT64_C(8);
    g_autofree uint64_t *l1 = NULL;

    if (bytes > QCOW2_L1_BYTES_MAX) {
        *r = -EFBIG;
        return NULL;
    }
    l1 = g_try_malloc(MAX(bytes, 8));
    *r = l1 ? qcow2_file_read(q, off, l1, bytes) : -ENOMEM;
    if (*r < 0)
        return NULL;
    for (uint32_t i = 0; i < len; i++)
        l1[i] = be64_at(&l1[i]);
    return g_steal_pointer(&l1);
}

static int table_order(const void *a, const void *b)
{
    const TreeTable *x = a, *y = b;

    if (x->off != y->off)
        return x->off < y->off ? -1 : 1;
    return x->guest < y->guest ? -1 : x->guest > y->guest;
}

GArray *tree_tables(const Qcow2 *q, const uint64_t *l1, uint32_t len)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(TreeTable));
    guint kept = 0;

    for (uint32_t i = 0; i < len; i++) {
        TreeTable t = { .off = l1[i] & ENTRY_OFFSET, .times = 1,
                        .guest = (uint64_t)i << (q->l2_bits + q->cluster_bits) };

        if (t.off && !qcow2_within(q, t.off))
            g_array_append_val(all, t);
    }
    g_array_sort(all, table_order);
    for (guint i = 0; i < all->len; i++) {
        TreeTable *t = &g_array_index(all, TreeTable, i);
        TreeTable *last = kept ? &g_array_index(all, TreeTable, kept - 1) : NULL;

        if (last && last->off == t->off)
            last->times++;
        else
            g_array_index(all, TreeTable, kept++) = *t;
    }
    g_array_set_size(all, kept);
    return all;
}

/* Visits the @n tables at @t, which are adjacent and have been read to @buf. */
static CO int visit_run(Qcow2 *q, const TreeTable *t, guint n, uint8_t *buf, TreeVisit *visit,
                        void *arg)
{
    for (guint i = 0; i < n; i++) {
        uint8_t *entries = buf + i * q->cluster;
        bool changed = false;
        int r = visit(q, &t[i], entries, &changed, arg);

        if (r >= 0 && changed) {
            edge_event(q->storage, EV_L2_UPDATE);
            r = qcow2_overlap_check(q, OVERLAP_L2 | OVERLAP_INACTIVE_L2, t[i].off, q->cluster);
            if (r >= 0)
                r = edge_pwrite_buf(q->storage, t[i].off, entries, q->cluster);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

CO int tree_walk(Qcow2 *q, const GArray *tables, TreeVisit *visit, void *arg)
{
    guint max = MAX(READ_MAX / q->cluster, 1);
    g_autoptr(Aligned) buf = aligned_try_alloc(MIN(max, MAX(tables->len, 1)) * q->cluster);

    if (!buf)
        return -ENOMEM;
    for (guint i = 0, n; i < tables->len; i += n) {
        const TreeTable *t = &g_array_index(tables, TreeTable, i);
        int r;

        for (n = 1; n < max && i + n < tables->len && t[n].off == t->off + n * q->cluster; n++)
            ;
        r = qcow2_file_read(q, t->off, buf, n * q->cluster);
        if (r >= 0)
            r = visit_run(q, t, n, buf, visit, arg);
        if (r < 0)
            return r;
        work_tell((uint64_t)(i + n) * q->cluster, (uint64_t)tables->len * q->cluster);
    }
    return 0;
}

/* ---- counting ------------------------------------------------------------------------------- */

static int count_range(const Qcow2 *q, Counts *c, uint64_t off, uint64_t len, uint32_t times)
{
    for (uint64_t i = off >> q->cluster_bits; i <= (off + len - 1) >> q->cluster_bits; i++) {
        if (i >= c->n)
            return -EIO;
        counts_add(c, i, times);
    }
    return 0;
}

typedef struct {
    Counts *counts;
} CountVisit;

static CO int count_visit(Qcow2 *q, const TreeTable *t, uint8_t *entries, bool *changed, void *arg)
{
    CountVisit *v = arg;
    int r = count_range(q, v->counts, t->off, q->cluster, t->times);

    for (uint64_t i = 0; i < UINT64_C(1) << q->l2_bits && r >= 0; i++) {
        uint64_t desc = be64_at(entries + (i << q->entry_bits)), off, len;

        if (desc & ENTRY_COMPRESSED) {
            qcow2_compressed_span(q, desc, &off, &len);
            r = count_range(q, v->counts, off, len, t->times);
        } else if (desc & ENTRY_OFFSET) {
            if (qcow2_within(q, desc & ENTRY_OFFSET))
                return qcow2_corrupt(q, true, "Cluster allocation offset 0x%" PRIx64
                                     " unaligned (L2 offset: 0x%" PRIx64 ", L2 index: 0x%" PRIx64
                                     ")", (uint64_t)(desc & ENTRY_OFFSET), t->off, i);
            r = count_range(q, v->counts, desc & ENTRY_OFFSET, q->cluster, t->times);
        }
    }
    return r;
}

CO int tree_count(Qcow2 *q, const uint64_t *l1, uint32_t len, Counts *c)
{
    g_autoptr(GArray) tables = tree_tables(q, l1, len);
    CountVisit v = { c };
    int r = tree_walk(q, tables, count_visit, &v);

    return r >= 0 && c->failed ? -ENOMEM : r;
}

/* ---- applying ------------------------------------------------------------------------------- */

/* Adjacent clusters are passed down at once. */
CO void tree_became_free(Qcow2 *q, const Counts *c, FreeKind kind)
{
    uint64_t from = 0, to = 0;   /* bytes that became free and are not passed down yet */

    for (uint64_t i = counts_next(c, 0, c->n); i < c->n; i = counts_next(c, i + 1, c->n)) {
        uint64_t off = i << q->cluster_bits;

        if (counts_get(c, i) != 1)
            continue;
        q->free_hint = MIN(q->free_hint, i);
        if (to != off) {
            if (to > from && q->pass_discard[kind])
                edge_discard(q->storage, from, to - from);
            from = off;
        }
        to = off + q->cluster;
    }
    if (to > from && q->pass_discard[kind])
        edge_discard(q->storage, from, to - from);
}

CO int tree_uncount(Qcow2 *q, Counts *c, FreeKind kind)
{
    int r;

    /* Compressed clusters may be among those that become free. */
    qcow2_compressed_forget(q);
    q->bytes_off = 0;

    r = qcow2_refcounts_fit(q, c);
    if (r >= 0)
        r = qcow2_refcounts_lower(q, c);
    if (r >= 0)
        tree_became_free(q, c, kind);
    return r;
}
