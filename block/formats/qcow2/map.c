/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From guest offsets to host clusters: L1 in memory, L2 by slices in the cache.
 *
 *     guest offset  =  l1 index | l2 index | within cluster
 *
 * A table is ours when its L1 entry has the COPIED bit; only then its entries may change. A table
 * that the file's L1 does not refer to yet is "detached" in the cache, which lets commit.c write
 * it early.
 */
#include "block/formats/qcow2/compress.h"
#include "block/formats/qcow2/qcow2.h"
#include <string.h>

bool qcow2_l1_check(const Qcow2 *q, const uint64_t *l1, uint32_t len, GError **err)
{
    uint64_t used = 0, room = div_round_up(edge_size(q->storage), q->cluster);

    for (uint32_t i = 0; i < len; i++)
        used += l1[i] != 0;
    return used <= room ||
           err_set(err, EUCLEAN, "The L1 table (%" PRIu32 " entries) refers to more L2 tables than "
                   "the file has clusters", len);
}

CO bool qcow2_map_open(Qcow2 *q, OpenFlags flags, GError **err)
{
    uint64_t bytes = q->l1_len * UINT64_C(8);
    int r;

    if (!bytes)
        return true;
    q->l1 = g_try_malloc(bytes);
    r = q->l1 ? qcow2_file_read(q, q->l1_off, q->l1, bytes) : -ENOMEM;
    if (r < 0)
        return err_set_errno(err, r, "Could not read the L1 table");
    for (uint32_t i = 0; i < q->l1_len; i++)
        q->l1[i] = be64_at(&q->l1[i]);
    return flags & OPEN_CHECK || qcow2_l1_check(q, q->l1, q->l1_len, err);
}

void qcow2_map_close(Qcow2 *q)
{
    cache_fini(&q->l2);
    g_clear_pointer(&q->l1, g_free);
}

void qcow2_l1_mark(Qcow2 *q, uint32_t from, uint32_t count)
{
    uint32_t to = from + count;

    if (q->l1_dirty_from < q->l1_dirty_to) {
        from = MIN(from, q->l1_dirty_from);
        to = MAX(to, q->l1_dirty_to);
    }
    q->l1_dirty_from = from;
    q->l1_dirty_to = to;
}

static unsigned l2_index(const Qcow2 *q, uint64_t off)
{
    return (off >> q->cluster_bits) & ((1u << q->l2_bits) - 1);
}

/* Where the slice for index @i of the table at @table begins. */
static uint64_t slice_off(const Qcow2 *q, uint64_t table, unsigned i)
{
    return table + ((uint64_t)(i >> q->slice_bits) << (q->slice_bits + q->entry_bits));
}

static void slice_set(const Qcow2 *q, SliceRef *s, void *data, unsigned i)
{
    s->data = data;
    s->index = i & ((1u << q->slice_bits) - 1);
    s->count = (1u << q->slice_bits) - s->index;
}

CO int qcow2_slice_get(Qcow2 *q, uint64_t off, SliceRef *s)
{
    uint64_t l1_index = qcow2_l1_index(q, off);
    uint64_t table = l1_index < q->l1_len ? q->l1[l1_index] & ENTRY_OFFSET : 0;
    unsigned i = l2_index(q, off);
    void *data = NULL;

    if (table) {
        int r;

        if (qcow2_within(q, table))
            return qcow2_corrupt(q, true, "L2 table offset 0x%" PRIx64 " unaligned (L1 index: 0x%"
                                 PRIx64 ")", table, l1_index);
        r = cache_get(&q->l2, slice_off(q, table, i), &data);
        if (r < 0)
            return r;
        qcow2_trim_start(q);
    }
    slice_set(q, s, data, i);
    return 0;
}

/* ---- making tables -------------------------------------------------------------------------- */

/* Fills the new table at @table with zeroes, or with what the one at @old has. */
static CO int table_fill(Qcow2 *q, uint64_t table, uint64_t old)
{
    g_autoptr(Aligned) copy = NULL;
    void *data;
    int r;

    if (old) {
        copy = aligned_try_alloc(q->cluster);
        r = copy ? qcow2_file_read(q, old, copy, q->cluster) : -ENOMEM;
        if (r < 0)
            return r;
    }
    if (q->slice_bits == q->l2_bits) {
        r = cache_get_new(&q->l2, table, &data);
        if (r < 0)
            return r;
        if (copy)
            memcpy(data, copy, q->cluster);
        cache_entry(&q->l2, data)->detached = true;
        return 0;
    }
    cache_forget(&q->l2, table, q->cluster);
    q->unflushed = true;
    if (copy)
        return edge_pwrite_buf(q->storage, table, copy, q->cluster);
    return edge_zero(q->storage, table, q->cluster, 0);
}

/* Makes the table of L1 entry @i ours. Callers hold l1_lock. */
static CO int table_own(Qcow2 *q, uint32_t i)
{
    uint64_t old = q->l1[i] & ENTRY_OFFSET, table;
    int r;

    if (qcow2_within(q, old))
        return qcow2_corrupt(q, true, "L2 table offset 0x%" PRIx64 " unaligned (L1 index: 0x%x)",
                             old, i);
    r = qcow2_table_alloc(q, q->cluster, &table);
    if (r < 0)
        return r;
    edge_event(q->storage, EV_L2_ALLOC_WRITE);
    r = qcow2_overlap_check(q, 0, table, q->cluster);
    if (r >= 0)
        r = table_fill(q, table, old);
    if (r < 0) {
        cache_forget(&q->l2, table, q->cluster);
        qcow2_cluster_unalloc(q, table, q->cluster);
        return r;
    }
    q->l1[i] = table | ENTRY_COPIED;
    qcow2_l1_mark(q, i, 1);
    qcow2_overlap_add(q, OVERLAP_L2, table, q->cluster);
    if (old) {
        qcow2_overlap_remove(q, OVERLAP_L2, old, q->cluster);
        qcow2_free_later(q, old, q->cluster, FREE_OTHER);
    }
    return 0;
}

CO int qcow2_table_move(Qcow2 *q, uint32_t i)
{
    CO_LOCKED(&q->l1_lock);

    return table_own(q, i);
}

CO int qcow2_slice_get_own(Qcow2 *q, uint64_t off, SliceRef *s)
{
    uint64_t i = qcow2_l1_index(q, off);

    if (i >= q->l1_len)
        return -EIO;
    if (!(q->l1[i] & ENTRY_COPIED)) {
        CO_LOCKED(&q->l1_lock);
        int r = q->l1[i] & ENTRY_COPIED ? 0 : table_own(q, i);

        if (r < 0)
            return r;
    }
    if (!(q->l1[i] & ENTRY_OFFSET))
        return qcow2_corrupt(q, true, "L2 table offset 0x0 unaligned (L1 index: 0x%" PRIx64 ")", i);
    return qcow2_slice_get(q, off, s);
}

/* ---- entries -------------------------------------------------------------------------------- */

L2Entry qcow2_entry_get(const Qcow2 *q, const SliceRef *s, unsigned i)
{
    const uint8_t *at = (const uint8_t *)s->data + ((size_t)(s->index + i) << q->entry_bits);

    return (L2Entry){ .desc = be64_at(at), .bits = q->subs > 1 ? be64_at(at + 8) : 0 };
}

void qcow2_entry_set(Qcow2 *q, const SliceRef *s, unsigned i, L2Entry e)
{
    uint8_t *at = (uint8_t *)s->data + ((size_t)(s->index + i) << q->entry_bits);

    be64_put(at, e.desc);
    if (q->subs > 1)
        be64_put(at + 8, e.bits);
    cache_mark(&q->l2, s->data, (s->index + i) << q->entry_bits, 1u << q->entry_bits);
}

static CO int entry_corrupt(Qcow2 *q, uint64_t guest, const char *what, uint64_t host)
{
    uint64_t table = q->l1[qcow2_l1_index(q, guest)] & ENTRY_OFFSET;

    return qcow2_corrupt(q, true, "%s 0x%" PRIx64 " unaligned (L2 offset: 0x%" PRIx64
                         ", L2 index: 0x%x)", what, host, table, l2_index(q, guest));
}

static CO int entry_invalid(Qcow2 *q, uint64_t guest, const char *what)
{
    uint64_t table = q->l1[qcow2_l1_index(q, guest)] & ENTRY_OFFSET;

    return qcow2_corrupt(q, true, "%s (L2 offset: 0x%" PRIx64 ", L2 index: 0x%x)", what, table,
                         l2_index(q, guest));
}

/* The subcluster's kind without looking for damage. -1: its bits contradict each other. */
static int plain_kind(const Qcow2 *q, L2Entry e, unsigned sub)
{
    uint64_t host = e.desc & ENTRY_OFFSET;
    /* In an external data file even the first cluster is one. */
    bool has_host = host || (e.desc & ENTRY_COPIED && qcow2_has_data_file(q));

    if (e.desc & ENTRY_COMPRESSED)
        return MAP_COMPRESSED;
    if (q->subs == 1) {
        if (e.desc & ENTRY_ZERO)
            return has_host ? MAP_ZERO_ALLOCATED : MAP_ZERO;
        return has_host ? MAP_DATA : MAP_UNALLOCATED;
    }
    switch ((e.bits >> sub & 1) | (e.bits >> (SUBCLUSTERS + sub) & 1) << 1) {
    case 0:
        return has_host ? MAP_UNALLOCATED_ALLOCATED : MAP_UNALLOCATED;
    case 1:
        return has_host ? MAP_DATA : -1;
    case 2:
        return has_host ? MAP_ZERO_ALLOCATED : MAP_ZERO;
    default:
        return -1;
    }
}

CO int qcow2_entry_kind(Qcow2 *q, uint64_t guest, L2Entry e, unsigned sub, MapKind *kind)
{
    int k = plain_kind(q, e, sub);
    uint64_t host = e.desc & ENTRY_OFFSET;

    if (k < 0)
        return entry_invalid(q, guest, "Invalid cluster entry found ");
    *kind = k;
    if (k == MAP_COMPRESSED) {
        if (qcow2_has_data_file(q))
            return entry_invalid(q, guest, "Compressed cluster entry found in image with external "
                                 "data file");
        return 0;
    }
    if (q->version < 3 && e.desc & ENTRY_ZERO)
        return entry_invalid(q, guest, "Zero cluster entry found in pre-v3 image");
    if (qcow2_within(q, host))
        return entry_corrupt(q, guest, "Cluster allocation offset", host);
    if (q->data != q->storage && k != MAP_UNALLOCATED && k != MAP_ZERO &&
        host != round_down(guest, q->cluster))
        return qcow2_corrupt(q, true, "External data file host cluster offset 0x%" PRIx64
                             " does not match guest cluster offset: 0x%" PRIx64
                             ", L2 index: 0x%x)", host, round_down(guest, q->cluster),
                             l2_index(q, guest));
    return 0;
}

void qcow2_compressed_span(const Qcow2 *q, uint64_t desc, uint64_t *off, uint64_t *len)
{
    unsigned shift = 62 - (q->cluster_bits - 8);
    uint64_t sectors = (desc & ~(ENTRY_COPIED | ENTRY_COMPRESSED)) >> shift;

    *off = desc & ((UINT64_C(1) << shift) - 1) & UINT64_C(0x00ffffffffffffff);
    *len = (sectors + 1) * 512 - (*off & 511);
}

void qcow2_entry_free(Qcow2 *q, uint64_t guest, L2Entry e, FreeKind kind)
{
    uint64_t off = e.desc & ENTRY_OFFSET, len = q->cluster;

    if (e.desc & ENTRY_COMPRESSED) {
        qcow2_compressed_span(q, e.desc, &off, &len);
        qcow2_compressed_forget(q);
        /* Nothing may be added to a host cluster that may soon be free. */
        if (q->bytes_off && off < round_up(q->bytes_off, q->cluster) &&
            round_up(off + len, q->cluster) >= round_up(q->bytes_off, q->cluster))
            q->bytes_off = 0;
    } else if (!off || qcow2_has_data_file(q) || qcow2_within(q, off)) {
        return;
    }
    qcow2_free_later(q, off, len, kind);
}

/* ---- runs ----------------------------------------------------------------------------------- */

static bool has_host(MapKind kind)
{
    return kind == MAP_DATA || kind == MAP_ZERO_ALLOCATED || kind == MAP_UNALLOCATED_ALLOCATED;
}

/* Does subcluster @sub of @e, of guest offset @guest, go on where @run with @len bytes ends? */
static bool run_continues(const Qcow2 *q, const MapRun *run, uint64_t len, L2Entry e, unsigned sub,
                          uint64_t within)
{
    if (plain_kind(q, e, sub) != (int)run->kind || run->kind == MAP_COMPRESSED)
        return false;
    if (!has_host(run->kind))
        return true;
    return (e.desc & ENTRY_OFFSET) + within == run->host + len &&
           !!(e.desc & ENTRY_COPIED) == run->copied;
}

/* Adds to @run, which ends inside cluster 0 of @s, what goes on from there, up to @len bytes. */
static uint64_t run_extend(const Qcow2 *q, const SliceRef *s, uint64_t off, uint64_t len,
                           const MapRun *run)
{
    uint64_t sub_size = UINT64_C(1) << q->sub_bits;
    uint64_t first = round_down(off, q->cluster);
    uint64_t have = sub_size - (off & (sub_size - 1));

    while (have < len) {
        uint64_t at = off + have;
        unsigned i = (at - first) >> q->cluster_bits;
        uint64_t within = qcow2_within(q, at);

        if (i >= s->count)
            break;
        if (!run_continues(q, run, have, qcow2_entry_get(q, s, i), within >> q->sub_bits, within))
            break;
        have += sub_size;
    }
    return MIN(have, len);
}

/* Bytes from @off to the end of what one slice maps. */
static uint64_t slice_reach(const Qcow2 *q, const SliceRef *s, uint64_t off)
{
    return ((uint64_t)s->count << q->cluster_bits) - qcow2_within(q, off);
}

CO int qcow2_map_run(Qcow2 *q, uint64_t off, uint64_t len, MapRun *run)
{
    uint64_t within = qcow2_within(q, off);
    SliceRef s;
    L2Entry e;
    int r = qcow2_slice_get(q, off, &s);

    if (r < 0)
        return r;
    *run = (MapRun){ .kind = MAP_UNALLOCATED };
    if (!s.data) {
        uint64_t table = UINT64_C(1) << (q->l2_bits + q->cluster_bits);

        run->len = MIN(len, table - (off & (table - 1)));
        return 0;
    }
    e = qcow2_entry_get(q, &s, 0);
    r = qcow2_entry_kind(q, off, e, within >> q->sub_bits, &run->kind);
    if (r < 0)
        return r;
    if (run->kind == MAP_COMPRESSED) {
        run->desc = e.desc;
        run->len = MIN(len, q->cluster - within);
        return 0;
    }
    run->copied = e.desc & ENTRY_COPIED;
    if (has_host(run->kind))
        run->host = (e.desc & ENTRY_OFFSET) + within;
    run->len = run_extend(q, &s, off, MIN(len, slice_reach(q, &s, off)), run);
    return 0;
}
