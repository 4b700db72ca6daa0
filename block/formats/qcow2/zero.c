/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Zeroes and discards: changes of the map alone, where possible.
 *
 * Zero means zero: a cluster that shall read as zeroes gets the zero flag whenever something could
 * be seen below it. What was mapped is freed once nothing in the file refers to it (commit.c).
 *
 *     request          version 3                       version 2
 *     zero             zero flag, host cluster kept    unallocated if nothing is below, else data
 *     zero, may unmap  zero flag, host cluster freed   the same
 *     discard          zero flag, host cluster freed   unallocated if nothing is below; else
 *                                                      ignored
 *
 * Both take the guest range of the clusters they touch (q->allocating), so no copy of old content
 * that a write is making can come back after them.
 */
#include "block/formats/qcow2/qcow2.h"

typedef enum {
    CLEAR_KEEP,      /* the host cluster stays reserved */
    CLEAR_FREE,
    CLEAR_DISCARD,   /* the same, and what is not mapped stays so where nothing is below */
    CLEAR_UNMAP,     /* the backing file shows, or VM state goes: nothing is mapped */
} Clear;

#define ALL_ZERO (UINT64_MAX << SUBCLUSTERS)

static bool has_backing(const Qcow2 *q)
{
    return node_edge(q->node, ROLE_BACKING);
}

/* ---- whole clusters ------------------------------------------------------------------------- */

static bool entry_is_mapped(const Qcow2 *q, L2Entry e)
{
    return e.desc & (ENTRY_OFFSET | ENTRY_COMPRESSED) ||
           (qcow2_has_data_file(q) && e.desc & ENTRY_COPIED);
}

/* @e reading as zeroes without a host cluster. */
static L2Entry entry_zero_plain(const Qcow2 *q)
{
    if (q->version < 3)
        return (L2Entry){};
    if (q->subs > 1)
        return (L2Entry){ .bits = ALL_ZERO };
    return (L2Entry){ .desc = ENTRY_ZERO };
}

static L2Entry entry_zero_kept(const Qcow2 *q, L2Entry e)
{
    if (q->subs > 1)
        return (L2Entry){ .desc = e.desc, .bits = ALL_ZERO };
    return (L2Entry){ .desc = e.desc | ENTRY_ZERO };
}

/* What @old becomes; *@freed: it gives up what it maps. */
static L2Entry entry_cleared(const Qcow2 *q, L2Entry old, Clear how, bool *freed)
{
    bool mapped = entry_is_mapped(q, old);

    *freed = mapped;
    if (how == CLEAR_UNMAP)
        return (L2Entry){};
    *freed = false;
    if (!mapped && how == CLEAR_DISCARD && !has_backing(q))
        return old;
    if (mapped && !(old.desc & ENTRY_COMPRESSED) && q->version > 2 &&
        (how == CLEAR_KEEP || (q->discard_no_unref && old.desc & ENTRY_COPIED)))
        return entry_zero_kept(q, old);
    *freed = mapped;
    return entry_zero_plain(q);
}

/* Host clusters that stay reserved with discard-no-unref although their content is not needed. */
typedef struct {
    uint64_t off, len;
} Kept;

/* Adds the cluster of @e to @kept; false if that is not adjacent. */
static bool kept_add(const Qcow2 *q, Kept *kept, L2Entry e)
{
    uint64_t host = e.desc & ENTRY_OFFSET;

    if (kept->len && host != kept->off + kept->len)
        return false;
    if (!kept->len)
        kept->off = host;
    kept->len += q->cluster;
    return true;
}

/* Bytes from @off, which no L2 table maps, to where one does. */
static uint64_t tableless_reach(const Qcow2 *q, uint64_t off)
{
    uint64_t i = qcow2_l1_index(q, off);

    do
        i++;
    while (i < q->l1_len && !(q->l1[i] & ENTRY_OFFSET));
    return (i < q->l1_len ? i << (q->l2_bits + q->cluster_bits) : UINT64_MAX) - off;
}

/*
 * Clears clusters of [@off, @off + @len) that one slice maps; *@done: bytes. What @kept says is
 * then to be discarded; with discard-no-unref that ends the work early.
 */
static CO int clear_slice(Qcow2 *q, uint64_t off, uint64_t len, Clear how, uint64_t *done,
                          Kept *kept)
{
    SliceRef s;
    int r = qcow2_slice_get(q, off, &s);

    if (r < 0)
        return r;
    if (!s.data && (q->version < 3 || how == CLEAR_UNMAP ||
                    (how == CLEAR_DISCARD && !has_backing(q)))) {
        *done = MIN(len, tableless_reach(q, off));
        return 0;
    }
    *done = MIN(len, (uint64_t)s.count << q->cluster_bits);
    r = qcow2_slice_get_own(q, off, &s);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < *done >> q->cluster_bits; i++) {
        L2Entry old = qcow2_entry_get(q, &s, i), new;
        bool freed;

        new = entry_cleared(q, old, how, &freed);
        if (how != CLEAR_KEEP && how != CLEAR_UNMAP && entry_is_mapped(q, new) &&
            !kept_add(q, kept, old)) {
            *done = (uint64_t)i << q->cluster_bits;
            break;
        }
        if (new.desc == old.desc && new.bits == old.bits)
            continue;
        qcow2_entry_set(q, &s, i, new);
        if (freed)
            qcow2_entry_free(q, off + ((uint64_t)i << q->cluster_bits), old,
                             how == CLEAR_UNMAP ? FREE_ALWAYS : FREE_REQUEST);
    }
    return 0;
}

static CO int clear_clusters(Qcow2 *q, uint64_t off, uint64_t len, Clear how)
{
    for (uint64_t at = 0; at < len;) {
        uint64_t done;
        Kept kept = {};
        int r = clear_slice(q, off + at, len - at, how, &done, &kept);

        if (r >= 0 && kept.len && q->pass_discard[FREE_REQUEST])
            r = edge_discard(q->data, kept.off, kept.len);
        if (r < 0)
            return r;
        at += done;
    }
    return 0;
}

CO int qcow2_unmap_range(Qcow2 *q, uint64_t off, uint64_t len)
{
    return clear_clusters(q, off, len, CLEAR_UNMAP);
}

CO int qcow2_zero_range(Qcow2 *q, uint64_t off, uint64_t len)
{
    return clear_clusters(q, off, len, CLEAR_KEEP);
}

/* ---- parts of clusters ---------------------------------------------------------------------- */

/* Sets whole subclusters of one cluster to zero. */
static CO int clear_subclusters(Qcow2 *q, uint64_t off, uint64_t len)
{
    unsigned first = qcow2_within(q, off) >> q->sub_bits, count = len >> q->sub_bits;
    uint64_t bits = ((UINT64_C(1) << count) - 1) << first;
    SliceRef s;
    L2Entry e;
    int r = qcow2_slice_get_own(q, off, &s);

    if (r < 0)
        return r;
    e = qcow2_entry_get(q, &s, 0);
    if (e.desc & ENTRY_COMPRESSED)
        return -ENOTSUP;
    e.bits = (e.bits & ~bits) | bits << SUBCLUSTERS;
    qcow2_entry_set(q, &s, 0, e);
    return 0;
}

/*
 * Zeroes that end inside a cluster (or subcluster): without a write if the rest of it reads as
 * zeroes too.
 */
static CO int zero_partial(Qcow2 *q, uint64_t off, uint64_t len, Clear how)
{
    uint64_t unit = UINT64_C(1) << q->sub_bits;
    uint64_t first = round_down(off, unit), end = round_up(off + len, unit);
    int r = qcow2_reads_zero(q, first, off - first);

    if (r > 0)
        r = qcow2_reads_zero(q, off + len, end - (off + len));
    if (r <= 0)
        return r < 0 ? r : -ENOTSUP;
    if (qcow2_is_zero(q, first, end - first) > 0 && !has_backing(q) && q->version < 3)
        return 0;
    if (q->subs > 1)
        return clear_subclusters(q, first, end - first);
    return clear_clusters(q, first, end - first, how);
}

/* ---- requests ------------------------------------------------------------------------------- */

/* The image's last cluster may reach behind the end of the disk. */
static uint64_t end_in_clusters(const Qcow2 *q, uint64_t end)
{
    return end == q->size ? round_up(end, q->cluster) : end;
}

/* Raw data files show their content beside our back: it must be zeroes there too. */
static CO int zero_raw_data(Qcow2 *q, uint64_t off, uint64_t len, ReqFlags flags)
{
    if (!qcow2_is_data_raw(q))
        return 0;
    return edge_zero(q->data, off, len, flags & (REQ_MAY_UNMAP | REQ_NO_FALLBACK));
}

/* The clusters [@off, @end) of an external data file are not needed. */
static CO int discard_data(Qcow2 *q, uint64_t off, uint64_t end)
{
    end = MIN(end, q->size);
    if (!qcow2_has_data_file(q) || qcow2_is_data_raw(q) || q->discard_no_unref || off >= end ||
        !q->pass_discard[FREE_REQUEST])
        return 0;
    return edge_discard(q->data, off, end - off);
}

static CO int zero_held(Qcow2 *q, uint64_t off, uint64_t len, ReqFlags flags)
{
    Clear how = flags & REQ_MAY_UNMAP ? CLEAR_FREE : CLEAR_KEEP;
    uint64_t end = end_in_clusters(q, off + len), unit = UINT64_C(1) << q->sub_bits;
    uint64_t head = MIN(round_up(off, q->cluster), end), tail = MAX(round_down(end, q->cluster),
                                                                    head);
    int r;

    if (q->version < 3 && has_backing(q))
        return -ENOTSUP;
    r = zero_raw_data(q, off, len, flags);
    if (r < 0)
        return r;
    if (!is_aligned(off | end, unit))
        return zero_partial(q, off, len, how);
    if (off < head)
        r = clear_subclusters(q, off, head - off);
    if (r >= 0)
        r = clear_clusters(q, head, tail - head, how);
    if (r >= 0 && tail < end)
        r = clear_subclusters(q, tail, end - tail);
    if (r >= 0 && how == CLEAR_FREE)
        r = discard_data(q, head, tail);
    return r;
}

CO int qcow2_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    Qcow2 *q = qcow2_of(n);
    RANGE_GUARD hold = {};
    unsigned pin;
    int r;

    r = qcow2_enter(q, &pin);
    if (r < 0)
        return r;
    qcow2_allocating_take(q, &hold, off, len);
    r = qcow2_mark_dirty(q);
    if (r >= 0)
        r = zero_held(q, off, len, flags);
    qcow2_leave(q, pin);
    range_release(&hold);
    qcow2_reclaim_some(q);
    return r;
}

static CO int discard_held(Qcow2 *q, uint64_t off, uint64_t len)
{
    uint64_t end = round_down(end_in_clusters(q, off + len), q->cluster);
    int r = 0;

    off = round_up(off, q->cluster);
    if (off >= end)
        return 0;
    if (q->version < 3 && has_backing(q))
        return 0;
    r = zero_raw_data(q, off, MIN(end, q->size) - off, REQ_MAY_UNMAP);
    if (r >= 0)
        r = clear_clusters(q, off, end - off, CLEAR_DISCARD);
    return r < 0 ? r : discard_data(q, off, end);
}

CO int qcow2_discard(Node *n, uint64_t off, uint64_t len)
{
    Qcow2 *q = qcow2_of(n);
    RANGE_GUARD hold = {};
    unsigned pin;
    int r;

    r = qcow2_enter(q, &pin);
    if (r < 0)
        return r;
    qcow2_allocating_take(q, &hold, off, len);
    r = qcow2_mark_dirty(q);
    if (r >= 0)
        r = discard_held(q, off, len);
    qcow2_leave(q, pin);
    range_release(&hold);
    qcow2_reclaim_some(q);
    return r;
}
