/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lock of the machine's devices: whoever touches the state of a device, or asks a device for
 * something, holds it. Processors hold it only while they use a device, the main loop only between
 * two waits: nobody suspends a coroutine, or waits for another thread, with it.
 */
#ifndef SYSTEM_BASE_LOCK_H
#define SYSTEM_BASE_LOCK_H

#include <stdint.h>

void machine_lock(void);
void machine_unlock(void);

/*
 * Calls @fn with the next machine_unlock of this thread, without the lock: it wakes somebody who
 * will want it. @arg has to be there until then. With the lock held.
 */
void machine_wake_later(void (*fn)(void *arg), void *arg);

/* A place to wait at: processors without work, the clock. Both calls with the lock held. */
typedef struct MachineCond MachineCond;
MachineCond *machine_cond_new(void);
void machine_cond_free(MachineCond *c);
/*
 * Gives the lock up meanwhile. Returns after a wake, at the monotonic @deadline_ns, or for nothing.
 */
void machine_cond_wait(MachineCond *c, int64_t deadline_ns);
void machine_cond_wake(MachineCond *c);
/* How often who waits there has been woken; any thread, also without the lock. */
unsigned machine_cond_wakes(const MachineCond *c);

/*
 * From here to the release, which does not wait, what this thread wakes is woken later, at the
 * release: for work that gives the lock up in between and is to be found done. With the lock held.
 */
void machine_wakes_hold(void);
void machine_wakes_release(void);

#endif
