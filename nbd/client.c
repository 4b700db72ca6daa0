/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls of a connection. Each caller runs the same loop until its call is answered:
 *
 *     requests to send, and nobody sends  ->  send all of them at once
 *     nobody receives                     ->  receive until my answer is there
 *     otherwise                           ->  wait
 *
 * Who leaves the loop wakes another to take over what it did; the one who receives may be needed to
 * send, and is interrupted then if it waits for the start of an answer. Memory of a call may be in
 * use by whoever sends or receives for it; it is pinned meanwhile, and its caller does not return.
 */
#include "nbd/client-internal.h"
#include <errno.h>

enum { IOV_MAX_AT_ONCE = 128, SLOT_BITS = 6, BYE_NS = 200 * 1000 * 1000 };
G_STATIC_ASSERT(NBD_CALLS_MAX == 1 << SLOT_BITS);

/* ---- life ------------------------------------------------------------------------------------ */

NbdConn *nbd_conn_new(Channel *channel, const NbdClientConfig *config, GError **err)
{
    NbdConn *c = g_new0(NbdConn, 1);
    NbdHandshake h;

    c->channel = channel;
    c->queue_tail = &c->queue;
    if (!nbd_handshake_start(&h, channel, config->creds, config->hostname, err) ||
        !nbd_handshake_replies(&h, true, err) ||
        (config->context && !h.oldstyle &&
         !nbd_handshake_context(&h, config->export_name, config->context, &c->has_context,
                             &c->context_id, err)) ||
        !nbd_handshake_go(&h, config->export_name, &c->offer, err)) {
        c->over = true;
        nbd_conn_free(c);
        return NULL;
    }
    c->structured = h.structured;
    c->extended = h.extended;
    c->input = g_malloc(NBD_INPUT_LEN);
    channel_set_deadline(channel, 0);
    return c;
}

/* Tells the server that we leave, unless it does not listen. */
static CO void conn_bye(NbdConn *c)
{
    NbdExtendedRequest extended = {
        .magic = be32_of(NBD_EXTENDED_REQUEST_MAGIC),
        .type = be16_of(NBD_CMD_DISC),
    };
    NbdRequest compact = { .magic = be32_of(NBD_REQUEST_MAGIC), .type = be16_of(NBD_CMD_DISC) };

    channel_set_deadline(c->channel, clock_now_ns() + BYE_NS);
    if (c->extended)
        channel_write_all(c->channel, &extended, sizeof(extended));
    else
        channel_write_all(c->channel, &compact, sizeof(compact));
}

void nbd_conn_free(NbdConn *c)
{
    if (!c)
        return;
    g_assert(!c->n_calls);
    if (!c->over)
        conn_bye(c);
    channel_free(c->channel);
    nbd_offer_clear(&c->offer);
    g_free(c->input);
    g_free(c);
}

const NbdOffer *nbd_conn_offer(const NbdConn *c)
{
    return &c->offer;
}

bool nbd_conn_has_context(const NbdConn *c)
{
    return c->has_context;
}

unsigned nbd_conn_calls(const NbdConn *c)
{
    return c->n_calls;
}

bool nbd_conn_is_over(const NbdConn *c)
{
    return c->over;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/*
 * @q is to look again at what there is to do, also if it waits for an answer that may never come.
 */
static void call_wake(NbdConn *c, NbdCall *q)
{
    if (q->waiting) {
        q->waiting = false;
        co_wake(q->co);
    } else if (q == c->receiver && c->between_answers) {
        channel_interrupt_wait(c->channel);
    }
}

static CO void call_wait(NbdCall *q)
{
    q->waiting = true;
    while (q->waiting)
        co_suspend();
}

/* Its caller may return: it has its answer, or will get none, and nobody uses its memory. */
static bool call_is_over(const NbdConn *c, const NbdCall *q)
{
    return ((q->sent && q->answered) || c->over) && !q->pinned_by_sender && !q->pinned_by_receiver;
}

void nbd_call_answered(NbdConn *c, NbdCall *q)
{
    q->answered = true;
    if (call_is_over(c, q))
        call_wake(c, q);
}

static void conn_wake_all(NbdConn *c)
{
    for (unsigned i = 0; i < NBD_CALLS_MAX; i++)
        if (c->calls[i])
            call_wake(c, c->calls[i]);
    co_queue_wake_all(&c->slot_queue);
}

void nbd_conn_cut(NbdConn *c)
{
    if (c->over)
        return;
    c->over = true;
    c->queue = NULL;
    channel_shutdown(c->channel);
    conn_wake_all(c);
}

/* ---- sending --------------------------------------------------------------------------------- */

static bool call_has_payload(const NbdCall *q)
{
    return q->type == NBD_CMD_WRITE;
}

/* Writes the header of @q; returns its length. */
static size_t call_head(const NbdConn *c, NbdCall *q)
{
    uint16_t flags = q->flags;

    if (!c->extended) {
        q->head.compact = (NbdRequest){
            .magic = be32_of(NBD_REQUEST_MAGIC),
            .flags = be16_of(flags),
            .type = be16_of(q->type),
            .cookie = be64_of(q->cookie),
            .offset = be64_of(q->off),
            .length = be32_of(q->len),
        };
        return sizeof(q->head.compact);
    }
    flags |= call_has_payload(q) ? NBD_CMD_FLAG_PAYLOAD_LEN : 0;
    q->head.extended = (NbdExtendedRequest){
        .magic = be32_of(NBD_EXTENDED_REQUEST_MAGIC),
        .flags = be16_of(flags),
        .type = be16_of(q->type),
        .cookie = be64_of(q->cookie),
        .offset = be64_of(q->off),
        .length = be64_of(q->len),
    };
    return sizeof(q->head.extended);
}

/* The next request to send, pinned and out of the queue. */
static NbdCall *queue_take(NbdConn *c)
{
    NbdCall *q = c->queue;

    c->queue = q->next;
    if (!c->queue)
        c->queue_tail = &c->queue;
    q->pinned_by_sender = true;
    return q;
}

/* Sends all of @buf, however many pieces it has. */
static CO int send_span(NbdConn *c, Span buf)
{
    int r = 0;

    while (buf.len && r == 0) {
        struct iovec iov[IOV_MAX_AT_ONCE];
        size_t covered;
        int niov = span_to_iov(buf, iov, IOV_MAX_AT_ONCE, &covered);

        r = channel_writev_all(c->channel, iov, niov);
        buf = span_slice(buf, covered, buf.len - covered);
    }
    return r;
}

/*
 * Sends what is queued by then, in one system call if it fits. @batch: place for the calls sent.
 * Returns how many those are; 0 or a negative errno in *@result.
 */
static CO unsigned send_batch(NbdConn *c, NbdCall **batch, int *result)
{
    struct iovec iov[IOV_MAX_AT_ONCE];
    Span rest = { 0 };
    unsigned n = 0;
    int niov = 0;

    *result = 0;
    while (c->queue && n < NBD_CALLS_MAX && niov + 2 <= IOV_MAX_AT_ONCE && !rest.len) {
        NbdCall *q = batch[n++] = queue_take(c);

        iov[niov++] = (struct iovec){ &q->head, call_head(c, q) };
        if (call_has_payload(q)) {
            size_t covered;

            niov += span_to_iov(q->buf, iov + niov, IOV_MAX_AT_ONCE - niov, &covered);
            rest = span_slice(q->buf, covered, q->buf.len - covered);
        }
    }
    if (n)
        *result = channel_writev_all(c->channel, iov, niov);
    if (*result == 0 && rest.len)
        *result = send_span(c, rest);
    return n;
}

static CO void conn_send(NbdConn *c)
{
    NbdCall *batch[NBD_CALLS_MAX];
    unsigned n;
    int r;

    c->sending = true;
    /* Others that are ready to run may have requests, too: they go together. */
    co_yield();
    n = send_batch(c, batch, &r);
    c->sending = false;
    for (unsigned i = 0; i < n; i++) {
        batch[i]->pinned_by_sender = false;
        batch[i]->sent = true;
    }
    if (r < 0)
        nbd_conn_cut(c);
    for (unsigned i = 0; i < n; i++)
        if (call_is_over(c, batch[i]))
            call_wake(c, batch[i]);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Takes answers, whosever they are, until @q's is there or somebody has to send. */
static CO void conn_receive(NbdConn *c, NbdCall *q)
{
    int r = 0;

    c->receiver = q;
    while (r == 0 && !c->over && !(q->sent && q->answered) && !(c->queue && !c->sending))
        r = nbd_answer_receive(c);
    c->receiver = NULL;
    if (r < 0 && r != -EINTR)
        nbd_conn_cut(c);
    /* Somebody's memory may have been pinned by us until now. */
    if (c->over)
        conn_wake_all(c);
}

/* Unless somebody receives, one of those that wait is to. */
static void conn_pass_receiving(NbdConn *c)
{
    for (unsigned i = 0; i < NBD_CALLS_MAX && !c->receiver; i++)
        if (c->calls[i] && c->calls[i]->waiting) {
            call_wake(c, c->calls[i]);
            return;
        }
}

/* Somebody else takes over what the caller that leaves might have done. */
static void conn_pass_on(NbdConn *c)
{
    if (c->over)
        return;
    if (c->queue && !c->sending)
        call_wake(c, c->queue);
    conn_pass_receiving(c);
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* Gives @q a slot and a cookie; false if the connection is over. */
static CO bool call_enter(NbdConn *c, NbdCall *q)
{
    unsigned slot = 0;

    while (!c->over && c->n_slots == NBD_CALLS_MAX)
        co_queue_wait(&c->slot_queue);
    if (c->over)
        return false;
    while (c->calls[slot])
        slot++;
    c->calls[slot] = q;
    c->n_slots++;
    q->cookie = ++c->serial << SLOT_BITS | slot;
    return true;
}

static void call_leave(NbdConn *c, NbdCall *q)
{
    c->calls[q->cookie % NBD_CALLS_MAX] = NULL;
    c->n_slots--;
    co_queue_wake_one(&c->slot_queue);
    coverage_clear(&q->coverage);
}

static int call_result(const NbdCall *q)
{
    if (q->is_bad)
        return -EIO;
    if (!q->sent || !q->answered)
        return NBD_LOST;
    return q->error;
}

/* Waits for the answer, and sends and receives meanwhile. */
static CO void call_drive(NbdConn *c, NbdCall *q)
{
    while (!call_is_over(c, q)) {
        if (c->queue && !c->sending && !c->over) {
            conn_send(c);
        } else if (!c->receiver && !c->over) {
            conn_receive(c, q);
            if (!call_is_over(c, q)) /* we are to send now */
                conn_pass_receiving(c);
        } else {
            call_wait(q);
        }
    }
}

int nbd_conn_call(NbdConn *c, NbdCall *q)
{
    int r = NBD_LOST;

    if (q->type == NBD_CMD_BLOCK_STATUS && !c->has_context)
        return -ENOTSUP;
    q->co = co_self();
    c->n_calls++;
    if (call_enter(c, q)) {
        *c->queue_tail = q;
        c->queue_tail = &q->next;
        call_drive(c, q);
        call_leave(c, q);
        conn_pass_on(c);
        r = call_result(q);
    }
    c->n_calls--;
    return r;
}
