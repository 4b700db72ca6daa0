/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Timers: a call at a time, on the loop of the thread that set it. They are memory of their owner
 * and cost no coroutine, so there may be thousands. Both kinds start zeroed but for @expired.
 */
#ifndef IO_TIMER_H
#define IO_TIMER_H

#include <stdbool.h>
#include <stdint.h>

/* Of the monotonic clock, clock_now_ns() in io/co.h. */
typedef struct Timer Timer;
struct Timer {
    /* Called by the loop, in no coroutine, once; the timer is not set any more and may be set again. */
    void (*expired)(Timer *t);
    int64_t deadline_ns; /* while it is set */
    unsigned index;      /* place in the loop's heap, from 1; 0: not set */
};

/* Sets @t, or sets it to another time. A time that has passed expires as soon as the loop looks. */
void timer_set(Timer *t, int64_t deadline_ns);
/* Same loop. Nothing happens if it is not set. */
void timer_cancel(Timer *t);

static inline bool timer_is_set(const Timer *t)
{
    return t->index != 0;
}

/* Of the time of day, which may be set: expires when that clock shows @due_ns or more. */
typedef struct WallTimer WallTimer;
struct WallTimer {
    void (*expired)(WallTimer *w); /* as above */
    int64_t due_ns;                /* since 1970 UTC, while it is set */
    Timer timer;
    WallTimer *prev, *next;        /* all that are set on the loop */
};

/* Nanoseconds since 1970 UTC. */
int64_t clock_wall_ns(void);

void wall_timer_set(WallTimer *w, int64_t due_ns);
void wall_timer_cancel(WallTimer *w);

static inline bool wall_timer_is_set(const WallTimer *w)
{
    return timer_is_set(&w->timer);
}

#endif
