/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Was the end of an image cut off? What lies there reads as zeroes, and nothing else tells of it.
 *
 * Writers keep the file as long as what they count. So the last refcount, two reads away, shows
 * that nothing is missing; only where it does not are all tables looked at, since what is counted
 * but not referred to is a leak and no loss.
 */
#include "block/formats/qcow2/qcow2.h"
#include "block/formats/qcow2/tree.h"

enum {
    PIECE = 32 << 10,
    QUICK_L1_MAX = 64 << 10,    /* entries */
};

/*
 * The last byte in [@off, @off + @len) of the file that is not 0: *@at, from @off; else UINT64_MAX.
 */
static CO int last_byte(Qcow2 *q, uint64_t off, uint64_t len, uint64_t *at, uint8_t *value)
{
    g_autofree uint8_t *buf = g_malloc(PIECE);

    *at = UINT64_MAX;
    for (uint64_t done = 0; done < len;) {
        Extent e;
        uint64_t n;
        int r = edge_extent(q->storage, off + done, len - done, true, &e);

        if (r < 0 || !e.len)
            return r;
        if (e.flags & EXTENT_ZERO) {
            done += e.len;
            continue;
        }
        n = MIN(MIN(e.len, (uint64_t)PIECE), len - done);
        r = qcow2_file_read(q, off + done, buf, n);
        if (r < 0)
            return r;
        for (uint64_t i = n; i; i--)
            if (buf[i - 1]) {
                *at = done + i - 1;
                *value = buf[i - 1];
                break;
            }
        done += n;
    }
    return 0;
}

/* The offset of the last refcount block from index @from on, and its index; 0: there is none. */
static CO int last_block(Qcow2 *q, uint64_t from, uint64_t *index, uint64_t *off)
{
    uint64_t len = q->reftable_clusters * q->cluster, at = UINT64_MAX;
    uint8_t entry[8], value;
    int r = 0;

    *off = 0;
    if (from < len / 8)
        r = last_byte(q, q->reftable_off + from * 8, len - from * 8, &at, &value);
    if (r < 0 || at == UINT64_MAX)
        return r;
    *index = from + at / 8;
    r = qcow2_file_read(q, q->reftable_off + *index * 8, entry, sizeof(entry));
    *off = be64_at(entry) & REFTABLE_OFFSET;
    return r;
}

/*
 * *@end: bytes of the file up to the end of the last cluster that is counted, behind its end; or 0.
 */
static CO int counted_end(Qcow2 *q, uint64_t *end)
{
    uint64_t first = div_round_up(edge_size(q->storage), q->cluster), index = 0, off, at;
    uint64_t skip = 0;
    unsigned bits = qcow2_refcount_bits(q);
    uint8_t value;
    int r = last_block(q, first >> q->refblock_bits, &index, &off);

    *end = 0;
    if (r < 0 || !off)
        return r;
    if (off >= edge_size(q->storage)) {
        *end = off + q->cluster;
        return 0;
    }
    if (index == first >> q->refblock_bits)
        skip = (first & ((UINT64_C(1) << q->refblock_bits) - 1)) * bits / 8;
    r = last_byte(q, off + skip, q->cluster - skip, &at, &value);
    if (r < 0 || at == UINT64_MAX)
        return r;
    at = bits < 8 ? (skip + at) * (8 / bits) + (31 - __builtin_clz(value)) / bits
                  : (skip + at) / (bits / 8);
    *end = ((index << q->refblock_bits) + at + 1) << q->cluster_bits;
    return 0;
}

static uint64_t l1_end(const Qcow2 *q)
{
    return q->l1_off + q->l1_len * UINT64_C(8);
}

/* 1: something may be missing, 0: certainly not, or a negative errno. *@counted as counted_end. */
static CO int may_be_cut(Qcow2 *q, bool quick, uint64_t *counted)
{
    uint64_t have = edge_size(q->storage);
    int r = counted_end(q, counted);

    if (r < 0)
        return r;
    if (q->l1_len && l1_end(q) > have)
        return 1;
    if (!quick && q->incompatible & INCOMPAT_DIRTY)    /* the counts may be too low */
        return 1;
    if (q->data != q->storage && edge_size(q->data) < q->size)
        return 1;
    return *counted > round_up(have, q->cluster);    /* and not in the last cluster */
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

CO int qcow2_missing_end(Node *n, bool quick, uint64_t *bytes)
{
    Qcow2 *q = qcow2_of(n);
    uint64_t have = edge_size(q->storage), have_data = edge_size(q->data);
    Ends ends = { have, have_data };
    g_autofree uint64_t *l1 = NULL;
    g_autoptr(GArray) tables = NULL;
    uint64_t counted;
    int r;

    *bytes = 0;
    /* A file that somebody else writes grows: its length when it was opened tells nothing. */
    if (node_flags(n) & OPEN_FORCE_SHARE)
        return 0;
    r = may_be_cut(q, quick, &counted);
    if (r <= 0)
        return r;
    /* A quick question gets no answer where looking would take long. */
    if (quick && q->l1_len > QUICK_L1_MAX)
        return 0;
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
