/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keeping nodes on the main loop, and working where they are. */
#ifndef BLOCK_HOME_H
#define BLOCK_HOME_H

#include "block/block.h"

/*
 * Between home_hold() and home_release() all nodes live on the main loop, whatever iothread they
 * are assigned to; requests go on meanwhile. Every command holds. Any other code that looks at
 * nodes has to hold too, unless it only makes requests on handles, or works there. Main loop only.
 */
CO void home_hold(void);
void home_release(void);

/*
 * Long work on the nodes of @h that is more than a request: runs @fn(@arg) on the loop where they
 * live, which may be this one, and waits for it. They stay there until it returns, so @fn has to do
 * so soon once home_must_leave() says it, and is called again for the rest. Main loop only.
 */
CO void home_work(Handle *h, CoFn *fn, void *arg);
/* For such an @fn. */
bool home_must_leave(const Handle *h);
/* The same: while it sleeps @co is woken when it must leave. One for each handle; NULL: no more. */
void home_work_sleeper(Handle *h, Co *co);

#endif
