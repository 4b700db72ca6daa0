/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keeping nodes on the main loop. */
#ifndef BLOCK_HOME_H
#define BLOCK_HOME_H

#include "io/co.h"

/*
 * Between home_hold() and home_release() all nodes live on the main loop, whatever iothread they
 * are assigned to; requests go on meanwhile. Every command holds. Any other code that looks at
 * nodes has to hold too, unless it is a job or only makes requests on handles. Main loop only.
 */
CO void home_hold(void);
void home_release(void);

#endif
