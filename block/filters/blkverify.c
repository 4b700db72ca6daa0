/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkverify: an image to be tested beside a raw copy that is trusted. Both are written alike; what
 * is read must be alike too, or the program ends.
 */
#include "block/fan.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RAW, TEST, COPIES };

static Edge *blkverify_edge(const Node *n, unsigned which)
{
    return node_edge(n, which == RAW ? ROLE_FILTERED : ROLE_IMAGE);
}

/* ---- opening -------------------------------------------------------------------------------- */

/* blkverify:RAW:TEST; the format of TEST is probed. */
static bool blkverify_parse_filename(const char *filename, json_t *o, GError **err)
{
    bool has_prefix = g_str_has_prefix(filename, "blkverify:");
    const char *raw = has_prefix ? filename + strlen("blkverify:") : "";
    size_t len = strcspn(raw, ":");
    g_autofree char *raw_name = g_strndup(raw, len);

    if (raw[len] != ':')
        return err_set(err, EINVAL, "'%s' should be blkverify:RAW:IMAGE", filename);
    if (!node_describe_child(o, "raw", raw_name, err))
        return false;
    if (!json_has(o, "test"))
        json_put(o, "test", json_object());
    if (!json_is_object(json_get(o, "test")))
        return err_set(err, EINVAL, "Both a file name and a node are given for 'test'");
    return node_describe_child(json_get(o, "test"), "file", raw + len + 1, err);
}

static CO bool blkverify_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Edge *test;

    if (!node_open_child(n, "raw", NULL, o, ROLE_FILTERED, false, err))
        return false;
    test = node_open_child(n, "test", NULL, o, ROLE_IMAGE, false, err);
    if (!test)
        return false;
    node_set_size(n, edge_size(test));
    return true;
}

static void blkverify_child_access(Node *n, Role role, unsigned parent_needs,
                                   unsigned parent_shares, unsigned *needs, unsigned *shares)
{
    *needs = parent_needs;
    *shares = parent_shares;
}

/* ---- requests ------------------------------------------------------------------------------- */

/* Carries out @f[RAW] and its double @f[TEST]; their result, which has to be the same. */
static CO int blkverify_run(Node *n, FanRequest *f, const char *what)
{
    uint64_t len = f[RAW].op == FAN_ZERO ? f[RAW].len : f[RAW].buf.len;

    for (unsigned i = 0; i < COPIES; i++)
        f[i].to = blkverify_edge(n, i);
    fan_run(f, COPIES);
    if (f[RAW].r == f[TEST].r)
        return f[RAW].r;
    fflush(stdout);
    fprintf(stderr, "blkverify: %s offset=%" PRIu64 " bytes=%" PRIu64
            " return value mismatch %d != %d\n", what, f[RAW].off, len, f[TEST].r, f[RAW].r);
    exit(1);
}

static void blkverify_compare(uint64_t off, Span test, const uint8_t *raw)
{
    uint64_t done = 0, total = test.len;

    while (test.len) {
        size_t len;
        const uint8_t *p = span_head(test, &len);

        for (size_t i = 0; i < len; i++) {
            if (p[i] == raw[done + i])
                continue;
            fflush(stdout);
            fprintf(stderr, "blkverify: read offset=%" PRIu64 " bytes=%" PRIu64
                    " contents mismatch at offset %" PRIu64 "\n", off, total, off + done + i);
            exit(1);
        }
        done += len;
        test = span_slice(test, len, test.len - len);
    }
}

static CO int blkverify_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    g_autoptr(Aligned) raw = aligned_try_alloc(buf.len);
    FanRequest f[COPIES] = {
        [RAW] = { .op = FAN_PREAD, .off = off, .buf = span_of(raw, buf.len), .flags = flags },
        [TEST] = { .op = FAN_PREAD, .off = off, .buf = buf, .flags = flags },
    };
    int r;

    if (!raw)
        return -ENOMEM;
    r = blkverify_run(n, f, "read");
    if (r == 0)
        blkverify_compare(off, buf, raw);
    return r;
}

static CO int blkverify_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    FanRequest one = { .op = FAN_PWRITE, .off = off, .buf = buf, .flags = flags };
    FanRequest f[COPIES] = { one, one };

    return blkverify_run(n, f, "write");
}

static CO int blkverify_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    FanRequest one = { .op = FAN_ZERO, .off = off, .len = len, .flags = flags };
    FanRequest f[COPIES] = { one, one };

    return blkverify_run(n, f, "write");
}

/* What a discard leaves may differ between the two: none happens. */
static CO int blkverify_discard(Node *n, uint64_t off, uint64_t len)
{
    return 0;
}

static CO int blkverify_flush_all(Node *n)
{
    int r = edge_flush(blkverify_edge(n, TEST));
    int raw = edge_flush(blkverify_edge(n, RAW));

    return r < 0 ? r : raw;
}

static CO bool blkverify_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc,
                                ReqFlags flags, GError **err)
{
    for (unsigned i = 0; i < COPIES; i++)
        if (!edge_resize(blkverify_edge(n, i), size, exact, prealloc, flags, err))
            return false;
    node_set_size(n, size);
    return true;
}

static uint64_t blkverify_allocated(Node *n, bool *known)
{
    *known = false;
    return 0;
}

static char *blkverify_plain_filename(Node *n)
{
    const char *raw = node_filename(edge_node(blkverify_edge(n, RAW)));
    const char *test = node_filename(edge_node(blkverify_edge(n, TEST)));

    if (g_str_has_prefix(raw, "json:") || g_str_has_prefix(test, "json:"))
        return NULL;
    return g_strdup_printf("blkverify:%s:%s", raw, test);
}

const BlockDriver block_blkverify = {
    .name = "blkverify",
    .kind = BLK_FILTER,
    .prefix = "blkverify",
    .zero_flags = REQ_MAY_UNMAP,
    .parse_filename = blkverify_parse_filename,
    .open = blkverify_open,
    .child_access = blkverify_child_access,
    .pread = blkverify_pread,
    .pwrite = blkverify_pwrite,
    .zero = blkverify_zero,
    .discard = blkverify_discard,
    .flush_all = blkverify_flush_all,
    .resize = blkverify_resize,
    .allocated = blkverify_allocated,
    .plain_filename = blkverify_plain_filename,
};
