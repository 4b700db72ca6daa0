/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What power cuts interrupt on VMDK images. */
#ifndef TESTS_BLOCK_VMDK_H
#define TESTS_BLOCK_VMDK_H

#include "tests/lib/power-cut.h"
#include "util/size.h"

static CO void vmdk_mix(PowerCut *pc)
{
    power_cut_mix(pc, 30, 64 * KiB);
}

static const PowerCutWorkload vmdk_workloads[] = {
    { "vmdk", "", NULL, 4 * MiB, vmdk_mix, .format = "vmdk" },
    { "vmdk, zeroed grains", "zeroed_grain=on", NULL, 2 * MiB, vmdk_mix, .format = "vmdk" },
    { "vmdk, writethrough", "zeroed_grain=on", NULL, 1 * MiB, vmdk_mix, POWER_CUT_WRITETHROUGH,
      .format = "vmdk" },
    { "vmdk below an overlay", "", NULL, 1 * MiB, vmdk_mix, POWER_CUT_OVERLAY, .format = "vmdk" },
    {}
};

#endif
