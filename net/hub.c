/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports of hubs: what comes into one goes out of all others. */
#include "net/backend.h"
#include "util/err.h"

typedef struct {
    int hub;
    Netdev *port;
    Netdev *other;  /* what is plugged in besides a network device; NULL: nothing */
} HubPort;

static GPtrArray *ports; /* of HubPort */

/* A port that has no room loses the packet: the others must not wait for it. */
static void spread(const HubPort *from, Span packet)
{
    for (guint i = 0; i < ports->len; i++) {
        const HubPort *p = ports->pdata[i];

        if (p->hub != from->hub || p == from || p->port->link_down)
            continue;
        if (p->other)
            netdev_send(p->other, packet);
        else if (p->port->nic)
            netdev_deliver(p->port, packet);
    }
}

static bool hub_send(Netdev *n, Span packet)
{
    spread(n->state, packet);
    return true;
}

/* ---- the netdev that is plugged in ----------------------------------------------------------- */

static bool other_receive(void *opaque, Span packet)
{
    HubPort *p = opaque;

    if (!p->port->link_down)
        spread(p, packet);
    return true;
}

static void other_writable(void *opaque)
{
}

static void other_set_link(void *opaque, bool up)
{
}

static const char *other_id(void *opaque)
{
    return NULL;
}

/* ---- the netdev ------------------------------------------------------------------------------ */

static CO bool hub_open(Netdev *n, const json_t *options, GError **err)
{
    static const NicOps ops = {
        .receive = other_receive, .writable = other_writable, .set_link = other_set_link,
        .id = other_id,
    };
    const char *other = json_get_str(options, "netdev", NULL);
    HubPort *p = g_new0(HubPort, 1);

    n->state = p;
    p->port = n;
    p->hub = json_get_int(options, "hubid", 0);
    if (!ports)
        ports = g_ptr_array_new();
    g_ptr_array_add(ports, p);
    if (!other)
        return true;
    p->other = netdev_claim(other, &ops, p, err);
    if (!p->other)
        return false;
    return !netdev_has_header(p->other) ||
           err_set(err, ENOTSUP, "A hub has no offloads: netdev '%s' needs vnet_hdr=off", other);
}

static CO void hub_close(Netdev *n)
{
    HubPort *p = n->state;

    if (p->other)
        netdev_release(p->other);
    g_ptr_array_remove(ports, p);
    if (!ports->len)
        g_clear_pointer(&ports, g_ptr_array_unref);
    g_free(p);
}

const NetdevDriver netdev_hub = {
    .type = "hubport",
    .open = hub_open,
    .send = hub_send,
    .close = hub_close,
};
