/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about the NBD server. Messages are those of the reference, which clients see. */
#include "block/export.h"
#include "block/internal.h"
#include "block/monitor-nodes.h"
#include "gen/qmp.h"
#include "nbd/service.h"
#include "util/err.h"
#include <string.h>

static bool not_running(GError **err)
{
    return err_set(err, ENOTCONN, "NBD server not running");
}

/* Puts @text at @key unless it is NULL. */
static void put_text(json_t *o, const char *key, const char *text)
{
    if (text)
        json_put_str(o, key, text);
}

CO bool qmp_nbd_server_start(const QmpNbdServerStartArgs *args, GError **err)
{
    g_autoptr(json_t) options = json_object();

    json_object_set(options, "addr", args->addr);
    put_text(options, "tls-creds", args->tls_creds);
    put_text(options, "tls-authz", args->tls_authz);
    json_put_int(options, "max-connections", args->max_connections);
    return nbd_service_start(options, err);
}

CO bool qmp_nbd_server_stop(GError **err)
{
    if (!nbd_service_is_running())
        return not_running(err);
    return nbd_service_stop() ||
           err_set(err, EIO, "The last data of an image could not be written");
}

/*
 * The older command: the name of the export is its id, and writing is left off where it cannot be.
 */
CO bool qmp_nbd_server_add(const NbdServerAddOptions *args, GError **err)
{
    g_autoptr(json_t) options = json_object();
    const char *name = args->name ? args->name : args->device;
    Node *n = monitor_node_or_device(args->device, args->device, err);

    if (!n)
        return false;
    json_put_str(options, "type", "nbd");
    json_put_str(options, "id", name);
    json_put_str(options, "node-name", n->name);
    json_put_str(options, "name", name);
    put_text(options, "description", args->description);
    json_put_bool(options, "writable", args->writable && !node_is_read_only(n));
    if (args->bitmap)
        json_put(options, "bitmaps", json_pack("[s]", args->bitmap));
    return export_add(options, err);
}

CO bool qmp_nbd_server_remove(const QmpNbdServerRemoveArgs *args, GError **err)
{
    Export *e = export_find(args->name);
    bool hard = args->has_mode && args->mode == BLOCK_EXPORT_REMOVE_MODE_HARD;

    if (!e)
        return export_missing(args->name, err);
    if (strcmp(e->drv->type, "nbd"))
        return err_set(err, EINVAL, "Block export '%s' is not an NBD export", args->name);
    return export_remove(e, hard, err);
}
