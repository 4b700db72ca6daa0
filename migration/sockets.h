/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sockets of a migration. All its connections (the main one, those of multifd) lead to one
 * address and are protected alike. Main loop only; a Channel that was returned may be used on
 * another loop.
 */
#ifndef MIGRATION_SOCKETS_H
#define MIGRATION_SOCKETS_H

#include "io/channel.h"
#include "io/detached-call.h"
#include "io/net.h"

/* Zeroed at first, but for what the owner sets. */
typedef struct {
    NetAddress address;
    TlsCreds *creds;      /* a reference; NULL: in clear */
    char *hostname;       /* what the target's certificate must be for; NULL: the address's host */
    char *authz;          /* the object that says which sources are welcome; NULL: all are */

    bool expects_more;    /* there are other connections than the main one */
    const Channel *first; /* the main connection: if it ends, no other follows; NULL: none yet */
    GPtrArray *listeners; /* of Channel; NULL: none */
    void (*dropped)(const GError *why); /* hears of clients that were disconnected */
    NetAttempt attempt;
    Channel *greeted;     /* it has not sent anything yet; NULL: none is */
    DetachedCall *asked;
    bool is_interrupted;
} MigSockets;

/* Reads what follows "tcp:", "unix:" or "vsock:", for @kind. False with @err. */
bool mig_address_read(NetKind kind, const char *text, NetAddress *a, GError **err);
void mig_sockets_clear(MigSockets *s);

/* A new connection to the target. NULL with @err. */
CO Channel *mig_sockets_connect(MigSockets *s, GError **err);
/*
 * Listens, for @connections at once. The SocketAddress of each listening socket, a list that the
 * caller owns; NULL with @err.
 */
CO json_t *mig_sockets_listen(MigSockets *s, unsigned connections, GError **err);
/*
 * Waits for a client that sends. Those that do not get as far, for 10 s at most, are disconnected.
 * NULL with @err.
 */
CO Channel *mig_sockets_accept(MigSockets *s, GError **err);
/* How long a client may take to say that it is a source. */
int64_t mig_sockets_deadline(void);
void mig_sockets_stop_listening(MigSockets *s);
/*
 * TLS on a connected socket, as its client or its server, unless there are no credentials. Takes
 * @c: returns it, or NULL with @err.
 */
CO Channel *mig_sockets_protect(MigSockets *s, Channel *c, bool is_server, GError **err);
/* Calls of the functions above that wait, now or later, fail soon. */
void mig_sockets_interrupt(MigSockets *s);

#endif
