/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Channels over descriptors: a system call that does not block, and a wait for readiness when it
 * would have. With TLS the calls are made in channel-tls.c.
 */
#include "io/channel.h"
#include "io/channel-tls.h"
#include "io/co-lock.h"
#include "io/internal.h"
#include "util/err.h"
#include "util/span.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IOV_AT_ONCE = 64 };

struct Channel {
    int fd;
    bool is_socket;
    bool shut;
    int64_t deadline_ns; /* of every wait; 0: none */
    ChannelTls *tls;     /* NULL: in clear */
    PollWait *reader, *writer; /* who waits for the descriptor, or NULL */
    _Atomic uint64_t received, sent; /* bytes; any thread reads them */
    GArray *fds;         /* of int, received and not taken; NULL: they are not accepted */
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
    channel_tls_free(c->tls, !c->shut);
    for (int fd; (fd = channel_take_fd(c)) >= 0;)
        close(fd);
    g_clear_pointer(&c->fds, g_array_unref);
    close(c->fd);
    g_free(c);
}

int channel_fd(const Channel *c)
{
    return c->fd;
}

void channel_set_deadline(Channel *c, int64_t deadline_ns)
{
    c->deadline_ns = deadline_ns;
}

/* Waits for POLLIN or POLLOUT. 0 or a negative errno. */
static CO int channel_wait(Channel *c, int event, int64_t deadline_ns)
{
    PollWait **place = event == POLLIN ? &c->reader : &c->writer;
    PollWait w;
    int r;

    g_assert(!*place);
    *place = &w;
    r = poll_wait(&w, c->fd, event, deadline_ns);
    *place = NULL;
    return MIN(r, 0);
}

/* Room for what comes beside bytes. */
typedef union {
    struct cmsghdr align;
    char room[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
} FdMessage;

/* Keeps the descriptors that came with @msg. */
static void keep_fds(Channel *c, struct msghdr *msg)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; h->cmsg_type == SCM_RIGHTS && i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
            if (c->fds->len < CHANNEL_FDS_MAX)
                g_array_append_val(c->fds, fd);
            else
                close(fd);
        }
    }
}

/* As read. */
static ssize_t read_with_fds(Channel *c, void *buf, size_t len)
{
    FdMessage beside;
    struct iovec iov = { buf, len };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = beside.room,
        .msg_controllen = sizeof(beside.room),
    };
    ssize_t n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);

    if (n >= 0)
        keep_fds(c, &msg);
    return n;
}

/* One system call each: a count or a negative errno, -EAGAIN when it would have waited. */
static ssize_t wire_read(Channel *c, void *buf, size_t len)
{
    ssize_t n;

    do {
        n = c->fds ? read_with_fds(c, buf, len) : read(c->fd, buf, len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t wire_writev(Channel *c, struct iovec *iov, int niov)
{
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = niov };
    ssize_t n;

    do {
        n = c->is_socket ? sendmsg(c->fd, &msg, MSG_NOSIGNAL) : writev(c->fd, iov, niov);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Adds @n, unless it is an error, to @bytes. */
static ssize_t count(_Atomic uint64_t *bytes, ssize_t n)
{
    uint64_t before = atomic_load_explicit(bytes, memory_order_relaxed);

    if (n > 0)
        atomic_store_explicit(bytes, before + n, memory_order_relaxed);
    return n;
}

uint64_t channel_received(const Channel *c)
{
    return atomic_load_explicit(&c->received, memory_order_relaxed);
}

uint64_t channel_sent(const Channel *c)
{
    return atomic_load_explicit(&c->sent, memory_order_relaxed);
}

/* ---- reading --------------------------------------------------------------------------------- */

ssize_t channel_try_read(Channel *c, void *buf, size_t len)
{
    if (c->shut)
        return 0;
    return count(&c->received,
                 c->tls ? channel_tls_read(c->tls, buf, len) : wire_read(c, buf, len));
}

int channel_wait_readable(Channel *c, int64_t deadline_ns)
{
    int r;

    if (c->shut || (c->tls && channel_tls_has_input(c->tls)))
        return 0;
    r = channel_wait(c, POLLIN, deadline_ns ? deadline_ns : c->deadline_ns);
    return c->shut ? 0 : r;
}

int channel_expect(Channel *c, int64_t deadline_ns)
{
    Loop *l = loop_here();
    int r;

    l->n_expecting++;
    r = channel_wait_readable(c, deadline_ns);
    l->n_expecting--;
    return r;
}

void channel_interrupt_wait(Channel *c)
{
    if (c->reader)
        poll_wait_cancel(c->reader, -EINTR);
}

ssize_t channel_read(Channel *c, void *buf, size_t len)
{
    for (;;) {
        ssize_t n = channel_try_read(c, buf, len);
        int r;

        if (n != -EAGAIN)
            return n;
        r = channel_wait(c, POLLIN, c->deadline_ns);
        if (r < 0 && !c->shut)
            return r;
    }
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

/* ---- writing --------------------------------------------------------------------------------- */

/* How many bytes of @s were taken at once, or a negative errno. */
static ssize_t channel_try_write(Channel *c, Span s)
{
    struct iovec iov[IOV_AT_ONCE];
    int niov;

    if (c->shut)
        return -EPIPE;
    if (!s.len)
        return c->tls ? channel_tls_flush(c->tls) : 0;
    if (c->tls)
        return count(&c->sent, channel_tls_write(c->tls, s));
    niov = span_to_iov(s, iov, IOV_AT_ONCE, NULL);
    return count(&c->sent, wire_writev(c, iov, niov));
}

static CO int channel_write_span(Channel *c, Span s)
{
    for (;;) {
        ssize_t n = channel_try_write(c, s);
        int r = 0;

        if (n >= 0 && !s.len)
            return 0;
        if (n >= 0)
            s = span_slice(s, n, s.len - n);
        else if (n == -EAGAIN)
            r = channel_wait(c, POLLOUT, c->deadline_ns);
        else
            return n;
        if (r < 0 && !c->shut)
            return r;
    }
}

int channel_writev_all(Channel *c, const struct iovec *iov, int niov)
{
    return channel_write_span(c, span_of_iov(iov, niov));
}

int channel_write_all(Channel *c, const void *buf, size_t len)
{
    return channel_write_span(c, span_of_const(buf, len));
}

/* ---- descriptors ----------------------------------------------------------------------------- */

void channel_accept_fds(Channel *c)
{
    g_assert(c->is_socket && !c->tls);
    if (!c->fds)
        c->fds = g_array_new(FALSE, FALSE, sizeof(int));
}

int channel_take_fd(Channel *c)
{
    int fd = -1;

    if (c->fds && c->fds->len) {
        fd = g_array_index(c->fds, int, 0);
        g_array_remove_index(c->fds, 0);
    }
    return fd;
}

/* Sends the start of @buf with @fds: a count or a negative errno, as wire_writev. */
static ssize_t wire_send_fds(Channel *c, const void *buf, size_t len, const int *fds, unsigned n)
{
    FdMessage beside = { 0 };
    struct iovec iov = { (void *)buf, len };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = beside.room,
        .msg_controllen = CMSG_SPACE(n * sizeof(int)),
    };
    struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
    ssize_t sent;

    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(h), fds, n * sizeof(int));
    do {
        sent = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

int channel_write_fds(Channel *c, const void *buf, size_t len, const int *fds, unsigned n)
{
    g_assert(c->is_socket && !c->tls && len && n && n <= CHANNEL_FDS_MAX);
    for (;;) {
        ssize_t sent = c->shut ? -EPIPE : wire_send_fds(c, buf, len, fds, n);
        int r;

        if (sent >= 0)
            return channel_write_all(c, (const char *)buf + sent, len - sent);
        r = sent == -EAGAIN ? channel_wait(c, POLLOUT, c->deadline_ns) : (int)sent;
        if (r < 0)
            return r;
    }
}

/* ---- ends ------------------------------------------------------------------------------------ */

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

/* ---- TLS ------------------------------------------------------------------------------------- */

bool channel_start_tls(Channel *c, TlsCreds *creds, const char *hostname, GError **err)
{
    g_assert(c->is_socket && !c->tls);
    c->tls = channel_tls_new(c->fd, creds, hostname, err);
    if (!c->tls)
        return err_prefix(err, "TLS: ");
    for (;;) {
        TlsProgress p = channel_tls_handshake(c->tls, err);
        int r = 0;

        if (p == TLS_FAILED)
            return err_prefix(err, "TLS: ");
        while (r == 0 && channel_tls_flush(c->tls) == -EAGAIN)
            r = channel_wait(c, POLLOUT, c->deadline_ns);
        if (p == TLS_DONE && r == 0)
            return true;
        if (r == 0)
            r = channel_wait(c, POLLIN, c->deadline_ns);
        if (r < 0 || c->shut)
            return err_set_errno(err, c->shut ? -ECANCELED : r, "TLS: the handshake did not end");
    }
}

bool channel_is_tls(const Channel *c)
{
    return c->tls;
}

const char *channel_tls_peer(const Channel *c)
{
    return c->tls ? channel_tls_identity(c->tls) : NULL;
}

const char *channel_tls_problem(const Channel *c)
{
    return c->tls ? channel_tls_problem_of(c->tls) : NULL;
}
