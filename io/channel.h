/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Byte streams: a file descriptor, a socket, TLS over a socket, behind one struct.
 *
 * A channel belongs to the loop that uses it; one coroutine may read while another writes.
 */
#ifndef IO_CHANNEL_H
#define IO_CHANNEL_H

#include "crypto/tls.h"
#include "io/co.h"
#include <glib.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef struct Channel Channel;

/* A channel over @fd, which it owns from now on and makes non-blocking. */
Channel *channel_new_fd(int fd);
/* The same for a connected socket: sends without SIGPIPE. */
Channel *channel_new_socket(int fd);
void channel_free(Channel *c);

/*
 * From now on reads and writes that would have to wait past the monotonic time @deadline_ns fail
 * with -ETIMEDOUT. 0: no limit.
 */
void channel_set_deadline(Channel *c, int64_t deadline_ns);

/*
 * Speaks TLS from now on: the handshake, under the deadline in force, then everything that is read
 * and written. Nobody else may use @c meanwhile. @hostname: as for tls_session_new. What came in
 * clear and is still unread would be taken for TLS, so nothing the peer sends early can pass for
 * protected data. After a failure the channel can only be freed.
 */
CO bool channel_start_tls(Channel *c, TlsCreds *creds, const char *hostname, GError **err);
/* As tls_session_peer; NULL without TLS. */
const char *channel_tls_peer(const Channel *c);
/* As tls_session_problem; NULL without TLS. */
const char *channel_tls_problem(const Channel *c);
bool channel_is_tls(const Channel *c);

/* The descriptor, for looking at: it stays the channel's. */
int channel_fd(const Channel *c);

/* At least one byte, as many as are there; 0 at the end; or a negative errno. */
CO ssize_t channel_read(Channel *c, void *buf, size_t len);
/* The same without waiting: -EAGAIN when nothing is there. Never suspends. */
ssize_t channel_try_read(Channel *c, void *buf, size_t len);
/*
 * Waits until channel_try_read would find something, the end or an error; to the monotonic time
 * @deadline_ns at most, in place of the channel's unless 0. 0 or a negative errno.
 */
CO int channel_wait_readable(Channel *c, int64_t deadline_ns);
/* The same for what may come any moment: the loop may look for it a while before it sleeps. */
CO int channel_expect(Channel *c, int64_t deadline_ns);
/* Who waits in one of the two comes back with -EINTR. */
void channel_interrupt_wait(Channel *c);
/* Exactly @len bytes: 0, -EPIPE if the stream ended before the first byte, -EIO if inside. */
CO int channel_read_all(Channel *c, void *buf, size_t len);
/* All of @iov: 0 or a negative errno. */
CO int channel_writev_all(Channel *c, const struct iovec *iov, int niov);
CO int channel_write_all(Channel *c, const void *buf, size_t len);
/*
 * Descriptors beside bytes, over Unix sockets in clear. Once accepted, those that come with what is
 * read are kept until taken, CHANNEL_FDS_MAX at most (what is more is closed); before, the kernel
 * drops them.
 */
enum { CHANNEL_FDS_MAX = 64 };
void channel_accept_fds(Channel *c);
/* The one that came first, which is the caller's then; -1: there is none. */
int channel_take_fd(Channel *c);
/* All of @buf, at least a byte; the first byte brings @fds. 0 or a negative errno. */
CO int channel_write_fds(Channel *c, const void *buf, size_t len, const int *fds, unsigned n);
/* Bytes so far. Any thread. */
uint64_t channel_received(const Channel *c);
uint64_t channel_sent(const Channel *c);
/* Ends both directions: every wait on @c, now and later, returns an error or the end. */
void channel_shutdown(Channel *c);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Channel, channel_free)

#endif
