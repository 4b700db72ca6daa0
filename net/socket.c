/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The older way to say what a stream or dgram is. */
#include "net/backend.h"
#include "util/err.h"
#include <string.h>
#include <sys/socket.h>

static const char *const ways[] = { "fd", "listen", "connect", "mcast", "udp" };

/* An address of the schema for "[HOST]:PORT". NULL with @err. */
static json_t *inet_address(const char *text, const char *host, GError **err)
{
    const char *colon = strrchr(text, ':');
    g_autofree char *name = colon ? g_strndup(text, colon - text) : NULL;

    if (!colon || !colon[1]) {
        err_set(err, EINVAL, "'%s' is not HOST:PORT", text);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:s}", "type", "inet", "host", *name ? name : host, "port",
                     colon + 1);
}

static bool put_address(json_t *o, const char *key, const char *text, const char *host,
                        GError **err)
{
    json_t *a = inet_address(text, host, err);

    if (a)
        json_put(o, key, a);
    return a;
}

static void put_fd(json_t *o, const char *key, const char *fd)
{
    json_put(o, key, json_pack("{s:s, s:s}", "type", "fd", "str", fd));
}

/* The number of an open descriptor that is a datagram socket. */
static bool is_datagram(const char *fd)
{
    int type = 0;
    socklen_t len = sizeof(type);

    return getsockopt(atoi(fd), SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_DGRAM;
}

/* What the other types would be told. NULL with @err. */
static json_t *translate(const json_t *o, const char *way, const NetdevDriver **drv, GError **err)
{
    const char *value = json_get_str(o, way, ""), *local = json_get_str(o, "localaddr", NULL);
    g_autoptr(json_t) to = json_object();
    bool ok = true;

    *drv = &netdev_stream;
    if (!strcmp(way, "fd")) {
        bool datagrams = is_datagram(value);

        put_fd(to, datagrams ? "local" : "addr", value);
        *drv = datagrams ? &netdev_dgram : &netdev_stream;
    } else if (!strcmp(way, "listen")) {
        json_put_bool(to, "server", true);
        ok = put_address(to, "addr", value, "", err);
    } else if (!strcmp(way, "connect")) {
        ok = put_address(to, "addr", value, "127.0.0.1", err);
    } else {
        bool udp = !strcmp(way, "udp");

        *drv = &netdev_dgram;
        ok = put_address(to, "remote", value, "127.0.0.1", err);
        if (ok && udp)
            ok = put_address(to, "local", local ? local : "", "", err);
        else if (ok && local)
            json_put(to, "local", json_pack("{s:s, s:s, s:s}", "type", "inet", "host", local,
                                            "port", "0"));
    }
    return ok ? g_steal_pointer(&to) : NULL;
}

static CO bool socket_open(Netdev *n, const json_t *options, GError **err)
{
    g_autoptr(json_t) to = NULL;
    const char *way = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        if (!json_has(options, ways[i]))
            continue;
        if (way)
            return err_set(err, EINVAL, "exactly one of listen=, connect=, mcast=, udp= or fd= is "
                           "required");
        way = ways[i];
    }
    if (!way)
        return err_set(err, EINVAL, "exactly one of listen=, connect=, mcast=, udp= or fd= is "
                       "required");
    if (json_has(options, "localaddr") && strcmp(way, "mcast") && strcmp(way, "udp"))
        return err_set(err, EINVAL, "localaddr= is only valid with mcast= or udp=");
    to = translate(options, way, &n->drv, err);
    return to && n->drv->open(n, to, err);
}

const NetdevDriver netdev_socket = {
    .type = "socket",
    .open = socket_open,
};
