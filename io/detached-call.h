/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls that may never return, such as name look-ups. Each runs in a thread of its own, which is
 * left behind when its caller no longer wants the result.
 */
#ifndef IO_DETACHED_CALL_H
#define IO_DETACHED_CALL_H

#include "io/co.h"
#include <glib.h>

typedef struct DetachedCall DetachedCall;

/*
 * Starts @fn(@arg) in a thread. @arg is the thread's until detached_call_wait has returned 0;
 * @free_arg gets it once neither the thread nor the caller has a use for it. To be ended by
 * detached_call_end.
 */
DetachedCall *detached_call_start(int (*fn)(void *arg), void *arg, GDestroyNotify free_arg);

/*
 * Waits for it until the monotonic time @deadline_ns (0: no limit): 0 with what @fn returned in
 * *@result, -ETIMEDOUT, -ECANCELED, or another negative errno.
 */
CO int detached_call_wait(DetachedCall *e, int64_t deadline_ns, int *result);

/* Makes detached_call_wait, now or later, return -ECANCELED. Same loop. NULL is fine. */
void detached_call_cancel(DetachedCall *e);

/* Nobody waits any more. */
void detached_call_end(DetachedCall *e);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(DetachedCall, detached_call_end)

#endif
