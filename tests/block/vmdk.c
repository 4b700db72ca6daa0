/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to VMDK images, and power cuts while they grow; vmdk.slow.c looks at more moments. */
#include "tests/block/vmdk.h"
#include "tests/lib/disk.h"
#include "tests/lib/harness.h"

static CO void test_sparse(void)
{
    disk_random_requests(&(DiskRandom){ "vmdk", "", NULL, 70 * MiB, .max = 3 * MiB });
}

static CO void test_zeroed(void)
{
    disk_random_requests(
        &(DiskRandom){ "vmdk", "zeroed_grain=on", NULL, 9 * MiB + 512, .max = 300000 });
}

static CO void test_power_cut(void)
{
    for (const PowerCutWorkload *w = vmdk_workloads; w->name; w++)
        g_assert_cmpuint(power_cut_run(w, 0, 1), >=, 3);
}

static CO void test_handed_over(void)
{
    disk_handed_over("vmdk", "");
}

const Test tests[] = {
    { "/vmdk/random/sparse", test_sparse },
    { "/vmdk/random/zeroed-grains", test_zeroed },
    { "/vmdk/power-cut/loses-nothing", test_power_cut },
    { "/vmdk/active/handed-over", test_handed_over },
    {}
};
