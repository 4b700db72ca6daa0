/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What power cuts interrupt on VHD images. */
#ifndef TESTS_BLOCK_VPC_H
#define TESTS_BLOCK_VPC_H

#include "tests/lib/power-cut.h"
#include "util/size.h"

static CO void vpc_mix(PowerCut *pc)
{
    power_cut_mix(pc, 30, 64 * KiB);
}

static const PowerCutWorkload vpc_workloads[] = {
    { "vpc", "force_size=on", NULL, 9 * MiB, vpc_mix, .format = "vpc" },
    { "vpc, writethrough", "force_size=on", NULL, 4 * MiB, vpc_mix, POWER_CUT_WRITETHROUGH,
      .format = "vpc" },
    { "vpc, fixed", "subformat=fixed,force_size=on", NULL, 2 * MiB, vpc_mix, .format = "vpc" },
    { "vpc below an overlay", "force_size=on", NULL, 4 * MiB, vpc_mix, POWER_CUT_OVERLAY,
      .format = "vpc" },
    {}
};

#endif
