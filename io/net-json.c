/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses from JSON. */
#include "io/net.h"
#include "util/err.h"
#include <string.h>

static bool inet_read(const json_t *o, NetAddress *a, GError **err)
{
    bool v4 = json_get_bool(o, "ipv4", !json_get_bool(o, "ipv6", false));
    bool v6 = json_get_bool(o, "ipv6", !json_get_bool(o, "ipv4", false));

    if (!v4 && !v6)
        return err_set(err, EINVAL, "With neither IPv4 nor IPv6 there is no way to the server");
    a->kind = NET_INET;
    a->host = g_strdup(json_get_str(o, "host", ""));
    a->port = g_strdup(json_get_str(o, "port", ""));
    a->to = json_get_int(o, "to", 0);
    a->numeric = json_get_bool(o, "numeric", false);
    a->ipv4 = v4;
    a->ipv6 = v6;
    a->keep_alive = json_get_bool(o, "keep-alive", false);
    a->mptcp = json_get_bool(o, "mptcp", false);
    return true;
}

bool net_address_read(const json_t *o, NetAddress *a, GError **err)
{
    const char *type = json_get_str(o, "type", "");

    if (json_has(o, "data"))
        o = json_get(o, "data");
    if (!strcmp(type, "inet"))
        return inet_read(o, a, err);
    if (!strcmp(type, "unix")) {
        a->kind = NET_UNIX;
        a->path = g_strdup(json_get_str(o, "path", ""));
        a->abstract = json_get_bool(o, "abstract", false);
        a->loose = !json_get_bool(o, "tight", true);
    } else if (!strcmp(type, "vsock")) {
        a->kind = NET_VSOCK;
        a->host = g_strdup(json_get_str(o, "cid", ""));
        a->port = g_strdup(json_get_str(o, "port", ""));
    } else {
        a->kind = NET_FD;
        a->path = g_strdup(json_get_str(o, "str", ""));
    }
    return true;
}
