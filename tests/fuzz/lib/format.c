/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzzers of image formats do. What checks find is written to the file that FUZZ_TELL
 * names.
 */
#include "tests/fuzz/lib/format.h"
#include "block/driver.h"
#include "io/loop.h"
#include "tests/lib/memdisk.h"
#include <string.h>

enum { DISK_MAX = 8 << 20, BUF_LEN = 32 << 10, EXTENTS = 64, MEASURE_MAX = 64 << 20 };

typedef struct {
    const FuzzFormat *format;
    const uint8_t *data;
    size_t len;
    Handle *h;
    Node *n;
} Fuzz;

typedef struct {
    uint8_t kind, variant;
    uint16_t where;
} Op;

static uint8_t buf[BUF_LEN];
static FILE *nowhere;

static FILE *findings(void)
{
    const char *tell = g_getenv("FUZZ_TELL");

    if (!nowhere) {
        nowhere = fopen(tell ? tell : "/dev/null", "w");
        g_assert_nonnull(nowhere);
        setvbuf(nowhere, NULL, tell ? _IOLBF : _IOFBF, 1 << 20);
        memset(buf, 0x5a, sizeof(buf) / 2);
    }
    return nowhere;
}

/* Offsets near the start, near the end, and between. */
static uint64_t op_offset(const Fuzz *f, const Op *op)
{
    uint64_t size = handle_size(f->h), at = (uint64_t)op->where << 6;

    if (op->variant & 0x80)
        at = size - MIN(size, at);
    else if (op->variant & 0x40)
        at = size / 65536 * op->where;
    return MIN(at, size);
}

/* Up to BUF_LEN bytes, within the disk. */
static uint64_t op_len(const Fuzz *f, const Op *op, uint64_t off)
{
    uint64_t len = UINT64_C(256) << (op->variant & 15);

    if (op->variant & 0x20)
        len -= 3;
    return MIN(MIN(len, BUF_LEN), handle_size(f->h) - off);
}

static CO void do_extents(Fuzz *f, const Op *op)
{
    uint64_t off = op_offset(f, op), size = handle_size(f->h);

    for (int i = 0; i < EXTENTS && off < size; i++) {
        Extent e;

        if (node_extent_above(f->n, NULL, off, size - off, op->variant & 1, &e, NULL) < 0 || !e.len)
            return;
        g_assert_cmpuint(e.len, <=, size - off);
        off += e.len;
    }
}

static CO void do_check(Fuzz *f, const Op *op)
{
    static const CheckFix fixes[] = { 0, CHECK_FIX_LEAKS, CHECK_FIX_ERRORS,
                                      CHECK_FIX_LEAKS | CHECK_FIX_ERRORS };
    CheckFix fix = handle_is_writable(f->h) ? fixes[op->variant % 4] : 0;
    CheckResult r = { 0 }, again = { 0 };
    g_autoptr(GError) err = NULL;

    if (node_check(f->n, &r, fix, findings(), &err) < 0 || fix != fixes[3] || r.corruptions ||
        r.leaks || r.check_errors)
        return;
    fprintf(findings(), "---- all is said to be repaired\n");
    if (node_check(f->n, &again, 0, findings(), &err) >= 0) {
        g_assert_cmpint(again.corruptions, ==, 0);
        g_assert_cmpint(again.leaks, ==, 0);
    }
}

static CO void do_snapshot(Fuzz *f, const Op *op)
{
    const SnapshotOps *ops = node_driver(f->n)->snapshots;
    g_autoptr(GError) err = NULL;
    g_autofree Snapshot *list = NULL;
    size_t count = 0;
    const char *id = "1";

    if (!ops)
        return;
    if (ops->list(f->n, &list, &count) >= 0 && count)
        id = list[op->where % count].id;
    if (!handle_is_writable(f->h)) {
        if (op->variant & 1)
            (void)ops->load(f->n, id, &err);
    } else if (op->variant % 3 == 0) {
        Snapshot s = { .id = NULL, .name = (char *)"new", .icount = UINT64_MAX };

        (void)ops->create(f->n, &s, &err);
        g_free(s.id);
    } else if (op->variant % 3 == 1) {
        (void)snapshot_apply(ops, f->n, id, &err);
    } else {
        (void)ops->remove(f->n, id, &err);
    }
}

static CO void do_bitmap(Fuzz *f, const Op *op)
{
    const BitmapOps *ops = node_driver(f->n)->bitmaps;
    DirtyBitmap *b = dirty_first(f->n);
    g_autofree char *name = g_strdup(b ? b->name : "none");
    g_autoptr(GError) err = NULL;
    uint64_t bytes;

    if (!ops)
        return;
    (void)ops->measure(f->n, 65536, &bytes);
    if (!handle_is_writable(f->h))
        return;
    if (op->variant & 1) {
        if (ops->remove(f->n, name, &err) && b)
            dirty_remove(f->n, b);
    } else if (ops->can_store(f->n, "added", 65536, &err)) {
        b = dirty_add(f->n, "added", 65536, &err);
        if (b)
            b->persistent = true;
    }
}

static CO void do_resize(Fuzz *f, const Op *op)
{
    uint64_t size = handle_size(f->h), by = (uint64_t)op->where << 9;
    Prealloc prealloc = op->variant & 2 ? PREALLOC_METADATA : PREALLOC_OFF;
    g_autoptr(GError) err = NULL;

    size = op->variant & 1 ? size - MIN(size, by) : size + MIN(by, (uint64_t)INT64_MAX - size);
    (void)handle_resize(f->h, size, false, prealloc, &err);
}

static CO void do_amend(Fuzz *f, const Op *op)
{
    g_autoptr(json_t) opts = json_object();
    g_autoptr(GError) err = NULL;
    const char *const *o;
    unsigned count = 0;

    while (f->format->amend && f->format->amend[count][0])
        count++;
    if (!count)
        return;
    o = f->format->amend[op->variant % count];
    json_put_str(opts, o[0], o[1]);
    if (create_opts_check(node_driver(f->n), NULL, opts, &err))
        (void)node_driver(f->n)->amend(f->n, opts, false, &err);
}

static CO void do_measure(Fuzz *f)
{
    g_autoptr(json_t) opts = json_object();
    g_autoptr(GError) err = NULL;
    MeasureResult r;

    if (handle_size(f->h) <= MEASURE_MAX)
        (void)image_measure(node_driver(f->n), opts, f->h, &r, &err);
}

static CO void do_info(Fuzz *f)
{
    g_autoptr(GError) err = NULL;
    json_t *specific = node_info_specific(f->n, &err);
    NodeInfo info = { 0 };

    json_decref(specific);
    (void)node_info(f->n, &info);
    (void)node_has_zero_init(f->n);
}

static CO void do_request(Fuzz *f, const Op *op)
{
    uint64_t off = op_offset(f, op), len = op_len(f, op, off);
    bool writable = handle_is_writable(f->h);
    Span s = span_of(buf, len);

    switch (op->kind % 16) {
    case 1:
        if (writable)
            (void)handle_pwrite(f->h, off, s, op->variant & 0x10 ? REQ_FUA : 0);
        break;
    case 2:
        if (writable)
            (void)handle_zero(f->h, off, len, op->variant & 0x10 ? REQ_MAY_UNMAP : 0);
        break;
    case 3:
        if (writable)
            (void)handle_discard(f->h, off, len);
        break;
    case 4:
        if (writable && node_driver(f->n)->is_compressing)
            (void)handle_pwrite(f->h, off, s, REQ_COMPRESSED);
        break;
    case 5:
        (void)handle_vmstate_pread(f->h, (uint64_t)op->where << 8, span_of(buf, 4096));
        break;
    case 6:
        if (writable)
            (void)handle_vmstate_pwrite(f->h, (uint64_t)op->where << 8, span_of(buf, 4096));
        break;
    default:
        (void)handle_pread(f->h, off, s, 0);
        break;
    }
}

static CO void do_op(Fuzz *f, const Op *op)
{
    switch (op->kind % 16) {
    case 7: (void)handle_flush(f->h); break;
    case 8: do_extents(f, op); break;
    case 9: do_check(f, op); break;
    case 10: do_snapshot(f, op); break;
    case 11: do_bitmap(f, op); break;
    case 12:
        if (handle_is_writable(f->h))
            do_resize(f, op);
        break;
    case 13:
        if (handle_is_writable(f->h))
            do_amend(f, op);
        break;
    case 14: do_measure(f); break;
    case 15: do_info(f); break;
    default: do_request(f, op); break;
    }
}

static OpenFlags open_flags(uint8_t how)
{
    OpenFlags flags = OPEN_UNTRUSTED | OPEN_UNMAP;

    if (!(how & 3))
        return flags | OPEN_NO_IO;
    if (how & 1)
        flags |= OPEN_RDWR | OPEN_RESIZE;
    if (how & 4)
        flags |= OPEN_CHECK;
    if (how & 8)
        flags |= OPEN_WRITETHROUGH;
    return flags;
}

static CO void do_all(Fuzz *f)
{
    for (int i = 0; i < FUZZ_OPS; i++) {
        const uint8_t *at = f->data + 2 + i * FUZZ_OP_LEN;
        Op op = { at[0], at[1], (uint16_t)(at[2] | at[3] << 8) };

        if (op.kind)
            do_op(f, &op);
    }
}

static CO void fuzz_run(void *arg)
{
    Fuzz *f = arg;
    const uint8_t *image = f->data + FUZZ_IMAGE_OFF;
    size_t len = f->len - FUZZ_IMAGE_OFF;
    OpenFlags flags = open_flags(f->data[0]);
    g_autoptr(GError) err = NULL;
    Node *disk = memdisk_new_scratch("disk", image, len, f->format->disk_max);
    Node *data = f->format->has_data_file
                     ? memdisk_new_scratch("data", image, len / 2, f->format->disk_max) : NULL;
    json_t *options = json_pack("{s:s, s:s}", "driver", f->format->driver, "file", "disk");

    /* What an image names must not be opened. */
    if (memdisk_format_has_backing(f->format->driver) ||
        driver_find(f->format->driver)->reads_backing)
        json_put(options, "backing", json_null());
    if (f->format->add_options)
        f->format->add_options(options, image, len, f->data[0]);
    f->h = handle_open(NULL, options, flags, &err);
    g_assert_true(f->h || err);
    if (f->h) {
        f->n = handle_node(f->h);
        do_info(f);
        if (!(flags & OPEN_NO_IO))
            do_all(f);
        handle_close(f->h);
    }
    memdisk_free(disk);
    if (data)
        memdisk_free(data);
}

int fuzz_format(const FuzzFormat *format, const uint8_t *data, size_t len)
{
    Fuzz f = { .format = format, .data = data, .len = len };

    if (len < FUZZ_IMAGE_OFF)
        return -1;
    (void)findings();
    loop_run(fuzz_run, &f);
    return 0;
}

int fuzz_driver(const char *driver, const uint8_t *data, size_t len)
{
    FuzzFormat format = { .driver = driver, .disk_max = DISK_MAX };

    return fuzz_format(&format, data, len);
}
