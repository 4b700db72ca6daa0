/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Socket addresses, connecting and listening.
 *
 * Names are resolved in threads, connecting waits on the loop: nothing here blocks a loop. All
 * descriptors returned are non-blocking and close on exec.
 */
#ifndef IO_NET_H
#define IO_NET_H

#include "io/co.h"
#include "util/json.h"
#include <glib.h>

typedef enum {
    NET_INET,  /* host, port: names or numbers */
    NET_UNIX,  /* path */
    NET_VSOCK, /* host (a context id), port: numbers */
    /* path: the number, or a name given by a client, of a connected (or listening) socket */
    NET_FD,
} NetKind;

typedef struct {
    NetKind kind;
    char *host; /* NET_INET to listen on: "" for every address */
    char *port;
    char *path;
    uint16_t to;        /* NET_INET, listening: try ports up to this one; 0: only @port */
    bool numeric;       /* do not look names up */
    bool ipv4, ipv6;    /* only these families; both false: any */
    bool keep_alive;
    bool mptcp;
    bool abstract;      /* NET_UNIX: @path is a name in the abstract space ... */
    bool loose;         /* ... padded with zeroes to the full length */
} NetAddress;

void net_address_clear(NetAddress *a);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(NetAddress, net_address_clear)
/*
 * Reads what a SocketAddress of the schema, or a SocketAddressLegacy, tells into *@a, which is
 * zeroed. The caller clears it, also after a failure.
 */
bool net_address_read(const json_t *o, NetAddress *a, GError **err);
/* "host:port", "[::1]:port", "unix:path", "vsock:cid:port", "fd:n" for messages. Caller frees. */
char *net_address_text(const NetAddress *a);

/*
 * Connects, trying each address that the name stands for until the monotonic time @deadline_ns
 * (0: as long as the system tries). The descriptor, or -1 with @err, whose code tells why:
 * ETIMEDOUT, ECONNREFUSED, ENOENT, ... Of NET_FD it is a duplicate.
 */
CO int net_connect(const NetAddress *a, int64_t deadline_ns, GError **err);

/* A connection in the making that somebody else may give up. Zeroed at first. */
typedef struct {
    struct DetachedCall *lookup; /* of the name, while there is one */
    void *wait;            /* of the loop, while there is one */
    bool cancelled;
} NetAttempt;

/* The same; after net_attempt_cancel it soon fails with ECANCELED. */
CO int net_connect_attempt(const NetAddress *a, int64_t deadline_ns, NetAttempt *t, GError **err);
void net_attempt_cancel(NetAttempt *t);

/*
 * Listens on every address that the name stands for. The descriptors are added to @fds (of int).
 * A socket file at a NET_UNIX path is replaced, as users of such servers expect of a restart.
 */
CO bool net_listen(const NetAddress *a, int backlog, GArray *fds, GError **err);

/* Who is at the other end of @fd: "127.0.0.1:4711", "unix", "vsock:3:1024". Caller frees. */
char *net_peer_text(int fd);

/* Small messages leave at once (TCP_NODELAY). Fine for sockets of any kind. */
void net_set_nodelay(int fd);

#endif
