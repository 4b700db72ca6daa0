/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing compressed clusters: a request takes a ticket when it comes, deflates its clusters in the
 * pool, several at once, and waits for its turn to take space. So clusters lie in the order of the
 * calls, however long each took. What does not shrink is stored as it is, in the same turn.
 */
#include "block/formats/qcow2/compress-internal.h"
#include "io/loop.h"
#include "io/pool.h"
#include <string.h>

enum { BATCH = 16 /* clusters of one request that are deflated at once */ };

typedef struct {
    Qcow2 *q;
    uint64_t off;        /* guest bytes, of the cluster */
    Span data;           /* a cluster; less at the end of the disk */
    Codec *codec;
    uint8_t *in;         /* all of the cluster in one piece, if @data is not that */
    uint8_t *out;
    ssize_t len;         /* bytes at @out; 0: stored as it is; or a negative errno */
    uint64_t host;
} Deflate;

static int deflate_run(void *arg)
{
    Deflate *d = arg;
    uint64_t cluster = d->q->cluster;
    size_t piece;
    void *direct = span_head(d->data, &piece);

    if (piece == cluster) {
        d->len = codec_deflate(d->codec, direct, cluster, d->out, cluster - 1);
        return 0;
    }
    d->in = g_try_malloc(cluster);
    if (!d->in)
        return -ENOMEM;
    span_read(d->data, d->in);
    memset(d->in + d->data.len, 0, cluster - d->data.len);
    d->len = codec_deflate(d->codec, d->in, cluster, d->out, cluster - 1);
    return 0;
}

static CO void deflate_one(void *arg)
{
    Deflate *d = arg;
    int r;

    co_semaphore_take(&compress_state(d->q)->busy);
    d->out = g_try_malloc(d->q->cluster);
    d->codec = compress_codec_take(d->q);
    if (!d->out)
        r = -ENOMEM;
    else
        r = loop_is_alone() ? deflate_run(d) : pool_compute(deflate_run, d);
    if (r < 0)
        d->len = r;
    compress_codec_give(d->q, d->codec);
    co_semaphore_give(&compress_state(d->q)->busy);
    g_clear_pointer(&d->in, g_free);
}

/* Deflates up to BATCH clusters of @buf; returns how many. */
static CO unsigned batch_deflate(Qcow2 *q, uint64_t off, Span buf, Deflate *batch)
{
    CoGroup group = {};
    unsigned n = 0;

    while (buf.len && n < BATCH) {
        uint64_t len = MIN(buf.len, q->cluster);

        batch[n++] = (Deflate){ .q = q, .off = off, .data = span_slice(buf, 0, len) };
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    for (unsigned i = 1; i < n; i++)
        co_group_start(&group, deflate_one, &batch[i]);
    deflate_one(&batch[0]);
    co_group_wait(&group);
    return n;
}

static void batch_free(Deflate *batch, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        g_free(batch[i].out);
}

/* Nothing may be stored where a compressed cluster goes. Callers hold its guest range. */
static CO int check_empty(Qcow2 *q, uint64_t off)
{
    MapRun run;
    int r = qcow2_map_run(q, off, q->cluster, &run);

    if (r < 0)
        return r;
    return run.kind == MAP_COMPRESSED || run.copied ? -EIO : 0;
}

uint64_t qcow2_compressed_desc(const Qcow2 *q, uint64_t host, uint64_t len)
{
    unsigned shift = 62 - (q->cluster_bits - 8);
    uint64_t sectors = ((host + len - 1) >> 9) - (host >> 9);

    return ENTRY_COMPRESSED | sectors << shift | host;
}

static CO int link_compressed(Qcow2 *q, const Deflate *d)
{
    SliceRef s;
    L2Entry old;
    int r = qcow2_slice_get_own(q, d->off, &s);

    if (r < 0)
        return r;
    old = qcow2_entry_get(q, &s, 0);
    q->unflushed = true;
    qcow2_entry_set(q, &s, 0, (L2Entry){ .desc = qcow2_compressed_desc(q, d->host, d->len) });
    qcow2_entry_free(q, d->off, old, FREE_OTHER);
    return 0;
}

/* Takes space for the clusters of @batch that shrank, as long as it is adjacent; how many. */
static CO int batch_take_space(Qcow2 *q, Deflate *batch, unsigned n, unsigned *taken)
{
    uint64_t limit = UINT64_C(1) << (62 - (q->cluster_bits - 8));

    for (*taken = 0; *taken < n && batch[*taken].len > 0; ++*taken) {
        Deflate *d = &batch[*taken];
        int r = qcow2_bytes_alloc(q, d->len, &d->host);

        if (r >= 0 && d->host + d->len > MIN(limit, ENTRY_OFFSET)) {
            qcow2_cluster_unalloc(q, d->host, d->len);
            r = -EFBIG;
        }
        if (r < 0)
            return r;
        if (*taken && d->host != d[-1].host + d[-1].len) {
            ++*taken;
            break;
        }
    }
    return 0;
}

/* Writes @n clusters whose space is taken; all but perhaps the last are adjacent. */
static CO int batch_write(Qcow2 *q, Deflate *batch, unsigned n)
{
    struct iovec iov[BATCH];
    unsigned i = 0;

    while (i < n) {
        uint64_t off = batch[i].host, len = 0;
        unsigned first = i;
        int r;

        for (; i < n && batch[i].host == off + len; i++) {
            iov[i - first] = (struct iovec){ batch[i].out, batch[i].len };
            len += batch[i].len;
        }
        r = qcow2_overlap_check(q, 0, off, len);
        if (r < 0)
            return r;
        edge_event(q->storage, EV_WRITE_COMPRESSED);
        r = edge_pwrite(q->storage, off, span_of_iov(iov, i - first), 0);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Stores the first clusters of @batch that shrank: space, data, links. */
static CO int batch_store_small(Qcow2 *q, Deflate *batch, unsigned n, unsigned *stored)
{
    unsigned linked = 0;
    int r = batch_take_space(q, batch, n, stored);

    if (r >= 0)
        r = batch_write(q, batch, *stored);
    while (r >= 0 && linked < *stored) {
        r = link_compressed(q, &batch[linked]);
        linked += r >= 0;
    }
    if (r < 0) {
        q->end_unknown = true;
        for (; linked < *stored; linked++)
            qcow2_cluster_unalloc(q, batch[linked].host, batch[linked].len);
    }
    return r;
}

/* Stores all of @batch. It is our turn, and we hold the guest range. */
static CO int batch_store(Qcow2 *q, Deflate *batch, unsigned n)
{
    int r = qcow2_mark_dirty(q);

    for (unsigned i = 0; i < n && r >= 0; i++)
        r = batch[i].len < 0 ? batch[i].len : check_empty(q, batch[i].off);
    for (unsigned i = 0, stored; i < n && r >= 0; i += stored) {
        stored = 1;
        if (batch[i].len)
            r = batch_store_small(q, batch + i, n - i, &stored);
        else
            r = qcow2_write_held(q, batch[i].off, batch[i].data);
    }
    return r;
}

static CO int write_in_turn(Qcow2 *q, uint64_t off, Span buf, uint64_t ticket)
{
    Qcow2Compress *c = compress_state(q);
    RANGE_GUARD hold = {};
    int r = 0;

    for (bool first = true; buf.len && r >= 0; first = false) {
        Deflate batch[BATCH];
        unsigned n = batch_deflate(q, off, buf, batch);
        uint64_t len = MIN(buf.len, n * q->cluster);

        while (first && c->turn != ticket)
            co_queue_wait(&c->waiters);
        qcow2_allocating_take(q, &hold, off, len);
        r = batch_store(q, batch, n);
        range_release(&hold);
        batch_free(batch, n);
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

CO int qcow2_compressed_write(Qcow2 *q, uint64_t off, Span buf)
{
    Qcow2Compress *c = compress_state(q);
    uint64_t ticket;
    int r;

    if (qcow2_has_data_file(q))
        return -ENOTSUP;
    if (qcow2_within(q, off) || (qcow2_within(q, buf.len) && off + buf.len != q->size))
        return -EINVAL;
    ticket = c->ticket++;
    r = write_in_turn(q, off, buf, ticket);
    while (c->turn != ticket)
        co_queue_wait(&c->waiters);
    c->turn++;
    co_queue_wake_all(&c->waiters);
    return r;
}
