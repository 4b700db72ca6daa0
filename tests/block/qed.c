/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to QED images, and power cuts while they grow; qed.slow.c looks at more moments. */
#include "tests/block/qed.h"
#include "tests/lib/disk.h"
#include "tests/lib/harness.h"

static CO void test_default(void)
{
    disk_random_requests(&(DiskRandom){ "qed", "", NULL, 16 * MiB, .max = 300000 });
}

/* More tables than are kept in memory at 64 KiB each would be slow: these are small. */
static CO void test_small(void)
{
    disk_random_requests(&(DiskRandom){ "qed", "cluster_size=4k,table_size=2", NULL, 20 * MiB + 512,
                                        .max = 300000 });
}

static CO void test_backing(void)
{
    disk_random_requests(&(DiskRandom){ "qed", "cluster_size=4k,table_size=2", NULL, 6 * MiB + 1024,
                                        .backing = true, .max = 100000 });
}

static CO void test_backing_large(void)
{
    disk_random_requests(
        &(DiskRandom){ "qed", "", NULL, 16 * MiB, .backing = true, .max = 300000 });
}

static CO void test_handed_over(void)
{
    disk_handed_over("qed", "cluster_size=4k,table_size=2");
}

static CO void test_power_cut(void)
{
    for (const PowerCutWorkload *w = qed_workloads; w->name; w++)
        g_assert_cmpuint(power_cut_run(w, 0, 1), >=, 3);
}

const Test tests[] = {
    { "/qed/random/default", test_default },
    { "/qed/random/small-clusters", test_small },
    { "/qed/random/backing", test_backing },
    { "/qed/random/backing-large-clusters", test_backing_large },
    { "/qed/active/handed-over", test_handed_over },
    { "/qed/power-cut/loses-nothing", test_power_cut },
    {}
};
