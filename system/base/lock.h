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

/* A place to wait at: processors without work, the clock. Both calls with the lock held. */
typedef struct MachineCond MachineCond;
MachineCond *machine_cond_new(void);
void machine_cond_free(MachineCond *c);
/* Gives the lock up meanwhile. Returns after a wake, at the monotonic @deadline_ns, or for nothing. */
void machine_cond_wait(MachineCond *c, int64_t deadline_ns);
void machine_cond_wake(MachineCond *c);

#endif
