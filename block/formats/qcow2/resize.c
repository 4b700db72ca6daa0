/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Other sizes of the disk, and of the L1 table.
 *
 *     growing    a longer L1 table, durable; what shall be new reads as zeroes: the rest of the old
 *                last cluster, what a backing file has there, what an interrupted shrink left;
 *                then the header
 *     shrinking  the header; then what lies behind the end is unmapped and freed, the file cut
 *
 * So a power cut leaves the old disk or the new one.
 */
#include "block/formats/qcow2/qcow2.h"
#include <string.h>


/* ---- L1 ------------------------------------------------------------------------------------- */

static CO int l1_write_copy(Qcow2 *q, uint32_t len, uint64_t off)
{
    uint64_t bytes = len * UINT64_C(8);
    g_autofree uint8_t *disk = g_try_malloc0(bytes);
    int r = disk ? qcow2_overlap_check(q, 0, off, bytes) : -ENOMEM;

    if (r < 0)
        return r;
    for (uint32_t i = 0; i < q->l1_len; i++)
        be64_put(disk + 8 * i, q->l1[i]);
    edge_event(q->storage, EV_L1_GROW_WRITE_TABLE);
    q->unflushed = true;
    return edge_pwrite_buf(q->storage, off, disk, bytes);
}

CO int qcow2_l1_move(Qcow2 *q, uint64_t len, uint64_t below)
{
    uint64_t old_off = q->l1_off, old_bytes = q->l1_len * UINT64_C(8), off;
    uint32_t old_len = q->l1_len;
    uint64_t *l1;
    bool done;
    int r;

    if (len * 8 > QCOW2_L1_BYTES_MAX)
        return -EFBIG;
    r = qcow2_commit(q);     /* the table in the file is then the one in memory */
    if (r < 0)
        return r;
    edge_event(q->storage, EV_L1_GROW_ALLOC_TABLE);
    r = qcow2_table_alloc(q, len * 8, &off);
    if (r < 0)
        return r;
    r = off < below ? l1_write_copy(q, len, off) : -ENOSPC;
    if (r >= 0)
        r = qcow2_commit(q);
    if (r >= 0)
        r = qcow2_barrier(q);
    l1 = r < 0 ? NULL : g_try_renew(uint64_t, q->l1, len);
    if (!l1) {
        qcow2_cluster_unalloc(q, off, len * 8);
        return r < 0 ? r : -ENOMEM;
    }
    memset(l1 + old_len, 0, (len - old_len) * sizeof(*l1));
    q->l1 = l1;
    q->l1_off = off;
    q->l1_len = len;
    edge_event(q->storage, EV_L1_GROW_ACTIVATE_TABLE);
    r = qcow2_header_switch(q, &done);
    if (!done) {
        q->l1_off = old_off;
        q->l1_len = old_len;
        return r;
    }
    if (old_bytes && r >= 0) {
        qcow2_overlap_remove(q, OVERLAP_L1, old_off, old_bytes);
        qcow2_free_later(q, old_off, old_bytes, FREE_OTHER);
    }
    qcow2_overlap_add(q, OVERLAP_L1, off, len * 8);
    return r;
}

CO int qcow2_l1_grow(Qcow2 *q, uint64_t len)
{
    return len > q->l1_len ? qcow2_l1_move(q, len, UINT64_MAX) : 0;
}

/* ---- preallocation -------------------------------------------------------------------------- */

/* Makes host clusters at [@host, @host + @len) read as zeroes, with space as @mode says. */
static CO bool host_prepare(Qcow2 *q, uint64_t host, uint64_t len, Prealloc mode, GError **err)
{
    uint64_t end = edge_size(q->storage), old = host < end ? MIN(len, end - host) : 0;
    int r = old ? edge_zero(q->storage, host, old, 0) : 0;

    if (r < 0)
        return err_set_errno(err, r, "Could not zero preallocated clusters");
    return host + len <= end ||
           edge_resize(q->storage, host + len, false, mode == PREALLOC_METADATA ? PREALLOC_OFF
                                                                                : mode, 0, err);
}

/* Maps guest clusters from @guest on to @clusters host clusters at @host. */
static CO int map_reserved(Qcow2 *q, uint64_t guest, uint64_t host, uint64_t clusters)
{
    while (clusters) {
        SliceRef s;
        int r = qcow2_slice_get_own(q, guest, &s);

        if (r < 0)
            return r;
        q->unflushed = true;
        for (unsigned i = 0; i < s.count && clusters; i++, clusters--) {
            /* Subclusters that hide the backing file go on doing so. */
            uint64_t zero_bits = qcow2_entry_get(q, &s, i).bits;

            qcow2_entry_set(q, &s, i, (L2Entry){ host | ENTRY_COPIED, zero_bits });
            host += q->cluster;
            guest += q->cluster;
        }
    }
    return 0;
}

/*
 * Skips clusters from *@from on that are mapped; *@len becomes the bytes that are not. Only version
 * 2 has some: zeroes that hide the backing file.
 */
static CO int skip_mapped(Qcow2 *q, uint64_t *from, uint64_t to, uint64_t *len)
{
    *len = to - *from;
    while (q->version < 3 && *from < to) {
        MapRun run;
        int r = qcow2_map_run(q, *from, to - *from, &run);

        if (r < 0)
            return r;
        *len = run.len;
        if (run.kind == MAP_UNALLOCATED)
            return 0;
        *from += run.len;
        *len = 0;
    }
    return 0;
}

/* Gives the unmapped clusters of [@from, @to) space. */
static CO bool preallocate(Qcow2 *q, uint64_t from, uint64_t to, Prealloc mode, GError **err)
{
    while (from < to) {
        uint64_t len, n, host;
        int r = skip_mapped(q, &from, to, &len);

        if (r >= 0 && !len)
            break;
        n = div_round_up(len, q->cluster);
        host = from;
        if (r >= 0 && !qcow2_has_data_file(q))
            r = qcow2_cluster_alloc(q, &n, &host);
        if (r < 0)
            return err_set_errno(err, r, "Could not allocate clusters");
        if (!qcow2_has_data_file(q) && !host_prepare(q, host, n << q->cluster_bits, mode, err))
            return false;
        r = map_reserved(q, from, host, n);
        if (r < 0)
            return err_set_errno(err, r, "Could not map preallocated clusters");
        from += n << q->cluster_bits;
    }
    return true;
}

/* ---- growing -------------------------------------------------------------------------------- */

static CO int write_zeroes(Qcow2 *q, uint64_t off, uint64_t len)
{
    int r = 0;

    while (len && r >= 0) {
        uint64_t n = MIN(len, (uint64_t)ZEROES_LEN);

        r = qcow2_is_zero(q, off, n);
        if (r == 0)
            r = qcow2_write(q, off, span_of_const(zero_bytes, n));
        off += n;
        len -= n;
    }
    return MIN(r, 0);
}

/* What lies between @old, where the disk ended, and its end shall read as zeroes. */
static CO int zero_from(Qcow2 *q, uint64_t old)
{
    Edge *backing = node_edge(q->node, ROLE_BACKING);
    uint64_t full = round_up(old, q->cluster), end = round_up(q->size, q->cluster);
    uint64_t seen = backing ? MIN(edge_size(backing), q->size) : 0;
    int r = write_zeroes(q, old, MIN(full, q->size) - old);

    if (r >= 0 && full < end)
        r = qcow2_unmap_range(q, full, end - full);
    if (r < 0 || seen <= full)
        return r;
    return q->version > 2 ? qcow2_zero_range(q, full, end - full)
                          : write_zeroes(q, full, seen - full);
}

static CO int zero_new_part(Qcow2 *q, uint64_t size)
{
    uint64_t old = q->size;
    int r;

    q->size = size;       /* so that what the backing file has there counts */
    r = zero_from(q, old);
    q->size = old;
    return r;
}

static CO bool set_size(Qcow2 *q, uint64_t size, GError **err)
{
    uint64_t old = q->size;
    bool done = false;
    int r = qcow2_commit(q);

    if (r >= 0)
        r = qcow2_barrier(q);
    if (r >= 0) {
        q->size = size;
        r = qcow2_header_switch(q, &done);
    }
    if (done)
        node_set_size(q->node, size);
    else
        q->size = old;
    return r < 0 ? err_set_errno(err, r, "Could not write the new size") : true;
}

static CO bool grow(Qcow2 *q, uint64_t size, bool exact, Prealloc mode, GError **err)
{
    uint64_t full = round_up(q->size, q->cluster);
    int r = qcow2_l1_grow(q, qcow2_l1_needed(q, size));

    if (qcow2_is_data_raw(q) && mode == PREALLOC_OFF)
        mode = PREALLOC_METADATA;      /* as in a new image */
    if (r >= 0)
        r = zero_new_part(q, size);
    if (r < 0)
        return err_set_errno(err, r, "Could not prepare the disk for %" PRIu64 " bytes", size);
    if (qcow2_has_data_file(q) && edge_size(q->data) < size &&
        !edge_resize(q->data, size, exact, mode == PREALLOC_METADATA ? PREALLOC_OFF : mode, 0, err))
        return false;
    if (mode != PREALLOC_OFF && !preallocate(q, full, round_up(size, q->cluster), mode, err))
        return false;
    return set_size(q, size, err);
}

/* ---- shrinking ------------------------------------------------------------------------------ */

/* Frees L2 tables that map nothing below @size. */
static void free_tables(Qcow2 *q, uint64_t size)
{
    for (uint32_t i = qcow2_l1_needed(q, size); i < q->l1_len; i++) {
        uint64_t table = q->l1[i] & ENTRY_OFFSET;

        if (!table || qcow2_within(q, table))
            continue;
        q->l1[i] = 0;
        qcow2_l1_mark(q, i, 1);
        qcow2_overlap_remove(q, OVERLAP_L2, table, q->cluster);
        qcow2_free_later(q, table, q->cluster, FREE_OTHER);
    }
}

CO void qcow2_cut_file(Qcow2 *q)
{
    uint64_t clusters = div_round_up(edge_size(q->storage), q->cluster), used = clusters;
    g_autoptr(GError) err = NULL;

    while (used) {
        uint64_t count;

        if (qcow2_refcount_get(q, used - 1, &count) < 0)
            return;
        if (count)
            break;
        used--;
    }
    if (used < clusters && !edge_resize(q->storage, used << q->cluster_bits, false, PREALLOC_OFF, 0,
                                        &err))
        block_warn("Image '%s': could not cut unused space off the file: %s",
                   node_filename(q->node), err->message);
}

static CO bool shrink(Qcow2 *q, uint64_t size, bool exact, GError **err)
{
    uint64_t full = round_up(size, q->cluster), end = round_up(q->size, q->cluster);
    int r;

    if (!set_size(q, size, err))
        return false;
    r = full < end ? qcow2_unmap_range(q, full, end - full) : 0;
    if (r >= 0) {
        edge_event(q->storage, EV_L1_SHRINK_WRITE_TABLE);
        free_tables(q, size);
        edge_event(q->storage, EV_L1_SHRINK_FREE_L2_CLUSTERS);
        r = qcow2_commit_all(q);
    }
    if (r < 0)
        return err_set_errno(err, r, "Could not free what lies behind the new end");
    if (qcow2_has_data_file(q))
        return edge_resize(q->data, size, exact, PREALLOC_OFF, 0, err);
    qcow2_cut_file(q);
    return true;
}

/* --------------------------------------------------------------------------------------------- */

static bool check_size(const Qcow2 *q, uint64_t size, Prealloc mode, GError **err)
{
    if (size % 512)
        return err_set(err, EINVAL, "The new size, %" PRIu64 " bytes, is not a multiple of 512",
                       size);
    if (q->version < 3 && q->snapshot_count)
        return err_set(err, ENOTSUP, "Images of version 2 with snapshots cannot be resized");
    if (qcow2_l1_needed(q, size) * 8 > QCOW2_L1_BYTES_MAX)
        return err_set(err, EFBIG, "A disk of %" PRIu64 " bytes is too large for clusters of %"
                       PRIu64 " bytes", size, q->cluster);
    if (size < q->size && mode != PREALLOC_OFF)
        return err_set(err, EINVAL, "Preallocation cannot go with a smaller size");
    return qcow2_bitmaps_can_resize(q, err);
}

CO bool qcow2_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                     GError **err)
{
    Qcow2 *q = qcow2_of(n);
    bool ok = true;
    int r;

    if (!check_size(q, size, prealloc, err))
        return false;
    qcow2_exclusive_begin(q);
    r = q->is_corrupt ? -ENOMEDIUM : qcow2_mark_dirty(q);
    if (r < 0)
        ok = err_set_errno(err, r, "Could not write metadata");
    else if (size > q->size)
        ok = grow(q, size, exact, prealloc, err);
    else if (size < q->size)
        ok = shrink(q, size, exact, err);
    qcow2_exclusive_end(q);
    return ok;
}
