/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Readiness by epoll, for loops without a ring.
 *
 * Each descriptor has a list of those who wait for it and one registration, which fires once and
 * is armed anew for whoever is left or comes next.
 */
#include "io/internal.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 64 };

struct Epoll {
    int fd;
    int mailbox_fd;
    PollWait **waits; /* by descriptor: the first of those waiting */
    unsigned n_waits;
};

/* poll and epoll use the same bits. */
G_STATIC_ASSERT(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR &&
                POLLHUP == EPOLLHUP);

Epoll *epoll_get(Loop *l)
{
    struct epoll_event ev = { .events = EPOLLIN };
    Epoll *e = l->epoll;

    if (e)
        return e;
    e = g_new0(Epoll, 1);
    e->mailbox_fd = ev.data.fd = mailbox_fd(l->mailbox);
    e->fd = epoll_create1(EPOLL_CLOEXEC);
    if (e->fd < 0 || epoll_ctl(e->fd, EPOLL_CTL_ADD, ev.data.fd, &ev) < 0)
        g_error("epoll: %s", strerror(errno));
    return l->epoll = e;
}

void epoll_free(Epoll *e)
{
    close(e->fd);
    g_free(e->waits);
    g_free(e);
}

static void waits_add(Epoll *e, PollWait *w)
{
    if (w->fd >= e->n_waits) {
        unsigned n = MAX(w->fd + 1, 2 * e->n_waits);

        e->waits = g_renew(PollWait *, e->waits, n);
        memset(e->waits + e->n_waits, 0, (n - e->n_waits) * sizeof(*e->waits));
        e->n_waits = n;
    }
    w->prev = NULL;
    w->next = e->waits[w->fd];
    if (w->next)
        w->next->prev = w;
    e->waits[w->fd] = w;
}

static void waits_remove(Epoll *e, PollWait *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        e->waits[w->fd] = w->next;
    if (w->next)
        w->next->prev = w->prev;
}

/* Arms the registration of @fd for all that wait for it. 0 or a negative errno. */
static int epoll_arm(Epoll *e, int fd)
{
    struct epoll_event ev = { .events = EPOLLONESHOT, .data.fd = fd };

    for (PollWait *w = e->waits[fd]; w; w = w->next)
        ev.events |= w->events;
    if (epoll_ctl(e->fd, EPOLL_CTL_MOD, fd, &ev) == 0)
        return 0;
    /* Never registered, or closed since and the number used again. */
    if (errno == ENOENT && epoll_ctl(e->fd, EPOLL_CTL_ADD, fd, &ev) == 0)
        return 0;
    return -errno;
}

void epoll_poll_start(Epoll *e, PollWait *w)
{
    int r;

    if (w->fd < 0) {
        poll_wait_done(w, -EBADF);
        return;
    }
    waits_add(e, w);
    r = epoll_arm(e, w->fd);
    if (r == 0)
        return;
    waits_remove(e, w);
    /* EPERM: of a kind that is always ready, such as a regular file. */
    poll_wait_done(w, r == -EPERM ? w->events : r);
}

void epoll_poll_cancel(Epoll *e, PollWait *w)
{
    waits_remove(e, w);
    if (e->waits[w->fd])
        epoll_arm(e, w->fd);
    else
        epoll_ctl(e->fd, EPOLL_CTL_DEL, w->fd, NULL);
    poll_wait_done(w, w->cancelled);
}

static void epoll_fired(Epoll *e, int fd, int events)
{
    PollWait *next;

    for (PollWait *w = e->waits[fd]; w; w = next) {
        int ready = events & (w->events | POLLERR | POLLHUP);

        next = w->next;
        if (ready) {
            waits_remove(e, w);
            poll_wait_done(w, ready);
        }
    }
    if (e->waits[fd])
        epoll_arm(e, fd);
}

void epoll_wait_events(Loop *l, int64_t timeout_ns)
{
    struct epoll_event ev[EVENTS_AT_ONCE];
    /* Rounded up: waking before the deadline would only mean waiting again. */
    int64_t ms = timeout_ns < 0 ? -1 : timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    int n = epoll_wait(l->epoll->fd, ev, EVENTS_AT_ONCE, MIN(ms, G_MAXINT));

    for (int i = 0; i < n; i++) {
        if (ev[i].data.fd == l->epoll->mailbox_fd)
            mailbox_drain(l->mailbox);
        else
            epoll_fired(l->epoll, ev[i].data.fd, ev[i].events);
    }
}
