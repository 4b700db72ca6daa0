/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handshake as a client sees it: from a connected socket to an agreed export, or to a list of
 * what there is.
 *
 * Every length is bounded before it is believed. Waits end with the deadline of the channel.
 */
#ifndef NBD_CLIENT_HANDSHAKE_H
#define NBD_CLIENT_HANDSHAKE_H

#include "io/channel.h"
#include <glib.h>

/* What the server says about an export. */
typedef struct {
    uint64_t size;      /* bytes, below 2^63 */
    uint16_t flags;     /* NBD_FLAG_* of transmission */
    bool has_blocks;    /* the server told these */
    uint32_t block_min, block_preferred, block_max; /* bytes; the protocol's defaults if not told */
    char *name;         /* the canonical one; NULL: not told */
    char *description;  /* NULL: not told */
} NbdOffer;

void nbd_offer_clear(NbdOffer *o);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(NbdOffer, nbd_offer_clear)

/* A server whose options are being negotiated. */
typedef struct {
    Channel *channel;   /* not owned */
    bool tls_fresh;     /* TLS has begun, and the server has said nothing since */
    bool oldstyle;      /* nothing to negotiate: @old is the only export there is */
    bool fixed;         /* knows options beyond EXPORT_NAME */
    bool no_zeroes;
    bool structured;    /* agreed: structured replies */
    bool extended;      /* agreed: extended headers */
    bool has_context;   /* agreed: a metadata context */
    NbdOffer old;
} NbdHandshake;

/*
 * Reads the greeting and starts TLS if there are @creds: a server that cannot do that is refused.
 * @hostname: as for channel_start_tls.
 */
CO bool nbd_handshake_start(NbdHandshake *h, Channel *channel, TlsCreds *creds,
                            const char *hostname, GError **err);
/* Agrees on structured replies or, if @extended, on the extended headers that include them. */
CO bool nbd_handshake_replies(NbdHandshake *h, bool extended, GError **err);
/* Asks for metadata context @context of export @name: is there one, and its number in replies. */
CO bool nbd_handshake_context(NbdHandshake *h, const char *name, const char *context, bool *has,
                           uint32_t *id, GError **err);
/* Takes export @name: transmission has begun when this returns true. */
CO bool nbd_handshake_go(NbdHandshake *h, const char *name, NbdOffer *offer, GError **err);
/* Looks at export @name. ENOTSUP in @err: the server does not know how to. */
CO bool nbd_handshake_info(NbdHandshake *h, const char *name, NbdOffer *offer, GError **err);
/* Adds what the server lists to @offers (of NbdOffer *): only names and descriptions. */
CO bool nbd_handshake_list(NbdHandshake *h, GPtrArray *offers, GError **err);
/* Adds the names of the metadata contexts of export @name to @names (of char *). */
CO bool nbd_handshake_list_contexts(NbdHandshake *h, const char *name, GPtrArray *names,
                                    GError **err);
/* Takes leave. */
CO void nbd_handshake_abort(NbdHandshake *h);

#endif
