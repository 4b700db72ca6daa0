/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The workloads that power cuts interrupt; ended by one without a name. */
#ifndef TESTS_LIB_POWER_CUT_WORKLOADS_H
#define TESTS_LIB_POWER_CUT_WORKLOADS_H

#include "tests/lib/power-cut.h"

extern const PowerCutWorkload power_cut_workloads[];

#endif
