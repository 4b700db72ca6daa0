/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How fast the guest writes to its memory, measured while it runs. Main loop only. */
#ifndef SYSTEM_DIRTY_RATE_H
#define SYSTEM_DIRTY_RATE_H

#include "gen/qmp.h"

enum { DIRTY_RATE_SAMPLES = 512 };

/* Starts measuring for @seconds: by sampling @samples pages of each GiB, or by recording writes. */
CO bool dirty_rate_start(DirtyRateMeasureMode mode, unsigned seconds, unsigned samples,
                         GError **err);
/* Of the last one; the caller's. */
DirtyRateInfo *dirty_rate_result(void);
/* Gives up one that is under way. Before the machine goes. */
CO void dirty_rate_end(void);

#endif
