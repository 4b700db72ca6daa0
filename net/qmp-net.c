/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about networks. */
#include "io/timer.h"
#include "net/backend.h"
#include "qapi/schema.h"
#include "util/err.h"
#include <string.h>

CO bool qmp_netdev_add(json_t *args, GError **err)
{
    return netdev_add(args, err);
}

CO bool qmp_netdev_del(const QmpNetdevDelArgs *args, GError **err)
{
    Netdev *n = netdev_find(args->id);

    if (!n) {
        err_set(err, ENODEV, "Device '%s' not found", args->id);
        return err_class(err, "DeviceNotFound");
    }
    if (n->nic)
        return err_set(err, EBUSY, "Device '%s' is in use", args->id);
    netdev_remove(n);
    return true;
}

/* ---- devices --------------------------------------------------------------------------------- */

static const char *nic_id(const Netdev *n)
{
    return n->nic ? n->nic->id(n->nic_opaque) : NULL;
}

CO bool qmp_set_link(const QmpSetLinkArgs *args, GError **err)
{
    bool found = false;
    Netdev *n;

    for (unsigned i = 0; (n = netdev_at(i)); i++) {
        if (strcmp(n->id, args->name) && g_strcmp0(nic_id(n), args->name))
            continue;
        found = true;
        n->link_down = !args->up;
        if (n->nic)
            n->nic->set_link(n->nic_opaque, args->up);
        netdev_ready(n);
    }
    if (found)
        return true;
    err_set(err, ENODEV, "Device '%s' not found", args->name);
    return err_class(err, "DeviceNotFound");
}

CO bool qmp_query_rx_filter(const QmpQueryRxFilterArgs *args, GPtrArray **ret, GError **err)
{
    Netdev *n;

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)rx_filter_info_free);
    for (unsigned i = 0; (n = netdev_at(i)); i++)
        if (n->nic && n->nic->rx_filter && (!args->name || !g_strcmp0(nic_id(n), args->name)))
            g_ptr_array_add(*ret, n->nic->rx_filter(n->nic_opaque));
    return (*ret)->len || !args->name ||
           err_set(err, ENOENT, "invalid net client name: %s", args->name);
}

/* ---- announcing ------------------------------------------------------------------------------ */

/* How often it is looked whether the guest runs. */
#define LOOK_NS (INT64_C(100) * 1000000)
enum { DELAY_MAX_MS = 100000 };

typedef struct {
    Timer timer;
    char *id;
    char **interfaces; /* NULL: all */
    int64_t delay_ms, max_ms, step_ms, rounds;
} Announcement;

/* Those under way, by their ids; NULL: there was none yet. */
static GHashTable *announcements;

static void announcement_free(gpointer p)
{
    Announcement *a = p;

    timer_cancel(&a->timer);
    g_free(a->id);
    g_strfreev(a->interfaces);
    g_free(a);
}

static bool is_meant(const Announcement *a, const Netdev *n)
{
    const char *id = nic_id(n);

    return !a->interfaces || (id && g_strv_contains((const char *const *)a->interfaces, id));
}

/* False: not now. */
static bool tell(const Announcement *a)
{
    Netdev *n;

    for (unsigned i = 0; (n = netdev_at(i)); i++)
        if (n->nic && n->nic->announce && is_meant(a, n) && !n->nic->announce(n->nic_opaque))
            return false;
    return true;
}

static void announce(Timer *t)
{
    Announcement *a = (Announcement *)t;

    if (!tell(a)) {
        timer_set(&a->timer, clock_now_ns() + LOOK_NS);
        return;
    }
    if (--a->rounds <= 0) {
        g_hash_table_remove(announcements, a->id);
        return;
    }
    timer_set(&a->timer, clock_now_ns() + a->delay_ms * 1000000);
    a->delay_ms = MIN(a->delay_ms + a->step_ms, a->max_ms);
}

static int64_t delay(int64_t ms)
{
    return CLAMP(ms, 0, DELAY_MAX_MS);
}

void netdev_announce(const AnnounceParameters *how)
{
    const char *id = how->id ? how->id : "";
    Announcement *a;

    if (!announcements)
        announcements = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, announcement_free);
    g_hash_table_remove(announcements, id);
    if (how->rounds <= 0)
        return;
    a = g_new0(Announcement, 1);
    *a = (Announcement){
        .timer.expired = announce, .id = g_strdup(id), .interfaces = g_strdupv(how->interfaces),
        .delay_ms = delay(how->initial), .max_ms = delay(how->max), .step_ms = delay(how->step),
        .rounds = how->rounds,
    };
    g_hash_table_insert(announcements, a->id, a);
    announce(&a->timer);
}

CO bool qmp_announce_self(const AnnounceParameters *args, GError **err)
{
    netdev_announce(args);
    return true;
}
