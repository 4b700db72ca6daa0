/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The workloads that power cuts interrupt. */
#include "tests/lib/power-cut-workloads.h"
#include "block/driver.h"

enum { SMALL = 64 * 1024 };

static CO void run_mix(PowerCut *pc)
{
    power_cut_mix(pc, 40, SMALL);
}

static CO void run_small_writes(PowerCut *pc)
{
    power_cut_mix(pc, 80, 4096);
}

/* Takes a snapshot named @name. */
static CO void snapshot_take(PowerCut *pc, const char *name)
{
    Node *n = handle_node(power_cut_handle(pc));
    Snapshot s = { .name = (char *)name, .id = (char *)"", .icount = UINT64_MAX };
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(node_driver(n)->snapshots->create(n, &s, &err), ==, 0);
    g_assert_no_error(err);
    g_free(s.id[0] ? s.id : NULL);
}

static CO void snapshot_drop(PowerCut *pc, const char *id)
{
    Node *n = handle_node(power_cut_handle(pc));
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(node_driver(n)->snapshots->remove(n, id, &err), ==, 0);
    g_assert_no_error(err);
}

static CO void run_snapshots(PowerCut *pc)
{
    power_cut_mix(pc, 10, SMALL);
    snapshot_take(pc, "one");
    power_cut_mix(pc, 10, SMALL);
    snapshot_take(pc, "two");
    power_cut_mix(pc, 10, SMALL);
    snapshot_drop(pc, "1");
    power_cut_mix(pc, 10, SMALL);
    snapshot_drop(pc, "2");
    power_cut_mix(pc, 10, SMALL);
}

static CO void run_grow(PowerCut *pc)
{
    Handle *h = power_cut_handle(pc);
    uint64_t size = handle_size(h);
    g_autoptr(GError) err = NULL;

    power_cut_mix(pc, 20, SMALL);
    g_assert_true(handle_resize(h, size * 4, false, PREALLOC_OFF, &err));
    power_cut_mix(pc, 10, 4096);
}

static CO void run_shrink(PowerCut *pc)
{
    Handle *h = power_cut_handle(pc);
    uint64_t size = handle_size(h);
    g_autoptr(GError) err = NULL;

    power_cut_mix(pc, 20, SMALL);
    power_cut_forget(pc, size / 2, size - size / 2);
    g_assert_true(handle_resize(h, size / 2, false, PREALLOC_OFF, &err));
    power_cut_mix(pc, 20, SMALL);
}

const PowerCutWorkload power_cut_workloads[] = {
    { "64 KiB clusters", "", NULL, 2 << 20, run_mix },
    { "small writes, 64 KiB clusters", "", NULL, 1 << 20, run_small_writes },
    { "512 byte clusters", "cluster_size=512", NULL, 256 << 10, run_small_writes },
    { "4 KiB clusters", "cluster_size=4k", NULL, 1 << 20, run_mix },
    { "2 MiB clusters", "cluster_size=2M", NULL, 4 << 20, run_mix },
    { "1 bit refcounts", "cluster_size=4k,refcount_bits=1", NULL, 1 << 20, run_mix },
    { "64 bit refcounts", "cluster_size=512,refcount_bits=64", NULL, 256 << 10, run_small_writes },
    { "v2", "cluster_size=4k,compat=0.10", NULL, 1 << 20, run_mix },
    { "lazy refcounts", "cluster_size=4k,lazy_refcounts=on", NULL, 1 << 20, run_mix },
    { "extended L2", "cluster_size=16k,extended_l2=on", NULL, 1 << 20, run_mix },
    { "extended L2, small writes", "cluster_size=16k,extended_l2=on", NULL, 512 << 10,
      run_small_writes },
    { "tiny caches", "cluster_size=512", "l2-cache-size=1024,refcount-cache-size=2048", 256 << 10,
      run_small_writes },
    { "snapshots", "cluster_size=4k", NULL, 512 << 10, run_snapshots },
    { "snapshots, 512 byte clusters", "cluster_size=512", NULL, 128 << 10, run_snapshots },
    { "snapshots, extended L2", "cluster_size=16k,extended_l2=on", NULL, 512 << 10,
      run_snapshots },
    { "growing", "cluster_size=4k", NULL, 512 << 10, run_grow },
    { "growing, 512 byte clusters", "cluster_size=512", NULL, 128 << 10, run_grow },
    { "shrinking", "cluster_size=4k", NULL, 512 << 10, run_shrink },
    { "shrinking, 512 byte clusters", "cluster_size=512", NULL, 128 << 10, run_shrink },
    {}
};
