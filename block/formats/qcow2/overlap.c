/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which clusters of the image file hold metadata, so that no write destroys it when a damaged image
 * says that a guest cluster lies there.
 *
 * One open hash of cluster numbers with their kinds, built when first needed and kept up to date.
 * A slot is (cluster << 9 | kinds); 0 is empty. Cluster 0 is the header and not in the table, a
 * cluster that is no longer metadata keeps its slot without kinds.
 */
#include "block/formats/qcow2/qcow2.h"
#include <string.h>

enum { KIND_BITS = 9, KIND_MASK = (1 << KIND_BITS) - 1, READ_MAX = 1 << 20 };

struct Overlap {
    uint64_t *slots;
    uint64_t mask, used;
};

static const char *kind_name(unsigned kind)
{
    switch (kind) {
    case OVERLAP_HEADER: return "qcow2_header";
    case OVERLAP_L1: return "active L1 table";
    case OVERLAP_L2: return "active L2 table";
    case OVERLAP_REFBLOCK: return "refcount block";
    case OVERLAP_REFTABLE: return "refcount table";
    case OVERLAP_SNAPSHOTS: return "snapshot table";
    case OVERLAP_INACTIVE_L1: return "inactive L1 table";
    case OVERLAP_INACTIVE_L2: return "inactive L2 table";
    default: return "bitmap directory";
    }
}

void qcow2_overlap_free(Qcow2 *q)
{
    if (q->overlap)
        g_free(q->overlap->slots);
    g_clear_pointer(&q->overlap, g_free);
}

static uint64_t *slot_find(const Overlap *o, uint64_t cluster)
{
    uint64_t i = cluster * UINT64_C(0x9e3779b97f4a7c15) >> 20;

    for (;; i++) {
        uint64_t *slot = &o->slots[i & o->mask];

        if (!*slot || *slot >> KIND_BITS == cluster)
            return slot;
    }
}

static void table_grow(Overlap *o)
{
    Overlap old = *o;

    o->mask = old.slots ? old.mask * 2 + 1 : 63;
    o->slots = g_new0(uint64_t, o->mask + 1);
    for (uint64_t i = 0; old.slots && i <= old.mask; i++)
        if (old.slots[i])
            *slot_find(o, old.slots[i] >> KIND_BITS) = old.slots[i];
    g_free(old.slots);
}

static void add(Overlap *o, uint64_t cluster, unsigned kind)
{
    uint64_t *slot;

    if (!cluster)
        return;
    if (!o->slots || o->used * 2 > o->mask)
        table_grow(o);
    slot = slot_find(o, cluster);
    if (!*slot) {
        *slot = cluster << KIND_BITS;
        o->used++;
    }
    *slot |= kind;
}

static void add_range(const Qcow2 *q, Overlap *o, unsigned kind, uint64_t off, uint64_t len)
{
    uint64_t end;

    if (!(q->overlap_mask & kind) || !len || !size_add(off, len, &end))
        return;
    for (uint64_t c = off >> q->cluster_bits; c <= (end - 1) >> q->cluster_bits; c++)
        add(o, c, kind);
}

void qcow2_overlap_add(Qcow2 *q, OverlapKind kind, uint64_t off, uint64_t len)
{
    if (q->overlap)
        add_range(q, q->overlap, kind, off, len);
}

void qcow2_overlap_remove(Qcow2 *q, OverlapKind kind, uint64_t off, uint64_t len)
{
    uint64_t end;

    if (!q->overlap || !q->overlap->slots || !len || !size_add(off, len, &end))
        return;
    for (uint64_t c = off >> q->cluster_bits; c <= (end - 1) >> q->cluster_bits; c++)
        if (c)
            *slot_find(q->overlap, c) &= ~(uint64_t)kind;
}

static void add_l2_tables(const Qcow2 *q, Overlap *o, unsigned kind, const uint64_t *l1,
                          uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        if (l1[i] & ENTRY_OFFSET)
            add_range(q, o, kind, l1[i] & ENTRY_OFFSET, q->cluster);
}

/* ---- snapshots ------------------------------------------------------------------------------ */

typedef struct {
    uint64_t off, end;
} Part;

static int part_order(const void *a, const void *b)
{
    const Part *x = a, *y = b;

    return x->off < y->off ? -1 : x->off > y->off;
}

/*
 * Where in the file the L1 tables of snapshots lie: in order and each byte once, whatever the
 * snapshots claim, so that the work is bounded by the size of the file.
 */
static GArray *snapshot_parts(const Qcow2 *q)
{
    GArray *parts = g_array_new(FALSE, FALSE, sizeof(Part));
    uint64_t file_len = edge_size(q->storage);
    guint kept = 0;

    for (uint32_t i = 0; i < q->snapshot_count; i++) {
        uint64_t off = q->snapshots[i].l1_off, len = q->snapshots[i].l1_len * UINT64_C(8);
        Part p = { off, off < file_len ? off + MIN(len, file_len - off) : off };

        /* The table of a snapshot that is being made has no place yet. */
        if (off && p.off < p.end && !qcow2_within(q, off))
            g_array_append_val(parts, p);
    }
    g_array_sort(parts, part_order);
    for (guint i = 0; i < parts->len; i++) {
        Part p = g_array_index(parts, Part, i);
        Part *last = kept ? &g_array_index(parts, Part, kept - 1) : NULL;

        if (last && p.off <= last->end)
            last->end = MAX(last->end, p.end);
        else
            g_array_index(parts, Part, kept++) = p;
    }
    g_array_set_size(parts, kept);
    return parts;
}

/* The L2 tables that the L1 tables in @p refer to. */
static CO int add_inactive_l2(Qcow2 *q, Overlap *o, const Part *p)
{
    g_autofree uint64_t *l1 = g_try_malloc(READ_MAX);

    for (uint64_t at = p->off; at < p->end; at += READ_MAX) {
        uint32_t n = (uint32_t)(MIN(p->end - at, READ_MAX) / 8);
        int r = l1 ? qcow2_file_read(q, at, l1, n * UINT64_C(8)) : -ENOMEM;

        if (r < 0)
            return r;
        for (uint32_t i = 0; i < n; i++)
            l1[i] = be64_at(&l1[i]);
        add_l2_tables(q, o, OVERLAP_INACTIVE_L2, l1, n);
    }
    return 0;
}

/* Tables of snapshots; their L2 tables only when asked for, since their L1 tables must be read. */
static CO int add_snapshots(Qcow2 *q, Overlap *o)
{
    g_autoptr(GArray) parts = snapshot_parts(q);
    int r = 0;

    for (guint i = 0; i < parts->len && r >= 0; i++) {
        const Part *p = &g_array_index(parts, Part, i);

        add_range(q, o, OVERLAP_INACTIVE_L1, p->off, p->end - p->off);
        if (q->overlap_mask & OVERLAP_INACTIVE_L2)
            r = add_inactive_l2(q, o, p);
    }
    return r;
}

/* ---- building and asking -------------------------------------------------------------------- */

static void table_free(Overlap *o)
{
    g_free(o->slots);
    g_free(o);
}

/*
 * Makes the table. What suspends comes first: tables that are made meanwhile are among those that
 * are added after it.
 */
static CO int build(Qcow2 *q)
{
    CO_LOCKED(&q->overlap_lock);
    Overlap *o;
    int r;

    if (q->overlap)
        return 0;
    o = g_new0(Overlap, 1);
    table_grow(o);
    r = qcow2_reftable_load(q);
    if (r >= 0)
        r = add_snapshots(q, o);
    if (r < 0) {
        table_free(o);
        return r;
    }
    add_range(q, o, OVERLAP_L1, q->l1_off, q->l1_len * UINT64_C(8));
    add_l2_tables(q, o, OVERLAP_L2, q->l1, q->l1_len);
    add_range(q, o, OVERLAP_REFTABLE, q->reftable_off, q->reftable_clusters * q->cluster);
    for (uint32_t i = 0; i < q->reftable_len; i++)
        if (q->reftable[i] & REFTABLE_OFFSET)
            add_range(q, o, OVERLAP_REFBLOCK, q->reftable[i] & REFTABLE_OFFSET, q->cluster);
    add_range(q, o, OVERLAP_SNAPSHOTS, q->snapshots_off, q->snapshots_len);
    add_range(q, o, OVERLAP_BITMAPS, q->bitmap_directory_off, q->bitmap_directory_len);
    q->overlap = o;
    return 0;
}

/* Kinds of metadata in the clusters that [@off, @off + @len) touches. */
static unsigned kinds_in(const Qcow2 *q, uint64_t off, uint64_t len)
{
    unsigned found = off < q->cluster ? q->overlap_mask & OVERLAP_HEADER : 0;

    for (uint64_t c = off >> q->cluster_bits; c <= (off + len - 1) >> q->cluster_bits; c++)
        found |= *slot_find(q->overlap, c) & KIND_MASK;
    return found;
}

CO int qcow2_overlap_check(Qcow2 *q, unsigned ignore, uint64_t off, uint64_t len)
{
    unsigned found;

    if (!q->overlap_mask || !len)
        return 0;
    if (!q->overlap) {
        int r = build(q);
        if (r < 0)
            return r;
    }
    found = kinds_in(q, off, len) & ~ignore;
    if (!found)
        return 0;
    return qcow2_corrupt(q, true, "Preventing invalid write on %smetadata (overlaps with %s)",
                         found & -found & (OVERLAP_INACTIVE_L1 | OVERLAP_INACTIVE_L2)
                             ? "inactive " : "", kind_name(found & -found));
}
