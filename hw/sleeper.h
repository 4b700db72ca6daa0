/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A coroutine of the main loop that sleeps until some thread, with the machine's lock, wakes it. */
#ifndef HW_SLEEPER_H
#define HW_SLEEPER_H

#include "io/co.h"
#include "system/base/lock.h"
#include <stddef.h>

/* Zeroed at first. One coroutine at a time. */
typedef struct {
    Co *co; /* it sleeps, or is about to; NULL: it need not be woken */
} Sleeper;

/* Called with the lock held, which is given up meanwhile. */
static inline CO void sleeper_wait(Sleeper *s)
{
    s->co = co_self();
    machine_unlock();
    co_suspend();
    machine_lock();
}

/* Nobody else wakes it, so it is there until then. */
static inline void sleeper_wake_now(void *co)
{
    co_wake_from_thread(co);
}

static inline void sleeper_wake(Sleeper *s)
{
    Co *co = s->co;

    s->co = NULL;
    if (co)
        machine_wake_later(sleeper_wake_now, co);
}

#endif
