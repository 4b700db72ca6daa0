/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS under a channel: what lies between a session, which never waits, and a socket.
 *
 * Nothing here suspends. Inside of the room.
 */
#ifndef IO_CHANNEL_TLS_H
#define IO_CHANNEL_TLS_H

#include "crypto/tls.h"
#include "util/span.h"

typedef struct ChannelTls ChannelTls;

/* Over socket @fd, which stays the caller's. NULL with @err. */
ChannelTls *channel_tls_new(int fd, TlsCreds *creds, const char *hostname, GError **err);
/* Says goodbye if @bye and if that does not need to wait. NULL is fine. */
void channel_tls_free(ChannelTls *t, bool bye);

/* As tls_session_handshake; what it wants to send has been handed to channel_tls_flush. */
TlsProgress channel_tls_handshake(ChannelTls *t, GError **err);
const char *channel_tls_identity(const ChannelTls *t);
/* As tls_session_problem. */
const char *channel_tls_problem_of(const ChannelTls *t);

/*
 * As read: a count, 0 at the end, or a negative errno; -EAGAIN: wait until the socket is readable.
 */
ssize_t channel_tls_read(ChannelTls *t, void *buf, size_t len);
/* channel_tls_read would find bytes without the socket. */
bool channel_tls_has_input(const ChannelTls *t);

/*
 * Encrypts from the start of @s and sends; how many bytes it took, or a negative errno. -EAGAIN,
 * with none taken: wait until the socket is writable. Taken bytes may still wait to be flushed.
 */
ssize_t channel_tls_write(ChannelTls *t, Span s);
/* Sends what waits. 0, or a negative errno; -EAGAIN as above. */
int channel_tls_flush(ChannelTls *t);

#endif
