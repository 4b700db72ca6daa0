/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The workloads that power cuts interrupt. */
#include "tests/lib/power-cut-workloads.h"
#include "block/driver.h"
#include "tests/lib/power-cut-jobs.h"
#include "util/endian.h"
#include <string.h>

enum { SMALL = 64 * 1024 };

static CO void run_mix(PowerCut *pc)
{
    power_cut_mix(pc, 40, SMALL);
}

static CO void run_small_writes(PowerCut *pc)
{
    power_cut_mix(pc, 80, 4096);
}

/* ---- snapshots ------------------------------------------------------------------------------ */

static CO void run_snapshots(PowerCut *pc)
{
    PowerCutSnapshot *one, *two;

    power_cut_mix(pc, 10, SMALL);
    one = power_cut_snapshot(pc, "one");
    power_cut_mix(pc, 10, SMALL);
    two = power_cut_snapshot(pc, "two");
    power_cut_mix(pc, 10, SMALL);
    power_cut_snapshot_remove(pc, one);
    power_cut_mix(pc, 10, SMALL);
    power_cut_snapshot_remove(pc, two);
    power_cut_mix(pc, 10, SMALL);
}

static CO void run_apply(PowerCut *pc)
{
    PowerCutSnapshot *one, *two;

    power_cut_mix(pc, 10, SMALL);
    one = power_cut_snapshot(pc, "one");
    power_cut_mix(pc, 10, SMALL);
    two = power_cut_snapshot(pc, "two");
    power_cut_mix(pc, 5, SMALL);
    power_cut_snapshot_apply(pc, one);
    power_cut_mix(pc, 5, SMALL);
    power_cut_snapshot_apply(pc, two);
    power_cut_snapshot_apply(pc, one);
    power_cut_snapshot_remove(pc, one);
    power_cut_mix(pc, 10, SMALL);
    power_cut_snapshot_remove(pc, two);
}

enum { STATE_LEN = 50 << 10 };

static CO PowerCutSnapshot *state_snapshot(PowerCut *pc, const char *name)
{
    power_cut_state(pc, *name, STATE_LEN);
    return power_cut_snapshot(pc, name);
}

/* As when a guest is saved, saved again, saved incompletely, and loaded. */
static CO void run_states(PowerCut *pc)
{
    const SnapshotOps *ops = node_driver(handle_node(power_cut_handle(pc)))->snapshots;
    PowerCutSnapshot *one, *two;

    power_cut_mix(pc, 5, SMALL);
    one = state_snapshot(pc, "A");
    power_cut_mix(pc, 5, SMALL);
    two = state_snapshot(pc, "B");
    power_cut_snapshot_remove(pc, one);
    power_cut_state(pc, 'x', 2 * STATE_LEN);
    g_assert_cmpint(ops->drop_vmstate(handle_node(power_cut_handle(pc))), ==, 0);
    power_cut_mix(pc, 5, SMALL);
    one = state_snapshot(pc, "C");
    power_cut_snapshot_apply(pc, two);
    g_assert_cmpint(ops->drop_vmstate(handle_node(power_cut_handle(pc))), ==, 0);
    power_cut_mix(pc, 5, SMALL);
    power_cut_snapshot_remove(pc, two);
    power_cut_snapshot_remove(pc, one);
}

/* A snapshot that is there has its whole state. */
static CO void verify_states(Handle *h)
{
    const SnapshotOps *ops = node_driver(handle_node(h))->snapshots;
    g_autofree uint8_t *bytes = g_malloc(STATE_LEN);
    g_autofree Snapshot *list = NULL;
    g_autoptr(GError) err = NULL;
    size_t count;

    g_assert_cmpint(ops->list(handle_node(h), &list, &count), ==, 0);
    for (size_t i = 0; i < count; i++) {
        g_assert_cmpuint(list[i].vm_state_size, ==, STATE_LEN);
        g_assert_true(snapshot_apply(ops, handle_node(h), list[i].id, &err));
        g_assert_no_error(err);
        g_assert_cmpint(handle_vmstate_pread(h, 0, span_of(bytes, STATE_LEN)), ==, 0);
        for (unsigned k = 0; k < STATE_LEN; k++)
            g_assert_cmpuint(bytes[k], ==, *list[i].name);
    }
}

/* ---- size ----------------------------------------------------------------------------------- */

static CO void run_grow(PowerCut *pc)
{
    uint64_t size = handle_size(power_cut_handle(pc));

    power_cut_mix(pc, 20, SMALL);
    power_cut_resize(pc, size * 4);
    power_cut_mix(pc, 10, 4096);
}

static CO void run_shrink(PowerCut *pc)
{
    uint64_t size = handle_size(power_cut_handle(pc));

    power_cut_mix(pc, 20, SMALL);
    power_cut_resize(pc, size / 2);
    power_cut_mix(pc, 20, SMALL);
}

static CO void run_shrink_and_grow(PowerCut *pc)
{
    uint64_t size = handle_size(power_cut_handle(pc));

    power_cut_mix(pc, 20, SMALL);
    power_cut_resize(pc, size / 4);
    power_cut_mix(pc, 5, SMALL);
    power_cut_resize(pc, size * 2);
    power_cut_mix(pc, 20, SMALL);
    power_cut_resize(pc, size);
    power_cut_mix(pc, 5, SMALL);
}

/* ---- bitmaps -------------------------------------------------------------------------------- */

enum { GRANULARITY = 4096 };

static CO DirtyBitmap *bitmap_add(Node *n, const char *name)
{
    g_autoptr(GError) err = NULL;
    DirtyBitmap *b = NULL;

    if (node_driver(n)->bitmaps->can_store(n, name, GRANULARITY, &err))
        b = dirty_add(n, name, GRANULARITY, &err);
    g_assert_no_error(err);
    b->enabled = b->persistent = true;
    return b;
}

static CO void prepare_bitmaps(PowerCut *pc)
{
    bitmap_add(handle_node(power_cut_handle(pc)), "kept");
    bitmap_add(handle_node(power_cut_handle(pc)), "removed");
}

static CO void run_bitmaps(PowerCut *pc)
{
    Node *n = handle_node(power_cut_handle(pc));
    g_autoptr(GError) err = NULL;

    power_cut_mix(pc, 20, SMALL);
    node_driver(n)->bitmaps->remove(n, "removed", &err);
    g_assert_no_error(err);
    dirty_remove(n, dirty_find(n, "removed"));
    bitmap_add(n, "added");
    power_cut_mix(pc, 20, SMALL);
}

/* A bitmap that claims to be right tells of every sector that was written. */
static CO void verify_bitmaps(Handle *h)
{
    DirtyBitmap *b = dirty_find(handle_node(h), "kept");
    g_autofree uint8_t *buf = g_malloc(GRANULARITY);

    g_assert_nonnull(b);
    for (uint64_t off = 0; !b->inconsistent && off < handle_size(h); off += GRANULARITY) {
        g_assert_cmpint(handle_pread(h, off, span_of(buf, GRANULARITY), 0), ==, 0);
        if (!span_is_zero(span_of(buf, GRANULARITY)))
            g_assert_true(hbitmap_get(b->bits, off / GRANULARITY));
    }
}

/*
 * The header as the reference writes it: feature names first, others across the first sector's end.
 */
static void names_first(uint8_t *image, size_t len)
{
    enum { NAMES = 0x6803f857 };
    uint32_t start = be32_at(image + 100), at = start, end;
    g_autofree uint8_t *names = NULL;

    while (be32_at(image + at) != NAMES) {
        g_assert_cmpuint(be32_at(image + at), !=, 0);
        at += 8 + round_up(be32_at(image + at + 4), 8);
    }
    end = at + 8 + round_up(be32_at(image + at + 4), 8);
    names = g_memdup2(image + at, end - at);
    memmove(image + start + (end - at), image + start, at - start);
    memcpy(image + start, names, end - at);
    (void)len;
}

/* ---- amend ---------------------------------------------------------------------------------- */

static CO void amend(PowerCut *pc, const char *name, const char *value)
{
    Node *n = handle_node(power_cut_handle(pc));
    g_autoptr(json_t) opts = json_object();
    g_autoptr(GError) err = NULL;

    json_put_str(opts, name, value);
    if (create_opts_check(node_driver(n), NULL, opts, &err))
        node_driver(n)->amend(n, opts, false, &err);
    g_assert_no_error(err);
}

static CO void run_amend(PowerCut *pc)
{
    power_cut_mix(pc, 10, SMALL);
    amend(pc, "refcount_bits", "64");
    power_cut_mix(pc, 5, SMALL);
    amend(pc, "lazy_refcounts", "on");
    power_cut_mix(pc, 5, SMALL);
    amend(pc, "lazy_refcounts", "off");
    amend(pc, "refcount_bits", "1");
    power_cut_mix(pc, 5, SMALL);
    amend(pc, "refcount_bits", "16");
    power_cut_mix(pc, 5, SMALL);
}

static CO void run_amend_versions(PowerCut *pc)
{
    power_cut_mix(pc, 20, SMALL);
    amend(pc, "compat", "0.10");
    power_cut_mix(pc, 10, SMALL);
    amend(pc, "compat", "1.1");
    power_cut_mix(pc, 10, SMALL);
}

static CO void run_amend_snapshot(PowerCut *pc)
{
    PowerCutSnapshot *one;

    power_cut_mix(pc, 15, SMALL);
    one = power_cut_snapshot(pc, "one");
    power_cut_mix(pc, 10, SMALL);
    amend(pc, "compat", "0.10");
    power_cut_snapshot_apply(pc, one);
    amend(pc, "compat", "1.1");
    power_cut_snapshot_remove(pc, one);
}

/* ---- compacting ----------------------------------------------------------------------------- */

/* Full, then half of it given back here and there. */
static CO void prepare_hollow(PowerCut *pc)
{
    uint64_t size = handle_size(power_cut_handle(pc)), piece = size / 32;

    for (uint64_t off = 0; off < size; off += piece)
        power_cut_write(pc, off, piece);
    for (uint64_t off = 0; off < size; off += piece)
        if (power_cut_random(pc, 2))
            power_cut_discard(pc, off, piece);
    power_cut_flush(pc);
}

static CO void compact(PowerCut *pc, unsigned ops)
{
    g_autoptr(GError) err = NULL;
    CompactState s = {};

    while (!s.finished) {
        bool ok = handle_compact(power_cut_handle(pc), &s, &err);

        g_assert_no_error(err);
        g_assert_true(ok);
        power_cut_mix(pc, ops, 4096);
    }
}

/* Alone, then while the image is written. */
static CO void run_compact(PowerCut *pc)
{
    compact(pc, 0);
    power_cut_mix(pc, 20, SMALL);
    compact(pc, 2);
}

/* ---- chains --------------------------------------------------------------------------------- */

/* Writes to @to what @from has where it, and not a layer below, decides. */
static CO void copy_allocated(Handle *from, Node *below, Handle *to)
{
    Node *n = handle_node(from);
    uint64_t size = handle_size(from), len;

    for (uint64_t off = 0; off < size; off += len) {
        g_autofree uint8_t *buf = NULL;
        int r;

        len = size - off;
        r = node_is_allocated_above(n, below, false, off, &len);
        g_assert_cmpint(r, >=, 0);
        if (!r)
            continue;
        buf = g_malloc(len);
        g_assert_cmpint(handle_pread(from, off, span_of(buf, len), 0), ==, 0);
        g_assert_cmpint(handle_pwrite(to, off, span_of(buf, len), 0), ==, 0);
    }
}

/* As qemu-img commit does it. */
static CO void commit(PowerCut *pc)
{
    Handle *top = power_cut_handle(pc), *under = power_cut_under(pc);
    Node *n = handle_node(top);

    copy_allocated(top, handle_node(under), under);
    g_assert_cmpint(handle_flush(under), ==, 0);
    g_assert_cmpint(node_driver(n)->make_empty(n), ==, 0);
}

static CO void run_commit(PowerCut *pc)
{
    power_cut_mix(pc, 15, SMALL);
    commit(pc);
    power_cut_mix(pc, 15, SMALL);
    power_cut_flush(pc);
    commit(pc);
}

/* As qemu-img rebase does it: what the two backing files differ in comes into the image first. */
static CO void rebase(PowerCut *pc, const char *from, const char *to)
{
    Handle *h = power_cut_handle(pc);
    Node *n = handle_node(h);
    const uint8_t *olds = power_cut_base(from), *news = power_cut_base(to);
    enum { PIECE = 4096 };
    uint8_t buf[PIECE];

    for (uint64_t off = 0; off < handle_size(h); off += PIECE) {
        uint64_t len = PIECE;

        if (node_is_allocated_above(n, node_backing(n), false, off, &len) == 1 && len == PIECE)
            continue;
        if (!memcmp(olds + off, news + off, PIECE))
            continue;
        g_assert_cmpint(handle_pread(h, off, span_of(buf, PIECE), 0), ==, 0);
        g_assert_cmpint(handle_pwrite(h, off, span_of(buf, PIECE), 0), ==, 0);
    }
    g_assert_cmpint(handle_flush(h), ==, 0);
    g_assert_cmpint(node_driver(n)->change_backing(n, to, "raw"), ==, 0);
}

static CO void run_rebase(PowerCut *pc)
{
    power_cut_mix(pc, 20, SMALL);
    rebase(pc, POWER_CUT_BASE_A, POWER_CUT_BASE_B);
}

/* Bitmaps make the header's extensions longer, where the name of the backing file is. */
static CO void run_backing_and_bitmaps(PowerCut *pc)
{
    power_cut_mix(pc, 5, SMALL);
    bitmap_add(handle_node(power_cut_handle(pc)), "new");
}

/* ---- repair --------------------------------------------------------------------------------- */

static CO void prepare_mix(PowerCut *pc)
{
    power_cut_mix(pc, 30, SMALL);
}

/* Every third refcount is wrong, some much too small: v3, 16 bits. */
static void damage_counts(uint8_t *image, size_t len)
{
    uint64_t cluster = UINT64_C(1) << be32_at(image + 20), table = be64_at(image + 48);

    for (uint64_t i = 0; i < cluster / 8; i++) {
        uint64_t block = be64_at(image + table + i * 8);

        for (uint64_t k = 0; block && k < cluster / 2; k += 3)
            if (be16_at(image + block + k * 2))
                be16_put(image + block + k * 2, k % 2 ? 0 : 7);
    }
}

/* Counts in place only: too large, and one too small. */
static void damage_leaks(uint8_t *image, size_t len)
{
    uint64_t cluster = UINT64_C(1) << be32_at(image + 20), table = be64_at(image + 48);
    uint64_t block = be64_at(image + table);

    for (uint64_t k = 0; k < cluster / 2; k += 5)
        if (be16_at(image + block + k * 2))
            be16_put(image + block + k * 2, 3);
    (void)len;
}

/* COPIED is taken away and given at random. */
static void damage_flags(uint8_t *image, size_t len)
{
    uint64_t cluster = UINT64_C(1) << be32_at(image + 20), l1 = be64_at(image + 40);
    uint32_t entries = be32_at(image + 36);

    for (uint32_t i = 0; i < entries; i++) {
        uint64_t l2 = be64_at(image + l1 + i * UINT64_C(8)) & UINT64_C(0xfffffffffffe00);

        image[l1 + i * UINT64_C(8)] &= 0x7f;
        for (uint64_t k = 0; l2 && l2 + cluster <= len && k < cluster / 8; k += 2)
            image[l2 + k * 8] &= 0x7f;
    }
}

static CO void run_repair(PowerCut *pc)
{
    g_autoptr(GError) err = NULL;
    FILE *out = fopen("/dev/null", "w");
    CheckResult r = { 0 };

    g_assert_cmpint(node_check(handle_node(power_cut_handle(pc)), &r,
                               CHECK_FIX_LEAKS | CHECK_FIX_ERRORS, out, &err), ==, 0);
    g_assert_no_error(err);
    g_assert_cmpint(r.corruptions, ==, 0);
    g_assert_cmpint(r.corruptions_fixed + r.leaks_fixed, >, 0);
    fclose(out);
}

/* ---- all ------------------------------------------------------------------------------------ */

#define TINY "l2-cache-size=1024,refcount-cache-size=2048"

const PowerCutWorkload power_cut_workloads[] = {
    { "64 KiB clusters", "", NULL, 2 << 20, run_mix },
    { "small writes, 64 KiB clusters", "", NULL, 1 << 20, run_small_writes },
    { "512 byte clusters", "cluster_size=512", NULL, 256 << 10, run_small_writes },
    { "4 KiB clusters", "cluster_size=4k", NULL, 1 << 20, run_mix },
    { "2 MiB clusters", "cluster_size=2M", NULL, 4 << 20, run_mix },
    { "1 bit refcounts", "cluster_size=4k,refcount_bits=1", NULL, 1 << 20, run_mix },
    { "1 bit refcounts, 512 byte clusters", "cluster_size=512,refcount_bits=1", NULL, 256 << 10,
      run_small_writes },
    { "64 bit refcounts", "cluster_size=512,refcount_bits=64", NULL, 256 << 10, run_small_writes },
    { "v2", "cluster_size=4k,compat=0.10", NULL, 1 << 20, run_mix },
    { "lazy refcounts", "cluster_size=4k,lazy_refcounts=on", NULL, 1 << 20, run_mix },
    { "lazy refcounts, 512 byte clusters", "cluster_size=512,lazy_refcounts=on", TINY, 256 << 10,
      run_small_writes },
    { "extended L2", "cluster_size=16k,extended_l2=on", NULL, 1 << 20, run_mix },
    { "extended L2, small writes", "cluster_size=16k,extended_l2=on", NULL, 512 << 10,
      run_small_writes },
    { "tiny caches", "cluster_size=512", TINY, 256 << 10, run_small_writes },
    { "writethrough", "cluster_size=4k", NULL, 512 << 10, run_mix, POWER_CUT_WRITETHROUGH },
    { "writethrough, lazy refcounts", "cluster_size=4k,lazy_refcounts=on", NULL, 512 << 10, run_mix,
      POWER_CUT_WRITETHROUGH },
    { "metadata preallocated", "cluster_size=4k,preallocation=metadata", NULL, 512 << 10, run_mix },
    { "data file", "cluster_size=4k", NULL, 1 << 20, run_mix, POWER_CUT_DATA_FILE },
    { "raw data file", "cluster_size=4k,data_file_raw=on", NULL, 1 << 20, run_mix,
      POWER_CUT_DATA_FILE },
    { "data file, extended L2", "cluster_size=16k,extended_l2=on", NULL, 512 << 10,
      run_small_writes, POWER_CUT_DATA_FILE },
    { "data file, growing", "cluster_size=512", TINY, 128 << 10, run_grow, POWER_CUT_DATA_FILE,
      .max_size = 512 << 10 },
    { "encrypted", "cluster_size=4k", NULL, 512 << 10, run_mix, POWER_CUT_LUKS },
    { "backing file", "cluster_size=4k", NULL, 512 << 10, run_mix, POWER_CUT_BACKING },
    { "backing file, small writes", "", NULL, 512 << 10, run_small_writes, POWER_CUT_BACKING },
    { "backing file, extended L2", "cluster_size=16k,extended_l2=on", NULL, 512 << 10,
      run_small_writes, POWER_CUT_BACKING },
    { "snapshots", "cluster_size=4k", NULL, 512 << 10, run_snapshots },
    { "snapshots, 512 byte clusters", "cluster_size=512", NULL, 128 << 10, run_snapshots },
    { "snapshots, extended L2", "cluster_size=16k,extended_l2=on", NULL, 512 << 10, run_snapshots },
    { "snapshots, lazy refcounts", "cluster_size=4k,lazy_refcounts=on", NULL, 512 << 10,
      run_snapshots },
    { "snapshots applied", "cluster_size=4k", NULL, 256 << 10, run_apply },
    { "snapshots applied, 512 byte clusters", "cluster_size=512", TINY, 128 << 10, run_apply },
    { "snapshots applied, v2", "cluster_size=4k,compat=0.10", NULL, 256 << 10, run_apply },
    { "snapshots applied, lazy refcounts", "cluster_size=4k,lazy_refcounts=on", NULL, 256 << 10,
      run_apply },
    { "snapshots applied, extended L2", "cluster_size=16k,extended_l2=on", NULL, 512 << 10,
      run_apply },
    { "snapshots of a machine", "cluster_size=4k", NULL, 256 << 10, run_states,
      .verify = verify_states },
    { "snapshots of a machine, 512 byte clusters", "cluster_size=512", TINY, 128 << 10, run_states,
      .verify = verify_states },
    { "snapshots of a machine, lazy refcounts", "cluster_size=64k,lazy_refcounts=on", NULL,
      256 << 10, run_states, .verify = verify_states },
    { "snapshots of a machine, encrypted", "cluster_size=4k", NULL, 256 << 10, run_states,
      POWER_CUT_LUKS, .verify = verify_states },
    { "growing", "cluster_size=4k", NULL, 512 << 10, run_grow, .max_size = 2 << 20 },
    { "growing, 512 byte clusters", "cluster_size=512", NULL, 128 << 10, run_grow,
      .max_size = 512 << 10 },
    { "shrinking", "cluster_size=4k", NULL, 512 << 10, run_shrink },
    { "shrinking, 512 byte clusters", "cluster_size=512", NULL, 128 << 10, run_shrink },
    { "shrinking and growing", "cluster_size=4k", NULL, 512 << 10, run_shrink_and_grow,
      .max_size = 1 << 20 },
    { "shrinking and growing, 512 byte clusters", "cluster_size=512", TINY, 128 << 10,
      run_shrink_and_grow, .max_size = 256 << 10 },
    { "bitmaps", "cluster_size=4k", NULL, 512 << 10, run_bitmaps, .prepare = prepare_bitmaps,
      .verify = verify_bitmaps },
    { "bitmaps, 512 byte clusters", "cluster_size=512", TINY, 256 << 10, run_bitmaps,
      .prepare = prepare_bitmaps, .verify = verify_bitmaps },
    { "amending", "cluster_size=4k", NULL, 512 << 10, run_amend },
    { "bitmaps, lazy refcounts", "cluster_size=4k,lazy_refcounts=on", NULL, 512 << 10, run_bitmaps,
      .prepare = prepare_bitmaps, .verify = verify_bitmaps },
    { "bitmaps, names first", "cluster_size=4k", NULL, 256 << 10, run_bitmaps,
      .prepare = prepare_bitmaps, .damage = names_first, .verify = verify_bitmaps },
    { "bitmaps, backing file, names first", "cluster_size=4k", NULL, 256 << 10,
      run_backing_and_bitmaps, POWER_CUT_BACKING, prepare_bitmaps, names_first },
    { "rebase, names first", "cluster_size=4k", NULL, 256 << 10, run_rebase, POWER_CUT_BACKING,
      prepare_bitmaps, names_first },
    { "compacting", "cluster_size=4k", NULL, 512 << 10, run_compact, .prepare = prepare_hollow },
    { "compacting, 64 KiB clusters", "", NULL, 4 << 20, run_compact, .prepare = prepare_hollow },
    { "compacting, 512 byte clusters", "cluster_size=512", TINY, 256 << 10, run_compact,
      .prepare = prepare_hollow },
    { "compacting, extended L2", "cluster_size=16k,extended_l2=on", NULL, 1 << 20, run_compact,
      .prepare = prepare_hollow },
    { "compacting, lazy refcounts", "cluster_size=4k,lazy_refcounts=on", NULL, 512 << 10,
      run_compact, .prepare = prepare_hollow },
    { "compacting, 1 bit refcounts", "cluster_size=512,refcount_bits=1", NULL, 256 << 10,
      run_compact, .prepare = prepare_hollow },
    { "compacting, encrypted", "cluster_size=4k", NULL, 512 << 10, run_compact, POWER_CUT_LUKS,
      .prepare = prepare_hollow },
    { "compacting, backing file", "cluster_size=4k", NULL, 512 << 10, run_compact,
      POWER_CUT_BACKING, .prepare = prepare_hollow },
    { "compacting, data file", "cluster_size=4k", NULL, 512 << 10, run_compact, POWER_CUT_DATA_FILE,
      .prepare = prepare_hollow },
    { "amending, 512 byte clusters", "cluster_size=512", NULL, 128 << 10, run_amend },
    { "amending to v2 and back", "cluster_size=4k", NULL, 512 << 10, run_amend_versions },
    { "commit", "cluster_size=4k", NULL, 512 << 10, run_commit, POWER_CUT_OVERLAY },
    { "commit, 512 byte clusters", "cluster_size=512", NULL, 128 << 10, run_commit,
      POWER_CUT_OVERLAY },
    { "job stream", "cluster_size=4k", NULL, 512 << 10, power_cut_stream, POWER_CUT_BACKING },
    { "job stream, extended L2", "cluster_size=16k,extended_l2=on", NULL, 512 << 10,
      power_cut_stream, POWER_CUT_BACKING },
    { "job commit", "cluster_size=4k", NULL, 512 << 10, power_cut_commit, POWER_CUT_OVERLAY },
    { "job commit, 512 byte clusters", "cluster_size=512", NULL, 128 << 10, power_cut_commit,
      POWER_CUT_OVERLAY },
    { "job mirror", "cluster_size=4k", NULL, 512 << 10, power_cut_mirror, .prepare = prepare_mix },
    { "job mirror, lazy refcounts", "lazy_refcounts=on", NULL, 1 << 20, power_cut_mirror,
      .prepare = prepare_mix },
    { "job backup", "cluster_size=4k", NULL, 512 << 10, power_cut_backup, .prepare = prepare_mix },
    { "rebase", "cluster_size=4k", NULL, 512 << 10, run_rebase, POWER_CUT_BACKING },
    { "bitmaps, backing file", "cluster_size=4k", NULL, 512 << 10, run_backing_and_bitmaps,
      POWER_CUT_BACKING },
    { "bitmaps, backing file, 1 KiB clusters", "cluster_size=1k", NULL, 128 << 10,
      run_backing_and_bitmaps, POWER_CUT_BACKING },
    { "amending to v2, backing file", "cluster_size=4k", NULL, 256 << 10, run_amend_versions,
      POWER_CUT_BACKING },
    { "amending to v2, backing file, snapshot", "cluster_size=4k", NULL, 256 << 10,
      run_amend_snapshot, POWER_CUT_BACKING },
    { "rebase, extended L2", "cluster_size=16k,extended_l2=on", NULL, 512 << 10, run_rebase,
      POWER_CUT_BACKING },
    { "repair by new refcounts", "cluster_size=4k", NULL, 512 << 10, run_repair, POWER_CUT_DAMAGED,
      prepare_mix, damage_counts },
    { "repair in place", "cluster_size=512", NULL, 256 << 10, run_repair, POWER_CUT_DAMAGED,
      prepare_mix, damage_leaks },
    { "repair of flags", "cluster_size=4k", NULL, 512 << 10, run_repair, POWER_CUT_DAMAGED,
      prepare_mix, damage_flags },
    {}
};
