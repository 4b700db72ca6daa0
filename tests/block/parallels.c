/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to Parallels images, and power cuts while they grow; parallels.slow.c looks at more
 * moments.
 */
#include "tests/block/parallels.h"
#include "tests/lib/disk.h"
#include "tests/lib/harness.h"

static CO void test_dynamic(void)
{
    disk_random_requests(&(DiskRandom){ "parallels", "", NULL, 40 * MiB, .max = 3 * MiB });
}

static CO void test_small_clusters(void)
{
    disk_random_requests(
        &(DiskRandom){ "parallels", "cluster_size=4k", NULL, 9 * MiB + 512, .max = 300000 });
}

static CO void test_power_cut(void)
{
    for (const PowerCutWorkload *w = parallels_workloads; w->name; w++)
        g_assert_cmpuint(power_cut_run(w, 0, 1), >=, 3);
}

static CO void test_handed_over(void)
{
    disk_handed_over("parallels", "");
}

const Test tests[] = {
    { "/parallels/random/dynamic", test_dynamic },
    { "/parallels/random/small-clusters", test_small_clusters },
    { "/parallels/power-cut/loses-nothing", test_power_cut },
    { "/parallels/active/handed-over", test_handed_over },
    {}
};
