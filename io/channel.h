/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Byte streams: a file descriptor, a socket, later TLS over either, behind one struct.
 *
 * A channel belongs to the loop that uses it; one coroutine may read while another writes.
 */
#ifndef IO_CHANNEL_H
#define IO_CHANNEL_H

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

/* At least one byte, as many as are there; 0 at the end; or a negative errno. */
CO ssize_t channel_read(Channel *c, void *buf, size_t len);
/* Exactly @len bytes: 0, -EPIPE if the stream ended before the first byte, -EIO if inside. */
CO int channel_read_all(Channel *c, void *buf, size_t len);
/* All of @iov: 0 or a negative errno. */
CO int channel_writev_all(Channel *c, const struct iovec *iov, int niov);
CO int channel_write_all(Channel *c, const void *buf, size_t len);
/* Ends both directions: every wait on @c, now and later, returns an error or the end. */
void channel_shutdown(Channel *c);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Channel, channel_free)

#endif
