/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls that may never return, such as name look-ups, and need not be waited for to the end: each has a
 * thread of its own, which is left to itself when nobody wants its result any more.
 */
#ifndef IO_ERRAND_H
#define IO_ERRAND_H

#include "io/co.h"
#include <glib.h>

typedef struct Errand Errand;

/*
 * Starts @fn(@arg) in a thread. @arg is the thread's until errand_wait has returned 0; @free_arg gets it
 * once neither the thread nor the caller has a use for it. To be ended by errand_end.
 */
Errand *errand_start(int (*fn)(void *arg), void *arg, GDestroyNotify free_arg);

/*
 * Waits for it until the monotonic time @deadline_ns (0: no limit): 0 with what @fn returned in
 * *@result, -ETIMEDOUT, -ECANCELED, or another negative errno.
 */
CO int errand_wait(Errand *e, int64_t deadline_ns, int *result);

/* Makes errand_wait, now or later, return -ECANCELED. Same loop. NULL is fine. */
void errand_cancel(Errand *e);

/* Nobody waits any more. */
void errand_end(Errand *e);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Errand, errand_end)

#endif
