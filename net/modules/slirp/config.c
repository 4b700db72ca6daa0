/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options of user mode networking. */
#include "net/modules/slirp/internal.h"
#include "util/err.h"
#include <string.h>

/* ---- addresses ------------------------------------------------------------------------------- */

static bool read_ipv4(const json_t *o, const char *key, struct in_addr *to, GError **err)
{
    const char *text = json_get_str(o, key, NULL);

    return !text || inet_pton(AF_INET, text, to) == 1 ||
           err_set(err, EINVAL, "Parameter '%s': '%s' is no IPv4 address", key, text);
}

static bool read_ipv6(const json_t *o, const char *key, struct in6_addr *to, GError **err)
{
    const char *text = json_get_str(o, key, NULL);

    return !text || inet_pton(AF_INET6, text, to) == 1 ||
           err_set(err, EINVAL, "Parameter '%s': '%s' is no IPv6 address", key, text);
}

static struct in_addr in_network(const SlirpConfig *c, unsigned host)
{
    return (struct in_addr){ c->vnetwork.s_addr | htonl(host) };
}

static bool is_inside(const SlirpConfig *c, struct in_addr a)
{
    return (a.s_addr & c->vnetmask.s_addr) == c->vnetwork.s_addr && a.s_addr != c->vnetwork.s_addr;
}

/* "10.0.2.0/24", or with the mask in full; without one that of the address's class. */
static bool read_network(SlirpConfig *c, const char *text, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(text, "/", 2);
    struct in_addr a, mask;
    const char *bits = parts[0] ? parts[1] : NULL;
    char *end;

    if (!parts[0] || inet_pton(AF_INET, parts[0], &a) != 1)
        return err_set(err, EINVAL, "Parameter 'net': '%s' is no IPv4 network", text);
    if (!bits)
        mask.s_addr = htonl(ntohl(a.s_addr) >> 31 == 0 ? 0xff000000
                            : ntohl(a.s_addr) >> 30 == 2 ? 0xffff0000 : 0xffffff00);
    else if (inet_pton(AF_INET, bits, &mask) != 1) {
        unsigned long n = strtoul(bits, &end, 10);

        if (*end || end == bits || n < 4 || n > 30)
            return err_set(err, EINVAL, "Parameter 'net': a prefix has 4 to 30 bits, not '%s'",
                           bits);
        mask.s_addr = htonl(UINT32_MAX << (32 - n));
    }
    if (!mask.s_addr || ~ntohl(mask.s_addr) & (~ntohl(mask.s_addr) + 1))
        return err_set(err, EINVAL, "Parameter 'net': '%s' is no network mask", bits);
    c->vnetmask = mask;
    c->vnetwork.s_addr = a.s_addr & mask.s_addr;
    return true;
}

static bool read_addresses(SlirpConfig *c, const json_t *o, GError **err)
{
    const char *net = json_get_str(o, "net", json_get_str(o, "ip", "10.0.2.0/24"));

    if (!read_network(c, net, err))
        return false;
    c->vhost = in_network(c, 2);
    c->vnameserver = in_network(c, 3);
    c->vdhcp_start = in_network(c, 15);
    if (!read_ipv4(o, "host", &c->vhost, err) || !read_ipv4(o, "dns", &c->vnameserver, err) ||
        !read_ipv4(o, "dhcpstart", &c->vdhcp_start, err))
        return false;
    if (!is_inside(c, c->vhost) || !is_inside(c, c->vnameserver) || !is_inside(c, c->vdhcp_start))
        return err_set(err, EINVAL, "'host', 'dns' and 'dhcpstart' are addresses of the network");
    return (c->vdhcp_start.s_addr != c->vhost.s_addr && c->vnameserver.s_addr != c->vhost.s_addr) ||
           err_set(err, EINVAL, "'dns' and 'dhcpstart' differ from 'host'");
}

static bool read_ipv6_addresses(SlirpConfig *c, const json_t *o, GError **err)
{
    int64_t len = json_get_int(o, "ipv6-prefixlen", 64);

    inet_pton(AF_INET6, "fec0::", &c->vprefix_addr6);
    if (!read_ipv6(o, "ipv6-prefix", &c->vprefix_addr6, err))
        return false;
    if (len < 0 || len > 126)
        return err_set(err, EINVAL, "Parameter 'ipv6-prefixlen' is 0 to 126");
    c->vprefix_len = len;
    c->vhost6 = c->vnameserver6 = c->vprefix_addr6;
    c->vhost6.s6_addr[15] |= 2;
    c->vnameserver6.s6_addr[15] |= 3;
    return read_ipv6(o, "ipv6-host", &c->vhost6, err) &&
           read_ipv6(o, "ipv6-dns", &c->vnameserver6, err);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void read_search(UserConfig *u, const json_t *o)
{
    json_t *list = json_get(o, "dnssearch");
    size_t n = list ? json_array_size(list) : 0;

    u->search = g_new0(const char *, n + 1);
    for (size_t i = 0; i < n; i++)
        u->search[i] = json_get_str(json_array_get(list, i), "str", "");
    u->config.vdnssearch = n ? u->search : NULL;
}

bool user_config_read(UserConfig *u, const json_t *o, GError **err)
{
    SlirpConfig *c = &u->config;
    const char *name = json_get_str(o, "tftp-server-name", NULL);

    *u = (UserConfig){ .config = {
        .version = SLIRP_CONFIG_VERSION_MAX,
        .restricted = json_get_bool(o, "restrict", false),
        .in_enabled = json_get_bool(o, "ipv4", !json_get_bool(o, "ipv6", false) ||
                                    !json_has(o, "ipv6")),
        .in6_enabled = json_get_bool(o, "ipv6", !json_get_bool(o, "ipv4", false) ||
                                     !json_has(o, "ipv4")),
        .vhostname = json_get_str(o, "hostname", NULL),
        .tftp_server_name = name,
        .tftp_path = json_get_str(o, "tftp", NULL),
        .bootfile = json_get_str(o, "bootfile", NULL),
        .vdomainname = json_get_str(o, "domainname", NULL),
    } };
    if (!c->in_enabled && !c->in6_enabled)
        return err_set(err, EINVAL, "IPv4 and IPv6 are both off");
    if ((c->vhostname && strlen(c->vhostname) > 255) || (name && strlen(name) > 255) ||
        (c->vdomainname && strlen(c->vdomainname) > 255))
        return err_set(err, EINVAL, "A name has at most 255 characters");
    read_search(u, o);
    return read_addresses(c, o, err) && read_ipv6_addresses(c, o, err);
}

void user_config_clear(UserConfig *c)
{
    g_free(c->search);
}

/* ---- forwards -------------------------------------------------------------------------------- */

typedef struct {
    struct in_addr address;
    int port;
} Endpoint;

/* "[ADDRESS]:PORT" */
static bool read_endpoint(const char *text, Endpoint *e)
{
    const char *colon = strchr(text, ':');
    g_autofree char *host = colon ? g_strndup(text, colon - text) : NULL;
    char *end;

    e->address.s_addr = INADDR_ANY;
    if (!colon || (*host && inet_pton(AF_INET, host, &e->address) != 1))
        return false;
    e->port = strtoul(colon + 1, &end, 10);
    return end != colon + 1 && !*end && e->port >= 0 && e->port <= UINT16_MAX;
}

/* What is behind "tcp:", "udp:" or ":"; NULL: none of them. */
static const char *skip_protocol(const char *text, bool *is_udp)
{
    *is_udp = g_str_has_prefix(text, "udp:");
    if (*is_udp || g_str_has_prefix(text, "tcp:"))
        return text + 4;
    return *text == ':' ? text + 1 : NULL;
}

static bool add_to_guest(Slirp *slirp, const char *text, GError **err)
{
    bool is_udp;
    const char *rest = skip_protocol(text, &is_udp), *dash = rest ? strchr(rest, '-') : NULL;
    g_autofree char *host = dash ? g_strndup(rest, dash - rest) : NULL;
    Endpoint from, to;

    if (!dash || !read_endpoint(host, &from) || !read_endpoint(dash + 1, &to) || !to.port)
        return err_set(err, EINVAL, "Invalid host forwarding rule '%s': it is "
                       "[tcp|udp]:[ADDRESS]:PORT-[ADDRESS]:PORT", text);
    return slirp_add_hostfwd(slirp, is_udp, from.address, from.port, to.address, to.port) == 0 ||
           err_set(err, EADDRINUSE, "Could not set up host forwarding rule '%s'", text);
}

static bool add_from_guest(Slirp *slirp, const char *text, GError **err)
{
    bool is_udp;
    const char *rest = skip_protocol(text, &is_udp), *dash = rest ? strchr(rest, '-') : NULL;
    g_autofree char *place = dash ? g_strndup(rest, dash - rest) : NULL;
    Endpoint from;
    int r;

    if (!dash || is_udp || !read_endpoint(place, &from) || !from.port)
        return err_set(err, EINVAL, "Invalid guest forwarding rule '%s': it is "
                       "[tcp]:ADDRESS:PORT-cmd:COMMAND or -unix:PATH", text);
    if (g_str_has_prefix(dash + 1, "cmd:"))
        r = slirp_add_exec(slirp, dash + 5, &from.address, from.port);
    else if (g_str_has_prefix(dash + 1, "unix:"))
        r = slirp_add_unix(slirp, dash + 6, &from.address, from.port);
    else
        return err_set(err, ENOTSUP, "Guest forwarding rule '%s' leads to neither cmd: nor unix:",
                       text);
    return r == 0 || err_set(err, EINVAL, "Conflicting or invalid address in guest forwarding "
                             "rule '%s'", text);
}

static bool add_all(Slirp *slirp, const json_t *list,
                    bool (*add)(Slirp *slirp, const char *text, GError **err), GError **err)
{
    size_t n = list ? json_array_size(list) : 0;

    for (size_t i = 0; i < n; i++)
        if (!add(slirp, json_get_str(json_array_get(list, i), "str", ""), err))
            return false;
    return true;
}

bool user_forwards_add(Slirp *slirp, const json_t *o, GError **err)
{
    return add_all(slirp, json_get(o, "hostfwd"), add_to_guest, err) &&
           add_all(slirp, json_get(o, "guestfwd"), add_from_guest, err);
}
