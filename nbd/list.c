/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of exports: the names first, then what can be learnt about each. */
#include "nbd/list.h"
#include "nbd/proto.h"
#include "util/err.h"
#include <string.h>

enum { LIST_SECONDS = 60 };

static void listed_free(void *p)
{
    NbdListed *l = p;

    nbd_offer_clear(&l->offer);
    g_ptr_array_unref(l->contexts);
    g_free(l);
}

static NbdListed *listed_new(GPtrArray *list)
{
    NbdListed *l = g_new0(NbdListed, 1);

    l->contexts = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(list, l);
    return l;
}

/* A server of the old style has one export, whose name is empty. */
static bool list_oldstyle(const NbdHandshake *h, GPtrArray *list)
{
    NbdListed *l = listed_new(list);

    l->offer = h->old;
    l->offer.name = g_strdup("");
    l->is_described = true;
    return true;
}

/* Learns about the export @l, of which the name is known. */
static CO bool list_describe(NbdHandshake *h, NbdListed *l, GError **err)
{
    g_autofree char *name = g_strdup(l->offer.name);
    g_autofree char *description = g_strdup(l->offer.description);
    g_autoptr(GError) why = NULL;

    if (nbd_handshake_info(h, name, &l->offer, &why)) {
        l->is_described = true;
        if (h->structured)
            nbd_handshake_list_contexts(h, name, l->contexts, &why);
    } else {
        nbd_offer_clear(&l->offer);
    }
    /* What it is called is what it was listed as. */
    g_free(l->offer.name);
    l->offer.name = g_steal_pointer(&name);
    if (!l->offer.description)
        l->offer.description = g_steal_pointer(&description);
    /* A server may know no such option. */
    if (!why || err_errno(why) == -ENOTSUP)
        return true;
    g_propagate_error(err, g_steal_pointer(&why));
    err_prefix(err, "Export '%s': ", l->offer.name);
    return false;
}

static CO bool list_newstyle(NbdHandshake *h, GPtrArray *list, GError **err)
{
    g_autoptr(GPtrArray) offers = g_ptr_array_new_with_free_func(g_free);
    bool ok = nbd_handshake_list(h, offers, err);

    for (guint i = 0; i < offers->len; i++)
        listed_new(list)->offer = *(NbdOffer *)offers->pdata[i];
    for (guint i = 0; ok && i < list->len; i++)
        ok = list_describe(h, list->pdata[i], err);
    return ok;
}

static CO bool list_all(const NbdTarget *t, Channel *channel, GPtrArray *list, GError **err)
{
    NbdHandshake h;
    bool ok;

    if (!nbd_handshake_start(&h, channel, t->creds, t->hostname, err))
        return false;
    if (h.oldstyle) {
        ok = list_oldstyle(&h, list);
    } else if (!h.fixed) {
        return err_set(err, ENOTSUP, "The server is too old to tell what it exports");
    } else {
        /* Flags of exports depend on the kind of replies: show those that everybody knows. */
        ok = nbd_handshake_replies(&h, false, err) && list_newstyle(&h, list, err);
    }
    if (ok)
        nbd_handshake_abort(&h);
    return ok;
}

GPtrArray *nbd_list(const NbdTarget *target, GError **err)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(listed_free);
    int64_t deadline = clock_now_ns() + LIST_SECONDS * INT64_C(1000000000);
    int fd = net_connect(&target->address, deadline, err);
    g_autoptr(Channel) channel = fd < 0 ? NULL : channel_new_socket(fd);

    if (!channel)
        return NULL;
    channel_set_deadline(channel, deadline);
    if (!list_all(target, channel, list, err)) {
        g_autofree char *server = net_address_text(&target->address);

        err_prefix(err, "Server '%s': ", server);
        return NULL;
    }
    return g_steal_pointer(&list);
}
