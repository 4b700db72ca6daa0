/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NBD server and what it shows. */
#include "gen/qmp.h"
#include "system/hmp/commands.h"
#include "util/err.h"
#include "util/json.h"
#include <string.h>

/* "unix:PATH" or "HOST:PORT" as a SocketAddressLegacy. NULL with @err. */
static json_t *address_of(const char *text, GError **err)
{
    const char *colon = strrchr(text, ':');
    g_autofree char *host = colon ? g_strndup(text, colon - text) : NULL;
    size_t len = host ? strlen(host) : 0;

    if (!g_utf8_validate(text, -1, NULL)) {
        err_set(err, EINVAL, "error parsing address: it is not UTF-8");
        return NULL;
    }
    if (g_str_has_prefix(text, "unix:"))
        return json_pack("{s:s, s:{s:s}}", "type", "unix", "data", "path", text + 5);
    if (!colon || !colon[1] || strchr(text, ',')) {
        err_set(err, EINVAL, "error parsing address '%s'", text);
        return NULL;
    }
    if (len > 1 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = 0;
        memmove(host, host + 1, len - 1);
    }
    return json_pack("{s:s, s:{s:s, s:s}}", "type", "inet", "data", "host", host, "port",
                     colon + 1);
}

static CO bool show(const char *device, const char *name, bool writable, GError **err)
{
    NbdServerAddOptions args = {
        .device = (char *)device, .name = (char *)name, .has_writable = true, .writable = writable,
    };

    return qmp_nbd_server_add(&args, err);
}

/* Every drive that has a medium. */
static CO bool show_all(bool writable, GError **err)
{
    g_autoptr(GPtrArray) list = NULL;

    if (!qmp_query_block(&list, err))
        return false;
    for (guint i = 0; i < list->len; i++) {
        const BlockInfo *b = list->pdata[i];
        const char *name = b->inserted && !*b->device ? b->inserted->node_name : b->device;

        if (b->inserted && !show(name, NULL, writable, err))
            return false;
    }
    return true;
}

HMP_COMMAND(hmp_nbd_start)
{
    bool all = a->is_given[0], writable = a->is_given[1];
    GError *err = NULL;
    g_autoptr(json_t) address = NULL;

    if (writable && !all)
        err_set(&err, EINVAL, "-w only valid together with -a");
    else
        address = address_of(a->text[2], &err);
    if (address && qmp_nbd_server_start(&(QmpNbdServerStartArgs){ .addr = address }, &err) && all &&
        !show_all(writable, &err))
        qmp_nbd_server_stop(NULL);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_nbd_add)
{
    GError *err = NULL;

    show(a->text[1], a->text[2], a->is_given[0], &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_nbd_remove)
{
    QmpNbdServerRemoveArgs args = {
        .name = (char *)a->text[1], .has_mode = true,
        .mode = a->is_given[0] ? BLOCK_EXPORT_REMOVE_MODE_HARD : BLOCK_EXPORT_REMOVE_MODE_SAFE,
    };
    GError *err = NULL;

    qmp_nbd_server_remove(&args, &err);
    hmp_error(h, err);
}
