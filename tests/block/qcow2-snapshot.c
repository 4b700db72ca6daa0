/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Internal snapshots of images that are written in between, and changes of size. */
#include "block/driver.h"
#include "tests/lib/disk.h"
#include "tests/lib/harness.h"
#include "util/size.h"
#include <string.h>

enum { KEPT_MAX = 6, ROUNDS = 24 };

typedef struct {
    char *id;            /* NULL: none */
    uint8_t *model;
    uint64_t size;
} Kept;

static const SnapshotOps *ops(Disk *d)
{
    return node_driver(handle_node(d->h))->snapshots;
}

static CO void keep(Disk *d, Kept *k, unsigned number)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *name = g_strdup_printf("snap%u", number);
    Snapshot s = { .id = NULL, .name = name, .icount = UINT64_MAX, .date_sec = 1000 };

    g_assert_cmpint(ops(d)->create(handle_node(d->h), &s, &err), ==, 0);
    g_assert_no_error(err);
    *k = (Kept){ s.id, g_memdup2(d->model, d->size), d->size };
}

static CO void forget(Disk *d, Kept *k)
{
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(ops(d)->remove(handle_node(d->h), k->id, &err), ==, 0);
    g_assert_no_error(err);
    g_free(k->id);
    g_free(k->model);
    *k = (Kept){ NULL };
}

static CO void go_back(Disk *d, const Kept *k)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(snapshot_apply(ops(d), handle_node(d->h), k->id, &err));
    g_assert_no_error(err);
    g_free(d->model);
    d->model = g_memdup2(k->model, k->size);
    d->size = k->size;
    g_assert_cmpuint(handle_size(d->h), ==, d->size);
}

/* What a snapshot shows must be what the disk was. */
static CO void look(Disk *d, const Kept *k)
{
    Disk view = { .path = d->path, .model = k->model, .size = d->size };
    g_autoptr(GError) err = NULL;

    disk_reopen(&view, 0);
    g_assert_cmpint(ops(&view)->load(handle_node(view.h), k->id, &err), ==, 0);
    g_assert_no_error(err);
    g_assert_cmpuint(handle_size(view.h), ==, k->size);
    view.size = k->size;
    disk_read(&view, 0, view.size);
    handle_close(view.h);
}

static CO void change_size(Disk *d)
{
    uint64_t size = 512 * g_rand_int_range(d->rand, 1, d->size / 256);
    g_autoptr(GError) err = NULL;

    g_assert_true(handle_resize(d->h, size, false, PREALLOC_OFF, &err));
    g_assert_no_error(err);
    d->model = g_realloc(d->model, size);
    if (size > d->size)
        memset(d->model + d->size, 0, size - d->size);
    d->size = size;
    disk_read(d, 0, size);
}

static CO void snapshots(const char *options, uint64_t size, uint64_t cluster, bool resize)
{
    Disk *d = disk_new("a.qcow2", "qcow2", options, NULL, size);
    Kept kept[KEPT_MAX] = { 0 };

    d->cluster = cluster;
    for (unsigned round = 0; round < ROUNDS; round++) {
        Kept *k = &kept[g_rand_int_range(d->rand, 0, KEPT_MAX)];

        for (int i = 0; i < 12; i++)
            disk_random_op(d, 0, d->size);
        if (!k->id)
            keep(d, k, round);
        else if (g_rand_boolean(d->rand))
            forget(d, k);
        else
            go_back(d, k);
        if (resize && g_rand_boolean(d->rand))
            change_size(d);
    }
    disk_verify(d);
    for (int i = 0; i < KEPT_MAX; i++)
        if (kept[i].id)
            look(d, &kept[i]);
    disk_reopen(d, OPEN_RDWR | OPEN_UNMAP);
    for (int i = 0; i < KEPT_MAX; i++)
        if (kept[i].id)
            forget(d, &kept[i]);
    disk_verify(d);
    disk_free(d);
}

static CO void resizes(const char *options, uint64_t size, uint64_t cluster)
{
    Disk *d = disk_new("a.qcow2", "qcow2", options, NULL, size);

    d->cluster = cluster;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 6; i++)
            disk_random_op(d, 0, d->size);
        change_size(d);
    }
    disk_verify(d);
    disk_free(d);
}

static CO void test_snapshots(void)
{
    snapshots("", 8 * MiB, 65536, true);
}

static CO void test_snapshots_512(void)
{
    snapshots("cluster_size=512", 256 * KiB, 512, true);
}

static CO void test_snapshots_4k(void)
{
    snapshots("cluster_size=4k,refcount_bits=64", 2 * MiB, 4096, true);
}

static CO void test_snapshots_extended(void)
{
    snapshots("cluster_size=16k,extended_l2=on", 4 * MiB, 16384, true);
}

static CO void test_snapshots_v2(void)
{
    snapshots("compat=0.10,cluster_size=4k", 2 * MiB, 4096, false);
}

static CO void test_snapshots_lazy(void)
{
    snapshots("lazy_refcounts=on,cluster_size=4k", 2 * MiB, 4096, true);
}

static CO void test_resizes(void)
{
    resizes("", 8 * MiB, 65536);
}

static CO void test_resizes_512(void)
{
    resizes("cluster_size=512", 256 * KiB, 512);
}

static CO void test_resizes_v2(void)
{
    resizes("compat=0.10,cluster_size=4k", 2 * MiB, 4096);
}

static CO void test_resizes_extended(void)
{
    resizes("extended_l2=on", 8 * MiB, 65536);
}

const Test tests[] = {
    { "/qcow2/snapshot/random", test_snapshots },
    { "/qcow2/snapshot/random-512", test_snapshots_512 },
    { "/qcow2/snapshot/random-4k", test_snapshots_4k },
    { "/qcow2/snapshot/random-extended", test_snapshots_extended },
    { "/qcow2/snapshot/random-v2", test_snapshots_v2 },
    { "/qcow2/snapshot/random-lazy", test_snapshots_lazy },
    { "/qcow2/resize/random", test_resizes },
    { "/qcow2/resize/random-512", test_resizes_512 },
    { "/qcow2/resize/random-v2", test_resizes_v2 },
    { "/qcow2/resize/random-extended", test_resizes_extended },
    {}
};
