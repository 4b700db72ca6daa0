/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading: a request is cut into runs that are alike; each becomes one read of the image file, of
 * the backing file, zeroes, or a decompression. Several runs of one request go at once.
 */
#include "block/formats/qcow2/compress.h"
#include "block/formats/qcow2/crypt.h"
#include "block/formats/qcow2/qcow2.h"

enum {
    READ_AT_ONCE = 16,             /* runs of one request in flight */
    READ_PARALLEL_MIN = 128 << 10, /* shorter requests are read run after run */
};

typedef struct {
    Qcow2 *q;
    uint64_t off;
    Span buf;
    MapRun run;
    int result;
} ReadPart;

/* Up to where the backing file has a say: behind the disk's end there is only VM state. */
static uint64_t backing_end(const Qcow2 *q, Edge *backing)
{
    return backing ? MIN(edge_size(backing), q->size) : 0;
}

/* What the backing file has at [@off, @off + @buf.len); zeroes behind its end. */
static CO int read_backing(Qcow2 *q, uint64_t off, Span buf)
{
    Edge *backing = node_edge(q->node, ROLE_BACKING);
    uint64_t end = backing_end(q, backing);
    uint64_t there = off < end ? MIN(buf.len, end - off) : 0;

    span_zero(span_slice(buf, there, buf.len - there));
    if (!there)
        return 0;
    edge_event(q->storage, EV_READ_BACKING_AIO);
    return edge_pread(backing, off, span_slice(buf, 0, there), 0);
}

/* Host bytes as they are; the end of the last cluster may lie behind the end of the file. */
static CO int read_host(Qcow2 *q, uint64_t host, Span buf)
{
    uint64_t end = edge_size(q->data);
    uint64_t there = host < end ? MIN(buf.len, end - host) : 0;

    edge_event(q->storage, EV_READ_AIO);
    if (there < buf.len)
        span_zero(span_slice(buf, there, buf.len - there));
    return there ? edge_pread(q->data, host, span_slice(buf, 0, there), 0) : 0;
}

static CO int read_run(Qcow2 *q, uint64_t off, Span buf, const MapRun *run)
{
    switch (run->kind) {
    case MAP_UNALLOCATED:
    case MAP_UNALLOCATED_ALLOCATED:
        return read_backing(q, off, buf);
    case MAP_ZERO:
    case MAP_ZERO_ALLOCATED:
        span_zero(buf);
        return 0;
    case MAP_COMPRESSED:
        return qcow2_compressed_read(q, run->desc, qcow2_within(q, off), buf);
    case MAP_DATA:
        break;
    }
    if (q->crypt_method)
        return qcow2_crypt_read(q, off, run->host, buf);
    return read_host(q, run->host, buf);
}

static CO void read_part(void *arg)
{
    ReadPart *p = arg;

    p->result = read_run(p->q, p->off, p->buf, &p->run);
}

/* Runs all but the last of @parts beside the last. */
static CO int read_parts(ReadPart *parts, unsigned n)
{
    CoGroup group = {};
    int r = 0;

    for (unsigned i = 0; i + 1 < n; i++)
        co_group_start(&group, read_part, &parts[i]);
    read_part(&parts[n - 1]);
    co_group_wait(&group);
    for (unsigned i = 0; i < n && r >= 0; i++)
        r = parts[i].result;
    return r;
}

static bool is_worth_parallel(const MapRun *run, uint64_t left)
{
    return left > run->len && (run->kind == MAP_COMPRESSED || left >= READ_PARALLEL_MIN);
}

/* A request of many runs. */
static CO int read_many(Qcow2 *q, uint64_t off, Span buf)
{
    ReadPart parts[READ_AT_ONCE];

    while (buf.len) {
        unsigned n = 0;
        int r;

        while (buf.len && n < READ_AT_ONCE) {
            ReadPart *p = &parts[n];

            r = qcow2_map_run(q, off, buf.len, &p->run);
            if (r < 0)
                return r;
            p->q = q;
            p->off = off;
            p->buf = span_slice(buf, 0, p->run.len);
            off += p->run.len;
            buf = span_slice(buf, p->run.len, buf.len - p->run.len);
            if (p->run.kind == MAP_ZERO || p->run.kind == MAP_ZERO_ALLOCATED)
                span_zero(p->buf);
            else
                n++;
        }
        r = n ? read_parts(parts, n) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

CO int qcow2_read(Qcow2 *q, uint64_t off, Span buf)
{
    while (buf.len) {
        MapRun run;
        int r = qcow2_map_run(q, off, buf.len, &run);

        if (r < 0)
            return r;
        if (is_worth_parallel(&run, buf.len))
            return read_many(q, off, buf);
        r = read_run(q, off, span_slice(buf, 0, run.len), &run);
        if (r < 0)
            return r;
        off += run.len;
        buf = span_slice(buf, run.len, buf.len - run.len);
    }
    return 0;
}

CO int qcow2_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Qcow2 *q = qcow2_of(n);
    unsigned pin;
    int r;

    r = qcow2_enter(q, &pin);
    if (r < 0)
        return r;
    r = qcow2_read(q, off, buf);
    qcow2_leave(q, pin);
    return r;
}

CO int qcow2_reads_through(Node *n, uint64_t off, uint64_t len, Node **below)
{
    Qcow2 *q = qcow2_of(n);
    Edge *backing = node_edge(n, ROLE_BACKING);
    MapRun run;
    int r;

    if (!backing || q->is_corrupt || off + len > backing_end(q, backing))
        return 0;
    r = qcow2_map_run(q, off, len, &run);
    if (r < 0 || run.len < len ||
        (run.kind != MAP_UNALLOCATED && run.kind != MAP_UNALLOCATED_ALLOCATED))
        return r;
    edge_event(q->storage, EV_READ_BACKING_AIO);
    *below = edge_node(backing);
    return 0;
}

/* Is the start of [@off, @off + *@len) zero in the backing file? Then *@len says how much of it. */
static CO int is_zero_below(Edge *backing, uint64_t off, uint64_t *len)
{
    Extent e;
    int r = node_extent_above(edge_node(backing), NULL, off, *len, true, &e, NULL);

    if (r < 0)
        return r;
    if (e.len)
        *len = MIN(*len, e.len);
    return !e.len || e.flags & EXTENT_ZERO;
}

static CO int is_zero(Qcow2 *q, uint64_t off, uint64_t len, bool ask_below)
{
    Edge *backing = node_edge(q->node, ROLE_BACKING);

    while (len) {
        MapRun run;
        int r = qcow2_map_run(q, off, len, &run);

        if (r < 0)
            return r;
        if (run.kind == MAP_DATA || run.kind == MAP_COMPRESSED)
            return 0;
        if (run.kind != MAP_ZERO && run.kind != MAP_ZERO_ALLOCATED &&
            off < backing_end(q, backing)) {
            run.len = MIN(run.len, backing_end(q, backing) - off);
            r = ask_below ? is_zero_below(backing, off, &run.len) : 0;
            if (r <= 0)
                return r;
        }
        off += run.len;
        len -= run.len;
    }
    return 1;
}

CO int qcow2_is_zero(Qcow2 *q, uint64_t off, uint64_t len)
{
    return is_zero(q, off, len, false);
}

CO int qcow2_reads_zero(Qcow2 *q, uint64_t off, uint64_t len)
{
    return is_zero(q, off, len, true);
}

/* ---- extents -------------------------------------------------------------------------------- */

/*
 * Do data clusters perhaps lie in holes of the file, as preallocated metadata leaves them? More
 * than a tenth of the clusters then is without space (the reference's measure: maps show the
 * answer). Asked once: a file that fills up later is looked into in vain, one that gains holes has
 * them called data.
 */
static bool is_sparse(Qcow2 *q)
{
    if (!q->sparse_known) {
        bool known;
        uint64_t there = node_allocated(edge_node(q->storage), &known) >> q->cluster_bits;
        uint64_t all = div_round_up(edge_size(q->storage), UINT64_C(1) << q->cluster_bits);

        q->sparse = known && there + MAX(2, (all + 1) / 10) - 1 < all;
        q->sparse_known = true;
    }
    return q->sparse;
}

CO int qcow2_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Qcow2 *q = qcow2_of(n);
    MapRun run;
    int r = q->is_corrupt ? -ENOMEDIUM : qcow2_map_run(q, off, len, &run);

    if (r < 0)
        return r;
    *e = (Extent){ .len = run.len };
    switch (run.kind) {
    case MAP_UNALLOCATED:
        return 0;
    case MAP_UNALLOCATED_ALLOCATED:
        break;
    case MAP_ZERO:
        e->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
        return 0;
    case MAP_COMPRESSED:
        e->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_COMPRESSED;
        return 0;
    case MAP_ZERO_ALLOCATED:
        e->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
        break;
    case MAP_DATA:
        e->flags = EXTENT_DATA | EXTENT_ALLOCATED;
        if (precise && !q->crypt_method && !qcow2_has_data_file(q) && is_sparse(q))
            e->flags |= EXTENT_RECURSE;
        break;
    }
    if (!q->crypt_method) {
        e->flags |= EXTENT_HOST;
        e->host = edge_node(q->data);
        e->host_off = run.host;
    }
    return 0;
}
