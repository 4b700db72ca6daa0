/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far long work below a handle has come. */
#include "block/driver.h"

static WorkListener *listener; /* main loop */

void work_listen(WorkListener *fn)
{
    listener = fn;
}

void work_tell(uint64_t done, uint64_t total)
{
    if (listener)
        listener(done, total);
}
