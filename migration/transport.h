/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a stream travels: tcp:HOST:PORT, unix:PATH, vsock:CID:PORT, fd:NAME, exec:COMMAND, file:PATH.
 */
#ifndef MIGRATION_TRANSPORT_H
#define MIGRATION_TRANSPORT_H

#include "io/channel.h"
#include "io/loop.h"
#include "io/net.h"
#include <glib.h>

typedef struct Transport Transport;

/* True if @uri is of a kind that is known; else @err. */
bool transport_check(const char *uri, GError **err);

typedef enum { TRANSPORT_ABSENT, TRANSPORT_ONE_WAY, TRANSPORT_SOCKET } TransportLead;

/*
 * Where @uri, which has passed transport_check, leads to. Absent: a descriptor that is not there;
 * others are not looked for. A descriptor stays where it is.
 */
TransportLead transport_lead(const char *uri);

/* What protects all connections of a migration. */
typedef struct {
    TlsCreds *creds;      /* NULL: nothing does */
    const char *hostname; /* of the target's certificate; NULL: the URI's host */
    const char *authz;    /* the object that says which sources are welcome; NULL: all are */
} TransportTls;

/* For @uri, which has passed transport_check; @tls, unless NULL, is copied. It is not open yet. */
Transport *transport_new(const char *uri, bool is_sending, const TransportTls *tls);

/*
 * To receive: listens, if @uri is an address, for a connection and @more that follow it.
 * *@addresses: a JSON list, the caller's; NULL: it is no address. @dropped hears why a client was
 * disconnected. False with @err.
 */
CO bool transport_listen(Transport *t, unsigned more, json_t **addresses,
                         void (*dropped)(const GError *why), GError **err);
/* Connects, or waits until the source does. False with @err. */
CO bool transport_open(Transport *t, GError **err);

/* Can there be more connections than one? */
bool transport_takes_more(const char *uri);
/* Another one, as transport_open; the caller's. NULL with @err. */
CO Channel *transport_open_more(Transport *t, GError **err);
/* No more will follow. */
void transport_stop_listening(Transport *t);
/* Others can connect if whoever has turns out not to be the source. */
bool transport_is_listening(const Transport *t);
/* Disconnects, and forgets that it was interrupted: transport_open waits for somebody else. */
CO void transport_drop(Transport *t);
/*
 * @is_known: the client that has connected is the source, and may take any time. Otherwise it is
 * disconnected after a short time, as long as other clients can connect.
 */
void transport_set_known(Transport *t, bool is_known);

/* As channel_read and channel_write_all or -writev_all; @opaque is the Transport. */
CO ssize_t transport_read(void *opaque, void *buf, size_t len);
CO int transport_writev(void *opaque, const struct iovec *iov, int niov);
CO int transport_write(void *opaque, const void *buf, size_t len);
/*
 * The connection belongs to @loop from now on, which reads from it; NULL: to the main loop again.
 * Other calls for it go there.
 */
CO void transport_lend(Transport *t, Loop *loop);
/* True if the other side can be answered, or answers. */
bool transport_is_socket(const Transport *t);
/* Whoever waits for it fails soon, and so do all who use it later. */
void transport_interrupt(Transport *t);
/* All that was written has been taken over: 0, or a negative errno, also if the command failed. */
CO int transport_finish(Transport *t);
CO void transport_free(Transport *t);

#endif
