/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading compressed clusters: the sectors are read, inflated in the pool, and the wanted part is
 * copied out; the last cluster that was read in part is kept, since small reads come one after
 * another.
 */
#include "block/formats/qcow2/compress-internal.h"
#include "io/loop.h"
#include "io/pool.h"

enum { CODECS_KEPT = 16 };

Qcow2Compress *compress_state(Qcow2 *q)
{
    if (!q->compress) {
        q->compress = g_new0(Qcow2Compress, 1);
        co_semaphore_init(&q->compress->busy, 2 * pool_cpus());
        q->compress->codecs = g_ptr_array_new_with_free_func((GDestroyNotify)codec_free);
    }
    return q->compress;
}

void qcow2_compress_close(Qcow2 *q)
{
    if (!q->compress)
        return;
    g_ptr_array_unref(q->compress->codecs);
    g_free(q->compress->kept);
    g_clear_pointer(&q->compress, g_free);
}

Codec *compress_codec_take(Qcow2 *q)
{
    GPtrArray *free = compress_state(q)->codecs;

    return free->len ? g_ptr_array_steal_index(free, free->len - 1)
                     : codec_new(q->compression == QCOW2_ZSTD);
}

void compress_codec_give(Qcow2 *q, Codec *c)
{
    if (compress_state(q)->codecs->len < CODECS_KEPT)
        g_ptr_array_add(compress_state(q)->codecs, c);
    else
        codec_free(c);
}

/*
 * Deflate: a match of 258 bytes takes two bits at least. Zstandard: a frame has a magic number and
 * a header, each block of 128 KiB a header and a byte to repeat. The L2 entry takes another eight
 * bytes.
 */
uint64_t qcow2_expansion(const Qcow2 *q)
{
    enum { DEFLATE = 1032, FRAME = 6, BLOCK = 128 << 10, BLOCK_LEN = 4, ENTRY = 8 };

    if (q->compression != QCOW2_ZSTD)
        return DEFLATE;
    return q->cluster / (FRAME + ENTRY + BLOCK_LEN * div_round_up(q->cluster, BLOCK));
}

typedef struct {
    Codec *codec;
    const void *in;
    size_t len;
    void *out;
    size_t out_len;
} Inflate;

static int inflate_run(void *arg)
{
    Inflate *i = arg;

    return codec_inflate(i->codec, i->in, i->len, i->out, i->out_len);
}

static CO int cluster_read_now(Qcow2 *q, uint64_t desc, void *out)
{
    uint64_t off, len;
    g_autofree uint8_t *in = NULL;
    Inflate job;
    int r;

    qcow2_compressed_span(q, desc, &off, &len);
    in = g_try_malloc(len);
    if (!in)
        return -ENOMEM;
    edge_event(q->storage, EV_READ_COMPRESSED);
    r = qcow2_file_read(q, off, in, len);
    if (r < 0)
        return r;
    job = (Inflate){ .codec = compress_codec_take(q), .in = in, .len = len, .out = out,
                     .out_len = q->cluster };
    r = loop_is_alone() ? inflate_run(&job) : pool_compute(inflate_run, &job);
    compress_codec_give(q, job.codec);
    return r;
}

/* All of the cluster that @desc describes, to @out. */
static CO int cluster_read(Qcow2 *q, uint64_t desc, void *out)
{
    int r;

    co_semaphore_take(&compress_state(q)->busy);
    r = cluster_read_now(q, desc, out);
    co_semaphore_give(&compress_state(q)->busy);
    return r;
}

CO int qcow2_compressed_read(Qcow2 *q, uint64_t desc, uint64_t within, Span buf)
{
    Qcow2Compress *c = compress_state(q);
    uint64_t generation = q->compressed_generation;
    g_autofree uint8_t *whole = NULL;
    size_t piece;
    void *direct = span_head(buf, &piece);
    int r;

    if (c->kept_desc == desc && c->kept_generation == generation) {
        span_write(buf, c->kept + within);
        return 0;
    }
    if (buf.len == q->cluster && piece == buf.len)
        return cluster_read(q, desc, direct);
    whole = g_try_malloc(q->cluster);
    r = whole ? cluster_read(q, desc, whole) : -ENOMEM;
    if (r < 0)
        return r;
    span_write(buf, whole + within);
    if (generation == q->compressed_generation && buf.len < q->cluster) {
        g_free(c->kept);
        c->kept = g_steal_pointer(&whole);
        c->kept_desc = desc;
        c->kept_generation = generation;
    }
    return 0;
}
