/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests as they come in. One system call takes as many as are there, into scratch memory that
 * all clients on a loop share; only who has to wait in the middle keeps the rest in memory of its
 * own. The data of large writes goes straight into their buffers.
 *
 * A client with too much under way is not read from: the rest waits in its socket.
 */
#include "nbd/internal.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

enum {
    LARGE_WRITE = 32 << 10,    /* whose sender is not read far ahead */
    TURN_MAX = 256 << 10,      /* bytes of answers, then others have their turn */
    SKIP_MAX = 2 * NBD_PAYLOAD_MAX, /* payloads no larger are skipped, larger ones end it all */
};

/* ---- bytes ----------------------------------------------------------------------------------- */

static void kept_free(NbdClient *c)
{
    if (!c->kept)
        return;
    g_clear_pointer(&c->kept, g_free);
    nbd_memory_give_inbox(c, c->kept_len);
}

static void inbox_use(NbdClient *c, size_t n)
{
    c->in += n;
    c->in_len -= n;
    if (!c->in_len)
        kept_free(c);
}

/* To be called before waiting: from then on the scratch memory is somebody else's. */
static void inbox_keep(NbdClient *c)
{
    if (!c->in_len || c->kept || c->in == c->head)
        return;
    c->kept = g_memdup2(c->in, c->in_len);
    c->kept_len = c->in_len;
    nbd_memory_add_inbox(c, c->kept_len);
    c->in = c->kept;
}

/* Moves what is less than a header to where it may stay. */
static void inbox_keep_head(NbdClient *c)
{
    memmove(c->head, c->in, c->in_len);
    c->in = c->head;
    kept_free(c);
}

static bool is_busy(const NbdClient *c)
{
    return c->in_flight || c->sending;
}

/*
 * Waits until there is something to receive; -ETIMEDOUT if the client was idle for too long, -EINTR
 * if it is to move.
 */
static CO int wait_for_request(NbdClient *c)
{
    int64_t limit = c->server->config.idle_ns;
    int r;

    c->awaits = true;
    do {
        r = channel_expect(c->channel, limit ? clock_now_ns() + limit : 0);
    } while (r == -ETIMEDOUT && is_busy(c));
    c->awaits = false;
    if (r == -ETIMEDOUT)
        nbd_report(c, "was idle for too long");
    return r;
}

/* Waits until there is something to receive, and lets others have their turn in any case. */
static CO int receive_wait(NbdClient *c)
{
    if (c->drained)
        return wait_for_request(c);
    co_yield();
    return 0;
}

/* One system call behind the @c->in_len bytes in @c->head. False at the end of it all. */
static bool receive_some(NbdClient *c)
{
    uint8_t *scratch = c->at->scratch;
    size_t room = (c->sends_much ? NBD_SCRATCH_MIN : nbd_inbox_max(c->server)) - c->in_len;
    ssize_t n = channel_try_read(c->channel, scratch + c->in_len, room);

    c->drained = n != (ssize_t)room;
    if (n == -EAGAIN)
        return true;
    if (n <= 0) {
        if (n < 0 || c->in_len)
            nbd_report(c, "connection lost: %s", n < 0 ? g_strerror(-n) : "half a request");
        return false;
    }
    memcpy(scratch, c->head, c->in_len);
    c->in = scratch;
    c->in_len += n;
    return true;
}

/*
 * Makes sure that the inbox has at least @need bytes, no more than a header. False at the end, and
 * if the client moves: with less than that in its head.
 */
static CO bool inbox_fill(NbdClient *c, size_t need)
{
    while (c->in_len < need) {
        int r;

        inbox_keep_head(c);
        c->moves = c->must_move && !c->stop_receiving;
        if (c->moves)
            return false;
        r = receive_wait(c);
        if (r == -EINTR)
            continue;
        if (r < 0 || c->stop_receiving || !receive_some(c))
            return false;
    }
    return !c->stop_receiving;
}

/* Receives exactly @len bytes into @buf. */
static CO bool receive_payload(NbdClient *c, uint8_t *buf, size_t len)
{
    size_t n = MIN(len, c->in_len);

    memcpy(buf, c->in, n);
    inbox_use(c, n);
    c->sends_much = len >= LARGE_WRITE;
    if (n == len)
        return true;
    c->drained = false;
    return channel_read_all(c->channel, buf + n, len - n) == 0;
}

/* Receives @len bytes that nobody wants. */
static CO bool skip_payload(NbdClient *c, size_t len)
{
    size_t n = MIN(len, c->in_len);

    inbox_use(c, n);
    for (len -= n; len; len -= n) {
        int r = channel_wait_readable(c->channel, 0);
        ssize_t got = r < 0 ? r : channel_try_read(c->channel, c->at->scratch,
                                                   MIN(len, NBD_SCRATCH_LEN));

        if (got == 0 || (got < 0 && got != -EAGAIN))
            return false;
        n = MAX(got, 0);
    }
    return true;
}

/* ---- room ------------------------------------------------------------------------------------ */

/*
 * Lets others have their turn now and then. Nothing else may: requests whose data is in memory,
 * from a client that takes the answers as fast as they come, wait for nothing.
 */
static CO void take_turns(NbdClient *c)
{
    if (c->answered < TURN_MAX)
        return;
    c->answered = 0;
    inbox_keep(c);
    co_yield();
}

/* Waits until one more task may be under way. False: it is too late for that. */
static CO bool wait_for_task(NbdClient *c)
{
    take_turns(c);
    while ((c->in_flight >= NBD_TASKS_MAX || c->unsent >= NBD_UNSENT_MAX) && !c->stop_receiving) {
        inbox_keep(c);
        co_queue_wait(&c->room);
    }
    return !c->stop_receiving;
}

/* Waits until the client may have @len bytes more in buffers. */
static CO void wait_for_bytes(NbdClient *c, size_t len)
{
    while (c->bytes && c->bytes + len > c->server->bytes_max && !c->stop_receiving) {
        inbox_keep(c);
        co_queue_wait(&c->room);
    }
}

/* Lets @t hold @len bytes, waiting until there is so much. False: it is refused. */
static CO bool task_hold(NbdTask *t, size_t len)
{
    NbdClient *c = t->client;

    if (c->stop_receiving || !nbd_memory_try(c, len)) {
        inbox_keep(c);
        if (!nbd_memory_take(c, len)) {
            nbd_task_refuse(t, -ESHUTDOWN, "The server is being stopped");
            return false;
        }
    }
    t->held = len;
    return true;
}

/*
 * Gets @t the memory that it needs, all at once: those who held some while they wait for more could
 * wait for each other.
 */
static CO void task_memory(NbdTask *t)
{
    NbdClient *c = t->client;
    const NbdServer *s = c->server;
    size_t len = t->refusal ? 0 : t->payload ? t->payload : nbd_task_room(t);

    if (len > s->held_max / 2) {
        nbd_task_refuse(t, -ENOMEM, "The server has not so much memory");
        len = 0;
    }
    if (len)
        wait_for_bytes(c, len);
    if (!task_hold(t, s->task_cost + nbd_task_answer_max(t) + len) || !len)
        return;
    t->buf = nbd_buffer_take(&c->at->buffers, len);
    if (!t->buf) {
        nbd_task_refuse(t, -ENOMEM, "The server is short of memory");
        return;
    }
    t->buf_len = len;
    c->bytes += len;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Reads the header at @p into @t. False: this is none, or one that cannot be followed. */
static bool header_parse(NbdTask *t, const uint8_t *p)
{
    const NbdRequest *q = (const void *)p;
    const NbdExtendedRequest *x = (const void *)p;
    bool extended = t->client->style == NBD_EXTENDED;
    uint64_t payload;

    t->flags = be16_get(q->flags);
    t->type = be16_get(q->type);
    t->cookie = be64_get(q->cookie);
    t->offset = be64_get(q->offset);
    t->length = extended ? be64_get(x->length) : be32_get(q->length);
    if (be32_get(q->magic) != (extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC)) {
        nbd_report(t->client, "a request starts with the wrong magic number");
        return false;
    }
    payload = extended ? (t->flags & NBD_CMD_FLAG_PAYLOAD_LEN ? t->length : 0)
                       : (t->type == NBD_CMD_WRITE ? t->length : 0);
    if (payload > SKIP_MAX) {
        nbd_report(t->client, "a request has %" PRIu64 " bytes of data", payload);
        return false;
    }
    t->payload = payload;
    return true;
}

/* Receives the payload of @t, or throws it away if @t is refused. */
static CO bool task_payload(NbdTask *t)
{
    NbdClient *c = t->client;
    bool ok;

    if (t->payload > c->in_len)
        c->data.since_ns = clock_now_ns();
    ok = t->refusal ? skip_payload(c, t->payload) : receive_payload(c, t->buf, t->payload);
    c->data.since_ns = 0;
    return ok;
}

/* Receives one request and starts it. False: it was the last. */
static CO bool receive_one(NbdClient *c)
{
    size_t header = c->style == NBD_EXTENDED ? sizeof(NbdExtendedRequest) : sizeof(NbdRequest);
    NbdTask *t;
    bool ok;

    if (!inbox_fill(c, header) || !wait_for_task(c))
        return false;
    t = nbd_task_take(c);
    ok = header_parse(t, c->in) && t->type != NBD_CMD_DISC;
    inbox_use(c, header);
    if (ok) {
        nbd_task_check(t);
        task_memory(t);
        if (t->payload)
            ok = task_payload(t);
    }
    if (ok)
        nbd_task_start(t);
    else
        nbd_task_give(t);
    return ok;
}

CO void nbd_receive(NbdClient *c)
{
    c->in = c->head; /* with what came before it moved */
    c->drained = true;
    while (receive_one(c))
        ;
    if (!c->moves)
        c->stop_receiving = true;
    kept_free(c);
}
