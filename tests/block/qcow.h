/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What power cuts interrupt on images of qcow version 1. */
#ifndef TESTS_BLOCK_QCOW_H
#define TESTS_BLOCK_QCOW_H

#include "tests/lib/power-cut.h"
#include "util/size.h"

static CO void qcow_mix(PowerCut *pc)
{
    power_cut_mix(pc, 30, 64 * KiB);
}

static const PowerCutWorkload qcow_workloads[] = {
    { "qcow", "", NULL, 6 * MiB, qcow_mix, POWER_CUT_LEAKS, .format = "qcow" },
    { "qcow, backing file", "", NULL, 6 * MiB, qcow_mix, POWER_CUT_LEAKS | POWER_CUT_BACKING,
      .format = "qcow" },
    { "qcow, writethrough", "", NULL, 1 * MiB, qcow_mix, POWER_CUT_LEAKS | POWER_CUT_WRITETHROUGH,
      .format = "qcow" },
    {}
};

#endif
