/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Serving images by NBD: servers, their exports, who is connected.
 *
 * A server with its exports lives on one loop, and so do its clients, except that those of an
 * export whose node is assigned to an iothread are served there (block/edit.h, edit_set_iothread).
 * Bounds per client: NBD_TASKS_MAX requests and NBD_BYTES_MAX bytes of their data at once; more
 * wait in the client's socket. Facts about the
 * protocol and what we do where it leaves a choice: docs/spec/nbd.md.
 */
#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include "block/block.h"
#include "crypto/tls.h"

typedef struct NbdServer NbdServer;
typedef struct NbdExport NbdExport;

enum {
    NBD_TASKS_MAX = 128,
    NBD_BYTES_MAX = 64 << 20,
    NBD_BITMAPS_MAX = 60,     /* of one export */
    NBD_STOP_MS = 5000,       /* nbd_server_stop takes no longer, unless the disk does */
};

/* ---- servers --------------------------------------------------------------------------------- */

typedef struct {
    unsigned max_clients;     /* at once; others wait in the backlog. 0: no limit */
    int64_t handshake_ns;     /* for all of it; 0: no limit */
    int64_t idle_ns;          /* a client that asks for nothing so long is cut off; 0: no limit */
    TlsCreds *tls;            /* NULL: none; the server takes a reference of its own */
    bool tls_optional;        /* clients may do without */
    const char *tls_authz;    /* id of the object that admits peers; NULL: everybody. Copied */
    /* A client is gone; @served: its handshake had succeeded. NULL: nobody wants to know. */
    void (*client_left)(void *opaque, bool served);
    /*
     * What a client did wrong, or that it came and went, for people; on the loop that serves it.
     * NULL: nobody wants to know.
     */
    void (*report)(void *opaque, const char *text);
    void *opaque;
} NbdServerConfig;

NbdServer *nbd_server_new(const NbdServerConfig *config);
/* Accepts clients on listening socket @fd, which is the server's from now on. */
void nbd_server_listen(NbdServer *s, int fd);
/* Serves the client at the other end of connected socket @fd, which is the server's from now on. */
void nbd_server_serve(NbdServer *s, int fd);
/*
 * Ends a server: no more clients or requests; requests under way are answered, everything is
 * flushed, all clients and exports are gone and the server is freed. Clients that do not take
 * their answers are cut off in time. False if the last flush of an export failed.
 */
CO bool nbd_server_stop(NbdServer *s);
unsigned nbd_server_clients(const NbdServer *s);

/* One client, for people and programs that watch. Texts are the client's. */
typedef struct {
    const char *peer;         /* "127.0.0.1:4711" */
    const char *identity;     /* that TLS proved; NULL: none */
    const char *export_name;  /* NULL: still in its handshake */
    uint64_t requests, bytes_read, bytes_written;
    unsigned in_flight;
    uint64_t connected_ns;    /* how long ago */
} NbdClientStatus;

/* For servers without exports on iothreads. */
void nbd_server_foreach_client(const NbdServer *s,
                               void (*fn)(const NbdClientStatus *st, void *arg), void *arg);

/* ---- exports --------------------------------------------------------------------------------- */

typedef struct {
    const char *name;         /* at most NBD_STRING_MAX bytes */
    const char *description;  /* the same; NULL: none */
    bool read_only;
    bool allocation_depth;    /* offer context qemu:allocation-depth */
    const char *const *bitmaps; /* names to offer as qemu:dirty-bitmap:NAME; NULL-ended or NULL */
    const char *const *bitmap_nodes; /* the node that has each; NULL: found in the export's chain */
    /* Its image is closed and it is no more. NULL: nobody wants to know. */
    void (*gone)(void *opaque);
    void *opaque;
} NbdExportConfig;

/*
 * Offers @h, which is the export's from now on (also after a failure), under a name no other export
 * of @s has. NULL with @err.
 */
CO NbdExport *nbd_export_add(NbdServer *s, const NbdExportConfig *config, Handle *h, GError **err);
NbdExport *nbd_export_find(NbdServer *s, const char *name);
/* Does a client use it? */
bool nbd_export_is_used(const NbdExport *e);

typedef enum {
    NBD_REMOVE_SAFE, /* only if nobody uses it */
    NBD_REMOVE_SOFT, /* new clients do not see it; requests of those there fail with ESHUTDOWN */
    NBD_REMOVE_HARD, /* its clients are cut off */
} NbdRemoveMode;

/*
 * Takes @e from its server. After SOFT and HARD its image is closed once the last client is gone.
 * False with @err (EBUSY): it is in use.
 */
CO bool nbd_export_remove(NbdExport *e, NbdRemoveMode mode, GError **err);

#endif
