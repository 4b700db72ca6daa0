/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network over one stream: each packet behind its length, 32 bits, big-endian. A server takes one
 * peer at a time and waits for the next when it has left; a client connects once.
 */
#include "io/channel.h"
#include "io/net.h"
#include "net/backend.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/fd.h"
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PREFIX = 4, IN_SIZE = 4 * NET_PACKET_MAX, OUT_MAX = 512 * 1024 };

typedef struct {
    Netdev *netdev;
    NetAddress address;
    Channel *listener;     /* NULL: a client */
    int fd;                /* of a client, until it is served; else -1 */
    Channel *channel;      /* NULL: nobody is connected */
    GByteArray *out;       /* packets that wait to be written */
    bool was_full;
    CoQueue more;          /* there is something to write, or the connection ends */
    CoGroup writing;
} Stream;

/* ---- sending --------------------------------------------------------------------------------- */

static bool stream_send(Netdev *n, Span packet)
{
    Stream *s = n->state;
    uint32_t at = s->out->len;

    if (!s->channel)
        return true;
    if (at + PREFIX + packet.len > OUT_MAX) {
        s->was_full = true;
        return false;
    }
    g_byte_array_set_size(s->out, at + PREFIX + packet.len);
    be32_put(s->out->data + at, packet.len);
    span_read(packet, s->out->data + at + PREFIX);
    co_queue_wake_all(&s->more);
    return true;
}

static void tell_room(Stream *s)
{
    if (!s->was_full)
        return;
    s->was_full = false;
    netdev_writable(s->netdev);
}

/* Writes what there is until the connection ends. */
static CO void write_out(void *arg)
{
    Stream *s = arg;
    Channel *c = s->channel;
    int r = 0;

    while (s->channel && r >= 0) {
        g_autoptr(GByteArray) out = s->out;

        if (!out->len) {
            g_steal_pointer(&out);
            co_queue_wait(&s->more);
            continue;
        }
        s->out = g_byte_array_sized_new(out->len);
        tell_room(s);
        r = channel_write_all(c, out->data, out->len);
    }
    channel_shutdown(c);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Delivers whole packets of @buf; what is used of it. A negative number: the stream is no such. */
static CO ssize_t deliver(Stream *s, uint8_t *buf, size_t have)
{
    size_t at = 0;

    while (have - at >= PREFIX) {
        size_t len = be32_at(buf + at);

        if (len > NET_PACKET_MAX)
            return -EPROTO;
        if (have - at < PREFIX + len)
            break;
        if (len && !netdev_deliver_wait(s->netdev, span_of(buf + at + PREFIX, len)))
            return -ECANCELED;
        at += PREFIX + len;
    }
    return at;
}

static CO void read_in(Stream *s)
{
    g_autofree uint8_t *buf = g_malloc(IN_SIZE);
    size_t have = 0;

    for (;;) {
        ssize_t n = channel_read(s->channel, buf + have, IN_SIZE - have), used;

        if (n <= 0)
            return;
        have += n;
        used = deliver(s, buf, have);
        if (used < 0)
            return;
        memmove(buf, buf + used, have - used);
        have -= used;
    }
}

/* ---- connections ----------------------------------------------------------------------------- */

/* A SocketAddress of who is at the other end of @fd. */
static json_t *peer_address(const Stream *s, int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_storage room;
    } a = { 0 };
    socklen_t len = sizeof(a);
    char host[INET6_ADDRSTRLEN] = "";
    g_autofree char *port = NULL;

    if (getpeername(fd, &a.any, &len) < 0 ||
        (a.any.sa_family != AF_INET && a.any.sa_family != AF_INET6))
        return json_pack("{s:s, s:s}", "type", "unix", "path",
                         s->address.path ? s->address.path : "");
    if (a.any.sa_family == AF_INET)
        inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof(host));
    else
        inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof(host));
    port = g_strdup_printf("%u", ntohs(a.any.sa_family == AF_INET ? a.in.sin_port
                                                                  : a.in6.sin6_port));
    return json_pack("{s:s, s:s, s:s}", "type", "inet", "host", host, "port", port);
}

/* One connection from beginning to end. */
static CO void serve(Stream *s, int fd)
{
    g_autoptr(json_t) peer = peer_address(s, fd);
    Channel *c = channel_new_socket(fd);

    net_set_nodelay(fd);
    s->channel = c;
    event_netdev_stream_connected(s->netdev->id, peer);
    co_group_start(&s->writing, write_out, s);
    read_in(s);
    s->channel = NULL;
    channel_shutdown(c);
    co_queue_wake_all(&s->more);
    co_group_wait(&s->writing);
    channel_free(c);
    g_byte_array_set_size(s->out, 0);
    event_netdev_stream_disconnected(s->netdev->id);
    tell_room(s);
}

static CO void run_server(void *arg)
{
    Stream *s = arg;

    while (!s->netdev->closing) {
        int fd;

        if (channel_wait_readable(s->listener, 0) < 0 || s->netdev->closing)
            return;
        fd = accept4(channel_fd(s->listener), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            serve(s, fd);
    }
}

static CO void run_client(void *arg)
{
    Stream *s = arg;

    if (!s->netdev->closing)
        serve(s, fd_steal(&s->fd));
}

/* ---- the netdev ------------------------------------------------------------------------------ */

static CO bool stream_open(Netdev *n, const json_t *options, GError **err)
{
    Stream *s = g_new0(Stream, 1);
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));

    n->state = s;
    s->netdev = n;
    s->fd = -1;
    s->out = g_byte_array_new();
    if (!net_address_read(json_get(options, "addr"), &s->address, err))
        return false;
    if (!json_get_bool(options, "server", false)) {
        s->fd = net_connect(&s->address, 0, err);
        if (s->fd >= 0)
            co_group_start(&n->running, run_client, s);
        return s->fd >= 0;
    }
    if (!net_listen(&s->address, 1, fds, err))
        return false;
    s->listener = channel_new_fd(g_array_index(fds, int, 0));
    for (guint i = 1; i < fds->len; i++)
        close(g_array_index(fds, int, i));
    co_group_start(&n->running, run_server, s);
    return true;
}

static void stream_interrupt(Netdev *n)
{
    Stream *s = n->state;

    if (s->channel)
        channel_shutdown(s->channel);
    else if (s->listener)
        channel_interrupt_wait(s->listener);
}

static CO void stream_close(Netdev *n)
{
    Stream *s = n->state;

    fd_cleanup(&s->fd);
    if (s->listener && s->address.kind == NET_UNIX && !s->address.abstract)
        unlink(s->address.path);
    channel_free(s->listener);
    net_address_clear(&s->address);
    g_byte_array_unref(s->out);
    g_free(s);
}

const NetdevDriver netdev_stream = {
    .type = "stream",
    .open = stream_open,
    .send = stream_send,
    .interrupt = stream_interrupt,
    .close = stream_close,
};
