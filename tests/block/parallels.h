/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What power cuts interrupt on Parallels images. They say that they were not closed, and are
 * repaired.
 */
#ifndef TESTS_BLOCK_PARALLELS_H
#define TESTS_BLOCK_PARALLELS_H

#include "tests/lib/power-cut.h"
#include "util/size.h"

static CO void parallels_mix(PowerCut *pc)
{
    power_cut_mix(pc, 30, 64 * KiB);
}

static const PowerCutWorkload parallels_workloads[] = {
    { "parallels", "", NULL, 6 * MiB, parallels_mix, POWER_CUT_DAMAGED, .format = "parallels" },
    { "parallels, small clusters", "cluster_size=4k", NULL, 1 * MiB, parallels_mix,
      POWER_CUT_DAMAGED, .format = "parallels" },
    { "parallels, clusters of 63 sectors", "cluster_size=32256", NULL, 1 * MiB, parallels_mix,
      POWER_CUT_DAMAGED, .format = "parallels" },
    { "parallels, writethrough", "cluster_size=64k", NULL, 2 * MiB, parallels_mix,
      POWER_CUT_DAMAGED | POWER_CUT_WRITETHROUGH, .format = "parallels" },
    {}
};

#endif
