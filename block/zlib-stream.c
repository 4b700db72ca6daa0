/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams of zlib's, see the header. */
#include "block/zlib-stream.h"
#include "block/deflate.h"
#include "io/co-lock.h"
#include "io/loop.h"
#include "io/pool.h"
#include "util/module.h"
#include <errno.h>
#include <zlib.h>

enum { KEPT = 16 };

struct ZlibStreams {
    const DeflateModule *fast;  /* NULL: not installed */
    GPtrArray *inflaters, *deflaters; /* of the module, not in use */
    CoSemaphore busy;           /* calls at the same time: more than CPUs only take memory */
};

ZlibStreams *zlib_streams_new(void)
{
    ZlibStreams *s = g_new0(ZlibStreams, 1);

    s->fast = module_load("deflate", NULL);
    s->inflaters = g_ptr_array_new();
    s->deflaters = g_ptr_array_new();
    co_semaphore_init(&s->busy, 2 * pool_cpus());
    return s;
}

void zlib_streams_free(ZlibStreams *s)
{
    if (!s)
        return;
    for (guint i = 0; i < s->inflaters->len; i++)
        s->fast->state_free(s->inflaters->pdata[i]);
    for (guint i = 0; i < s->deflaters->len; i++)
        s->fast->deflater_free(s->deflaters->pdata[i]);
    g_ptr_array_unref(s->inflaters);
    g_ptr_array_unref(s->deflaters);
    g_free(s);
}

typedef struct {
    const DeflateModule *fast;
    void *state;            /* of the module */
    const void *in;
    size_t len;
    void *out;
    size_t out_len;
    size_t made;
} Job;

static int inflate_run(void *arg)
{
    Job *j = arg;
    uLongf made = j->out_len;
    uLong used = j->len;

    if (j->state)
        return j->fast->inflate_zlib(j->state, j->in, j->len, j->out, j->out_len, &j->made);
    if (uncompress2(j->out, &made, j->in, &used) != Z_OK)
        return -EIO;
    j->made = made;
    return 0;
}

static int deflate_run(void *arg)
{
    Job *j = arg;
    uLongf made = j->out_len;

    if (j->state) {
        j->made = j->fast->deflate_zlib(j->state, j->in, j->len, j->out, j->out_len);
        return j->made ? 0 : -EIO;
    }
    if (compress2(j->out, &made, j->in, j->len, Z_DEFAULT_COMPRESSION) != Z_OK)
        return -EIO;
    j->made = made;
    return 0;
}

/* Runs @fn with a state of @kept, or one that @make makes, which @drop drops. */
static CO int run(ZlibStreams *s, int (*fn)(void *), Job *j, GPtrArray *kept, void *(*make)(void),
                  void (*drop)(void *))
{
    int r;

    co_semaphore_take(&s->busy);
    if (s->fast)
        j->state = kept->len ? g_ptr_array_steal_index_fast(kept, kept->len - 1) : make();
    r = loop_is_alone() ? fn(j) : pool_compute(fn, j);
    if (j->state && kept->len < KEPT)
        g_ptr_array_add(kept, j->state);
    else if (j->state)
        drop(j->state);
    co_semaphore_give(&s->busy);
    return r;
}

CO int zlib_stream_inflate(ZlibStreams *s, const void *in, size_t len, void *out, size_t out_len,
                           size_t *made)
{
    Job j = { .fast = s->fast, .in = in, .len = len, .out = out, .out_len = out_len };
    int r = run(s, inflate_run, &j, s->inflaters, s->fast ? s->fast->state_new : NULL,
                s->fast ? s->fast->state_free : NULL);

    *made = j.made;
    return r;
}

size_t zlib_stream_bound(size_t len)
{
    /* That of zlib is the larger one of both libraries'; some room for headers. */
    return compressBound(len) + 64;
}

CO int zlib_stream_deflate(ZlibStreams *s, const void *in, size_t len, void *out, size_t out_len,
                           size_t *made)
{
    Job j = { .fast = s->fast, .in = in, .len = len, .out = out, .out_len = out_len };
    int r = run(s, deflate_run, &j, s->deflaters, s->fast ? s->fast->deflater_new : NULL,
                s->fast ? s->fast->deflater_free : NULL);

    *made = j.made;
    return r;
}
