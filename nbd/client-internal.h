/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A connection from inside: client.c makes calls, answer.c takes the server's answers. */
#ifndef NBD_CLIENT_INTERNAL_H
#define NBD_CLIENT_INTERNAL_H

#include "io/co-lock.h"
#include "nbd/client.h"

/* Received at once at most; longer data goes straight to where it belongs. */
enum { NBD_INPUT_LEN = 64 << 10 };

struct NbdConn {
    Channel *channel;
    NbdOffer offer;
    bool structured, extended;
    bool has_context;
    uint32_t context_id;

    NbdCall *calls[NBD_CALLS_MAX]; /* by the low bits of their cookies */
    unsigned n_calls;      /* entered nbd_conn_call and not returned */
    unsigned n_slots;      /* of calls[] in use */
    uint64_t serial;       /* of the last cookie */
    CoQueue slot_queue;    /* calls that wait for a slot */
    NbdCall *queue, **queue_tail; /* calls to be sent */
    bool sending;
    NbdCall *receiver;     /* who receives, or NULL ... */
    bool between_answers;  /* ... and waits for the start of an answer */
    bool over;

    uint8_t *input;        /* received and not yet looked at: [input_at, input_end) */
    size_t input_at, input_end;
};

/*
 * Takes one answer, or one chunk of one. 0; -EPROTO: it makes no sense, and the call it is for, if
 * that is known, is marked; -EINTR: the wait for it was interrupted; other negative errnos: the
 * connection failed.
 */
CO int nbd_answer_receive(NbdConn *c);

/* The answer of @q is complete. */
void nbd_call_answered(NbdConn *c, NbdCall *q);

#endif
