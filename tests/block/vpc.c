/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to VHD images, and power cuts while they grow; vpc.slow.c looks at more moments. */
#include "tests/block/vpc.h"
#include "tests/lib/disk.h"
#include "tests/lib/harness.h"

static CO void test_dynamic(void)
{
    disk_random_requests(&(DiskRandom){ "vpc", "force_size=on", NULL, 40 * MiB, .max = 3 * MiB });
}

static CO void test_fixed(void)
{
    disk_random_requests(&(DiskRandom){ "vpc", "subformat=fixed,force_size=on", NULL, 9 * MiB + 512, .max = 300000 });
}

static CO void test_power_cut(void)
{
    for (const PowerCutWorkload *w = vpc_workloads; w->name; w++)
        g_assert_cmpuint(power_cut_run(w, 0, 1), >=, 3);
}

static CO void test_handed_over(void)
{
    disk_handed_over("vpc", "force_size=on");
}

const Test tests[] = {
    { "/vpc/random/dynamic", test_dynamic },
    { "/vpc/random/fixed", test_fixed },
    { "/vpc/power-cut/loses-nothing", test_power_cut },
    { "/vpc/active/handed-over", test_handed_over },
    {}
};
