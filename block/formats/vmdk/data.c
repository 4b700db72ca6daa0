/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests: cut at extents, then at runs of grains that are alike. */
#include "block/formats/vmdk/vmdk.h"

enum { AT_ONCE = 16 /* compressed grains of one request that are read at the same time */ };

VmdkExtent *vmdk_extent_at(const Vmdk *v, uint64_t off)
{
    guint low = 0, high = v->extents->len;

    while (high - low > 1) {
        guint middle = low + (high - low) / 2;
        const VmdkExtent *e = v->extents->pdata[middle];

        if (e->start <= off)
            low = middle;
        else
            high = middle;
    }
    return v->extents->pdata[low];
}

/* The run that begins in the middle of a grain, in bytes from there. */
typedef struct {
    VmdkRunKind kind;
    uint64_t host;  /* of byte @rel; compressed: of the grain */
    uint64_t grain; /* number of the first */
    uint64_t within;
    uint64_t len;
} Part;

/* What [@rel, @rel + @len) of @e begins with. */
static CO int part_find(VmdkExtent *e, uint64_t rel, uint64_t len, Part *p)
{
    uint64_t within = rel % e->grain, grains = div_round_up(within + len, e->grain);
    VmdkRun run;
    int r = vmdk_run(e, rel / e->grain, grains, &run);

    if (r < 0)
        return r;
    *p = (Part){
        .kind = run.kind,
        .host = run.host + (run.kind == VMDK_RUN_DATA ? within : 0),
        .grain = rel / e->grain,
        .within = within,
        .len = MIN(len, run.grains * e->grain - within),
    };
    return 0;
}

/* ---- reading -------------------------------------------------------------------------------- */

static CO int read_backing(Vmdk *v, uint64_t off, Span buf)
{
    Edge *backing = node_edge(v->node, ROLE_BACKING);
    uint64_t end = backing ? edge_size(backing) : 0;
    uint64_t there = off < end ? MIN(buf.len, end - off) : 0;
    int r;

    span_zero(span_slice(buf, there, buf.len - there));
    if (!backing)
        return 0;
    r = vmdk_parent_check(v);
    if (r < 0 || !there)
        return r;
    return edge_pread(backing, off, span_slice(buf, 0, there), 0);
}

/* Is [@host, @host + @len) where grains are? The last one may go on after the end of the file. */
static bool is_inside(const VmdkExtent *e, uint64_t host, uint64_t len)
{
    return host <= e->end && len <= e->end - host;
}

static CO int read_part(VmdkExtent *e, uint64_t rel, Span buf, const Part *p)
{
    switch (p->kind) {
    case VMDK_RUN_NONE:
        return read_backing(e->image, e->start + rel, buf);
    case VMDK_RUN_ZERO:
        span_zero(buf);
        return 0;
    case VMDK_RUN_COMPRESSED:
        return vmdk_stream_read(e, p->grain, p->host, p->within, buf);
    case VMDK_RUN_DATA:
        break;
    }
    return is_inside(e, p->host, buf.len) ? edge_pread(e->file, p->host, buf, 0) : -EIO;
}

typedef struct {
    VmdkExtent *e;
    uint64_t rel;
    Span buf;
    Part part;
    int result;
} Job;

static CO void job_run(void *arg)
{
    Job *j = arg;

    j->result = read_part(j->e, j->rel, j->buf, &j->part);
}

/* Reads @n parts, the last one in this coroutine. */
static CO int jobs_run(Job *jobs, unsigned n)
{
    CoGroup group = {};
    int r = 0;

    for (unsigned i = 0; i + 1 < n; i++)
        co_group_start(&group, job_run, &jobs[i]);
    job_run(&jobs[n - 1]);
    co_group_wait(&group);
    for (unsigned i = 0; i < n && r == 0; i++)
        r = jobs[i].result;
    return r;
}

static CO int sparse_read(VmdkExtent *e, uint64_t rel, Span buf)
{
    int r = 0;

    while (buf.len && r == 0) {
        Job jobs[AT_ONCE];
        unsigned n = 0;

        do {
            Job *j = &jobs[n];

            *j = (Job){ .e = e, .rel = rel };
            r = part_find(e, rel, buf.len, &j->part);
            if (r < 0)
                break;
            j->buf = span_slice(buf, 0, j->part.len);
            rel += j->part.len;
            buf = span_slice(buf, j->part.len, buf.len - j->part.len);
            n++;
        } while (buf.len && n < AT_ONCE && e->compressed);
        if (n && r == 0)
            r = jobs_run(jobs, n);
    }
    return r;
}

static CO int extent_read(VmdkExtent *e, uint64_t rel, Span buf)
{
    switch (e->kind) {
    case VMDK_ZERO:
        span_zero(buf);
        return 0;
    case VMDK_FLAT:
        return edge_pread(e->file, e->offset + rel, buf, 0);
    default:
        return sparse_read(e, rel, buf);
    }
}

CO int vmdk_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    int r = 0;

    while (buf.len && r == 0) {
        VmdkExtent *e = vmdk_extent_at(vmdk_of(n), off);
        uint64_t rel = off - e->start, len = MIN(buf.len, e->len - rel);

        r = extent_read(e, rel, span_slice(buf, 0, len));
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

CO int vmdk_reads_through(Node *n, uint64_t off, uint64_t len, Node **below)
{
    Vmdk *v = vmdk_of(n);
    Edge *backing = node_edge(n, ROLE_BACKING);
    VmdkExtent *e;
    Part p;
    int r;

    if (!backing || off + len > edge_size(backing))
        return 0;
    e = vmdk_extent_at(v, off);
    if (!e->grain || len > e->len - (off - e->start))
        return 0;
    r = part_find(e, off - e->start, len, &p);
    if (r < 0 || p.len < len || p.kind != VMDK_RUN_NONE)
        return r;
    r = vmdk_parent_check(v);
    if (r == 0)
        *below = edge_node(backing);
    return r;
}

/* ---- writing -------------------------------------------------------------------------------- */

/*
 * Writes what the backing file has at [@off, @off + @len) of the disk to @host, unless it is zero.
 */
static CO int fill_from_backing(VmdkExtent *e, uint64_t off, uint64_t len, uint64_t host)
{
    g_autoptr(Aligned) buf = NULL;
    int r;

    if (!len || !node_edge(e->image->node, ROLE_BACKING))
        return 0;
    buf = aligned_try_alloc(len);
    if (!buf)
        return -ENOMEM;
    r = read_backing(e->image, off, span_of(buf, len));
    if (r < 0 || buffer_is_zero(buf, len))
        return r;
    return edge_pwrite_buf(e->file, host, buf, len);
}

/* Gives away @n grains at the end of the file. 0 if they are out of reach of an entry. */
static uint64_t grains_take(VmdkExtent *e, uint64_t n)
{
    uint64_t host = e->end;

    if ((host + n * e->grain) / VMDK_SECTOR > UINT32_MAX)
        return 0;
    e->end += n * e->grain;
    e->has_grown = true;
    return host;
}

/*
 * Writes @buf, or the start of it, to grains that are not there yet. What of the first and the last
 * grain is not written comes from below; at the end of the file there are zeroes. *@done: bytes
 * written, 0 if the grains have come meanwhile.
 */
static CO int write_new(VmdkExtent *e, uint64_t rel, Span buf, uint64_t *done)
{
    RANGE_GUARD hold = {};
    uint64_t start = rel - rel % e->grain, last, host, end;
    Part p;
    int r;

    *done = 0;
    range_take(&e->allocating, &hold, start,
               div_round_up(rel + buf.len - start, e->grain) * e->grain);
    r = part_find(e, rel, buf.len, &p);
    if (r < 0 || p.kind == VMDK_RUN_DATA)
        return r;
    if (!e->dir[p.grain / e->table_len])
        return -ENOTSUP;    /* there is no table to enter them in */
    end = rel + p.len;
    last = MIN(start + div_round_up(end - start, e->grain) * e->grain, e->len);
    host = grains_take(e, div_round_up(end - start, e->grain));
    if (!host)
        return -EFBIG;
    if (p.kind == VMDK_RUN_NONE) {
        r = fill_from_backing(e, e->start + start, rel - start, host);
        if (r == 0)
            r = fill_from_backing(e, e->start + end, last - end, host + (end - start));
    }
    if (r == 0)
        r = edge_pwrite(e->file, host + (rel - start), span_slice(buf, 0, p.len), 0);
    if (r == 0)
        r = vmdk_link(e, p.grain, div_round_up(end - start, e->grain), host);
    *done = p.len;
    return r;
}

static CO int write_data(VmdkExtent *e, uint64_t host, Span buf)
{
    if (host < e->overhead || !is_inside(e, host, buf.len))
        return -EIO;
    return edge_pwrite(e->file, host, buf, 0);
}

static CO int sparse_write(VmdkExtent *e, uint64_t rel, Span buf)
{
    while (buf.len) {
        Part p;
        uint64_t done;
        int r = part_find(e, rel, buf.len, &p);

        if (r < 0)
            return r;
        done = p.len;
        r = p.kind == VMDK_RUN_DATA ? write_data(e, p.host, span_slice(buf, 0, p.len))
                                    : write_new(e, rel, span_slice(buf, 0, p.len), &done);
        if (r < 0)
            return r;
        rel += done;
        buf = span_slice(buf, done, buf.len - done);
    }
    return 0;
}

static CO int extent_write(VmdkExtent *e, uint64_t rel, Span buf)
{
    if (e->read_only || e->kind == VMDK_ZERO)
        return -EACCES;
    if (e->kind == VMDK_FLAT)
        return edge_pwrite(e->file, e->offset + rel, buf, 0);
    return e->compressed ? vmdk_stream_write(e, rel, buf) : sparse_write(e, rel, buf);
}

CO int vmdk_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Vmdk *v = vmdk_of(n);
    int r = vmdk_cid_renew(v);

    while (buf.len && r == 0) {
        VmdkExtent *e = vmdk_extent_at(v, off);
        uint64_t rel = off - e->start, len = MIN(buf.len, e->len - rel);

        r = extent_write(e, rel, span_slice(buf, 0, len));
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

/* ---- zeroes --------------------------------------------------------------------------------- */

/* Whole grains of an extent that has an entry for zero ones. */
static CO int sparse_zero(VmdkExtent *e, uint64_t rel, uint64_t len)
{
    RANGE_GUARD hold = {};
    uint64_t end = rel + len;

    if (!e->zeroed || e->compressed || rel % e->grain || (end % e->grain && end != e->len))
        return -ENOTSUP;
    range_take(&e->allocating, &hold, rel, len);
    for (uint64_t g = rel / e->grain, stop = div_round_up(end, e->grain), n; g < stop; g += n) {
        int r;

        n = MIN(stop - g, e->table_len - g % e->table_len);
        if (!e->dir[g / e->table_len])
            return -ENOTSUP;
        r = vmdk_link(e, g, n, 0);
        if (r < 0)
            return r;
    }
    return 0;
}

CO int vmdk_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    Vmdk *v = vmdk_of(n);
    int r = 0;

    while (len && r == 0) {
        VmdkExtent *e = vmdk_extent_at(v, off);
        uint64_t rel = off - e->start, now = MIN(len, e->len - rel);

        if (e->read_only || e->kind == VMDK_ZERO)
            return -EACCES;
        if (!e->zeroed && e->kind != VMDK_FLAT)
            return -ENOTSUP;
        r = vmdk_cid_renew(v);
        if (r == 0)
            r = e->kind == VMDK_FLAT ? edge_zero(e->file, e->offset + rel, now, flags)
                                     : sparse_zero(e, rel, now);
        off += now;
        len -= now;
    }
    return r;
}

/* ---- extents -------------------------------------------------------------------------------- */

static void data_at(Extent *x, VmdkExtent *e, uint64_t host)
{
    x->flags |= EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_HOST;
    x->host = edge_node(e->file);
    x->host_off = host;
}

CO int vmdk_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *x)
{
    VmdkExtent *e = vmdk_extent_at(vmdk_of(n), off);
    uint64_t rel = off - e->start;
    Part p;
    int r;

    len = MIN(len, e->len - rel);
    *x = (Extent){ .len = len };
    if (e->kind == VMDK_ZERO) {
        x->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
        return 0;
    }
    if (e->kind == VMDK_FLAT) {
        data_at(x, e, e->offset + rel);
        x->flags |= EXTENT_RECURSE;
        return 0;
    }
    r = part_find(e, rel, len, &p);
    if (r < 0)
        return r;
    x->len = p.len;
    if (p.kind == VMDK_RUN_ZERO)
        x->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
    else if (p.kind == VMDK_RUN_COMPRESSED)
        x->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_COMPRESSED;
    else if (p.kind == VMDK_RUN_DATA)
        data_at(x, e, p.host);
    return 0;
}
