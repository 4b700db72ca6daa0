/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Timers of the time of day, each on top of one of the monotonic clock. While there are any, a
 * coroutine of the loop waits for the clock to be set, and then sets those timers anew.
 */
#include "io/internal.h"
#include "util/fd.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <time.h>

struct WallClock {
    WallTimer *timers;
    PollWait *watch; /* of the coroutine, while it waits */
    bool is_watched;
};

int64_t clock_wall_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void wall_expired(Timer *t);

/* When @w is due by the monotonic clock, as far as can be told now. */
static void wall_arm(WallTimer *w)
{
    int64_t left = MAX(w->due_ns - clock_wall_ns(), 0), now = clock_now_ns();

    w->timer.expired = wall_expired;
    timer_set(&w->timer, left > INT64_MAX - now ? INT64_MAX : now + left);
}

static void wall_unlink(WallTimer *w)
{
    WallClock *c = loop_here()->wall;

    if (w->prev)
        w->prev->next = w->next;
    else
        c->timers = w->next;
    if (w->next)
        w->next->prev = w->prev;
    if (!c->timers && c->watch)
        poll_wait_cancel(c->watch, -ECANCELED);
}

static void wall_expired(Timer *t)
{
    WallTimer *w = CONTAINER_OF(t, WallTimer, timer);

    if (clock_wall_ns() < w->due_ns) {
        wall_arm(w);
        return;
    }
    wall_unlink(w);
    w->expired(w);
}

void wall_clock_jumped(Loop *l)
{
    for (WallTimer *w = l->wall->timers; w; w = w->next)
        wall_arm(w);
}

/* A descriptor that becomes readable when somebody sets the clock, or -1. */
static int jump_fd(void)
{
    struct itimerspec never = { .it_value.tv_sec = LONG_MAX };
    autofd int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    int flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;

    return fd >= 0 && timerfd_settime(fd, flags, &never, NULL) == 0 ? fd_steal(&fd) : -1;
}

static CO void watch_clock(void *arg)
{
    Loop *l = arg;
    autofd int fd = jump_fd();
    PollWait wait;

    while (fd >= 0 && l->wall->timers) {
        uint64_t n;
        int r;

        l->wall->watch = &wait;
        r = poll_wait(&wait, fd, POLLIN, 0);
        l->wall->watch = NULL;
        if (r > 0 && read(fd, &n, sizeof(n)) < 0 && errno == ECANCELED)
            wall_clock_jumped(l);
    }
    l->wall->is_watched = false;
}

void wall_timer_set(WallTimer *w, int64_t due_ns)
{
    Loop *l = loop_here();

    if (!l->wall)
        l->wall = g_new0(WallClock, 1);
    w->due_ns = due_ns;
    if (!wall_timer_is_set(w)) {
        w->prev = NULL;
        w->next = l->wall->timers;
        if (w->next)
            w->next->prev = w;
        l->wall->timers = w;
    }
    wall_arm(w);
    if (!l->wall->is_watched) {
        l->wall->is_watched = true;
        co_start_keeper(watch_clock, l);
    }
}

void wall_timer_cancel(WallTimer *w)
{
    if (!wall_timer_is_set(w))
        return;
    timer_cancel(&w->timer);
    wall_unlink(w);
}
