/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The time of the guest: nanoseconds that pass while it runs and stand still while it is stopped;
 * and timers that go by it. A thread of its own waits for them. All with the machine's lock held,
 * but guest_clock_now, which processors may also ask while they run.
 */
#ifndef SYSTEM_BASE_CLOCK_H
#define SYSTEM_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Starts the thread; time stands still at 0. */
void guest_clock_begin(void);
void guest_clock_end(void);

int64_t guest_clock_now(void);
void guest_clock_run(bool run);

/*
 * From now on @now tells the guest's time, not the host's clock, and timers expire only in
 * guest_timers_expire. @sooner, unless NULL, is called when a timer is set that is due before all
 * others.
 */
void guest_clock_follow(int64_t (*now)(void), void (*sooner)(void));
/* Lets all timers expire that are due. Returns when the next one is due; INT64_MAX: never. */
int64_t guest_timers_expire(void);

/*
 * The time stamp counter that all processors share. It counts nanoseconds, unless a guest came from
 * where it counts otherwise.
 */
uint64_t guest_tsc_now(void);
/* So many nanoseconds are @ticks. */
uint64_t guest_tsc_to_ns(uint64_t ticks);
uint64_t guest_tsc_hz(void);
/* The counter is @tsc now. */
void guest_tsc_set(uint64_t tsc);
/* While time stands still: it is @now, and the counter @tsc goes at @hz. */
void guest_clock_set(int64_t now, uint64_t tsc, uint64_t hz);

/* Memory of its owner, zeroed but for the first two. */
typedef struct GuestTimer GuestTimer;
struct GuestTimer {
    /* Called once, with the lock held, by any thread; the timer may be set again. */
    void (*expired)(void *opaque);
    void *opaque;
    int64_t due;
    bool is_set;
    GuestTimer *next;
};

/* Sets @t, or sets it to another time. */
void guest_timer_set(GuestTimer *t, int64_t due);
void guest_timer_cancel(GuestTimer *t);

#endif
