/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keeping nodes on the main loop. */
#ifndef BLOCK_HOME_H
#define BLOCK_HOME_H

#include "io/co.h"

/*
 * While anybody holds, all nodes live on the main loop, whatever iothread they are for; requests go
 * on meanwhile. Commands hold; what looks at nodes outside of commands and jobs, other than by
 * requests of handles, has to. Main loop only.
 */
CO void home_hold(void);
void home_release(void);

#endif
