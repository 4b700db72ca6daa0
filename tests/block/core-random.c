/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random requests of any alignment, from one coroutine and from many at once, through stacks of
 * nodes that ask for odd alignments and sizes; beside a copy of the disk in memory.
 */
#include "block/block.h"
#include "io/co-lock.h"
#include "tests/lib/harness.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

enum { DISK = 256 << 10, STRIPES = 24, REQUEST_MAX = 20000 };

typedef struct {
    Handle *h;
    uint8_t *model;     /* what the disk must hold */
    bool *unknown;      /* after a discard: a byte may be zero or as before */
} Disk;

/* The nodes of a disk above the file "a"; %s is its path. */
static const char *const stacks[] = {
    "{'driver':'raw','file':{'driver':'file','filename':'%s'}}",
    "{'driver':'raw','detect-zeroes':'unmap','discard':'unmap',"
    "'file':{'driver':'file','filename':'%s'}}",
    "{'driver':'raw','offset':512,'size':262144,'file':{'driver':'file','filename':'%s'}}",
    "{'driver':'raw','offset':1000,'file':{'driver':'blkdebug','align':512,"
    "'image':{'driver':'file','filename':'%s'}}}",
    "{'driver':'raw','cache':{'direct':true},'file':{'driver':'file','filename':'%s'}}",
    "{'driver':'raw','file':{'driver':'blkdebug','align':4096,'max-transfer':8192,"
    "'image':{'driver':'file','filename':'%s'}}}",
    "{'driver':'blkdebug','align':65536,'image':{'driver':'file','filename':'%s'}}",
    "{'driver':'raw','file':{'driver':'blkdebug','opt-write-zero':3000,'max-write-zero':9000,"
    "'opt-discard':1500,'max-transfer':1000,'image':{'driver':'file','filename':'%s'}}}",
    "{'driver':'blkdebug','align':512,'opt-write-zero':4096,'max-write-zero':16384,"
    "'image':{'driver':'blkdebug','align':4096,'image':{'driver':'file','filename':'%s'}}}",
    "{'driver':'preallocate','prealloc-size':8192,'prealloc-align':4096,"
    "'file':{'driver':'file','filename':'%s'}}",
    "{'driver':'copy-on-read','file':{'driver':'raw','file':{'driver':'file','filename':'%s'}}}",
    "{'driver':'quorum','vote-threshold':1,'children':[{'driver':'blkdebug','align':512,"
    "'image':{'driver':'file','filename':'%s'}}]}",
    "{'driver':'qcow2','discard':'unmap','file':{'driver':'blkdebug','align':4096,"
    "'max-transfer':4096,'image':{'driver':'file','filename':'%s.qcow2'}}}",
};

static json_t *stack_options(const char *form, const char *path)
{
    g_auto(GStrv) parts = g_strsplit(form, "%s", -1);
    g_autofree char *text = g_strjoinv(path, parts);
    g_autoptr(GError) err = NULL;
    json_t *o = json_parse(text, strlen(text), &err);

    g_assert_no_error(err);
    return o;
}

static CO void make_files(const char *path)
{
    g_autofree char *qcow2 = g_strconcat(path, ".qcow2", NULL);
    const char *const formats[] = { "raw", "qcow2" };
    const char *const names[] = { path, qcow2 };

    for (int i = 0; i < 2; i++) {
        g_autoptr(json_t) opts = json_object();
        g_autoptr(GError) err = NULL;

        json_put_int(opts, "size", i ? DISK : DISK + (64 << 10));
        image_create(names[i], formats[i], opts, &err);
        g_assert_no_error(err);
    }
}

static CO Disk disk_open(const char *form)
{
    g_autofree char *path = test_path("a");
    g_autoptr(GError) err = NULL;
    Disk d = { .model = g_malloc0(DISK), .unknown = g_new0(bool, DISK) };

    make_files(path);
    d.h = handle_open(NULL, stack_options(form, path), OPEN_RDWR | OPEN_UNMAP, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(handle_size(d.h), >=, DISK);
    return d;
}

/* True if @got is what the model says. */
static void disk_expect(const Disk *d, uint64_t off, const uint8_t *got, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++) {
        if (got[i] == d->model[off + i] || (d->unknown[off + i] && !got[i]))
            continue;
        g_error("byte %" PRIu64 " of a request at %" PRIu64 " is %u, not %u", i, off, got[i],
                d->model[off + i]);
    }
}

static CO void disk_close(Disk *d)
{
    g_autofree uint8_t *all = g_malloc(DISK);

    g_assert_cmpint(handle_flush(d->h), ==, 0);
    g_assert_cmpint(handle_pread(d->h, 0, span_of(all, DISK), 0), ==, 0);
    disk_expect(d, 0, all, DISK);
    handle_close(d->h);
    g_free(d->model);
    g_free(d->unknown);
}

/* ---- one request ---------------------------------------------------------------------------- */

/* Cuts memory of @len bytes at @buf into a few pieces of odd lengths, some empty. */
static Span pieces(uint8_t *buf, size_t len, struct iovec *iov, int max)
{
    size_t done = 0;
    int n = 0;

    while (n < max - 1 && done < len) {
        size_t now = g_random_int_range(0, 4000);

        now = MIN(now, len - done);
        iov[n++] = (struct iovec){ .iov_base = buf + done, .iov_len = now };
        done += now;
    }
    iov[n++] = (struct iovec){ .iov_base = buf + done, .iov_len = len - done };
    return span_of_iov(iov, n);
}

static CO void random_request(Disk *d, uint64_t start, uint64_t end)
{
    g_autofree uint8_t *memory = g_malloc(REQUEST_MAX + 1024);
    uint8_t *buf = memory + g_random_int_range(0, 64);
    uint64_t off = start + g_random_int_range(0, end - start);
    uint64_t len = g_random_int_range(1, REQUEST_MAX);
    ReqFlags fua = g_random_int_range(0, 4) ? 0 : REQ_FUA;
    struct iovec iov[6];
    int r;

    len = MIN(len, end - off);
    if (!g_random_int_range(0, 3)) {
        off = round_down(off, 512) < start ? off : round_down(off, 512);
        len = MIN(round_up(len, 512), end - off);
    }
    switch (g_random_int_range(0, 10)) {
    case 0 ... 3:
        memset(buf, 0xee, len);
        r = handle_pread(d->h, off, pieces(buf, len, iov, 6), 0);
        g_assert_cmpint(r, ==, 0);
        disk_expect(d, off, buf, len);
        break;
    case 4 ... 6:
        memset(buf, g_random_int_range(0, 5) ? g_random_int_range(1, 256) : 0, len);
        memcpy(d->model + off, buf, len);
        memset(d->unknown + off, 0, len * sizeof(bool));
        r = handle_pwrite(d->h, off, pieces(buf, len, iov, 6), fua);
        break;
    case 7:
        memset(d->model + off, 0, len);
        memset(d->unknown + off, 0, len * sizeof(bool));
        r = handle_zero(d->h, off, len, fua | (g_random_int_range(0, 2) ? REQ_MAY_UNMAP : 0));
        break;
    case 8:
        for (uint64_t i = 0; i < len; i++)
            d->unknown[off + i] = true;
        r = handle_discard(d->h, off, len);
        break;
    default:
        r = handle_flush(d->h);
        break;
    }
    g_assert_cmpint(r, ==, 0);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static CO void test_sequence(void)
{
    int requests = test_is_slowed() ? 30 : 300;

    for (size_t i = 0; i < G_N_ELEMENTS(stacks); i++) {
        Disk d = disk_open(stacks[i]);

        for (int j = 0; j < requests; j++)
            random_request(&d, 0, DISK);
        disk_close(&d);
    }
}

typedef struct {
    Disk *disk;
    unsigned which;
    int requests;
} Worker;

/* Works on every @STRIPES-th part of the disk; parts end at odd places, inside of blocks. */
static CO void worker_run(void *arg)
{
    const Worker *w = arg;

    for (int i = 0; i < w->requests; i++) {
        uint64_t part = DISK / STRIPES / 3;
        uint64_t at = (g_random_int_range(0, 3) * STRIPES + w->which) * part + w->which * 7 % 100;

        random_request(w->disk, at, at + part - 100);
        if (!g_random_int_range(0, 4))
            co_yield();
    }
}

/* Requests that share blocks, but no bytes, do not disturb each other. */
static CO void test_parallel(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(stacks); i++) {
        Disk d = disk_open(stacks[i]);
        Worker w[STRIPES];
        CoGroup group = {};

        for (unsigned j = 0; j < STRIPES; j++) {
            w[j] = (Worker){ .disk = &d, .which = j, .requests = test_is_slowed() ? 5 : 30 };
            co_group_start(&group, worker_run, &w[j]);
        }
        co_group_wait(&group);
        disk_close(&d);
    }
}

/* What was written is there after closing and opening again, also in files that grew. */
static CO void test_survives_closing(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(stacks); i++) {
        Disk d = disk_open(stacks[i]);
        g_autofree uint8_t *model = g_memdup2(d.model, DISK), *all = g_malloc(DISK);
        g_autofree char *path = test_path("a");
        g_autoptr(GError) err = NULL;
        Handle *h;

        for (int j = 0; j < 40; j++)
            random_request(&d, 0, DISK);
        memset(all, 0x5a, DISK);
        g_assert_cmpint(handle_pwrite(d.h, 3, span_of(all, DISK - 7), 0), ==, 0);
        g_assert_cmpint(handle_pread(d.h, 0, span_of(model, DISK), 0), ==, 0);
        handle_close(d.h);
        g_free(d.model);
        g_free(d.unknown);
        h = handle_open(NULL, stack_options(stacks[i], path), OPEN_RDWR, &err);
        g_assert_no_error(err);
        g_assert_cmpint(handle_pread(h, 0, span_of(all, DISK), 0), ==, 0);
        g_assert_cmpmem(all, DISK, model, DISK);
        handle_close(h);
    }
}

/* A read that fails before a write of part of a block fails the write, which leaves the block. */
static CO void test_failed_rmw_read_fails_the_write(void)
{
    const char *const events[] = { "pwritev_rmw_head", "pwritev_rmw_tail" };

    for (size_t i = 0; i < G_N_ELEMENTS(events); i++) {
        g_autofree char *form = g_strdup_printf(
            "{'driver':'blkdebug','align':4096,'inject-error':[{'event':'%s','once':true,"
            "'iotype':'read'}],'image':{'driver':'file','filename':'%%s'}}", events[i]);
        Disk d = disk_open(form);
        uint8_t block[4096], got[4096];

        memset(block, 0xa1, sizeof(block));
        g_assert_cmpint(handle_pwrite(d.h, 0, span_of(block, sizeof(block)), 0), ==, 0);
        g_assert_cmpint(handle_pwrite(d.h, 100, span_of(got, 100), 0), ==, -EIO);
        g_assert_cmpint(handle_pread(d.h, 0, span_of(got, sizeof(got)), 0), ==, 0);
        g_assert_cmpmem(got, sizeof(got), block, sizeof(block));
        memcpy(d.model, block, sizeof(block));
        disk_close(&d);
    }
}

const Test tests[] = {
    { "/core/random/sequence", test_sequence },
    { "/core/random/parallel-requests-that-share-blocks", test_parallel },
    { "/core/random/survives-closing", test_survives_closing },
    { "/core/request/failed-rmw-read-fails-the-write", test_failed_rmw_read_fails_the_write },
    {},
};
