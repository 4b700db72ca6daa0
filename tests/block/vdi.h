/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What power cuts interrupt on VDI images. The header may count blocks that are lost: that is
 * repaired.
 */
#ifndef TESTS_BLOCK_VDI_H
#define TESTS_BLOCK_VDI_H

#include "tests/lib/power-cut.h"
#include "util/size.h"

static CO void vdi_mix(PowerCut *pc)
{
    power_cut_mix(pc, 30, 64 * KiB);
}

static const PowerCutWorkload vdi_workloads[] = {
    { "vdi", "", NULL, 6 * MiB, vdi_mix, POWER_CUT_DAMAGED, .format = "vdi" },
    { "vdi, writethrough", "", NULL, 4 * MiB, vdi_mix,
      POWER_CUT_DAMAGED | POWER_CUT_WRITETHROUGH, .format = "vdi" },
    { "vdi, static", "static=on", NULL, 2 * MiB, vdi_mix, POWER_CUT_DAMAGED, .format = "vdi" },
    { "vdi below an overlay", "", NULL, 4 * MiB, vdi_mix,
      POWER_CUT_DAMAGED | POWER_CUT_OVERLAY, .format = "vdi" },
    {}
};

#endif
