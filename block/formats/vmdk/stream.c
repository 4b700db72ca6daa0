/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed grains: a marker (the grain's first sector in the disk, the number of bytes that
 * follow), then a stream of zlib's, padded to sectors. Without markers, the stream alone.
 *
 * Grains of a request are deflated side by side, and lie in the file in the order of the requests.
 */
#include "block/formats/vmdk/vmdk.h"
#include "block/zlib-stream.h"
#include "io/loop.h"
#include "io/pool.h"

typedef struct {
    le64 sector;
    le32 len;
} GrainMarker;

enum { BATCH = 16 };
G_STATIC_ASSERT(sizeof(GrainMarker) == VMDK_GRAIN_MARKER_LEN);

typedef struct VmdkCompress {
    ZlibStreams *streams;
    uint8_t *kept;          /* content of the last grain that was read in part; NULL: none yet */
    const VmdkExtent *kept_of;
    uint64_t kept_grain;
    uint64_t ticket, turn;  /* writes: the order in which they came, and who takes space now */
    CoQueue waiters;
} VmdkCompress;

void vmdk_compress_new(Vmdk *v)
{
    v->compress = g_new0(VmdkCompress, 1);
    v->compress->streams = zlib_streams_new();
}

void vmdk_compress_free(Vmdk *v)
{
    if (!v->compress)
        return;
    zlib_streams_free(v->compress->streams);
    g_free(v->compress->kept);
    g_clear_pointer(&v->compress, g_free);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Reads as much of [@host, @host + @len) as the file has. */
static CO int64_t read_some(VmdkExtent *e, uint64_t host, void *to, uint64_t len)
{
    uint64_t size = edge_size(e->file);
    int r;

    if (host >= size)
        return -EIO;
    len = MIN(len, size - host);
    r = edge_pread_buf(e->file, host, to, len);
    return r < 0 ? r : (int64_t)len;
}

/* The stream of the grain at @host, in memory of the caller's; *@start and *@len say where. */
static CO int stream_load(VmdkExtent *e, uint64_t host, uint8_t **mem, size_t *start, size_t *len)
{
    uint64_t room = e->grain + 2 * VMDK_SECTOR;
    g_autofree uint8_t *in = g_try_malloc(room);
    int64_t got;
    uint64_t want;

    if (!in)
        return -ENOMEM;
    got = read_some(e, host, in, room);
    if (got < 0)
        return (int)got;
    *start = e->markers ? VMDK_GRAIN_MARKER_LEN : 0;
    *len = got - MIN(*start, got);
    if (e->markers) {
        want = got < VMDK_GRAIN_MARKER_LEN ? 0 : le32_get(((GrainMarker *)(void *)in)->len);
        /*
         * Deflate adds five bytes to each block that does not shrink: no honest stream is longer.
         */
        if (!want || want > e->grain + e->grain / 8 + VMDK_SECTOR)
            return -EIO;
        if (want > *len && got == room) {
            g_free(g_steal_pointer(&in));
            in = g_try_malloc(VMDK_GRAIN_MARKER_LEN + want);
            if (!in)
                return -ENOMEM;
            got = read_some(e, host, in, VMDK_GRAIN_MARKER_LEN + want);
            if (got < 0)
                return (int)got;
        }
        if (got < (int64_t)(VMDK_GRAIN_MARKER_LEN + want))
            return -EIO;
        *len = want;
    }
    *mem = g_steal_pointer(&in);
    return 0;
}

/* Inflates grain @g to @out, whole; the last one of the disk may be short. */
static CO int grain_inflate(VmdkExtent *e, uint64_t g, uint64_t host, uint8_t *out)
{
    g_autofree uint8_t *mem = NULL;
    size_t start = 0, len = 0, made;
    int r = stream_load(e, host, &mem, &start, &len);

    if (r < 0)
        return r;
    r = zlib_stream_inflate(e->image->compress->streams, mem + start, len, out, e->grain, &made);
    return r < 0 ? r : made >= MIN(e->grain, e->len - g * e->grain) ? 0 : -EIO;
}

CO int vmdk_stream_read(VmdkExtent *e, uint64_t g, uint64_t host, uint64_t within, Span buf)
{
    VmdkCompress *c = e->image->compress;
    g_autofree uint8_t *out = NULL;
    size_t whole;
    int r;

    if (c->kept && c->kept_of == e && c->kept_grain == g) {
        span_write(buf, c->kept + within);
        return 0;
    }
    if (!within && span_head(buf, &whole) && whole >= e->grain && buf.len == e->grain)
        return grain_inflate(e, g, host, span_head(buf, &whole));
    out = g_try_malloc(e->grain);
    if (!out)
        return -ENOMEM;
    r = grain_inflate(e, g, host, out);
    if (r < 0)
        return r;
    span_write(buf, out + within);
    /* Small reads come one after another. */
    g_free(c->kept);
    c->kept = g_steal_pointer(&out);
    c->kept_of = e;
    c->kept_grain = g;
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct {
    VmdkExtent *e;
    uint64_t grain;
    Span data;          /* of the grain, shorter at the end of the disk */
    uint8_t *out;       /* marker, stream, zeroes up to a sector's end */
    uint64_t len;
    int result;
} Deflate;

static CO void deflate_one(void *arg)
{
    Deflate *d = arg;
    size_t room = zlib_stream_bound(d->e->grain), len = 0;
    g_autofree uint8_t *in = g_try_malloc(d->e->grain);

    d->out = g_try_malloc0(VMDK_GRAIN_MARKER_LEN + room + VMDK_SECTOR);
    d->result = -ENOMEM;
    if (!in || !d->out)
        return;
    span_read(d->data, in);
    memset(in + d->data.len, 0, d->e->grain - d->data.len);
    d->result = zlib_stream_deflate(d->e->image->compress->streams, in, d->e->grain,
                                    d->out + VMDK_GRAIN_MARKER_LEN, room, &len);
    if (d->result < 0)
        return;
    le64_put(d->out, d->grain * (d->e->grain / VMDK_SECTOR));
    le32_put(d->out + 8, len);
    d->len = round_up(VMDK_GRAIN_MARKER_LEN + len, VMDK_SECTOR);
}

/* Deflates up to BATCH grains from the start of @buf; returns how many. */
static CO unsigned batch_deflate(VmdkExtent *e, uint64_t rel, Span buf, Deflate *batch)
{
    CoGroup group = {};
    unsigned n = 0;

    for (; n < BATCH && buf.len; n++) {
        uint64_t len = MIN(buf.len, e->grain);

        batch[n] = (Deflate){ .e = e,
                              .grain = rel / e->grain + n,
                              .data = span_slice(buf, 0, len) };
        buf = span_slice(buf, len, buf.len - len);
        co_group_start(&group, deflate_one, &batch[n]);
    }
    co_group_wait(&group);
    return n;
}

/* Nothing may be there yet: space cannot be used a second time. */
static CO int check_empty(VmdkExtent *e, uint64_t g)
{
    VmdkRun run;
    int r = vmdk_run(e, g, 1, &run);

    if (r < 0 || run.kind == VMDK_RUN_NONE)
        return r < 0 ? r : e->dir[g / e->table_len] ? 0 : -ENOTSUP;
    block_warn("'%s' is stream-optimized: what was written once cannot be written again",
               node_filename(e->image->node));
    return -EIO;
}

/* Stores @n deflated grains one after the other. It is our turn. */
static CO int batch_store(VmdkExtent *e, Deflate *batch, unsigned n)
{
    struct iovec iov[BATCH];
    uint64_t host = e->end, total = 0;
    int r = 0;

    for (unsigned i = 0; i < n && r == 0; i++) {
        r = batch[i].result ? batch[i].result : check_empty(e, batch[i].grain);
        iov[i] = (struct iovec){ batch[i].out, batch[i].len };
        total += batch[i].len;
    }
    if (r < 0)
        return r;
    if ((host + total) / VMDK_SECTOR > UINT32_MAX)
        return -EFBIG;
    r = edge_pwrite(e->file, host, span_of_iov(iov, n), 0);
    if (r < 0)
        return r;
    e->end += total;
    for (unsigned i = 0; i < n && r == 0; i++) {
        r = vmdk_link(e, batch[i].grain, 1, host);
        host += batch[i].len;
    }
    return r;
}

static CO int write_in_turn(VmdkExtent *e, uint64_t rel, Span buf, uint64_t ticket)
{
    VmdkCompress *c = e->image->compress;
    int r = 0;

    while (buf.len && r == 0) {
        Deflate batch[BATCH];
        unsigned n = batch_deflate(e, rel, buf, batch);
        uint64_t len = MIN(buf.len, n * e->grain);

        while (c->turn != ticket)
            co_queue_wait(&c->waiters);
        r = batch_store(e, batch, n);
        for (unsigned i = 0; i < n; i++)
            g_free(batch[i].out);
        rel += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

CO int vmdk_stream_write(VmdkExtent *e, uint64_t rel, Span buf)
{
    VmdkCompress *c = e->image->compress;
    uint64_t ticket;
    int r;

    if (rel % e->grain || ((rel + buf.len) % e->grain && rel + buf.len != e->len))
        return -EINVAL;
    ticket = c->ticket++;
    r = write_in_turn(e, rel, buf, ticket);
    while (c->turn != ticket)
        co_queue_wait(&c->waiters);
    c->turn++;
    co_queue_wake_all(&c->waiters);
    return r;
}
