/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a mirror with x-resume keeps in its source: whenever the power fails, each granule that the
 * bitmap in the image leaves out is the same in source and target.
 */
#include "block/internal.h"
#include "block/jobs/kinds.h"
#include "tests/lib/harness.h"
#include "tests/lib/memdisk.h"
#include <string.h>
#include <unistd.h>

enum { SIZE = 2 << 20, GRANULE = 16 << 10, SECTOR = 512, DISKS = 2, WRITES = 400, CUTS = 250 };

typedef struct {
    Node *disks[DISKS];  /* of the source, which has the log of both, and of the target */
    Handle *h;           /* of the guest */
    Handle *to;
    GRand *rand;
    unsigned known, left_out; /* cuts after which the bitmap was trusted; granules left out then */
} Run;

/* ---- the work -------------------------------------------------------------------------------- */

static void source_make(MemdiskImage *image)
{
    g_autoptr(json_t) opts = json_pack("{s:I, s:i}", "size", (json_int_t)SIZE, "cluster_size",
                                       4096);
    g_autofree char *path = test_path("source"), *data = NULL;
    g_autoptr(GError) err = NULL;
    gsize len;

    image_create(path, "qcow2", opts, &err);
    g_assert_no_error(err);
    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    memdisk_image_set(image, (uint8_t *)data, len);
    unlink(path);
}

static CO Handle *open_ok(json_t *options, OpenFlags flags)
{
    g_autoptr(GError) err = NULL;
    Handle *h = handle_open(NULL, options, flags, &err);

    g_assert_no_error(err);
    return h;
}

static json_t *source_options(const char *disk)
{
    return json_pack("{s:s, s:s, s:n}", "driver", "qcow2", "file", disk, "backing");
}

/* A handle on the same node that wants only @needs and shares everything. */
static CO Handle *loosened(Handle *h, unsigned needs)
{
    g_autoptr(GError) err = NULL;
    Handle *other = handle_new(handle_node(h), HANDLE_USER, needs, ACCESS_ALL, &err);

    g_assert_no_error(err);
    handle_close(h);
    return other;
}

static CO void run_open(Run *r)
{
    g_autofree uint8_t *zeroes = g_malloc0(SIZE);
    MemdiskImage source = {};

    source_make(&source);
    r->disks[0] = memdisk_new("disk-0", source.data, source.len);
    r->disks[1] = memdisk_new_beside(r->disks[0], "disk-1", zeroes, SIZE);
    memdisk_image_clear(&source);
    r->h = loosened(open_ok(source_options("disk-0"), OPEN_RDWR), ACCESS_READ | ACCESS_WRITE);
    r->to = loosened(open_ok(json_pack("{s:s, s:s}", "driver", "raw", "file", "disk-1"), OPEN_RDWR),
                     0);
}

static CO void run_close(Run *r)
{
    handle_close(r->h);
    handle_close(r->to);
    memdisk_free(r->disks[1]);
    memdisk_free(r->disks[0]);
    g_rand_free(r->rand);
}

static CO void guest_change(Run *r)
{
    uint64_t sectors = 1 + g_rand_int_range(r->rand, 0, 64), len = sectors * SECTOR;
    uint64_t off = g_rand_int_range(r->rand, 0, SIZE / SECTOR - sectors + 1) * (uint64_t)SECTOR;
    g_autofree uint8_t *buf = g_malloc(len);
    int kind = g_rand_int_range(r->rand, 0, 10), result = 0;

    memset(buf, g_rand_int_range(r->rand, 1, 256), len);
    if (kind < 7)
        result = handle_pwrite(r->h, off, span_of(buf, len), 0);
    else if (kind < 8)
        result = handle_zero(r->h, off, len, REQ_MAY_UNMAP);
    else if (kind < 9)
        result = handle_discard(r->h, off, len);
    else
        result = handle_flush(r->h);
    g_assert_cmpint(result, ==, 0);
}

/* Changes here and there, with rests in which what is left is stored. */
static CO void guest_work(Run *r, unsigned changes)
{
    for (unsigned i = 0; i < changes; i++) {
        guest_change(r);
        if (!g_rand_int_range(r->rand, 0, 8))
            co_sleep(g_rand_int_range(r->rand, 0, 40000000));
    }
}

static CO void mirror(Run *r, MirrorCopyMode mode, bool pivots)
{
    MirrorArgs args = {
        .job = { .id = "j", .auto_finalize = true },
        .source = handle_node(r->h), .target = handle_node(r->to), .sync = MIRROR_SYNC_MODE_FULL,
        .copy_mode = mode, .granularity = GRANULE, .resume = "r",
    };
    g_autoptr(GError) err = NULL;
    Job *j;

    mirror_start(&args, &err);
    g_assert_no_error(err);
    j = job_find("j");
    guest_work(r, WRITES);
    while (pivots && !job_is_ready(j))
        co_sleep(1000000);
    if (pivots)
        job_complete(j, &err);
    else
        job_cancel(j, true, &err);
    g_assert_no_error(err);
    while (j->status != JOB_STATUS_CONCLUDED)
        co_sleep(1000000);
    if (pivots)
        g_assert_no_error(j->error);
    job_dismiss(j, &err);
    g_assert_no_error(err);
}

/* ---- cuts ------------------------------------------------------------------------------------ */

typedef struct {
    GRand *rand;
    int mode; /* 0 none, 1 all, 2 torn */
} Tear;

static bool tear_keep(void *arg, size_t sector)
{
    Tear *t = arg;

    return t->mode == 1 || (t->mode == 2 && g_rand_boolean(t->rand));
}

/* The disks when the power has failed after entry @end - 1: what was flushed, some of the rest. */
static void cut(const Run *r, MemdiskImage *images, size_t end)
{
    size_t flushed[DISKS] = {};

    for (size_t i = 0; i < end; i++) {
        const MemdiskEntry *e = memdisk_log(r->disks[0], i);

        if (e->op == MEMDISK_FLUSH)
            flushed[e->disk == r->disks[1]] = i;
    }
    for (int d = 0; d < DISKS; d++) {
        size_t len;
        const uint8_t *origin = memdisk_origin(r->disks[d], &len);

        memdisk_image_set(&images[d], origin, len);
    }
    for (size_t i = 0; i < end; i++) {
        const MemdiskEntry *e = memdisk_log(r->disks[0], i);
        int d = e->disk == r->disks[1];
        Tear t = { r->rand, i < flushed[d] ? 1 : g_rand_int_range(r->rand, 0, 3) };

        if (t.mode || e->op != MEMDISK_RESIZE)
            memdisk_image_apply(&images[d], e, tear_keep, &t);
    }
}

/* The bitmap of a mirror that was started with x-resume=r. */
static DirtyBitmap *bitmap_of(Node *n)
{
    for (DirtyBitmap *b = dirty_first(n); b; b = b->next)
        if (g_str_has_prefix(b->name, "r.x-resume-"))
            return b;
    return NULL;
}

static CO void compare(Run *r, Handle *h, const DirtyBitmap *b, const uint8_t *target, size_t end)
{
    g_autofree uint8_t *buf = g_malloc(GRANULE);

    r->known++;
    for (uint64_t i = 0; i < SIZE / GRANULE; i++) {
        if (hbitmap_get(b->bits, i))
            continue;
        r->left_out++;
        g_assert_cmpint(handle_pread(h, i * GRANULE, span_of(buf, GRANULE), 0), ==, 0);
        if (memcmp(buf, target + i * GRANULE, GRANULE))
            g_error("cut after entry %zu: granule %d is not marked but differs", end, (int)i);
    }
}

static CO void judge(Run *r, size_t end)
{
    MemdiskImage images[DISKS] = {};
    const DirtyBitmap *b;
    Node *disk;
    Handle *h;

    cut(r, images, end);
    disk = memdisk_new_scratch("cut", images[0].data, images[0].len, UINT64_MAX);
    h = open_ok(source_options("cut"), OPEN_RDWR);
    b = bitmap_of(handle_node(h));
    if (b && !b->inconsistent)
        compare(r, h, b, images[1].data, end);
    handle_close(h);
    memdisk_free(disk);
    for (int d = 0; d < DISKS; d++)
        memdisk_image_clear(&images[d]);
}

static CO void test_mode(MirrorCopyMode mode, uint32_t seed)
{
    Run r = { .rand = g_rand_new_with_seed(seed) };
    size_t total, step;

    run_open(&r);
    guest_work(&r, 20);
    mirror(&r, mode, false);
    guest_work(&r, 50);   /* which nobody keeps in the image any more */
    total = memdisk_log_len(r.disks[0]);
    step = MAX(total / (test_is_slowed() ? CUTS / 5 : CUTS), 1);
    for (size_t end = 0; end <= total; end += step)
        judge(&r, end);
    g_test_message("%zu entries: bitmap trusted %u times, %u granules left out", total, r.known,
                   r.left_out);
    g_assert_cmpuint(r.known, >, 10);
    g_assert_cmpuint(r.left_out, >, 10);
    run_close(&r);
}

static CO void test_no_difference_is_left_out(void)
{
    test_mode(MIRROR_COPY_MODE_BACKGROUND, 1);
}

static CO void test_nor_with_writes_to_both(void)
{
    test_mode(MIRROR_COPY_MODE_WRITE_BLOCKING, 2);
}

/* A target that has taken the source's place needs no bitmap; another end keeps it. */
static CO void test_the_bitmap_goes_with_a_pivot(void)
{
    Run r = { .rand = g_rand_new_with_seed(3) };
    Node *source;

    run_open(&r);
    source = node_ref(handle_node(r.h));
    mirror(&r, MIRROR_COPY_MODE_BACKGROUND, false);
    g_assert_nonnull(bitmap_of(source));
    g_assert_false(bitmap_of(source)->busy);
    mirror(&r, MIRROR_COPY_MODE_BACKGROUND, true);
    g_assert_true(handle_node(r.h) == handle_node(r.to));
    g_assert_null(bitmap_of(source));
    node_unref(source);
    run_close(&r);
}

const Test tests[] = {
    { "/mirror-resume/no-difference-is-left-out", test_no_difference_is_left_out },
    { "/mirror-resume/nor-with-writes-to-both", test_nor_with_writes_to_both },
    { "/mirror-resume/the-bitmap-goes-with-a-pivot", test_the_bitmap_goes_with_a_pivot },
    {}
};
