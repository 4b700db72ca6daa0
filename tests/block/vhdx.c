/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to VHDX images, and power cuts while they grow; vhdx.slow.c looks at more moments. */
#include "tests/block/vhdx.h"
#include "tests/lib/disk.h"
#include "tests/lib/harness.h"

static CO void test_dynamic(void)
{
    disk_random_requests(&(DiskRandom){ "vhdx", "block_size=1M", NULL, 40 * MiB, .max = 3 * MiB });
}

static CO void test_fixed(void)
{
    disk_random_requests(
        &(DiskRandom){ "vhdx", "subformat=fixed", NULL, 9 * MiB + 512, .max = 300000 });
}

static CO void test_power_cut(void)
{
    for (const PowerCutWorkload *w = vhdx_workloads; w->name; w++)
        g_assert_cmpuint(power_cut_run(w, 0, 1), >=, 3);
}

static CO void test_handed_over(void)
{
    disk_handed_over("vhdx", "block_size=1M");
}

const Test tests[] = {
    { "/vhdx/random/dynamic", test_dynamic },
    { "/vhdx/random/fixed", test_fixed },
    { "/vhdx/power-cut/loses-nothing", test_power_cut },
    { "/vhdx/active/handed-over", test_handed_over },
    {}
};
