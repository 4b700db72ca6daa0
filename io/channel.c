/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Channels over descriptors: a system call that does not block, and a wait for readiness when it
 * would have.
 */
#include "io/channel.h"
#include "io/co-lock.h"
#include "io/internal.h"
#include "util/span.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IOV_AT_ONCE = 64 };

struct Channel {
    int fd;
    bool is_socket;
    bool shut;
    PollWait *reader, *writer; /* who waits for the descriptor, or NULL */
};

static Channel *channel_new(int fd, bool is_socket)
{
    Channel *c = g_new0(Channel, 1);
    int flags = fcntl(fd, F_GETFL);

    c->fd = fd;
    c->is_socket = is_socket;
    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    return c;
}

Channel *channel_new_fd(int fd)
{
    return channel_new(fd, false);
}

Channel *channel_new_socket(int fd)
{
    return channel_new(fd, true);
}

void channel_free(Channel *c)
{
    if (!c)
        return;
    g_assert(!c->reader && !c->writer);
    close(c->fd);
    g_free(c);
}

/* Waits at @place of the channel. 0 or a negative errno. */
static CO int channel_wait(Channel *c, PollWait **place, int event)
{
    PollWait w;
    int r;

    g_assert(!*place);
    *place = &w;
    r = poll_wait(&w, c->fd, event, 0);
    *place = NULL;
    return MIN(r, 0);
}

ssize_t channel_read(Channel *c, void *buf, size_t len)
{
    while (!c->shut) {
        ssize_t n = read(c->fd, buf, len);
        int r = 0;

        if (n >= 0)
            return n;
        if (errno == EAGAIN)
            r = channel_wait(c, &c->reader, POLLIN);
        else if (errno != EINTR)
            return -errno;
        if (r < 0 && !c->shut)
            return r;
    }
    return 0;
}

int channel_read_all(Channel *c, void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = channel_read(c, (char *)buf + done, len - done);

        if (n < 0)
            return n;
        if (n == 0)
            return done ? -EIO : -EPIPE;
        done += n;
    }
    return 0;
}

static ssize_t channel_write_once(Channel *c, struct iovec *iov, int niov)
{
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = niov };

    return c->is_socket ? sendmsg(c->fd, &msg, MSG_NOSIGNAL) : writev(c->fd, iov, niov);
}

static CO int channel_write_span(Channel *c, Span s)
{
    while (s.len) {
        struct iovec iov[IOV_AT_ONCE];
        int niov = span_to_iov(s, iov, IOV_AT_ONCE, NULL);
        ssize_t n;
        int r = 0;

        if (c->shut)
            return -EPIPE;
        n = channel_write_once(c, iov, niov);
        if (n >= 0)
            s = span_slice(s, n, s.len - n);
        else if (errno == EAGAIN)
            r = channel_wait(c, &c->writer, POLLOUT);
        else if (errno != EINTR)
            return -errno;
        if (r < 0 && !c->shut)
            return r;
    }
    return 0;
}

int channel_writev_all(Channel *c, const struct iovec *iov, int niov)
{
    return channel_write_span(c, span_of_iov(iov, niov));
}

int channel_write_all(Channel *c, const void *buf, size_t len)
{
    return channel_write_span(c, span_of_const(buf, len));
}

void channel_shutdown(Channel *c)
{
    if (c->shut)
        return;
    c->shut = true;
    if (c->is_socket)
        shutdown(c->fd, SHUT_RDWR);
    if (c->reader)
        poll_wait_cancel(c->reader, -ECANCELED);
    if (c->writer)
        poll_wait_cancel(c->writer, -ECANCELED);
}
