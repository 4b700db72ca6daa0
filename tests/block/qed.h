/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What power cuts interrupt on QED images. */
#ifndef TESTS_BLOCK_QED_H
#define TESTS_BLOCK_QED_H

#include "tests/lib/power-cut.h"
#include "util/size.h"

static CO void qed_mix(PowerCut *pc)
{
    power_cut_mix(pc, 30, 64 * KiB);
}

static CO void qed_grow(PowerCut *pc)
{
    power_cut_mix(pc, 15, 64 * KiB);
    power_cut_resize(pc, 4 * MiB);
    power_cut_mix(pc, 15, 64 * KiB);
}

static const PowerCutWorkload qed_workloads[] = {
    { "qed", "", NULL, 1 * MiB, qed_mix, POWER_CUT_LEAKS, .format = "qed" },
    { "qed, small tables", "cluster_size=4k,table_size=1", NULL, 6 * MiB, qed_mix, POWER_CUT_LEAKS,
      .format = "qed" },
    { "qed, backing file", "cluster_size=4k,table_size=1", NULL, 1 * MiB, qed_mix,
      POWER_CUT_LEAKS | POWER_CUT_BACKING, .format = "qed" },
    { "qed, backing file, large clusters", "", NULL, 1 * MiB, qed_mix,
      POWER_CUT_LEAKS | POWER_CUT_BACKING, .format = "qed" },
    { "qed, writethrough", "cluster_size=4k,table_size=2", NULL, 1 * MiB, qed_mix,
      POWER_CUT_LEAKS | POWER_CUT_WRITETHROUGH, .format = "qed" },
    { "qed, growing", "cluster_size=4k,table_size=1", NULL, 1 * MiB, qed_grow, POWER_CUT_LEAKS,
      .format = "qed", .max_size = 4 * MiB },
    {}
};

#endif
