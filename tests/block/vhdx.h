/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What power cuts interrupt on VHDX images. */
#ifndef TESTS_BLOCK_VHDX_H
#define TESTS_BLOCK_VHDX_H

#include "tests/lib/power-cut.h"
#include "util/size.h"

static CO void vhdx_mix(PowerCut *pc)
{
    power_cut_mix(pc, 30, 64 * KiB);
}

/* Many blocks: the BAT changes in one sector over and over, and the log wraps. */
static CO void vhdx_spread(PowerCut *pc)
{
    for (unsigned i = 0; i < 40; i++) {
        power_cut_write(pc, power_cut_random(pc, 60) * MiB + 4096, 8 * KiB);
        if (i % 3 == 0)
            power_cut_flush(pc);
    }
}

static const PowerCutWorkload vhdx_workloads[] = {
    { "vhdx", "block_size=1M", NULL, 4 * MiB, vhdx_mix, .format = "vhdx" },
    { "vhdx, states of absent blocks", "block_size=1M,block_state_zero=off", NULL, 4 * MiB,
      vhdx_mix, .format = "vhdx" },
    { "vhdx, writethrough", "block_size=1M", NULL, 4 * MiB, vhdx_mix, POWER_CUT_WRITETHROUGH,
      .format = "vhdx" },
    { "vhdx, fixed", "subformat=fixed,block_size=1M", NULL, 2 * MiB, vhdx_mix, .format = "vhdx" },
    { "vhdx below an overlay", "block_size=1M", NULL, 2 * MiB, vhdx_mix, POWER_CUT_OVERLAY,
      .format = "vhdx" },
    {}
};

/* Only where there is time: each moment reads 60 MiB. */
static const PowerCutWorkload vhdx_large_workloads[] = {
    { "vhdx, many blocks", "block_size=1M", NULL, 60 * MiB, vhdx_spread, .format = "vhdx" },
    {}
};

#endif
