/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Thousands of moments at which the power may fail while a qcow image grows. */
#include "tests/block/qcow.h"
#include "tests/lib/harness.h"

enum { MOMENTS = 1000 };

static CO void test_power_cut(void)
{
    for (const PowerCutWorkload *w = qcow_workloads; w->name; w++)
        power_cut_run(w, test_is_slowed() ? MOMENTS / 20 : test_share(MOMENTS), 42);
}

const Test tests[] = {
    { "/qcow/power-cut/many-moments-lose-nothing", test_power_cut },
    {}
};
