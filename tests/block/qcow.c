/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to images of qcow version 1, and power cuts while they grow; qcow.slow.c looks at more.
 */
#include "tests/block/qcow.h"
#include "tests/lib/disk.h"
#include "tests/lib/harness.h"

static CO void test_default(void)
{
    disk_random_requests(&(DiskRandom){ "qcow", "", NULL, 16 * MiB, .max = 300000 });
}

/* These have clusters of a sector. */
static CO void test_backing(void)
{
    disk_random_requests(
        &(DiskRandom){ "qcow", "", NULL, 6 * MiB + 1024, .backing = true, .max = 100000 });
}

static CO void test_handed_over(void)
{
    disk_handed_over("qcow", "");
}

static CO void test_power_cut(void)
{
    for (const PowerCutWorkload *w = qcow_workloads; w->name; w++)
        g_assert_cmpuint(power_cut_run(w, 0, 1), >=, 3);
}

const Test tests[] = {
    { "/qcow/random/default", test_default },
    { "/qcow/random/backing", test_backing },
    { "/qcow/active/handed-over", test_handed_over },
    { "/qcow/power-cut/loses-nothing", test_power_cut },
    {}
};
