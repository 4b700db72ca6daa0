/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines: functions that wait without blocking their thread.
 *
 * A coroutine runs on one loop, hence one thread, for life. Between two calls that may suspend
 * nothing else runs on that loop, so state of one loop needs no lock. Stacks are 256 KiB with a
 * guard page, pooled per thread.
 */
#ifndef IO_CO_H
#define IO_CO_H

#include <stdbool.h>
#include <stdint.h>

/* Marks a function that may suspend. Only another such function may call it. */
#define CO

typedef struct Co Co;
typedef void CoFn(void *arg);

/*
 * Makes a coroutine of @fn on the calling thread's loop. It runs once the caller suspends, in
 * the order of starting. Callable from coroutines and from plain callbacks of the loop.
 */
void co_start(CoFn *fn, void *arg);

/*
 * The same, and lets it run at once: the caller goes on when it first waits, or has returned. Many
 * that need not wait then share one stack. From coroutines only.
 */
CO void co_start_now(CoFn *fn, void *arg);

/*
 * As co_start for one that keeps house: it mostly sleeps and does not mind to be late, so that
 * another counts as alone on the loop beside it.
 */
void co_start_keeper(CoFn *fn, void *arg);

/* The running coroutine; NULL outside of one. */
Co *co_self(void);

/* Waits until somebody calls co_wake on us. A wake before the wait is remembered, once. */
CO void co_suspend(void);

/* Makes @co runnable, at the end of the queue. Same thread as @co's loop only. */
void co_wake(Co *co);

/* The same from any thread. @co must stay suspended, or be about to suspend, until then. */
void co_wake_from_thread(Co *co);

/* Lets every other runnable coroutine of this loop run once. */
CO void co_yield(void);

/* Waits @ns nanoseconds; co_wake ends it early. Returns true if the time passed, false if woken. */
CO bool co_sleep(int64_t ns);

/* Monotonic nanoseconds. */
int64_t clock_now_ns(void);

#endif
