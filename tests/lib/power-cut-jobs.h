/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Workloads that are jobs, as commands start them. */
#ifndef TESTS_LIB_POWER_CUT_JOBS_H
#define TESTS_LIB_POWER_CUT_JOBS_H

#include "tests/lib/power-cut.h"

/* The image, an overlay on base-a, while it is written. */
CO void power_cut_stream(PowerCut *pc);
/* An overlay into the image below it, while it is written. */
CO void power_cut_commit(PowerCut *pc);
/* base-b to the image. */
CO void power_cut_mirror(PowerCut *pc);
CO void power_cut_backup(PowerCut *pc);

#endif
