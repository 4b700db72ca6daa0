/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Timers of a loop: a binary heap of pointers, the nearest deadline at 1. Timers are memory of
 * those who wait, usually on a coroutine's stack.
 */
#include "io/internal.h"
#include <time.h>

int64_t clock_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void heap_put(TimerHeap *h, unsigned i, Timer *t)
{
    h->at[i] = t;
    t->index = i;
}

/* Moves @t from hole @i towards the root as far as it belongs. */
static void heap_up(TimerHeap *h, unsigned i, Timer *t)
{
    for (; i > 1 && t->deadline_ns < h->at[i / 2]->deadline_ns; i /= 2)
        heap_put(h, i, h->at[i / 2]);
    heap_put(h, i, t);
}

static void heap_down(TimerHeap *h, unsigned i, Timer *t)
{
    for (unsigned child; (child = 2 * i) <= h->len; i = child) {
        if (child < h->len && h->at[child + 1]->deadline_ns < h->at[child]->deadline_ns)
            child++;
        if (t->deadline_ns <= h->at[child]->deadline_ns)
            break;
        heap_put(h, i, h->at[child]);
    }
    heap_put(h, i, t);
}

void timer_add(TimerHeap *h, Timer *t)
{
    if (h->len + 1 >= h->max) {
        h->max = MAX(16, 2 * h->max);
        h->at = g_renew(Timer *, h->at, h->max);
    }
    heap_up(h, ++h->len, t);
}

void timer_remove(TimerHeap *h, Timer *t)
{
    unsigned i = t->index;
    Timer *last;

    if (!i)
        return;
    t->index = 0;
    last = h->at[h->len--];
    if (last == t)
        return;
    if (i > 1 && last->deadline_ns < h->at[i / 2]->deadline_ns)
        heap_up(h, i, last);
    else
        heap_down(h, i, last);
}

void timers_run(TimerHeap *h)
{
    int64_t now;

    if (!h->len)
        return;
    now = clock_now_ns();
    while (h->len && h->at[1]->deadline_ns <= now) {
        Timer *t = h->at[1];

        timer_remove(h, t);
        t->expired(t);
    }
}

int64_t timers_wait_ns(const TimerHeap *h)
{
    int64_t left;

    if (!h->len)
        return -1;
    left = h->at[1]->deadline_ns - clock_now_ns();
    return MAX(0, left);
}

void timer_set(Timer *t, int64_t deadline_ns)
{
    TimerHeap *h = &loop_here()->timers;

    timer_remove(h, t);
    t->deadline_ns = deadline_ns;
    timer_add(h, t);
}

void timer_cancel(Timer *t)
{
    timer_remove(&loop_here()->timers, t);
}
