/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An export that stays there: one or more connections to it, made again when they are lost.
 *
 * When the last connection is lost, calls wait for a new one during the reconnect delay, those
 * under way are made again, and after it they fail until there is one. Making a call again is safe:
 * every request of the protocol has the same effect twice, and its caller has not been told
 * anything yet. A call is made again for no longer than the delay after it was lost first. That
 * goes for flushes, too: whoever reconnects trusts that the server kept what it was given. What it
 * failed to flush is another matter, see nbd_sync in driver.c.
 */
#ifndef NBD_REMOTE_H
#define NBD_REMOTE_H

#include "io/net.h"
#include "nbd/client.h"

enum { NBD_CONNECTIONS_MAX = 16 };

typedef struct {
    NetAddress address;
    char *export_name;
    char *context;           /* metadata context for BLOCK_STATUS */
    TlsCreds *creds;         /* NULL: in clear */
    char *hostname;          /* what the certificate must be for; NULL: not needed */
    unsigned connections;    /* more than one only if the server says that they agree */
    int64_t reconnect_ns;    /* the reconnect delay */
    int64_t open_ns;         /* how long opening is tried again; 0: once */
} NbdTarget;

void nbd_target_clear(NbdTarget *t);

typedef struct NbdRemote NbdRemote;

/* Connects to @target, whose members are taken over (also after a failure). NULL with @err. */
CO NbdRemote *nbd_remote_open(NbdTarget *target, GError **err);
/* No call is under way. NULL is fine. */
CO void nbd_remote_close(NbdRemote *r);
/*
 * To use it on another loop, while no call is under way: one on this loop, then the other on that
 * one. In between nobody reconnects.
 */
CO void nbd_remote_pause(NbdRemote *r);
void nbd_remote_go_on(NbdRemote *r);

/* What the server offered first; later connections offer the same. */
const NbdOffer *nbd_remote_offer(const NbdRemote *r);
/* The first connection had the metadata context. */
bool nbd_remote_has_context(const NbdRemote *r);

/* Is there a connection? On the loop where it is used. */
bool nbd_remote_is_up(NbdRemote *r);

/* How many connections were lost so far. After a loss the server may be a restarted one. */
unsigned nbd_remote_losses(const NbdRemote *r);

/*
 * As nbd_conn_call, but -EIO in place of NBD_LOST. Unless NULL: *@answered: the result is the
 * server's;
 * *@losses: nbd_remote_losses before the call was made, for the last time.
 */
CO int nbd_remote_call(NbdRemote *r, NbdCall *call, bool *answered, unsigned *losses);

#endif
