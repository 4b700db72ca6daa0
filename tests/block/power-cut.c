/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A few moments of each workload; power-cut.slow.c looks at many. */
#include "tests/lib/harness.h"
#include "tests/lib/power-cut-workloads.h"

static CO void test_power_cut_loses_nothing(void)
{
    for (const PowerCutWorkload *w = power_cut_workloads; w->name; w++) {
        unsigned points = power_cut_run(w, 0, 1);

        g_assert_cmpuint(points, >=, 3);
        g_print("# %s: %u moments\n", w->name, points);
    }
}

const Test tests[] = {
    { "/power-cut/loses-nothing", test_power_cut_loses_nothing },
    {}
};
