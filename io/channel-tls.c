/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS under a channel.
 *
 *     write:  span -> plain -> session -> cipher -> send     what the socket did not take: unsent
 *     read:   recv -> ahead -> session -> caller            what the caller had no room for: unread
 *
 * plain, cipher and ahead belong to the thread and hold bytes only during a call, so an idle
 * connection keeps no buffer.
 */
#include "io/channel-tls.h"
#include "util/err.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum {
    RECORD_MAX = 16 << 10, /* plain bytes of a record, RFC 8446 section 5.1 */
    WRITE_MAX = 32 << 10,  /* encrypted before it is sent; the peer decrypts it meanwhile */
    AHEAD_MAX = 128 << 10, /* received by one system call */
};

struct ChannelTls {
    int fd;
    TlsSession *session;
    GByteArray *unsent, *unread; /* NULL: nothing */
    int wire_error;              /* negative errno of the last failed recv */
};

/* Bytes received and not yet pulled. */
typedef struct {
    const uint8_t *at;
    size_t len;
} Ahead;

static _Thread_local uint8_t *plain_room, *ahead_room;
static _Thread_local GByteArray *cipher;
static _Thread_local Ahead ahead;

static void rooms_free(gpointer unused)
{
    g_clear_pointer(&cipher, g_byte_array_unref);
    g_clear_pointer(&plain_room, g_free);
    g_clear_pointer(&ahead_room, g_free);
}

/* Set while the thread has them: they are freed as it ends. */
static GPrivate rooms = G_PRIVATE_INIT(rooms_free);

/* ---- the session's side of the wire ---------------------------------------------------------- */

static void tls_push(void *opaque, const void *buf, size_t len)
{
    ChannelTls *t = opaque;

    g_byte_array_append(t->unsent ? t->unsent : cipher, buf, len);
}

static ssize_t ahead_fill(ChannelTls *t)
{
    ssize_t n;

    do {
        n = recv(t->fd, ahead_room, AHEAD_MAX, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        t->wire_error = -errno;
        return -errno;
    }
    ahead = (Ahead){ ahead_room, n };
    return n;
}

static ssize_t tls_pull(void *opaque, void *buf, size_t len)
{
    ssize_t n = ahead.len ? 1 : ahead_fill(opaque);

    if (n <= 0)
        return n;
    n = MIN(len, ahead.len);
    memcpy(buf, ahead.at, n);
    ahead.at += n;
    ahead.len -= n;
    return n;
}

/* ---- around each call into the session ------------------------------------------------------- */

static void session_enter(ChannelTls *t)
{
    if (!cipher) {
        cipher = g_byte_array_new();
        plain_room = g_malloc(RECORD_MAX);
        ahead_room = g_malloc(AHEAD_MAX);
        g_private_set(&rooms, &rooms);
    }
    /* What a write that failed halfway has left belongs to another connection. */
    g_byte_array_set_size(cipher, 0);
    ahead = t->unread ? (Ahead){ t->unread->data, t->unread->len } : (Ahead){ 0 };
}

/* Keeps what was received and not pulled. */
static void session_keep_input(ChannelTls *t)
{
    GByteArray *rest = NULL;

    if (ahead.len) {
        rest = g_byte_array_new();
        g_byte_array_append(rest, ahead.at, ahead.len);
    }
    g_clear_pointer(&t->unread, g_byte_array_unref);
    t->unread = rest;
    ahead = (Ahead){ 0 };
}

/* Sends from @b until the socket takes no more; how much it took, or a negative errno. */
static ssize_t send_bytes(ChannelTls *t, const GByteArray *b)
{
    size_t done = 0;

    while (done < b->len) {
        ssize_t n = send(t->fd, b->data + done, b->len - done, MSG_NOSIGNAL);

        if (n >= 0)
            done += n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return -errno;
    }
    return done;
}

/*
 * Sends what the session has pushed, keeping what the socket does not take. 0 or a negative errno.
 */
static int session_send(ChannelTls *t)
{
    GByteArray *from = t->unsent ? t->unsent : cipher;
    ssize_t n = send_bytes(t, from);

    if (n >= 0 && n < from->len && from == cipher) {
        t->unsent = g_byte_array_new();
        g_byte_array_append(t->unsent, cipher->data + n, cipher->len - n);
    } else if (n > 0 && from == t->unsent) {
        g_byte_array_remove_range(t->unsent, 0, n);
        if (!t->unsent->len)
            g_clear_pointer(&t->unsent, g_byte_array_unref);
    }
    if (cipher) /* NULL: after a move, when this thread has not used a session yet */
        g_byte_array_set_size(cipher, 0);
    return MIN(n, 0);
}

/* ---- life ------------------------------------------------------------------------------------ */

ChannelTls *channel_tls_new(int fd, TlsCreds *creds, const char *hostname, GError **err)
{
    ChannelTls *t = g_new0(ChannelTls, 1);

    t->fd = fd;
    t->session = tls_session_new(
        creds, hostname, &(TlsWire){ .push = tls_push, .pull = tls_pull, .opaque = t }, err);
    if (!t->session)
        g_clear_pointer(&t, g_free);
    return t;
}

void channel_tls_free(ChannelTls *t, bool bye)
{
    if (!t)
        return;
    if (bye) {
        session_enter(t);
        tls_session_bye(t->session);
        session_send(t);
        ahead = (Ahead){ 0 };
    }
    tls_session_free(t->session);
    g_clear_pointer(&t->unsent, g_byte_array_unref);
    g_clear_pointer(&t->unread, g_byte_array_unref);
    g_free(t);
}

TlsProgress channel_tls_handshake(ChannelTls *t, GError **err)
{
    TlsProgress p;
    int r;

    session_enter(t);
    p = tls_session_handshake(t->session, err);
    session_keep_input(t);
    r = session_send(t); /* after a failure too: the peer is told why */
    if (r < 0 && p != TLS_FAILED) {
        err_set_errno(err, r, "Cannot send");
        p = TLS_FAILED;
    }
    return p;
}

const char *channel_tls_identity(const ChannelTls *t)
{
    return tls_session_peer(t->session);
}

const char *channel_tls_problem_of(const ChannelTls *t)
{
    return tls_session_problem(t->session);
}

/* ---- reading --------------------------------------------------------------------------------- */

bool channel_tls_has_input(const ChannelTls *t)
{
    return t->unread || tls_session_pending(t->session);
}

ssize_t channel_tls_read(ChannelTls *t, void *buf, size_t len)
{
    size_t done = 0;
    ssize_t n = 1;

    session_enter(t);
    t->wire_error = 0;
    while (done < len && n > 0) {
        n = tls_session_read(t->session, (uint8_t *)buf + done, len - done);
        done += MAX(n, 0);
    }
    session_keep_input(t);
    session_send(t); /* an answer to a change of keys; if it fails the next write does too */
    if (done)
        return done;
    return n < 0 && n != -EAGAIN && t->wire_error && t->wire_error != -EAGAIN ? t->wire_error : n;
}

/* ---- writing --------------------------------------------------------------------------------- */

int channel_tls_flush(ChannelTls *t)
{
    int r;

    if (!t->unsent)
        return 0;
    r = session_send(t);
    return r < 0 ? r : t->unsent ? -EAGAIN : 0;
}

/* The bytes of @s in one piece: where they are, or copied to the thread's room. */
static const void *span_whole(Span s)
{
    size_t len;
    const void *head = span_head(s, &len);

    if (len >= s.len)
        return head;
    span_read(s, plain_room);
    return plain_room;
}

ssize_t channel_tls_write(ChannelTls *t, Span s)
{
    int r = channel_tls_flush(t);
    size_t done = 0;

    if (r < 0)
        return r;
    session_enter(t);
    while (r == 0 && done < MIN(s.len, WRITE_MAX)) {
        Span record = span_slice(s, done, MIN(s.len - done, RECORD_MAX));

        r = tls_session_write(t->session, span_whole(record), record.len);
        done += record.len;
    }
    ahead = (Ahead){ 0 };
    if (r == 0)
        r = session_send(t);
    return r < 0 ? r : (ssize_t)done;
}
