/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One connection to an NBD server: many requests at once, told apart by cookies.
 *
 * A connection has no coroutine of its own: who makes a call sends, and whoever waits receives, for
 * the others too. Without calls it is tied to no loop; those at one time are all of one loop.
 * Everything a server sends is checked against what was asked; anything else ends the connection.
 * remote.h keeps several and makes new ones.
 */
#ifndef NBD_CLIENT_H
#define NBD_CLIENT_H

#include "nbd/coverage.h"
#include "nbd/client-handshake.h"
#include "nbd/proto.h"
#include "util/span.h"

/* Requests under way on one connection; more wait. */
enum { NBD_CALLS_MAX = 64 };

/* A call was under way, or about to be made, when the connection ended: it may or may not have been
 * carried out. */
#define NBD_LOST (-ENOTCONN)

typedef struct NbdConn NbdConn;

/* One run of a block status. */
typedef struct {
    uint64_t len;    /* bytes, not 0 */
    uint64_t flags;  /* of the metadata context */
} NbdRun;

/* A request, on the stack of who makes it. Zero what is not given. */
typedef struct NbdCall NbdCall;
struct NbdCall {
    uint16_t type, flags;   /* NBD_CMD_*, NBD_CMD_FLAG_* */
    uint64_t off, len;      /* bytes */
    Span buf;               /* of READ and WRITE, @len bytes */
    NbdRun *runs;           /* BLOCK_STATUS: where the first @max_runs go ... */
    unsigned max_runs, n_runs; /* ... and how many there are */

    /* The connection's. */
    NbdCall *next;          /* in the queue of those to send */
    Co *co;
    uint64_t cookie;
    int error;              /* first error the server told, a negative errno */
    bool waiting;           /* suspended in nbd_conn_call */
    bool sent, answered;
    bool is_bad;            /* the answer made no sense */
    bool pinned_by_sender, pinned_by_receiver; /* its memory is in use */
    bool has_status;        /* the chunk with its block status has come */
    unsigned error_chunks;
    Coverage coverage;
    union {
        NbdRequest compact;
        NbdExtendedRequest extended;
    } head;
};

/* What to ask a server for. Nothing is copied. */
typedef struct {
    const char *export_name;
    const char *context;    /* metadata context for BLOCK_STATUS */
    TlsCreds *creds;        /* NULL: in clear */
    const char *hostname;   /* what the certificate must be for, see channel_start_tls */
} NbdClientConfig;

/*
 * Negotiates on @channel, which is the connection's from now on (also after a failure). NULL with
 * @err.
 */
CO NbdConn *nbd_conn_new(Channel *channel, const NbdClientConfig *config, GError **err);
/* Takes leave and frees; no call is under way. NULL is fine. */
CO void nbd_conn_free(NbdConn *c);

const NbdOffer *nbd_conn_offer(const NbdConn *c);
/* The server granted the metadata context. */
bool nbd_conn_has_context(const NbdConn *c);
/* Calls under way and waiting. */
unsigned nbd_conn_calls(const NbdConn *c);
/* No further call will succeed. */
bool nbd_conn_is_over(const NbdConn *c);
/* Ends the connection: calls under way return NBD_LOST. */
void nbd_conn_cut(NbdConn *c);

/*
 * Makes call @q, which must suit the offer. 0, the server's error, -EIO for an answer that made no
 * sense, NBD_LOST, or -ENOTSUP for BLOCK_STATUS without a context.
 */
CO int nbd_conn_call(NbdConn *c, NbdCall *q);

#endif
