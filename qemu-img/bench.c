/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img bench: many requests, one after the other through the image, so many at a time. */
#include "io/co-lock.h"
#include "qemu-img/command.h"
#include "qemu-img/tool.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { COUNT_DEFAULT = 75000, DEPTH_DEFAULT = 64, DEPTH_MAX = 8192, SIZE_DEFAULT = 4096 };

typedef struct {
    const char *format, *cache, *aio, *count, *depth, *offset, *size, *step, *pattern, *interval;
    bool image_opts, native, write, no_drain, force_share, quiet;
} BenchArgs;

static const Option bench_options[] = {
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(BenchArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(BenchArgs, image_opts) },
    { 't', "cache", "MODE", "cache mode", OPT_TEXT, offsetof(BenchArgs, cache) },
    { 'c', "count", "COUNT", "requests in all (75000)", OPT_TEXT, offsetof(BenchArgs, count) },
    { 'd', "depth", "DEPTH", "requests at a time (64)", OPT_TEXT, offsetof(BenchArgs, depth) },
    { 'o', "offset", "OFFSET", "where the first one starts (0)", OPT_TEXT,
      offsetof(BenchArgs, offset) },
    { 's', "buffer-size", "SIZE", "bytes of a request (4k)", OPT_TEXT, offsetof(BenchArgs, size) },
    { 'S', "step-size", "SIZE", "from the start of one request to that of the next (as -s)",
      OPT_TEXT, offsetof(BenchArgs, step) },
    { 'w', "write", NULL, "write rather than read", OPT_FLAG, offsetof(BenchArgs, write) },
    { 0, "pattern", "BYTE", "the byte that is written (0)", OPT_TEXT,
      offsetof(BenchArgs, pattern) },
    { 0, "flush-interval", "COUNT", "flush after so many writes", OPT_TEXT,
      offsetof(BenchArgs, interval) },
    { 0, "no-drain", NULL, "do not wait for the writes before a flush", OPT_FLAG,
      offsetof(BenchArgs, no_drain) },
    { 'i', "aio", "threads|native|io_uring", "how files are read and written", OPT_TEXT,
      offsetof(BenchArgs, aio) },
    { 'n', "native", NULL, "the same as -i native", OPT_FLAG, offsetof(BenchArgs, native) },
    { 'U', "force-share", NULL, "open even if another program writes to the image", OPT_FLAG,
      offsetof(BenchArgs, force_share) },
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(BenchArgs, quiet) },
    OPTION_OBJECT,
    OPTION_END
};

typedef struct {
    Handle *h;
    bool write, no_drain;
    uint64_t left, depth, len, step, interval;
    uint8_t pattern;
    uint64_t off, image_size;  /* of the next request; it wraps at the end */
    uint64_t flushed_left;     /* .left when the last flush was made */
    unsigned in_flight;
    bool is_flushing;
    CoQueue drained, resumed;
    int error;
} Bench;

/* Flushes when it is time; false if there was nothing to do. */
static CO bool bench_flush(Bench *b)
{
    int r;

    if (!b->interval || b->left % b->interval || b->flushed_left == b->left)
        return false;
    b->flushed_left = b->left;
    b->is_flushing = !b->no_drain;
    while (b->is_flushing && b->in_flight)
        co_queue_wait(&b->drained);
    r = handle_flush(b->h);
    if (r < 0)
        b->error = r;
    b->is_flushing = false;
    co_queue_wake_all(&b->resumed);
    return true;
}

static CO int bench_request(Bench *b, void *buf)
{
    uint64_t off = b->off;
    Span span = span_of(buf, b->len);
    int r;

    b->left--;
    b->off += b->step;
    if (b->image_size)
        b->off %= b->image_size;
    b->in_flight++;
    r = b->write ? handle_pwrite(b->h, off, span, 0) : handle_pread(b->h, off, span, 0);
    if (!--b->in_flight)
        co_queue_wake_all(&b->drained);
    return r;
}

static CO void bench_worker(void *arg)
{
    Bench *b = arg;
    g_autoptr(Aligned) buf = aligned_try_alloc(MAX(b->len, 1));

    if (!buf) {
        b->error = -ENOMEM;
        return;
    }
    memset(buf, b->pattern, b->len);
    while (b->left && !b->error) {
        int r;

        if (b->is_flushing) {
            co_queue_wait(&b->resumed);
            continue;
        }
        if (bench_flush(b))
            continue;
        r = bench_request(b, buf);
        if (r < 0 && !b->error)
            b->error = r;
    }
}

static CO bool bench_go(Bench *b)
{
    CoGroup group = { 0 };
    uint64_t workers = MIN(b->depth, b->left);
    int64_t began = clock_now_ns(), took;

    b->flushed_left = b->left;
    for (uint64_t i = 0; i < workers; i++)
        co_group_start(&group, bench_worker, b);
    co_group_wait(&group);
    if (!b->error)
        bench_flush(b);
    if (b->error)
        return complain_errno(b->error, "A request failed");
    took = clock_now_ns() - began;
    printf("Run completed in %3.3f seconds.\n", (double)took / 1e9);
    return true;
}

/* Reads a plain number, or leaves the default that is in *@out. */
static bool bench_number(const char *what, const char *text, uint64_t max, uint64_t *out)
{
    return !text || tool_number(what, text, 0, max, out);
}

static bool bench_size(const char *what, const char *text, uint64_t max, uint64_t *out)
{
    return !text || tool_size(what, text, max, out);
}

static bool bench_read_pattern(const char *text, uint8_t *out)
{
    uint64_t v = 0;
    char *end;

    if (text) {
        v = g_ascii_strtoull(text, &end, 0);
        if (!g_ascii_isdigit(*text) || *end || v > 255)
            return complain("'%s' is not a byte: 0 to 255, or 0x00 to 0xff", text);
    }
    *out = (uint8_t)v;
    return true;
}

static bool bench_read_args(const BenchArgs *a, Bench *b)
{
    b->left = COUNT_DEFAULT;
    b->depth = DEPTH_DEFAULT;
    b->len = SIZE_DEFAULT;
    if (!bench_number("number of requests", a->count, INT32_MAX, &b->left) ||
        !bench_number("queue depth", a->depth, INT32_MAX, &b->depth) ||
        !bench_size("offset", a->offset, INT64_MAX, &b->off) ||
        !bench_size("buffer size", a->size, INT32_MAX, &b->len) ||
        !bench_size("step size", a->step, INT32_MAX, &b->step) ||
        !bench_number("flush interval", a->interval, INT32_MAX, &b->interval) ||
        !bench_read_pattern(a->pattern, &b->pattern))
        return false;
    if (!b->depth || b->depth > DEPTH_MAX)
        return complain("Between 1 and %d requests can be under way at a time", DEPTH_MAX);
    if (b->interval && !a->write)
        return complain("--flush-interval is for writing (-w)");
    if (b->interval && b->interval < b->depth)
        return complain("The flush interval is shorter than the queue is deep");
    if (!b->step)
        b->step = b->len;
    b->write = a->write;
    b->no_drain = a->no_drain;
    return true;
}

static bool bench_read_flags(const BenchArgs *a, OpenFlags *flags)
{
    *flags = (a->write ? OPEN_RDWR : 0) | (a->force_share ? OPEN_FORCE_SHARE : 0);
    if (!open_cache_mode("cache", a->cache, flags))
        return false;
    if (a->native)
        *flags |= OPEN_AIO_NATIVE;
    return !a->aio || aio_mode_parse(a->aio, flags) ||
           complain("There is no aio mode '%s'; choose threads, native or io_uring", a->aio);
}

static CO int bench_run(const void *args, char **words, int count)
{
    const BenchArgs *a = args;
    Bench b = { 0 };
    OpenFlags flags;
    bool ok;

    if (!bench_read_args(a, &b) || !bench_read_flags(a, &flags) ||
        !tool_check_image_opts(a->image_opts, a->format))
        return 1;
    if (count != 1) {
        complain_usage("Exactly one image is needed");
        return 1;
    }
    b.h = tool_open(words[0], a->format, a->image_opts, flags);
    if (!b.h)
        return 1;
    b.image_size = handle_size(b.h);
    printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64 " in parallel "
           "(starting at offset %" PRIu64 ", step size %" PRIu64 ")\n", b.left,
           b.write ? "write" : "read", b.len, b.depth, b.off, b.step);
    if (b.interval)
        printf("Sending flush every %" PRIu64 " requests\n", b.interval);
    fflush(stdout);
    ok = bench_go(&b);
    return tool_close(&b.h) && ok ? 0 : 1;
}

const Command cmd_bench = {
    .name = "bench",
    .synopsis = "[OPTION]... FILE",
    .words = "filename",
    .summary = "Measures how long many requests take.",
    .options = bench_options,
    .args_size = sizeof(BenchArgs),
    .run = bench_run,
};
