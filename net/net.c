/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/backend.h"
#include "qapi/object.h"
#include "qapi/schema.h"
#include "util/err.h"
#include "util/keyval.h"
#include <stdio.h>
#include <string.h>

static GPtrArray *netdevs; /* of Netdev */

/* ---- finding --------------------------------------------------------------------------------- */

Netdev *netdev_at(unsigned i)
{
    return netdevs && i < netdevs->len ? netdevs->pdata[i] : NULL;
}

Netdev *netdev_find(const char *id)
{
    for (unsigned i = 0; netdev_at(i); i++)
        if (!strcmp(netdev_at(i)->id, id))
            return netdev_at(i);
    return NULL;
}

const char *netdev_id(const Netdev *n)
{
    return n->id;
}

/* ---- making ---------------------------------------------------------------------------------- */

static const NetdevDriver *driver_find(const char *type)
{
    for (const NetdevDriver *const *d = netdev_drivers; *d; d++)
        if (!strcmp((*d)->type, type))
            return *d;
    return NULL;
}

static CO void end(Netdev *n)
{
    n->closing = true;
    if (n->drv->interrupt && n->state)
        n->drv->interrupt(n);
    co_queue_wake_all(&n->unblocked);
    co_group_wait(&n->running);
    if (n->state)
        n->drv->close(n);
    g_free(n->id);
    g_free(n);
}

CO Netdev *netdev_add(const json_t *options, GError **err)
{
    const char *id = json_get_str(options, "id", "");
    const NetdevDriver *drv = driver_find(json_get_str(options, "type", ""));
    Netdev *n;

    if (!drv) {
        err_set(err, ENOTSUP, "Netdevs of type '%s' are not in this build",
                json_get_str(options, "type", ""));
        return NULL;
    }
    if (!id_is_valid(id)) {
        err_set(err, EINVAL, "Parameter 'id' expects an identifier");
        return NULL;
    }
    if (netdev_find(id)) {
        err_set(err, EEXIST, "Duplicate ID '%s' for netdev", id);
        return NULL;
    }
    n = g_new0(Netdev, 1);
    n->id = g_strdup(id);
    n->drv = drv;
    if (!drv->open(n, options, err)) {
        end(n);
        return NULL;
    }
    if (!netdevs)
        netdevs = g_ptr_array_new();
    g_ptr_array_add(netdevs, n);
    return n;
}

CO void netdev_remove(Netdev *n)
{
    g_ptr_array_remove(netdevs, n);
    end(n);
}

CO void netdev_remove_all(void)
{
    while (netdevs && netdevs->len)
        netdev_remove(netdevs->pdata[netdevs->len - 1]);
    g_clear_pointer(&netdevs, g_ptr_array_unref);
}

/* ---- the command line ------------------------------------------------------------------------ */

/* Keys that may come several times, each a String of a list. */
static const char *const repeated[] = { "hostfwd", "guestfwd", "dnssearch", NULL };

/* Takes the items of repeated keys out of @text, into lists in @lists. */
static char *take_lists(const char *text, json_t *lists)
{
    GString *rest = g_string_new(NULL);

    while (*text) {
        const char *end = text;
        g_autofree char *key = g_strndup(text, strcspn(text, "=,"));

        while (*end && (*end != ',' || end[1] == ','))
            end += *end == ',' ? 2 : 1;
        if (g_strv_contains(repeated, key) && text[strlen(key)] == '=') {
            g_autofree char *item = g_strndup(text, end - text);
            g_autoptr(json_t) one = keyval_parse_strict(item, NULL, NULL);
            json_t *list = json_get(lists, key);

            if (!list)
                json_put(lists, key, list = json_array());
            json_array_append_new(list, json_pack("{s:s}", "str", json_get_str(one, key, "")));
        } else {
            if (rest->len)
                g_string_append_c(rest, ',');
            g_string_append_len(rest, text, end - text);
        }
        text = *end ? end + 1 : end;
    }
    return g_string_free(rest, FALSE);
}

static json_t *parse(const char *text, GError **err)
{
    bool is_json = *text == '{';
    g_autoptr(json_t) lists = json_object();
    g_autofree char *rest = is_json ? NULL : take_lists(text, lists);
    g_autoptr(json_t) o = is_json ? json_parse(text, strlen(text), err)
                                  : keyval_parse(rest, "type", err);

    if (!o)
        return NULL;
    json_object_update(o, lists);
    if (is_json ? schema_check_exact("Netdev", o, err) : schema_check("Netdev", o, err))
        return g_steal_pointer(&o);
    return NULL;
}

CO bool netdev_add_text(const char *text, GError **err)
{
    g_autoptr(json_t) o = parse(text, err);

    return o && netdev_add(o, err);
}

void netdev_print_types(void)
{
    puts("Available netdev backend types:");
    for (const NetdevDriver *const *d = netdev_drivers; *d; d++)
        puts((*d)->type);
}

bool netdev_split_nic(const char *text, const char *id, char **netdev, char **device, GError **err)
{
    static const char *const of_device[] = { "mac", "model", NULL };
    g_autoptr(GString) rest = g_string_new(NULL), dev = g_string_new(NULL);
    g_autoptr(json_t) all = keyval_parse(text, "type", err);
    const char *model = all ? json_get_str(all, "model", "virtio-net-device") : NULL;

    if (!all)
        return false;
    if (!strcmp(model, "virtio"))
        model = "virtio-net-device";
    id = json_get_str(all, "id", id);
    while (*text) {
        const char *end = text;
        g_autofree char *key = g_strndup(text, strcspn(text, "=,"));

        while (*end && (*end != ',' || end[1] == ','))
            end += *end == ',' ? 2 : 1;
        if (!g_strv_contains(of_device, key) && strcmp(key, "id"))
            g_string_append_printf(rest, "%s%.*s", rest->len ? "," : "", (int)(end - text), text);
        text = *end ? end + 1 : end;
    }
    g_string_append_printf(rest, ",id=%s", id);
    g_string_append_printf(dev, "%s,netdev=%s", model, id);
    if (json_has(all, "mac"))
        g_string_append_printf(dev, ",mac=%s", json_get_str(all, "mac", ""));
    *netdev = g_string_free(g_steal_pointer(&rest), FALSE);
    *device = g_string_free(g_steal_pointer(&dev), FALSE);
    return true;
}

/* ---- network devices ------------------------------------------------------------------------- */

Netdev *netdev_claim(const char *id, const NicOps *ops, void *opaque, GError **err)
{
    Netdev *n = netdev_find(id);

    if (!n) {
        err_set(err, ENOENT, "Property 'netdev' can't find value '%s'", id);
        return NULL;
    }
    if (n->nic) {
        err_set(err, EBUSY, "Property 'netdev' can't take value '%s', it's in use", id);
        return NULL;
    }
    n->nic = ops;
    n->nic_opaque = opaque;
    return n;
}

void netdev_release(Netdev *n)
{
    n->nic = NULL;
    netdev_ready(n);
}

bool netdev_send(Netdev *n, Span packet)
{
    return n->link_down || n->drv->send(n, packet);
}

void netdev_ready(Netdev *n)
{
    if (!n->is_blocked)
        return;
    n->is_blocked = false;
    co_queue_wake_all(&n->unblocked);
    if (n->drv->ready)
        n->drv->ready(n);
}

bool netdev_has_header(const Netdev *n)
{
    return n->has_header;
}

bool netdev_is_checked(const Netdev *n)
{
    return n->is_checked;
}

bool netdev_takes_long(const Netdev *n)
{
    return n->takes_long;
}

void netdev_set_offloads(Netdev *n, unsigned offloads)
{
    if (n->drv->set_offloads)
        n->drv->set_offloads(n, offloads);
}

/* ---- types ----------------------------------------------------------------------------------- */

bool netdev_deliver(Netdev *n, Span packet)
{
    if (!n->nic || n->link_down)
        return true;
    if (n->nic->receive(n->nic_opaque, packet))
        return true;
    n->is_blocked = true;
    return false;
}

CO bool netdev_deliver_wait(Netdev *n, Span packet)
{
    while (!n->closing && !netdev_deliver(n, packet))
        co_queue_wait(&n->unblocked);
    return !n->closing;
}

void netdev_writable(Netdev *n)
{
    if (n->nic)
        n->nic->writable(n->nic_opaque);
}
