/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random requests on qcow2 images of all kinds, several at once, against a plain copy in memory. In
 * the end the reference checks the image and compares its content, where one is installed.
 */
#include "block/block.h"
#include "tests/lib/harness.h"
#include "util/keyval.h"
#include "util/size.h"
#include "io/co-lock.h"
#include <string.h>
#include <unistd.h>

enum { WORKERS = 8, OPS = 60 };

typedef struct {
    Handle *h;
    uint8_t *model;       /* what the disk must read as */
    uint64_t size;
    uint64_t unit;        /* workers own alternate units of this size: their requests do not overlap */
    GRand *rand;
    uint64_t max;
    bool compressing;
    uint64_t cluster;
} Disk;

typedef struct {
    Disk *d;
    unsigned number;
} Worker;

static void fill(uint8_t *buf, uint64_t len, GRand *r)
{
    uint32_t seed = g_rand_int(r);

    for (uint64_t i = 0; i < len; i++)
        buf[i] = (uint8_t)(seed + i / 512 * 7 + i % 13);
}

static CO void do_write(Disk *d, uint64_t off, uint64_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);

    fill(buf, len, d->rand);
    g_assert_cmpint(handle_pwrite(d->h, off, span_of(buf, len), 0), ==, 0);
    memcpy(d->model + off, buf, len);
}

static CO void do_read(Disk *d, uint64_t off, uint64_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);

    memset(buf, 0xee, len);
    g_assert_cmpint(handle_pread(d->h, off, span_of(buf, len), 0), ==, 0);
    for (uint64_t i = 0; i < len; i++)
        if (buf[i] != d->model[off + i])
            g_error("byte %" G_GUINT64_FORMAT " reads %02x, not %02x", off + i, buf[i],
                    d->model[off + i]);
}

static CO void do_zero(Disk *d, uint64_t off, uint64_t len, ReqFlags flags)
{
    g_assert_cmpint(handle_zero(d->h, off, len, flags), ==, 0);
    memset(d->model + off, 0, len);
}

/* Leaves content open, so the range is zeroed at once. */
static CO void do_discard(Disk *d, uint64_t off, uint64_t len)
{
    g_assert_cmpint(handle_discard(d->h, off, len), ==, 0);
    do_zero(d, off, len, REQ_MAY_UNMAP);
}

static CO void do_compressed(Disk *d, uint64_t off, uint64_t len)
{
    uint64_t first = round_up(off, d->cluster), end = round_down(off + len, d->cluster);
    g_autofree uint8_t *buf = NULL;
    int r;

    if (first >= end)
        return;
    buf = g_malloc(end - first);
    fill(buf, end - first, d->rand);
    if (g_rand_boolean(d->rand))      /* does not shrink */
        for (uint64_t i = 0; i < end - first; i++)
            buf[i] = g_rand_int(d->rand);
    do_discard(d, first, end - first);
    r = handle_pwrite(d->h, first, span_of(buf, end - first), REQ_COMPRESSED);
    g_assert_cmpint(r, ==, 0);
    memcpy(d->model + first, buf, end - first);
}

static CO void one_op(Disk *d, uint64_t from, uint64_t to)
{
    uint64_t off = from + g_rand_int_range(d->rand, 0, to - from);
    uint64_t len = 1 + g_rand_int_range(d->rand, 0, MIN(to - off, d->max));

    if (g_rand_boolean(d->rand)) {
        off = round_down(off, 512);
        len = MIN(round_up(len, 512), to - off);
    }
    switch (g_rand_int_range(d->rand, 0, 12)) {
    case 0: do_zero(d, off, len, 0); break;
    case 1: do_zero(d, off, len, REQ_MAY_UNMAP); break;
    case 2: do_discard(d, off, len); break;
    case 3:
    case 4:
    case 5: do_read(d, off, len); break;
    case 6: g_assert_cmpint(handle_flush(d->h), ==, 0); break;
    case 7:
        if (d->compressing) {
            do_compressed(d, off, len);
            break;
        }
        /* fall through */
    default: do_write(d, off, len); break;
    }
}

static CO void worker(void *arg)
{
    Worker *w = arg;
    Disk *d = w->d;

    for (unsigned i = 0; i < OPS; i++) {
        uint64_t units = d->size / d->unit, u = g_rand_int_range(d->rand, 0, units / WORKERS);
        uint64_t from = (u * WORKERS + w->number) * d->unit;

        one_op(d, from, MIN(from + d->unit, d->size));
    }
}

static Handle *open_image(const char *path, const char *options, OpenFlags flags)
{
    g_autoptr(GError) err = NULL;
    json_t *o = options ? keyval_parse(options, NULL, &err) : json_object();
    Handle *h;

    json_put_str(o, "driver", "qcow2");
    h = handle_open(path, o, flags, &err);
    g_assert_no_error(err);
    return h;
}

static CO void create_image(const char *path, const char *fmt, const char *options, uint64_t size)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) opts = json_object();

    g_assert_true(keyval_parse_flat(options, NULL, opts, &err));
    json_put_int(opts, "size", size);
    image_create(path, fmt, opts, &err);
    g_assert_no_error(err);
}

/* Runs a program of the reference; false if there is none. */
static bool reference(const char *what)
{
    const char *dir = g_getenv("FERRY_REFERENCE");
    g_autofree char *program = g_build_filename(dir ? dir : "/usr/bin", "qemu-img", NULL);
    g_autofree char *line = g_strdup_printf("%s %s >&2", program, what);
    int status;

    if (!g_file_test(program, G_FILE_TEST_IS_EXECUTABLE))
        return false;
    status = system(line);
    if (status)
        g_error("reference: %s: status %d", what, status);
    return true;
}

static CO void verify_all(Disk *d, const char *path, const char *open_options)
{
    g_autofree char *raw = test_path("model.raw");
    g_autofree char *check = g_strdup_printf("check -q %s", path);
    g_autofree char *compare = g_strdup_printf("compare -q -f qcow2 -F raw %s %s", path, raw);

    do_read(d, 0, d->size);
    handle_close(d->h);
    d->h = open_image(path, open_options, OPEN_RDWR);
    do_read(d, 0, d->size);
    handle_close(d->h);
    g_assert_true(g_file_set_contents(raw, (char *)d->model, d->size, NULL));
    if (reference(check))
        reference(compare);
}

static CO void random_requests(const char *options, const char *open_options, uint64_t size,
                               uint64_t cluster, bool backing, uint64_t max)
{
    g_autofree char *path = test_path("a.qcow2"), *base = test_path("base.raw");
    g_autofree char *all = g_strdup_printf("%s%s%s%s", options, *options && backing ? "," : "",
                                           backing ? "backing_fmt=raw,backing_file=" : "",
                                           backing ? base : "");
    Disk d = { .size = size, .model = g_malloc0(size), .unit = size / 64 / 512 * 512 + 512,
               .rand = g_rand_new_with_seed(cluster + size + max), .max = max,
               /* Nothing can be unmapped in version 2 above a backing file. */
               .compressing = !strstr(options, "0.10"), .cluster = cluster };
    Worker workers[WORKERS];
    CoGroup group = { 0 };

    if (backing) {
        uint64_t half = size / 2 / 512 * 512;

        fill(d.model, half, d.rand);
        g_assert_true(g_file_set_contents(base, (char *)d.model, half, NULL));
    }
    create_image(path, "qcow2", all, size);
    d.h = open_image(path, open_options, OPEN_RDWR | OPEN_UNMAP);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (Worker){ &d, i };
        co_group_start(&group, worker, &workers[i]);
    }
    co_group_wait(&group);
    verify_all(&d, path, open_options);
    g_rand_free(d.rand);
    g_free(d.model);
    unlink(path);
}

#define RANDOM(name, ...)                                                                          \
    static CO void test_##name(void)                                                               \
    {                                                                                              \
        random_requests(__VA_ARGS__);                                                              \
    }

RANDOM(default, "", NULL, 16 * MiB, 65536, false, 300000)
RANDOM(backing, "", NULL, 16 * MiB, 65536, true, 300000)
RANDOM(512, "cluster_size=512", NULL, 1 * MiB, 512, false, 20000)
RANDOM(512_backing, "cluster_size=512", NULL, 1 * MiB + 512 * 3, 512, true, 20000)
RANDOM(2m, "cluster_size=2M", NULL, 64 * MiB, 2 * MiB, true, 3000000)
RANDOM(v2, "compat=0.10,cluster_size=4k", NULL, 2 * MiB, 4096, false, 50000)
RANDOM(v2_backing, "compat=0.10,cluster_size=4k", NULL, 2 * MiB, 4096, true, 50000)
RANDOM(refcount_1, "refcount_bits=1,cluster_size=4k", NULL, 2 * MiB, 4096, true, 50000)
RANDOM(refcount_64, "refcount_bits=64,cluster_size=512", NULL, 1 * MiB, 512, true, 50000)
RANDOM(extended, "extended_l2=on,cluster_size=64k", NULL, 16 * MiB, 65536, true, 300000)
RANDOM(extended_16k, "extended_l2=on,cluster_size=16k", NULL, 4 * MiB, 16384, false, 100000)
RANDOM(zstd, "compression_type=zstd", NULL, 16 * MiB, 65536, true, 300000)
RANDOM(tiny, "cluster_size=512", "l2-cache-size=1024,refcount-cache-size=2048", 1 * MiB, 512, true,
       20000)
RANDOM(tiny_slices, "cluster_size=64k", "l2-cache-size=1024,l2-cache-entry-size=512", 16 * MiB,
       65536, true, 300000)
RANDOM(lazy, "lazy_refcounts=on,cluster_size=4k", NULL, 2 * MiB, 4096, true, 50000)
RANDOM(prealloc, "preallocation=metadata", NULL, 16 * MiB, 65536, false, 300000)
RANDOM(odd_size, "", NULL, 16 * MiB + 1536, 65536, true, 300000)
RANDOM(no_unref, "", "discard-no-unref=on", 16 * MiB, 65536, true, 300000)
RANDOM(overlap_all, "cluster_size=4k", "overlap-check=all", 2 * MiB, 4096, true, 50000)

const Test tests[] = {
    { "/qcow2/random/default", test_default },
    { "/qcow2/random/backing", test_backing },
    { "/qcow2/random/512", test_512 },
    { "/qcow2/random/512-backing", test_512_backing },
    { "/qcow2/random/2m", test_2m },
    { "/qcow2/random/v2", test_v2 },
    { "/qcow2/random/v2-backing", test_v2_backing },
    { "/qcow2/random/refcount-1", test_refcount_1 },
    { "/qcow2/random/refcount-64", test_refcount_64 },
    { "/qcow2/random/extended", test_extended },
    { "/qcow2/random/extended-16k", test_extended_16k },
    { "/qcow2/random/zstd", test_zstd },
    { "/qcow2/random/tiny-caches", test_tiny },
    { "/qcow2/random/tiny-slices", test_tiny_slices },
    { "/qcow2/random/lazy", test_lazy },
    { "/qcow2/random/preallocated", test_prealloc },
    { "/qcow2/random/odd-size", test_odd_size },
    { "/qcow2/random/discard-no-unref", test_no_unref },
    { "/qcow2/random/overlap-check-all", test_overlap_all },
    {}
};
