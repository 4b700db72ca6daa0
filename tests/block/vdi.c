/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to VDI images, and power cuts while they grow; vdi.slow.c looks at more moments. */
#include "tests/block/vdi.h"
#include "tests/lib/disk.h"
#include "tests/lib/harness.h"

static CO void test_dynamic(void)
{
    disk_random_requests(&(DiskRandom){ "vdi", "", NULL, 40 * MiB, .max = 3 * MiB });
}

static CO void test_static(void)
{
    disk_random_requests(&(DiskRandom){ "vdi", "static=on", NULL, 9 * MiB + 512, .max = 300000 });
}

static CO void test_power_cut(void)
{
    for (const PowerCutWorkload *w = vdi_workloads; w->name; w++)
        g_assert_cmpuint(power_cut_run(w, 0, 1), >=, 3);
}

static CO void test_handed_over(void)
{
    disk_handed_over("vdi", "");
}

const Test tests[] = {
    { "/vdi/random/dynamic", test_dynamic },
    { "/vdi/random/static", test_static },
    { "/vdi/power-cut/loses-nothing", test_power_cut },
    { "/vdi/active/handed-over", test_handed_over },
    {}
};
