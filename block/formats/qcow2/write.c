/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing: in place where the cluster is only ours and has data, else into new space.
 *
 * A write into new space:
 *
 *     1. takes the guest range of its clusters (q->allocating), so no other request changes their
 *        mapping; reads and writes in place go on beside it
 *     2. takes adjacent host clusters, or keeps those that are reserved for the guest cluster
 *     3. writes data, with what lies before and behind it in its first and last cluster: the copy
 *        of what was visible there, nothing where new space reads as zeroes anyway
 *     4. links: sets the L2 entries, frees what they referred to
 *
 * Only step 4 makes anything visible, and it does not suspend between reading an old entry and
 * setting the new one. If a step fails, the new clusters are given back.
 */
#include "block/formats/qcow2/compress.h"
#include "block/formats/qcow2/crypt.h"
#include "block/formats/qcow2/qcow2.h"
#include <string.h>

enum {
    DATA_IOV_MAX = 64,             /* more vectors of data are not merged with what is around */
    MERGE_ZEROES_MAX = 128 << 10,  /* more zeroes around the data are not written as data */
    ALLOC_AT_ONCE = 64 << 20,      /* bytes of one step 2 */
};

typedef struct {
    uint64_t guest;      /* bytes, of the first cluster */
    uint64_t clusters;
    uint64_t host;       /* bytes, of the first cluster */
    bool own;            /* the host clusters were there, and ours */
    uint64_t from, to;   /* guest bytes that the write makes allocated; contains the data */
    bool head_fresh, tail_fresh;   /* the space around the data reads as zeroes already */
} Alloc;

CO void qcow2_allocating_take(Qcow2 *q, RangeHold *hold, uint64_t off, uint64_t len)
{
    uint64_t first = round_down(off, q->cluster);

    range_take(&q->allocating, hold, first, round_up(off + len, q->cluster) - first);
}

/* ---- in place ------------------------------------------------------------------------------- */

static bool is_in_place(const MapRun *run)
{
    return run->kind == MAP_DATA && run->copied;
}

/* Reserved clusters. */
static bool run_has_own_host(const MapRun *run)
{
    return run->copied &&
           (run->kind == MAP_ZERO_ALLOCATED || run->kind == MAP_UNALLOCATED_ALLOCATED);
}

static CO int write_host(Qcow2 *q, uint64_t off, uint64_t host, Span buf)
{
    int r = q->data == q->storage ? qcow2_overlap_check(q, 0, host, buf.len) : 0;

    if (r < 0)
        return r;
    if (q->crypt)
        return qcow2_crypt_write(q, off, host, buf);
    edge_event(q->storage, EV_WRITE_AIO);
    return edge_pwrite(q->data, host, buf, 0);
}

/* ---- step 2: space -------------------------------------------------------------------------- */

static bool entry_is_own(const Qcow2 *q, L2Entry e)
{
    return e.desc & ENTRY_COPIED && !(e.desc & ENTRY_COMPRESSED) &&
           (e.desc & ENTRY_OFFSET || qcow2_has_data_file(q));
}

/* The entry of the cluster at @off; all zero if there is no table. Damage is an error. */
static CO int entry_at(Qcow2 *q, uint64_t off, L2Entry *e, bool *has_table)
{
    SliceRef s;
    MapKind kind;
    int r = qcow2_slice_get(q, off, &s);

    if (r < 0)
        return r;
    *e = s.data ? qcow2_entry_get(q, &s, 0) : (L2Entry){};
    *has_table = s.data && q->l1[qcow2_l1_index(q, off)] & ENTRY_COPIED;
    return s.data ? qcow2_entry_kind(q, off, *e, qcow2_within(q, off) >> q->sub_bits, &kind) : 0;
}

/*
 * How many clusters from @a->guest on, at most @a->clusters, are like the first: with adjacent host
 * clusters of ours, or without. Sets own, clusters and, with own, host.
 */
static CO int alloc_classify(Qcow2 *q, Alloc *a)
{
    uint64_t max = a->clusters, i;
    SliceRef s;
    L2Entry e;
    bool ours;
    int r = entry_at(q, a->guest, &e, &ours);

    if (r < 0)
        return r;
    a->own = ours && entry_is_own(q, e);
    a->host = a->own ? e.desc & ENTRY_OFFSET : 0;
    r = qcow2_slice_get(q, a->guest, &s);
    if (r < 0)
        return r;
    max = MIN(max, s.count);
    for (i = 1; s.data && i < max; i++) {
        e = qcow2_entry_get(q, &s, i);
        if ((ours && entry_is_own(q, e)) != a->own)
            break;
        if (a->own && (e.desc & ENTRY_OFFSET) != a->host + (i << q->cluster_bits))
            break;
    }
    a->clusters = s.data ? i : max;
    return 0;
}

static CO int alloc_space(Qcow2 *q, Alloc *a)
{
    uint64_t end, last;
    int r;

    if (a->own)
        return 0;
    if (qcow2_has_data_file(q)) {
        a->host = a->guest;
        return 0;
    }
    r = qcow2_mark_dirty(q);
    if (r >= 0)
        r = qcow2_cluster_alloc(q, &a->clusters, &a->host);
    if (r < 0)
        return r;
    end = q->end_unknown || q->crypt ? UINT64_MAX : edge_size(q->storage);
    last = a->host + ((a->clusters - 1) << q->cluster_bits);
    a->head_fresh = a->host >= end;
    a->tail_fresh = last >= end;
    return 0;
}

/* ---- step 3: data --------------------------------------------------------------------------- */

/*
 * Is what must be copied in the first or last cluster of entry @e more than one subcluster?
 * The lowest (highest, @up) subcluster that has data, if that is beyond @sub.
 */
static unsigned outermost_data(const Qcow2 *q, L2Entry e, unsigned sub, bool up)
{
    if (e.desc & ENTRY_COMPRESSED)
        return up ? q->subs - 1 : 0;
    for (unsigned i = up ? q->subs - 1 : 0; i != sub; i += up ? -1 : 1)
        if (e.bits >> i & 1)
            return i;
    return sub;
}

/*
 * In clusters that are ours there may be data before or behind what is written, in the same
 * subcluster: it stays, and other requests may write it in place meanwhile.
 */
static CO int own_bounds(Qcow2 *q, Alloc *a, uint64_t off, uint64_t end)
{
    MapRun run;
    int r = qcow2_map_run(q, off, 1, &run);

    if (r < 0)
        return r;
    if (run.kind == MAP_DATA)
        a->from = off;
    r = qcow2_map_run(q, end - 1, 1, &run);
    if (r >= 0 && run.kind == MAP_DATA)
        a->to = end;
    return r;
}

/* Sets from and to: whole subclusters; all with data of a cluster that is copied. */
static CO int alloc_bounds(Qcow2 *q, Alloc *a, uint64_t off, uint64_t len)
{
    uint64_t sub_size = UINT64_C(1) << q->sub_bits, last = off + len - 1;
    bool ours;
    L2Entry e;
    int r;

    a->from = round_down(off, sub_size);
    a->to = round_down(last, sub_size) + sub_size;
    if (a->own)
        return own_bounds(q, a, off, off + len);
    if (q->subs == 1)
        return 0;
    r = entry_at(q, off, &e, &ours);
    if (r < 0)
        return r;
    a->from = a->guest + ((uint64_t)outermost_data(q, e, qcow2_within(q, off) >> q->sub_bits,
                                                   false) << q->sub_bits);
    r = entry_at(q, last, &e, &ours);
    if (r < 0)
        return r;
    a->to = round_down(last, q->cluster) +
            ((uint64_t)(outermost_data(q, e, qcow2_within(q, last) >> q->sub_bits, true) + 1)
             << q->sub_bits);
    return 0;
}

/* Reads what is visible at [@off, @off + @len) into new memory; *@copy NULL: it is all zeroes. */
static CO int copy_read(Qcow2 *q, uint64_t off, uint64_t len, uint8_t **copy)
{
    int r = qcow2_is_zero(q, off, len);

    *copy = NULL;
    if (r)
        return MIN(r, 0);
    *copy = aligned_try_alloc(len);
    if (!*copy)
        return -ENOMEM;
    edge_event(q->storage, EV_COW_READ);
    r = qcow2_read(q, off, span_of(*copy, len));
    if (r < 0 || buffer_is_zero(*copy, len)) {
        aligned_free(*copy);
        *copy = NULL;
    }
    return r;
}

typedef struct {
    uint8_t *copy;   /* NULL: zeroes */
    uint64_t len;    /* 0: nothing to be written */
} Side;

enum { SIDE_IOV_MAX = 2 * MiB / ZEROES_LEN };

/* Vectors for @side; zeroes are the same bytes again and again. */
static int side_iov(Side side, struct iovec *iov)
{
    int n = 0;

    if (side.copy && side.len)
        iov[n++] = (struct iovec){ side.copy, side.len };
    for (uint64_t done = 0; !side.copy && done < side.len; n++) {
        uint64_t part = MIN(side.len - done, (uint64_t)ZEROES_LEN);

        iov[n] = (struct iovec){ (void *)zero_bytes, part };
        done += part;
    }
    return n;
}

static CO int write_side(Qcow2 *q, uint64_t off, uint64_t host, Side side)
{
    struct iovec iov[SIDE_IOV_MAX];
    int n = side_iov(side, iov);

    return n ? write_host(q, off, host, span_of_iov(iov, n)) : 0;
}

/* Writes head, data and tail to @host, which is where the data goes; in one go if possible. */
static CO int write_merged(Qcow2 *q, uint64_t off, uint64_t host, Side head, Span buf, Side tail)
{
    struct iovec iov[2 * SIDE_IOV_MAX + DATA_IOV_MAX];
    size_t covered = 0;
    int n, r;

    if (!head.len && !tail.len)
        return write_host(q, off, host, buf);
    n = side_iov(head, iov);
    n += span_to_iov(buf, iov + n, DATA_IOV_MAX, &covered);
    if (covered == buf.len) {
        n += side_iov(tail, iov + n);
        return write_host(q, off - head.len, host - head.len, span_of_iov(iov, n));
    }
    r = write_host(q, off, host, buf);
    if (r >= 0)
        r = write_side(q, off - head.len, host - head.len, head);
    return r < 0 ? r : write_side(q, off + buf.len, host + buf.len, tail);
}

static CO int zero_host(Qcow2 *q, uint64_t host, uint64_t len)
{
    int r = len && q->data == q->storage ? qcow2_overlap_check(q, 0, host, len) : 0;

    return r < 0 || !len ? r : edge_zero(q->data, host, len, REQ_NO_FALLBACK);
}

/*
 * Many zeroes around little data, at [@off, @off + @len): lets the file system make them. -ENOTSUP:
 * it cannot. In clusters that are ours the data may replace other data, which has to stay if the
 * write fails, so only what is around it is zeroed.
 */
static CO int zero_space(Qcow2 *q, const Alloc *a, uint64_t off, uint64_t len)
{
    uint64_t host = a->host + (a->from - a->guest), end = off + len;
    int r;

    edge_event(q->storage, EV_CLUSTER_ALLOC_SPACE);
    if (!a->own)
        return zero_host(q, host, a->to - a->from);
    r = zero_host(q, host, off - a->from);
    return r < 0 ? r : zero_host(q, host + (end - a->from), a->to - end);
}

/* What is around the data is zero without being written: tests expect the events of zeroing. */
static CO void zeroes_are_there(Qcow2 *q)
{
    edge_event(q->storage, EV_CLUSTER_ALLOC_SPACE);
    edge_event(q->data, EV_PWRITEV_ZERO);
}

static CO int alloc_write(Qcow2 *q, const Alloc *a, uint64_t off, Span buf)
{
    Side head = { .len = off - a->from }, tail = { .len = a->to - (off + buf.len) };
    uint64_t zeroes = 0, around = head.len + tail.len;
    int r = head.len ? copy_read(q, a->from, head.len, &head.copy) : 0;

    if (r >= 0 && tail.len)
        r = copy_read(q, off + buf.len, tail.len, &tail.copy);
    if (!head.copy && a->head_fresh)
        head.len = 0;
    if (!tail.copy && a->tail_fresh)
        tail.len = 0;
    zeroes = (head.copy ? 0 : head.len) + (tail.copy ? 0 : tail.len);
    if (r >= 0 && zeroes > MERGE_ZEROES_MAX && !q->crypt && !head.copy && !tail.copy) {
        int z = zero_space(q, a, off, buf.len);

        if (z >= 0)
            head.len = tail.len = 0;
        else if (z != -ENOTSUP)
            r = z;
    } else if (around && !zeroes && !head.copy && !tail.copy) {
        zeroes_are_there(q);
    }
    if (r >= 0)
        r = write_merged(q, off, a->host + (off - a->guest), head, buf, tail);
    aligned_free(head.copy);
    aligned_free(tail.copy);
    return r;
}

/* ---- step 4: linking ------------------------------------------------------------------------ */

/* Bits of the subclusters [@from, @to) of a cluster. */
static uint64_t sub_mask(unsigned from, unsigned to)
{
    return (UINT64_C(1) << to) - (UINT64_C(1) << from);
}

/* The entry that replaces @old for cluster number @i of @a. */
static L2Entry linked_entry(const Qcow2 *q, const Alloc *a, uint64_t i, L2Entry old)
{
    uint64_t guest = a->guest + (i << q->cluster_bits);
    L2Entry e = { .desc = (a->host + (i << q->cluster_bits)) | ENTRY_COPIED };

    if (q->subs > 1) {
        uint64_t from = MAX(a->from, guest) - guest, to = MIN(a->to, guest + q->cluster) - guest;
        uint64_t bits = sub_mask(from >> q->sub_bits, to >> q->sub_bits);
        uint64_t before = old.desc & ENTRY_COMPRESSED ? 0 : old.bits;

        e.bits = (before & ~(bits << SUBCLUSTERS)) | bits;
    }
    return e;
}

/* Links from cluster @*done on, which counts what is linked. */
static CO int alloc_link(Qcow2 *q, const Alloc *a, uint64_t *done)
{
    while (*done < a->clusters) {
        uint64_t guest = a->guest + (*done << q->cluster_bits);
        SliceRef s;
        int r = qcow2_slice_get_own(q, guest, &s);

        if (r < 0)
            return r;
        q->unflushed = true;
        for (unsigned i = 0; i < s.count && *done < a->clusters; i++, ++*done) {
            L2Entry old = qcow2_entry_get(q, &s, i), new = linked_entry(q, a, *done, old);

            if (old.desc == new.desc && old.bits == new.bits)
                continue;
            qcow2_entry_set(q, &s, i, new);
            if (!a->own)
                qcow2_entry_free(q, guest, old, FREE_OTHER);
            guest += q->cluster;
        }
    }
    return 0;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static CO int write_new(Qcow2 *q, uint64_t off, Span buf, uint64_t *done)
{
    uint64_t within = qcow2_within(q, off), linked = 0;
    Alloc a = { .guest = off - within };
    int r;

    a.clusters = (within + MIN(buf.len, ALLOC_AT_ONCE) + q->cluster - 1) >> q->cluster_bits;
    r = alloc_classify(q, &a);
    if (r >= 0)
        r = alloc_space(q, &a);
    if (r < 0)
        return r;
    *done = MIN(buf.len, (a.clusters << q->cluster_bits) - within);
    r = alloc_bounds(q, &a, off, *done);
    if (r >= 0)
        r = alloc_write(q, &a, off, span_slice(buf, 0, *done));
    if (r < 0)
        q->end_unknown = true;
    if (r >= 0)
        r = alloc_link(q, &a, &linked);
    if (r < 0 && !a.own && !qcow2_has_data_file(q) && linked < a.clusters)
        qcow2_cluster_unalloc(q, a.host + (linked << q->cluster_bits),
                              (a.clusters - linked) << q->cluster_bits);
    return r;
}

/*
 * Is @run, at @off, to be written in place, all it can take of @len bytes? Not if reserved clusters
 * follow it in the file: data and those then are one write. 1: yes, 0: no, or a negative errno.
 */
static CO int stays_in_place(Qcow2 *q, uint64_t off, uint64_t len, const MapRun *run)
{
    MapRun next;
    int r;

    if (!is_in_place(run) || run->len >= len)
        return is_in_place(run);
    r = qcow2_map_run(q, off + run->len, len - run->len, &next);
    return r < 0 ? r : !run_has_own_host(&next) || next.host != run->host + run->len;
}

/* Writes at least the first byte of @buf; *@done says how much. */
static CO int write_allocating(Qcow2 *q, uint64_t off, Span buf, uint64_t *done)
{
    RANGE_GUARD hold = {};
    MapRun run;
    int r;

    qcow2_allocating_take(q, &hold, off, buf.len);
    r = qcow2_map_run(q, off, buf.len, &run);
    if (r >= 0)
        r = stays_in_place(q, off, buf.len, &run);
    if (r > 0)
        *done = 0;    /* somebody else was faster: look again */
    else if (r == 0)
        r = write_new(q, off, buf, done);
    return MIN(r, 0);
}

CO int qcow2_write_held(Qcow2 *q, uint64_t off, Span buf)
{
    while (buf.len) {
        uint64_t done;
        int r = write_new(q, off, buf, &done);

        if (r < 0)
            return r;
        off += done;
        buf = span_slice(buf, done, buf.len - done);
    }
    return 0;
}

/* Bytes at @off that need new space, as far as one look at the map tells. */
static uint64_t new_len(Qcow2 *q, uint64_t off, uint64_t len)
{
    return MIN(len, ALLOC_AT_ONCE - qcow2_within(q, off));
}

CO int qcow2_write(Qcow2 *q, uint64_t off, Span buf)
{
    while (buf.len) {
        uint64_t done;
        MapRun run;
        int r = qcow2_map_run(q, off, buf.len, &run);

        if (r >= 0)
            r = stays_in_place(q, off, new_len(q, off, buf.len), &run);
        if (r < 0)
            return r;
        if (r) {
            done = run.len;
            r = write_host(q, off, run.host, span_slice(buf, 0, done));
        } else {
            r = write_allocating(q, off, span_slice(buf, 0, new_len(q, off, buf.len)), &done);
        }
        if (r < 0)
            return r;
        off += done;
        buf = span_slice(buf, done, buf.len - done);
    }
    return 0;
}
