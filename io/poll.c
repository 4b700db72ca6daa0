/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting until a descriptor is ready, by the ring or the epoll set of the loop. */
#include "io/aio.h"
#include "io/internal.h"
#include <errno.h>

void poll_wait_done(PollWait *w, int result)
{
    w->result = result < 0 && w->cancelled ? w->cancelled : result;
    w->done = true;
    if (w->co->state == CO_BLOCKED)
        co_unblock(w->co);
}

void poll_wait_cancel(PollWait *w, int result)
{
    Loop *l = loop_here();

    if (w->done || w->cancelled)
        return;
    w->cancelled = result;
    if (l->ring)
        ring_poll_cancel(l->ring, w);
    else
        epoll_poll_cancel(l->epoll, w);
}

static void poll_expired(Timer *t)
{
    poll_wait_cancel(CONTAINER_OF(t, PollWait, timer), -ETIMEDOUT);
}

int poll_wait(PollWait *w, int fd, int events, int64_t deadline_ns)
{
    Loop *l = loop_here();
    Ring *ring = ring_get(l);

    *w = (PollWait){
        .fd = fd,
        .events = events,
        .co = l->running,
        .timer = { .deadline_ns = deadline_ns, .expired = poll_expired },
    };
    if (ring)
        ring_poll_start(ring, w);
    else
        epoll_poll_start(epoll_get(l), w);
    if (w->done)
        return w->result;
    if (deadline_ns)
        timer_add(&l->timers, &w->timer);
    co_block();
    timer_remove(&l->timers, &w->timer);
    return w->result;
}

int aio_poll(int fd, int events, int64_t deadline_ns)
{
    PollWait w;

    return poll_wait(&w, fd, events, deadline_ns);
}
