/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Was the end of an image cut off? What lies there reads as zeroes, and nothing else tells of it.
 *
 * Writers keep the file as long as what they count. So the last refcount, two reads away, shows that
 * nothing is missing; only where it does not are all tables looked at, since what is counted but not
 * referred to is a leak and no loss.
 */
#include "block/formats/qcow2/qcow2.h"
#include "block/formats/qcow2/tree.h"

/* *@end: bytes of the file up to the end of the last cluster that is counted; 0: none is. */
static CO int counted_end(Qcow2 *q, uint64_t *end)
{
    g_autofree uint8_t *block = g_try_malloc(q->cluster);
    uint64_t n = UINT64_C(1) << q->refblock_bits, off = 0;
    uint32_t i;
    int r = block ? qcow2_reftable_load(q) : -ENOMEM;

    *end = 0;
    if (r < 0)
        return r;
    for (i = q->reftable_len; i && !off; i--)
        off = q->reftable[i - 1] & REFTABLE_OFFSET;
    if (off >= edge_size(q->storage)) {
        *end = off + q->cluster;
        return 0;
    }
    r = off ? qcow2_file_read(q, off, block, q->cluster) : 0;
    for (uint64_t k = off ? n : 0; k && !*end && r >= 0; k--)
        if (qcow2_count_at(q, block, k - 1))
            *end = (i * n + k) << q->cluster_bits;
    return r;
}

static uint64_t l1_end(const Qcow2 *q)
{
    return q->l1_off + q->l1_len * UINT64_C(8);
}

/* 1: something may be missing, 0: certainly not, or a negative errno. *@counted as counted_end. */
static CO int may_be_cut(Qcow2 *q, uint64_t *counted)
{
    uint64_t have = edge_size(q->storage);
    int r = counted_end(q, counted);

    if (r < 0)
        return r;
    if ((q->l1_len && l1_end(q) > have) || q->incompatible & INCOMPAT_DIRTY)
        return 1;
    if (q->data != q->storage && edge_size(q->data) < q->size)
        return 1;
    return *counted > round_up(have, q->cluster);
}

/* Ends of what is referred to in the image file, in the data file. */
typedef struct {
    uint64_t meta, data;
} Ends;

static CO int visit(Qcow2 *q, const TreeTable *t, uint8_t *entries, bool *changed, void *arg)
{
    Ends *ends = arg;
    uint64_t have = edge_size(q->data);
    /* For metadata alone an image is opened without its data file. */
    bool has_data = !qcow2_has_data_file(q) || q->data != q->storage;

    if (t->off + q->cluster > edge_size(q->storage))
        ends->meta = MAX(ends->meta, t->off + q->cluster);
    for (uint64_t i = 0; has_data && i < UINT64_C(1) << q->l2_bits; i++) {
        const uint8_t *at = entries + (i << q->entry_bits);
        uint64_t desc = be64_at(at), off = desc & ENTRY_OFFSET, len = q->cluster;
        bool is_data = q->subs > 1 ? (uint32_t)be64_at(at + 8) : off && !(desc & ENTRY_ZERO);

        if (desc & ENTRY_COMPRESSED)
            qcow2_compressed_span(q, desc, &off, &len);
        else if (!is_data)
            continue;
        if (off >= have)
            ends->data = MAX(ends->data, off + len);
    }
    return 0;
}

CO int qcow2_missing_end(Node *n, uint64_t *bytes)
{
    Qcow2 *q = qcow2_of(n);
    uint64_t have = edge_size(q->storage), have_data = edge_size(q->data);
    Ends ends = { have, have_data };
    g_autofree uint64_t *l1 = NULL;
    g_autoptr(GArray) tables = NULL;
    uint64_t counted;
    int r = may_be_cut(q, &counted);

    *bytes = 0;
    if (r <= 0)
        return r;
    l1 = tree_l1_read(q, q->l1_off, q->l1_len, &r);
    if (!l1)
        return r;
    if (q->l1_len)
        ends.meta = MAX(ends.meta, l1_end(q));
    tables = tree_tables(q, l1, q->l1_len);
    r = tree_walk(q, tables, visit, &ends);
    if (r < 0)
        return r;
    if (ends.meta > have)    /* with tables that could tell of more */
        ends.meta = MAX(ends.meta, counted);
    if (q->data == q->storage)
        *bytes = MAX(ends.meta, ends.data) - have;
    else
        *bytes = (ends.meta - have) + MIN(ends.data - have_data, q->size);
    return 0;
}
