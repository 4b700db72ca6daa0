/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A network over datagrams, a packet in each: UDP to one peer or to a group, or a Unix socket. */
#include "io/channel.h"
#include "io/net.h"
#include "io/pool.h"
#include "net/backend.h"
#include "util/err.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t len; /* 0: there is none */
} Address;

typedef struct {
    Channel *channel;
    Address peer;          /* .len 0: the socket is connected */
    char *path;            /* of our socket file; NULL: none */
} Dgram;

/* ---- addresses ------------------------------------------------------------------------------- */

typedef struct {
    const NetAddress *a;
    struct addrinfo *found;
} Lookup;

static int look_up(void *arg)
{
    Lookup *l = arg;
    struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_ADDRCONFIG | AI_PASSIVE };

    hints.ai_family = l->a->ipv4 ? AF_INET : l->a->ipv6 ? AF_INET6 : AF_UNSPEC;
    if (l->a->numeric)
        hints.ai_flags |= AI_NUMERICHOST;
    return getaddrinfo(*l->a->host ? l->a->host : NULL, l->a->port, &hints, &l->found);
}

static CO bool resolve_inet(const NetAddress *a, Address *out, GError **err)
{
    Lookup l = { .a = a };
    int r = pool_run(look_up, &l);

    if (r)
        return err_set(err, EINVAL, "Address '%s:%s' cannot be resolved: %s", a->host, a->port,
                       gai_strerror(r));
    memcpy(&out->any, l.found->ai_addr, l.found->ai_addrlen);
    out->len = l.found->ai_addrlen;
    freeaddrinfo(l.found);
    return true;
}

static bool resolve_unix(const NetAddress *a, Address *out, GError **err)
{
    if (a->abstract || strlen(a->path) >= sizeof(out->un.sun_path))
        return err_set(err, EINVAL, "'%s' is no path for a datagram socket", a->path);
    out->un = (struct sockaddr_un){ .sun_family = AF_UNIX };
    strcpy(out->un.sun_path, a->path);
    out->len = sizeof(out->un);
    return true;
}

static CO bool resolve(const NetAddress *a, Address *out, GError **err)
{
    if (a->kind == NET_INET)
        return resolve_inet(a, out, err);
    return a->kind == NET_UNIX ? resolve_unix(a, out, err)
                               : err_set(err, ENOTSUP, "Datagrams go over inet, unix or fd");
}

static bool is_group(const Address *a)
{
    return a->len && a->any.sa_family == AF_INET && IN_MULTICAST(ntohl(a->in.sin_addr.s_addr));
}

/* ---- packets --------------------------------------------------------------------------------- */

/* Datagrams may be lost: where the network takes no more, so is this one. */
static bool dgram_send(Netdev *n, Span packet)
{
    Dgram *s = n->state;
    struct iovec iov[64];
    size_t covered;
    struct msghdr m = { .msg_iov = iov };

    m.msg_iovlen = span_to_iov(packet, iov, G_N_ELEMENTS(iov), &covered);
    if (covered < packet.len)
        return true;
    if (s->peer.len) {
        m.msg_name = &s->peer.any;
        m.msg_namelen = s->peer.len;
    }
    sendmsg(channel_fd(s->channel), &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    return true;
}

static CO void receive(void *arg)
{
    Netdev *n = arg;
    Dgram *s = n->state;
    g_autofree uint8_t *buf = g_malloc(NET_PACKET_MAX);

    while (!n->closing && channel_wait_readable(s->channel, 0) >= 0) {
        ssize_t len;

        while (!n->closing &&
               (len = recv(channel_fd(s->channel), buf, NET_PACKET_MAX, MSG_DONTWAIT)) >= 0)
            if (len && !netdev_deliver_wait(n, span_of(buf, len)))
                return;
    }
}

/* ---- the socket ------------------------------------------------------------------------------ */

/* All members of the group hear each other, also those on this host. */
static bool join_group(int fd, const Address *group, const Address *via, GError **err)
{
    struct ip_mreq join = { .imr_multiaddr = group->in.sin_addr };
    int on = 1;

    if (via->len)
        join.imr_interface = via->in.sin_addr;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, &group->any, group->len) < 0 ||
        setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join)) < 0 ||
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &on, sizeof(on)) < 0)
        return err_set_errno(err, errno, "Cannot join the multicast group");
    if (via->len && setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &via->in.sin_addr,
                               sizeof(via->in.sin_addr)) < 0)
        return err_set_errno(err, errno, "Cannot send to the multicast group");
    return true;
}

static bool bind_socket(Dgram *s, int fd, const Address *local, GError **err)
{
    int on = 1;

    if (!local->len)
        return true;
    if (local->any.sa_family == AF_UNIX)
        unlink(local->un.sun_path);
    else
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, &local->any, local->len) < 0)
        return err_set_errno(err, errno, "Cannot bind the socket");
    if (local->any.sa_family == AF_UNIX)
        s->path = g_strdup(local->un.sun_path);
    return true;
}

static CO bool open_socket(Dgram *s, const NetAddress *local, const NetAddress *remote,
                           GError **err)
{
    Address here = { 0 };
    int fd;

    if ((local && !resolve(local, &here, err)) || (remote && !resolve(remote, &s->peer, err)))
        return false;
    if (!s->peer.len)
        return err_set(err, EINVAL, "don't know where to send: 'remote' is missing");
    if (here.len && here.any.sa_family != s->peer.any.sa_family)
        return err_set(err, EINVAL, "'local' and 'remote' are of different kinds");
    if (!here.len && !is_group(&s->peer))
        return err_set(err, EINVAL, "'local' is missing: nothing would be received");
    fd = socket(s->peer.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set_errno(err, errno, "Cannot make a socket");
    s->channel = channel_new_fd(fd);
    return is_group(&s->peer) ? join_group(fd, &s->peer, &here, err)
                              : bind_socket(s, fd, &here, err);
}

/* A socket that somebody has made and connected. */
static CO bool take_socket(Dgram *s, const NetAddress *a, GError **err)
{
    int fd = net_connect(a, 0, err), type = 0;
    socklen_t len = sizeof(type);

    if (fd < 0)
        return false;
    s->channel = channel_new_fd(fd);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_DGRAM)
        return err_set(err, EINVAL, "The descriptor is no datagram socket");
    return true;
}

static CO bool dgram_open(Netdev *n, const json_t *options, GError **err)
{
    Dgram *s = g_new0(Dgram, 1);
    const json_t *l = json_get(options, "local"), *r = json_get(options, "remote");
    g_auto(NetAddress) local = { 0 }, remote = { 0 };
    bool ok;

    n->state = s;
    if ((l && !net_address_read(l, &local, err)) || (r && !net_address_read(r, &remote, err)))
        return false;
    if (l && local.kind == NET_FD && !r)
        ok = take_socket(s, &local, err);
    else
        ok = open_socket(s, l ? &local : NULL, r ? &remote : NULL, err);
    if (ok)
        co_group_start(&n->running, receive, n);
    return ok;
}

static void dgram_interrupt(Netdev *n)
{
    Dgram *s = n->state;

    if (s->channel)
        channel_interrupt_wait(s->channel);
}

static CO void dgram_close(Netdev *n)
{
    Dgram *s = n->state;

    if (s->path)
        unlink(s->path);
    g_free(s->path);
    channel_free(s->channel);
    g_free(s);
}

const NetdevDriver netdev_dgram = {
    .type = "dgram",
    .open = dgram_open,
    .send = dgram_send,
    .interrupt = dgram_interrupt,
    .close = dgram_close,
};
