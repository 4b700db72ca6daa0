/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tens of thousands of moments at which the power may fail. */
#include "tests/lib/harness.h"
#include "tests/lib/power-cut-workloads.h"

enum { MOMENTS = 1200 };

static CO void test_power_cut_loses_nothing(void)
{
    unsigned total = 0;

    for (const PowerCutWorkload *w = power_cut_workloads; w->name; w++)
        total += power_cut_run(w, test_is_slowed() ? MOMENTS / 20 : test_share(MOMENTS), 42);
    g_print("# %u moments\n", total);
}

const Test tests[] = {
    { "/power-cut/many-moments-lose-nothing", test_power_cut_loses_nothing },
    {}
};
