/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers as they go out. Who has one ready while nobody sends becomes the sender: it lets the
 * other tasks that can run do so, then sends all answers that are ready by one system call, and
 * again until there are none.
 */
#include "nbd/internal.h"
#include <string.h>

enum {
    IOV_MAX_AT_ONCE = 64,
    WORTH_SENDING = 64 << 10, /* bytes that need not wait for company */
};

/* ---- making ---------------------------------------------------------------------------------- */

/* "Error values" of the protocol. */
static uint32_t wire_error(int r)
{
    switch (-r) {
    case EPERM:
    case EROFS:
    case EACCES:
        return NBD_EPERM;
    case ENOMEM:
        return NBD_ENOMEM;
    case EINVAL:
        return NBD_EINVAL;
    case ENOSPC:
    case EFBIG:
    case EDQUOT:
        return NBD_ENOSPC;
    case EOVERFLOW:
        return NBD_EOVERFLOW;
    case ENOTSUP:
        return NBD_ENOTSUP;
    case ESHUTDOWN:
        return NBD_ESHUTDOWN;
    default:
        return NBD_EIO;
    }
}

/* The reply is @len bytes of @t->head. */
static void reply_is_head(NbdTask *t, size_t len)
{
    t->few[0] = (struct iovec){ t->head, len };
    t->iov = t->few;
    t->niov = 1;
}

static size_t simple_head(NbdTask *t, uint32_t error)
{
    NbdSimpleReply *s = (void *)t->head;

    *s = (NbdSimpleReply){
        .magic = be32_of(NBD_SIMPLE_REPLY_MAGIC),
        .error = be32_of(error),
        .cookie = be64_of(t->cookie),
    };
    return sizeof(*s);
}

size_t nbd_chunk_head(const NbdTask *t, uint8_t *head, uint16_t type, bool last, uint64_t payload)
{
    uint16_t flags = last ? NBD_REPLY_FLAG_DONE : 0;

    if (t->client->style == NBD_EXTENDED) {
        *(NbdExtendedReply *)(void *)head = (NbdExtendedReply){
            .magic = be32_of(NBD_EXTENDED_REPLY_MAGIC),
            .flags = be16_of(flags),
            .type = be16_of(type),
            .cookie = be64_of(t->cookie),
            .offset = be64_of(t->offset),
            .length = be64_of(payload),
        };
        return sizeof(NbdExtendedReply);
    }
    *(NbdStructuredReply *)(void *)head = (NbdStructuredReply){
        .magic = be32_of(NBD_STRUCTURED_REPLY_MAGIC),
        .flags = be16_of(flags),
        .type = be16_of(type),
        .cookie = be64_of(t->cookie),
        .length = be32_of(payload),
    };
    return sizeof(NbdStructuredReply);
}

void nbd_reply_done(NbdTask *t)
{
    bool chunk = t->client->style == NBD_EXTENDED ||
                 (t->client->style == NBD_STRUCTURED && t->type == NBD_CMD_READ);

    reply_is_head(t, chunk ? nbd_chunk_head(t, t->head, NBD_REPLY_TYPE_NONE, true, 0)
                           : simple_head(t, 0));
}

void nbd_reply_error(NbdTask *t, int error, const char *text)
{
    size_t len = MIN(strlen(text), NBD_STRING_MAX);
    NbdErrorChunk chunk = { be32_of(wire_error(error)), be16_of(len) };
    size_t n;

    if (t->client->style == NBD_SIMPLE) {
        reply_is_head(t, simple_head(t, wire_error(error)));
        return;
    }
    n = nbd_chunk_head(t, t->head, NBD_REPLY_TYPE_ERROR, true, sizeof(chunk) + len);
    memcpy(t->head + n, &chunk, sizeof(chunk));
    t->few[0] = (struct iovec){ t->head, n + sizeof(chunk) };
    t->few[1] = (struct iovec){ (void *)text, len };
    t->iov = t->few;
    t->niov = 2;
}

void nbd_reply_data(NbdTask *t)
{
    size_t n;

    if (t->client->style == NBD_SIMPLE) {
        n = simple_head(t, 0);
    } else {
        n = nbd_chunk_head(t, t->head, NBD_REPLY_TYPE_OFFSET_DATA, true, 8 + t->length);
        be64_put(t->head + n, t->offset);
        n += 8;
    }
    t->few[0] = (struct iovec){ t->head, n };
    t->few[1] = (struct iovec){ t->buf, t->length };
    t->iov = t->few;
    t->niov = 2;
}

/* ---- sending --------------------------------------------------------------------------------- */

static void done_push(NbdClient *c, NbdTask *t)
{
    t->answer = 0;
    for (int i = 0; i < t->niov; i++)
        t->answer += t->iov[i].iov_len;
    c->unsent += t->answer;
    c->answered += t->answer;
    t->next = NULL;
    *c->done_tail = t;
    c->done_tail = &t->next;
}

static NbdTask *done_pop(NbdClient *c)
{
    NbdTask *t = c->done;

    c->done = t->next;
    if (!c->done)
        c->done_tail = &c->done;
    return t;
}

/* Sends what is ready, as far as one system call takes it, or drops it if nobody listens. */
static CO void send_batch(NbdClient *c)
{
    struct iovec iov[IOV_MAX_AT_ONCE];
    NbdTask *sent = NULL;
    int n = 0;

    while (c->done && n + c->done->niov <= IOV_MAX_AT_ONCE) {
        NbdTask *t = done_pop(c);

        memcpy(iov + n, t->iov, t->niov * sizeof(*iov));
        n += t->niov;
        t->next = sent;
        sent = t;
    }
    if (!sent) {
        sent = done_pop(c);
        sent->next = NULL;
        if (!c->broken && channel_writev_all(c->channel, sent->iov, sent->niov) < 0)
            nbd_client_cut(c);
    } else if (!c->broken && channel_writev_all(c->channel, iov, n) < 0) {
        nbd_client_cut(c);
    }
    while (sent) {
        NbdTask *t = sent;

        sent = t->next;
        c->unsent -= t->answer;
        nbd_task_give(t);
    }
}

CO void nbd_reply_send(NbdTask *t)
{
    NbdClient *c = t->client;

    done_push(c, t);
    if (c->sending)
        return;
    c->sending = true;
    if (c->unsent < WORTH_SENDING)
        co_yield();
    while (c->done) {
        c->answers.since_ns = clock_now_ns();
        send_batch(c);
    }
    c->answers.since_ns = 0;
    c->sending = false;
    co_queue_wake_all(&c->room);
}
