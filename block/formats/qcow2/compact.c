/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compacting: what lies at the end of the file moves into free clusters before it, then the file is
 * cut.
 *
 *     |.. used .. free .. used .. free ..|.. used .. free .. used ..|
 *     0                                limit                       end
 *                                (clusters in use, counted)
 *
 * The ordinary allocator takes the first free cluster, so whatever moves goes below the limit. In
 * turn: clusters of the guest's disk, L2 tables, refcount blocks and tables, L1 table, stored
 * bitmaps. Everything changes as by a write: new clusters are counted and written, then referred
 * to, and old ones counted down once the reference to them is durably gone. So a power cut leaves
 * leaks at worst.
 *
 * A step keeps requests out for as long as it takes to move STEP_BYTES; between two steps they run.
 * What they allocate meanwhile may take the free clusters that were meant for what is still to
 * move: then there is another pass.
 */
#include "block/formats/qcow2/compress.h"
#include "block/formats/qcow2/crypt.h"
#include "block/formats/qcow2/qcow2.h"
#include <string.h>

enum {
    STEP_BYTES = 1 << 20,
    STEP_SLICES = 64,       /* parts of L2 tables that a step looks at */
    STEP_TABLES = 64,       /* L2 tables that a step moves */
    PASSES_MAX = 16,
    IDLE_MAX = 3,           /* passes in which nothing could move: others took the room */
};

typedef enum { PHASE_COUNT, PHASE_DATA, PHASE_TABLES, PHASE_REFCOUNTS, PHASE_END } Phase;

typedef struct {
    Qcow2 *q;
    CompactState *s;
    uint8_t *buf;
    uint64_t room;          /* bytes of @buf: whole clusters */
    uint64_t moved;         /* bytes, in this step */
    bool is_full;           /* there is no free cluster below the limit any more */
} Step;

static uint64_t limit_off(const Step *t)
{
    return t->s->limit << t->q->cluster_bits;
}

/* ---- clusters of the guest's disk ----------------------------------------------------------- */

/* Adjacent host clusters that adjacent guest clusters refer to. */
typedef struct {
    uint64_t guest, host;   /* bytes */
    uint64_t n;             /* clusters */
    bool has_data;
} Run;

/*
 * Takes up to *@n clusters for what lies at or after the limit. 1: done; 0: none is free below
 * that.
 */
static CO int take_below(Step *t, uint64_t *n, uint64_t *host)
{
    Qcow2 *q = t->q;
    uint64_t asked = *n, fit;
    int r = qcow2_cluster_alloc(q, n, host);

    if (r < 0)
        return r;
    fit = *host >= limit_off(t) ? 0 : MIN(*n, (limit_off(t) - *host) >> q->cluster_bits);
    if (fit < *n)
        qcow2_cluster_unalloc(q, *host + (fit << q->cluster_bits), (*n - fit) << q->cluster_bits);
    t->is_full |= fit < *n && fit < asked;
    *n = fit;
    return fit > 0;
}

/* What has no data in the file, as preallocated clusters, gets none. */
static CO int plain_write(Step *t, uint64_t off, uint64_t len)
{
    Edge *file = t->q->storage;

    return buffer_is_zero(t->buf, len) ? edge_zero(file, off, len, REQ_MAY_UNMAP)
                                       : edge_pwrite_buf(file, off, t->buf, len);
}

/* Encryption depends on where a cluster lies: it has to be done anew. */
static CO int copy_clusters(Step *t, const Run *run, uint64_t to, uint64_t n)
{
    Qcow2 *q = t->q;
    uint64_t len = n << q->cluster_bits;

    for (uint64_t done = 0; done < len;) {
        uint64_t now = MIN(len - done, t->room);
        int r = q->crypt ? qcow2_read(q, run->guest + done, span_of(t->buf, now))
                         : qcow2_file_read(q, run->host + done, t->buf, now);

        if (r >= 0)
            r = qcow2_overlap_check(q, 0, to + done, now);
        if (r >= 0)
            r = q->crypt ? qcow2_crypt_write(q, run->guest + done, to + done, span_of(t->buf, now))
                         : plain_write(t, to + done, now);
        if (r < 0)
            return r;
        done += now;
    }
    return 0;
}

/* Guest clusters of @run refer to @to from now on. *@done counts those that do. */
static CO int link_clusters(Step *t, const Run *run, uint64_t to, uint64_t n, uint64_t *done)
{
    Qcow2 *q = t->q;

    while (*done < n) {
        uint64_t guest = run->guest + (*done << q->cluster_bits);
        SliceRef s;
        int r = qcow2_slice_get_own(q, guest, &s);

        if (r < 0)
            return r;
        q->unflushed = true;
        for (unsigned i = 0; i < s.count && *done < n; i++, ++*done, guest += q->cluster) {
            L2Entry old = qcow2_entry_get(q, &s, i), new = old;

            new.desc = (old.desc & ~ENTRY_OFFSET) | (to + (*done << q->cluster_bits)) |
                       ENTRY_COPIED;
            qcow2_entry_set(q, &s, i, new);
            qcow2_entry_free(q, guest, old, FREE_OTHER);
        }
    }
    return 0;
}

static CO int run_move(Step *t, Run *run)
{
    Qcow2 *q = t->q;

    while (run->n && !t->is_full) {
        uint64_t n = run->n, to, linked = 0, bytes;
        int r = take_below(t, &n, &to);

        if (r <= 0)
            return r;
        bytes = n << q->cluster_bits;
        r = run->has_data ? copy_clusters(t, run, to, n) : 0;
        if (r >= 0)
            r = link_clusters(t, run, to, n, &linked);
        if (r < 0) {
            q->end_unknown = true;
            if (linked < n)
                qcow2_cluster_unalloc(q, to + (linked << q->cluster_bits),
                                      (n - linked) << q->cluster_bits);
            return r;
        }
        *run = (Run){ run->guest + bytes, run->host + bytes, run->n - n, run->has_data };
        t->moved += bytes;
    }
    return 0;
}

/* A compressed cluster, to where the last one that moved ends. */
static CO int compressed_move(Step *t, uint64_t guest, L2Entry old)
{
    Qcow2 *q = t->q;
    uint64_t from, len, to, end = edge_size(q->storage);
    SliceRef s;
    int r;

    qcow2_compressed_span(q, old.desc, &from, &len);
    if (from >= end || len > t->room)
        return qcow2_corrupt(q, true, "Compressed cluster at offset %#" PRIx64 " is not in the "
                             "file", from);
    len = MIN(len, end - from);
    r = qcow2_bytes_alloc(q, len, &to);
    if (r < 0)
        return r;
    if (to + len > limit_off(t)) {
        qcow2_cluster_unalloc(q, to, len);
        t->is_full = true;
        return 0;
    }
    r = qcow2_file_read(q, from, t->buf, len);
    if (r >= 0)
        r = qcow2_overlap_check(q, 0, to, len);
    if (r >= 0)
        r = edge_pwrite_buf(q->storage, to, t->buf, len);
    if (r >= 0)
        r = qcow2_slice_get_own(q, guest, &s);
    if (r < 0) {
        q->end_unknown = true;
        qcow2_cluster_unalloc(q, to, len);
        return r;
    }
    q->unflushed = true;
    qcow2_entry_set(q, &s, 0, (L2Entry){ .desc = qcow2_compressed_desc(q, to, len) });
    qcow2_entry_free(q, guest, old, FREE_OTHER);
    t->moved += len;
    return 0;
}

static bool is_high(const Step *t, L2Entry e)
{
    uint64_t off = e.desc & ENTRY_OFFSET, len;

    if (e.desc & ENTRY_COMPRESSED) {
        qcow2_compressed_span(t->q, e.desc, &off, &len);
        return off + len > limit_off(t);
    }
    return off >= limit_off(t) && off && t->q->data == t->q->storage;
}

static bool has_data(const Qcow2 *q, L2Entry e)
{
    return q->subs > 1 ? (uint32_t)e.bits : !(e.desc & ENTRY_ZERO);
}

/* The run that begins with entry @i of @s, at @guest. */
static Run run_at(const Step *t, const SliceRef *s, unsigned i, uint64_t guest)
{
    const Qcow2 *q = t->q;
    L2Entry e = qcow2_entry_get(q, s, i);
    Run run = { .guest = guest, .host = e.desc & ENTRY_OFFSET, .n = 1, .has_data = has_data(q, e) };
    uint64_t most = MAX((STEP_BYTES - MIN(t->moved, (uint64_t)STEP_BYTES)) >> q->cluster_bits, 1);

    for (unsigned k = i + 1; k < s->count && run.n < most; k++, run.n++) {
        e = qcow2_entry_get(q, s, k);
        if (e.desc & ENTRY_COMPRESSED || has_data(q, e) != run.has_data ||
            (e.desc & ENTRY_OFFSET) != run.host + (run.n << q->cluster_bits))
            break;
    }
    return run;
}

/* The first entry of @s from @i on that has to move; @s->count if there is none. */
static unsigned next_high(const Step *t, const SliceRef *s, unsigned i)
{
    while (i < s->count && !is_high(t, qcow2_entry_get(t->q, s, i)))
        i++;
    return i;
}

/*
 * Moves what begins at the step's place in the guest's disk, or goes on to the next part of a
 * table.
 */
static CO int data_move_one(Step *t)
{
    Qcow2 *q = t->q;
    CompactState *s = t->s;
    uint64_t table = UINT64_C(1) << (q->l2_bits + q->cluster_bits);
    SliceRef ref;
    L2Entry e;
    MapKind kind;
    unsigned i;
    int r = qcow2_slice_get(q, s->at, &ref);

    if (r < 0)
        return r;
    if (!ref.data) {
        s->at = round_down(s->at, table) + table;
        return 0;
    }
    i = next_high(t, &ref, 0);
    s->at += (uint64_t)i << q->cluster_bits;
    if (i == ref.count)
        return 0;
    e = qcow2_entry_get(q, &ref, i);
    r = qcow2_entry_kind(q, s->at, e, 0, &kind);
    if (r < 0)
        return r;
    if (e.desc & ENTRY_COMPRESSED) {
        r = compressed_move(t, s->at, e);
        s->at += q->cluster;
    } else {
        Run run = run_at(t, &ref, i, s->at);

        r = run_move(t, &run);
        s->at = run.guest + (t->is_full ? q->cluster : 0);
    }
    return r;
}

static CO int data_step(Step *t)
{
    Qcow2 *q = t->q;
    CompactState *s = t->s;
    uint64_t end = (uint64_t)q->l1_len << (q->l2_bits + q->cluster_bits);
    int r = 0;

    for (unsigned i = 0; i < STEP_SLICES && r >= 0; i++) {
        if (t->moved >= STEP_BYTES || s->at >= end || t->is_full)
            break;
        r = data_move_one(t);
    }
    if (r >= 0 && (s->at >= end || t->is_full)) {
        s->phase = PHASE_TABLES;
        s->at = 0;
    }
    return r;
}

/* ---- tables --------------------------------------------------------------------------------- */

/* True if the lowest free cluster is below the limit. */
static CO int has_room(const Step *t)
{
    uint64_t first;
    int r = qcow2_first_free(t->q, &first);

    return r < 0 ? r : first < t->s->limit;
}

static CO int tables_step(Step *t)
{
    Qcow2 *q = t->q;
    CompactState *s = t->s;
    unsigned n = 0;
    /* Tables are copied from the file: it has to have what the cache has. */
    int r = qcow2_commit(q);

    for (; s->at < q->l1_len && n < STEP_TABLES && r >= 0; s->at++) {
        if ((q->l1[s->at] & ENTRY_OFFSET) < limit_off(t) || !q->l1[s->at])
            continue;
        r = has_room(t);
        if (r <= 0)
            break;
        r = qcow2_table_move(q, s->at);
        t->moved += q->cluster;
        n++;
    }
    if (r >= 0 && (s->at >= q->l1_len || n < STEP_TABLES))
        s->phase = PHASE_REFCOUNTS;
    return MIN(r, 0);
}

static CO int bitmaps_step(Qcow2 *q, GError **err)
{
    if (!q->bitmap_count)
        return 0;
    /* Nobody writes between the two: no bitmap can miss anything. */
    return qcow2_bitmaps_store(q, err) && qcow2_bitmaps_open_for_writing(q, err) ? 0 : -EIO;
}

static CO int refcounts_step(Step *t, GError **err)
{
    Qcow2 *q = t->q;
    uint64_t l1_bytes = q->l1_len * UINT64_C(8);
    int r = bitmaps_step(q, err);

    if (r >= 0 && q->l1_off + l1_bytes > limit_off(t))
        r = qcow2_l1_move(q, q->l1_len, q->l1_off);
    if (r == -ENOSPC)
        r = 0;
    if (r >= 0)
        r = qcow2_commit_all(q);
    if (r >= 0)
        r = qcow2_refblocks_compact(q, t->s->limit);
    if (r >= 0)
        r = qcow2_commit_all(q);
    t->s->phase = PHASE_END;
    return r;
}

/* ---- passes --------------------------------------------------------------------------------- */

static CO int count_step(Step *t)
{
    Qcow2 *q = t->q;
    CompactState *s = t->s;
    uint64_t high;
    int r = qcow2_commit_all(q);

    if (r >= 0)
        r = qcow2_clusters_in_use(q, 0, &s->limit);
    if (r >= 0)
        r = qcow2_clusters_in_use(q, s->limit, &high);
    if (r < 0)
        return r;
    q->bytes_off = 0;
    s->total = MAX(s->total, s->done + (high << q->cluster_bits));
    s->phase = PHASE_DATA;
    s->at = s->moved = 0;
    if (!high) {
        qcow2_cut_file(q);
        s->finished = true;
        s->done = s->total;
    }
    return 0;
}

static CO void end_step(Step *t)
{
    CompactState *s = t->s;

    qcow2_cut_file(t->q);
    s->idle += !s->moved;
    s->finished = s->idle >= IDLE_MAX || ++s->passes >= PASSES_MAX;
    s->phase = PHASE_COUNT;
}

static CO int compact_step(Step *t, GError **err)
{
    switch ((Phase)t->s->phase) {
    case PHASE_COUNT:
        return count_step(t);
    case PHASE_DATA:
        return data_step(t);
    case PHASE_TABLES:
        return tables_step(t);
    case PHASE_REFCOUNTS:
        return refcounts_step(t, err);
    default:
        end_step(t);
        return 0;
    }
}

CO bool qcow2_compact(Node *n, CompactState *s, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    Step t = { .q = q, .s = s, .room = MAX((uint64_t)STEP_BYTES, 2 * q->cluster) };
    g_autoptr(Aligned) buf = aligned_try_alloc(t.room);
    int r;

    if (!buf)
        return err_set(err, ENOMEM, "No memory to move clusters of '%s'", node_filename(n));
    t.buf = buf;
    qcow2_exclusive_begin(q);
    if (q->snapshot_count) {
        qcow2_exclusive_end(q);
        return err_set(err, ENOTSUP, "Image '%s' has internal snapshots: what they share cannot be "
                       "moved", node_filename(n));
    }
    r = q->is_corrupt ? -ENOMEDIUM : qcow2_mark_dirty(q);
    if (r >= 0)
        r = compact_step(&t, err);
    qcow2_exclusive_end(q);
    s->moved += t.moved;
    s->done = MIN(s->done + t.moved, s->total);
    if (r < 0 && !*err)
        return err_set_errno(err, r, "Image '%s' could not be compacted", node_filename(n));
    return r >= 0;
}
