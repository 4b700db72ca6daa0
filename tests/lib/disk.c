/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images with a copy of their content. */
#include "tests/lib/disk.h"
#include "block/driver.h"
#include "io/co-lock.h"
#include "tests/lib/harness.h"
#include "util/keyval.h"
#include "util/size.h"
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

CO void disk_reopen(Disk *d, OpenFlags flags)
{
    g_autoptr(GError) err = NULL;
    json_t *o = d->open_options ? keyval_parse(d->open_options, NULL, &err) : json_object();

    if (d->h)
        handle_close(d->h);
    json_put_str(o, "driver", d->format);
    d->h = handle_open(d->path, o, flags, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(handle_size(d->h), ==, d->size);
}

CO Disk *disk_new(const char *name, const char *fmt, const char *options, const char *open_options,
                  uint64_t size)
{
    Disk *d = g_new0(Disk, 1);
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) opts = json_object();

    d->path = test_path(name);
    d->format = fmt;
    d->open_options = g_strdup(open_options);
    d->size = round_up(size, 512);
    d->model = g_malloc0(d->size);
    d->rand = g_rand_new_with_seed(g_str_hash(options) + size);
    d->max = size / 16;
    g_assert_true(keyval_parse_flat(options, NULL, opts, &err));
    json_put_int(opts, "size", size);
    image_create(d->path, fmt, opts, &err);
    g_assert_no_error(err);
    disk_reopen(d, OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP);
    return d;
}

CO void disk_free(Disk *d)
{
    handle_close(d->h);
    unlink(d->path);
    g_rand_free(d->rand);
    g_free(d->model);
    g_free(d->open_options);
    g_free(d->path);
    g_free(d);
}

static void fill(Disk *d, uint8_t *buf, uint64_t len)
{
    uint32_t seed = g_rand_int(d->rand);

    for (uint64_t i = 0; i < len; i++)
        buf[i] = (uint8_t)(seed + i / 512 * 7 + i % 13);
}

CO void disk_write(Disk *d, uint64_t off, uint64_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);

    fill(d, buf, len);
    g_assert_cmpint(handle_pwrite(d->h, off, span_of(buf, len), 0), ==, 0);
    memcpy(d->model + off, buf, len);
}

CO void disk_read(Disk *d, uint64_t off, uint64_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);

    memset(buf, 0xee, len);
    g_assert_cmpint(handle_pread(d->h, off, span_of(buf, len), 0), ==, 0);
    if (!memcmp(buf, d->model + off, len))
        return;
    for (uint64_t i = 0; i < len; i++)
        if (buf[i] != d->model[off + i])
            g_error("%s: byte %" G_GUINT64_FORMAT " reads %02x, not %02x", d->path, off + i, buf[i],
                    d->model[off + i]);
}

CO void disk_zero(Disk *d, uint64_t off, uint64_t len, ReqFlags flags)
{
    g_assert_cmpint(handle_zero(d->h, off, len, flags), ==, 0);
    memset(d->model + off, 0, len);
}

CO void disk_discard(Disk *d, uint64_t off, uint64_t len)
{
    g_assert_cmpint(handle_discard(d->h, off, len), ==, 0);
    disk_zero(d, off, len, REQ_MAY_UNMAP);
}

CO void disk_write_compressed(Disk *d, uint64_t off, uint64_t len)
{
    uint64_t first = round_up(off, d->cluster), end = round_down(off + len, d->cluster);
    g_autofree uint8_t *buf = NULL;

    if (first >= end)
        return;
    buf = g_malloc(end - first);
    fill(d, buf, end - first);
    if (g_rand_boolean(d->rand))      /* does not shrink */
        for (uint64_t i = 0; i < end - first; i++)
            buf[i] = g_rand_int(d->rand);
    disk_discard(d, first, end - first);
    g_assert_cmpint(handle_pwrite(d->h, first, span_of(buf, end - first), REQ_COMPRESSED), ==, 0);
    memcpy(d->model + first, buf, end - first);
}

CO void disk_random_op(Disk *d, uint64_t from, uint64_t to)
{
    uint64_t off = from + g_rand_int_range(d->rand, 0, to - from);
    uint64_t len = 1 + g_rand_int_range(d->rand, 0, MIN(to - off, d->max));

    if (g_rand_boolean(d->rand)) {
        off = MAX(round_down(off, 512), from);
        len = MIN(round_up(len, 512), to - off);
    }
    switch (g_rand_int_range(d->rand, 0, 12)) {
    case 0: disk_zero(d, off, len, 0); break;
    case 1: disk_zero(d, off, len, REQ_MAY_UNMAP); break;
    case 2: disk_discard(d, off, len); break;
    case 3:
    case 4:
    case 5: disk_read(d, off, len); break;
    case 6: g_assert_cmpint(handle_flush(d->h), ==, 0); break;
    case 7:
        if (d->cluster) {
            disk_write_compressed(d, off, len);
            break;
        }
        /* fall through */
    default: disk_write(d, off, len); break;
    }
}

bool disk_reference(const char *fmt, ...)
{
    const char *dir = g_getenv("FERRY_REFERENCE");
    g_autofree char *program = g_build_filename(dir ? dir : "/usr/bin", "qemu-img", NULL);
    g_autofree char *what = NULL, *line = NULL;
    va_list ap;
    int status;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (!g_file_test(program, G_FILE_TEST_IS_EXECUTABLE))
        return false;
    line = g_strdup_printf("%s %s >&2", program, what);
    status = system(line);
    if (status)
        g_error("reference: %s: status %d", what, status);
    return true;
}

CO void disk_verify(Disk *d)
{
    g_autofree char *raw = test_path("model.raw");

    disk_read(d, 0, d->size);
    disk_reopen(d, OPEN_RDWR);
    disk_read(d, 0, d->size);
    handle_close(g_steal_pointer(&d->h));
    g_assert_true(g_file_set_contents(raw, (char *)d->model, d->size, NULL));
    if (!driver_find(d->format)->check || disk_reference("check -q -f %s %s", d->format, d->path))
        disk_reference("compare -q -f %s -F raw %s %s", d->format, d->path, raw);
    unlink(raw);
}

/* ---- many at once --------------------------------------------------------------------------- */

enum { WORKERS = 8, OPS = 60 };

typedef struct {
    Disk *d;
    unsigned number;
    /* workers own alternate units of this size: their requests do not overlap */
    uint64_t unit;
} Worker;

static CO void worker(void *arg)
{
    Worker *w = arg;
    Disk *d = w->d;

    for (unsigned i = 0; i < OPS; i++) {
        uint64_t units = d->size / w->unit, u = g_rand_int_range(d->rand, 0, units / WORKERS);
        uint64_t from = (u * WORKERS + w->number) * w->unit;

        disk_random_op(d, from, MIN(from + w->unit, d->size));
    }
}

/* The first half of the disk shows a backing file. */
static CO Disk *disk_over_backing(const DiskRandom *t)
{
    uint64_t size = t->size;
    g_autofree char *base = test_path("base.raw");
    g_autofree char *all = g_strdup_printf("%s%sbacking_fmt=raw,backing_file=%s", t->options,
                                           *t->options ? "," : "", base);
    g_autofree uint8_t *content = g_malloc(size / 2);
    Disk *d;

    for (uint64_t i = 0; i < size / 2; i++)
        content[i] = i % 251;
    g_assert_true(g_file_set_contents(base, (char *)content, size / 2, NULL));
    d = disk_new("disk.image", t->format, all, t->open_options, size);
    memcpy(d->model, content, size / 2);
    return d;
}

CO void disk_random_requests(const DiskRandom *t)
{
    Disk *d = t->backing ? disk_over_backing(t)
                         : disk_new("disk.image", t->format, t->options, t->open_options, t->size);
    Worker workers[WORKERS];
    CoGroup group = { 0 };

    d->max = t->max;
    d->cluster = t->cluster;
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (Worker){ d, i, t->size / 64 / 512 * 512 + 512 };
        co_group_start(&group, worker, &workers[i]);
    }
    co_group_wait(&group);
    disk_verify(d);
    disk_free(d);
}

CO void disk_handed_over(const char *format, const char *options)
{
    enum { SIZE = 8 << 20, ROUNDS = 6 };
    Disk *here = disk_new("disk.image", format, options, NULL, SIZE);
    g_autoptr(GError) err = NULL;
    Handle *own = here->h, *there;

    node_set_active(handle_node(here->h), false, &err);
    g_assert_no_error(err);
    there = handle_open(here->path, json_pack("{s:s}", "driver", format), OPEN_RDWR, &err);
    g_assert_no_error(err);
    node_set_active(handle_node(there), false, &err);
    g_assert_no_error(err);
    for (unsigned i = 0; i < ROUNDS; i++) {
        Handle *next = i % 2 ? own : there;

        node_set_active(handle_node(next), true, &err);
        g_assert_no_error(err);
        here->h = next;
        disk_read(here, 0, SIZE);
        disk_write(here, i * MiB + 700, MiB);
        here->h = own;
        node_set_active(handle_node(next), false, &err);
        g_assert_no_error(err);
    }
    handle_close(there);
    node_set_active(handle_node(here->h), true, &err);
    g_assert_no_error(err);
    disk_verify(here);
    disk_free(here);
}
