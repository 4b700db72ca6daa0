/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the fuzzers of image formats do. What checks find is written to the file that FUZZ_TELL names. */
#include "tests/fuzz/lib/format.h"
#include "block/driver.h"
#include "io/loop.h"
#include "tests/lib/memdisk.h"
#include <string.h>

enum { DISK_MAX = 8 << 20, BUF_LEN = 32 << 10, EXTENTS = 64, MEASURE_MAX = 64 << 20 };

typedef struct {
    const char *format;
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

static CO void do_resize(Fuzz *f, const Op *op)
{
    uint64_t size = handle_size(f->h), by = (uint64_t)op->where << 9;
    g_autoptr(GError) err = NULL;

    size = op->variant & 1 ? size - MIN(size, by) : size + MIN(by, (uint64_t)INT64_MAX - size);
    (void)handle_resize(f->h, size, false, PREALLOC_OFF, &err);
}

static CO void do_info(Fuzz *f)
{
    g_autoptr(GError) err = NULL;
    json_t *specific = node_info_specific(f->n, &err);
    g_autoptr(json_t) opts = json_object();
    NodeInfo info = { 0 };
    MeasureResult m;

    json_decref(specific);
    (void)node_info(f->n, &info);
    (void)node_has_zero_init(f->n);
    if (handle_size(f->h) <= MEASURE_MAX)
        (void)image_measure(node_driver(f->n), opts, f->h, &m, &err);
}

static CO void do_write(Fuzz *f, const Op *op, uint64_t off, uint64_t len)
{
    switch (op->kind % 10) {
    case 1: (void)handle_pwrite(f->h, off, span_of(buf, len), op->variant & 0x10 ? REQ_FUA : 0); break;
    case 2: (void)handle_zero(f->h, off, len, op->variant & 0x10 ? REQ_MAY_UNMAP : 0); break;
    case 3: (void)handle_discard(f->h, off, len); break;
    case 4:
        if (node_driver(f->n)->is_compressing)
            (void)handle_pwrite(f->h, off, span_of(buf, len), REQ_COMPRESSED);
        break;
    default: do_resize(f, op); break;
    }
}

static CO void do_op(Fuzz *f, const Op *op)
{
    uint64_t off = op_offset(f, op), len = op_len(f, op, off);
    unsigned kind = op->kind % 10;

    if (kind >= 1 && kind <= 5) {
        if (handle_is_writable(f->h))
            do_write(f, op, off, len);
    } else if (kind == 6) {
        (void)handle_flush(f->h);
    } else if (kind == 7) {
        do_extents(f, op);
    } else if (kind == 8) {
        do_check(f, op);
    } else if (kind == 9) {
        do_info(f);
    } else {
        (void)handle_pread(f->h, off, span_of(buf, len), 0);
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

static CO void fuzz_run(void *arg)
{
    Fuzz *f = arg;
    OpenFlags flags = open_flags(f->data[0]);
    g_autoptr(GError) err = NULL;
    Node *disk = memdisk_new_scratch("disk", f->data + FUZZ_IMAGE_OFF, f->len - FUZZ_IMAGE_OFF, DISK_MAX);
    json_t *o = json_pack("{s:s, s:s}", "driver", f->format, "file", "disk");

    if (memdisk_format_has_backing(f->format))
        json_put(o, "backing", json_null());
    f->h = handle_open(NULL, o, flags, &err);
    g_assert_true(f->h || err);
    if (f->h) {
        f->n = handle_node(f->h);
        do_info(f);
        for (int i = 0; i < FUZZ_OPS && !(flags & OPEN_NO_IO); i++) {
            const uint8_t *at = f->data + 2 + i * FUZZ_OP_LEN;
            Op op = { at[0], at[1], (uint16_t)(at[2] | at[3] << 8) };

            if (op.kind)
                do_op(f, &op);
        }
        handle_close(f->h);
    }
    memdisk_free(disk);
}

int fuzz_format(const char *format, const uint8_t *data, size_t len)
{
    Fuzz f = { .format = format, .data = data, .len = len };

    if (len < FUZZ_IMAGE_OFF)
        return -1;
    (void)findings();
    loop_run(fuzz_run, &f);
    return 0;
}
