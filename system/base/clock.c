/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Timers are few: a handful of devices and one for each processor. So they are a plain list. */
#include "system/base/clock.h"
#include "system/base/lock.h"
#include <glib.h>
#include <sys/prctl.h>
#include <time.h>

static struct {
    bool running, ending;
    int64_t offset; /* of the guest's time to the monotonic clock while it runs; else the time */
    GuestTimer *timers;
    int64_t tsc_since;      /* guest's time at which the counter was .tsc */
    uint64_t tsc, tsc_hz;
    int64_t sleeping_until; /* guest's time at which the thread looks again by itself */
    MachineCond *changed;
    GThread *thread;
    int64_t (*now)(void);   /* NULL: the host's clock counts */
    void (*sooner)(void);
} clock_state = { .tsc_hz = 1000000000 };

static int64_t monotonic_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t guest_clock_now(void)
{
    if (clock_state.now)
        return clock_state.now() + clock_state.offset;
    return clock_state.running ? monotonic_now() + clock_state.offset : clock_state.offset;
}

void guest_clock_run(bool run)
{
    int64_t now = guest_clock_now();

    clock_state.running = run;
    if (clock_state.now)
        return;
    clock_state.offset = run ? now - monotonic_now() : now;
    machine_cond_wake(clock_state.changed);
}

uint64_t guest_tsc_now(void)
{
    uint64_t gone = guest_clock_now() - clock_state.tsc_since;

    return clock_state.tsc + (unsigned __int128)gone * clock_state.tsc_hz / 1000000000;
}

uint64_t guest_tsc_to_ns(uint64_t ticks)
{
    unsigned __int128 ns = (unsigned __int128)ticks * 1000000000 / clock_state.tsc_hz;

    return MIN(ns, INT64_MAX);
}

uint64_t guest_tsc_hz(void)
{
    return clock_state.tsc_hz;
}

void guest_tsc_set(uint64_t tsc)
{
    clock_state.tsc_since = guest_clock_now();
    clock_state.tsc = tsc;
}

void guest_clock_set(int64_t now, uint64_t tsc, uint64_t hz)
{
    clock_state.offset = clock_state.now ? now - clock_state.now() : now;
    clock_state.tsc_since = now;
    clock_state.tsc = tsc;
    clock_state.tsc_hz = hz;
}

static void unlink_timer(GuestTimer *t)
{
    GuestTimer **at = &clock_state.timers;

    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    t->is_set = false;
}

void guest_timer_set(GuestTimer *t, int64_t due)
{
    if (!t->is_set) {
        t->next = clock_state.timers;
        clock_state.timers = t;
        t->is_set = true;
    }
    t->due = due;
    if (due >= clock_state.sleeping_until)
        return;
    if (!clock_state.now)
        machine_cond_wake(clock_state.changed);
    else if (clock_state.sooner)
        clock_state.sooner();
}

void guest_timer_cancel(GuestTimer *t)
{
    if (t->is_set)
        unlink_timer(t);
}

static GuestTimer *first_timer(void)
{
    GuestTimer *first = clock_state.timers;

    for (GuestTimer *t = first; t; t = t->next)
        if (t->due < first->due)
            first = t;
    return first;
}

int64_t guest_timers_expire(void)
{
    GuestTimer *t;

    while (clock_state.running && (t = first_timer()) && t->due <= guest_clock_now()) {
        unlink_timer(t);
        t->expired(t->opaque);
    }
    t = clock_state.running ? first_timer() : NULL;
    clock_state.sleeping_until = t ? t->due : INT64_MAX;
    return clock_state.sleeping_until;
}

static gpointer clock_thread(gpointer arg)
{
    prctl(PR_SET_TIMERSLACK, 1000);
    machine_lock();
    while (!clock_state.ending) {
        int64_t due = clock_state.now ? INT64_MAX : guest_timers_expire();

        /* While time runs, .offset is that between the two clocks. */
        machine_cond_wait(clock_state.changed,
                          due == INT64_MAX ? due : due - clock_state.offset);
    }
    machine_unlock();
    return NULL;
}

void guest_clock_follow(int64_t (*now)(void), void (*sooner)(void))
{
    clock_state.now = now;
    clock_state.sooner = sooner;
}

void guest_clock_begin(void)
{
    clock_state.changed = machine_cond_new();
    clock_state.sleeping_until = INT64_MAX;
    clock_state.thread = g_thread_new("clock", clock_thread, NULL);
}

void guest_clock_end(void)
{
    clock_state.ending = true;
    machine_cond_wake(clock_state.changed);
    machine_unlock();
    g_thread_join(clock_state.thread);
    machine_lock();
    machine_cond_free(clock_state.changed);
}
