/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors of a library, waited for by one coroutine for all that use it. */
#include "io/poll-set.h"
#include "io/aio.h"
#include "io/co-lock.h"
#include "util/err.h"
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

_Static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLERR == POLLERR &&
               EPOLLHUP == POLLHUP, "events of poll and epoll are the same bits");

enum { EVENTS_MAX = 32 };

struct PollSet {
    int set;            /* of epoll */
    int kick;           /* an eventfd in it: ends the wait of whoever waits for @set */
    bool waiting;       /* somebody waits for @set */
    bool changed;       /* wake all others: what they wait for may have come */
    int64_t deadline_ns;
    CoQueue others;
    PollSetReady *ready;
    void *opaque;
};

PollSet *poll_set_new(PollSetReady *ready, void *opaque, GError **err)
{
    PollSet *s = g_new0(PollSet, 1);
    struct epoll_event e = { .events = EPOLLIN };

    *s = (PollSet){
        .set = epoll_create1(EPOLL_CLOEXEC),
        .kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
        .ready = ready,
        .opaque = opaque,
    };
    e.data.fd = s->kick;
    if (s->set >= 0 && s->kick >= 0 && epoll_ctl(s->set, EPOLL_CTL_ADD, s->kick, &e) == 0)
        return s;
    err_set_errno(err, errno, "Cannot wait for descriptors");
    poll_set_free(s);
    return NULL;
}

void poll_set_free(PollSet *s)
{
    if (!s)
        return;
    g_assert(!s->waiting && co_queue_is_empty(&s->others));
    if (s->set >= 0)
        close(s->set);
    if (s->kick >= 0)
        close(s->kick);
    g_free(s);
}

int poll_set_watch(PollSet *s, int fd, unsigned events)
{
    struct epoll_event e = { .events = events, .data.fd = fd };
    int r;

    if (!events) {
        /* Closed descriptors have left already. */
        r = epoll_ctl(s->set, EPOLL_CTL_DEL, fd, &e);
        return r == 0 || errno == ENOENT || errno == EBADF ? 0 : -errno;
    }
    r = epoll_ctl(s->set, EPOLL_CTL_MOD, fd, &e);
    if (r < 0 && errno == ENOENT)
        r = epoll_ctl(s->set, EPOLL_CTL_ADD, fd, &e);
    return r == 0 ? 0 : -errno;
}

/* Whoever waits for the set looks again. */
static void poll_set_kick(PollSet *s)
{
    uint64_t one = 1;

    /* A full counter is readable, too. */
    if (s->waiting && write(s->kick, &one, sizeof(one)) < 0)
        g_assert(errno == EAGAIN);
}

void poll_set_alarm(PollSet *s, int64_t deadline_ns)
{
    bool sooner = deadline_ns && (!s->deadline_ns || deadline_ns < s->deadline_ns);

    s->deadline_ns = deadline_ns;
    if (sooner)
        poll_set_kick(s);
}

void poll_set_changed(PollSet *s)
{
    s->changed = true;
    poll_set_kick(s);
}

static int poll_set_dispatch(PollSet *s)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(s->set, events, EVENTS_MAX, 0);
    uint64_t count;

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++) {
        if (events[i].data.fd != s->kick)
            s->ready(s->opaque, events[i].data.fd, events[i].events);
        else if (read(s->kick, &count, sizeof(count)) < 0 && errno != EAGAIN)
            return -errno;
    }
    return 0;
}

/* One wait for the set. */
static CO int poll_set_turn(PollSet *s)
{
    int r;

    s->waiting = true;
    r = aio_poll(s->set, POLLIN, s->deadline_ns);
    s->waiting = false;
    if (r >= 0)
        r = poll_set_dispatch(s);
    if (s->deadline_ns && clock_now_ns() >= s->deadline_ns) {
        s->deadline_ns = 0;
        s->ready(s->opaque, -1, 0);
    }
    return r == -ETIMEDOUT ? 0 : r;
}

int poll_set_wait(PollSet *s, const bool *done)
{
    int r = 0;

    while (!*done && r == 0) {
        if (s->waiting) {
            co_queue_wait(&s->others);
            continue;
        }
        r = poll_set_turn(s);
        if (s->changed) {
            s->changed = false;
            co_queue_wake_all(&s->others);
        }
    }
    /* Somebody else has to wait for the set. */
    if (!s->waiting)
        co_queue_wake_one(&s->others);
    return r;
}
