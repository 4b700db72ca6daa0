/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server, and the kind of export it serves. */
#include "nbd/service.h"
#include "block/export.h"
#include "crypto/authz.h"
#include "io/net.h"
#include "nbd/server.h"
#include "util/err.h"
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 128 };

#define HANDSHAKE_NS (INT64_C(10) * 1000000000)

static NbdServer *server;   /* NULL: none */
static char *socket_path;   /* of its Unix socket; NULL: it has another */

/* ---- the server ------------------------------------------------------------------------------ */

bool nbd_service_is_running(void)
{
    return server;
}

/* Fills in what concerns TLS; config->tls is a reference of the caller's. */
static bool tls_config(const json_t *options, NbdServerConfig *config, GError **err)
{
    const char *creds = json_get_str(options, "tls-creds", NULL);

    config->tls_authz = json_get_str(options, "tls-authz", NULL);
    if (config->tls_authz && !creds)
        return err_set(err, EINVAL, "'tls-authz' decides about who TLS proved to be: it needs "
                       "'tls-creds'");
    if (creds) {
        config->tls = tls_creds_find(creds, TLS_SERVER, err);
        if (!config->tls)
            return false;
    }
    return !config->tls_authz || authz_exists(config->tls_authz, err);
}

static CO bool server_start(const json_t *options, const NbdServerConfig *config, GError **err)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    g_auto(NetAddress) address = { 0 };

    if (!net_address_read(json_get(options, "addr"), &address, err) ||
        !net_listen(&address, MAX(BACKLOG, config->max_clients), fds, err))
        return false;
    server = nbd_server_new(config);
    for (guint i = 0; i < fds->len; i++)
        nbd_server_listen(server, g_array_index(fds, int, i));
    if (address.kind == NET_UNIX && !address.abstract)
        socket_path = g_strdup(address.path);
    return true;
}

CO bool nbd_service_start(const json_t *options, GError **err)
{
    NbdServerConfig config = {
        .max_clients = json_get_int(options, "max-connections", 0),
        .handshake_ns = HANDSHAKE_NS,
    };
    bool ok;

    if (server)
        return err_set(err, EBUSY, "NBD server already running");
    ok = tls_config(options, &config, err) && server_start(options, &config, err);
    if (config.tls)
        tls_creds_unref(config.tls);
    return ok;
}

CO bool nbd_service_stop(void)
{
    NbdServer *s = g_steal_pointer(&server);

    if (!s)
        return true;
    if (socket_path)
        unlink(socket_path);
    g_clear_pointer(&socket_path, g_free);
    return nbd_server_stop(s);
}

/* ---- exports --------------------------------------------------------------------------------- */

static const char *export_name(const json_t *options)
{
    return json_get_str(options, "name", json_get_str(options, "node-name", ""));
}

static bool service_may_add(const json_t *options, GError **err)
{
    const char *name = export_name(options);

    if (!server)
        return err_set(err, ENOTCONN, "NBD server not running");
    return !nbd_export_find(server, name) ||
           err_set(err, EEXIST, "NBD server already has export named '%s'", name);
}

static void service_gone(void *opaque)
{
    export_gone(opaque);
}

/* Adds the names of the bitmaps in @list to @names and those of their nodes to @nodes. */
static void read_bitmaps(const json_t *list, GPtrArray *names, GPtrArray *nodes)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *b = json_array_get(list, i);
        bool external = json_is_object(b);

        g_ptr_array_add(names, (char *)(external ? json_get_str(b, "name", "")
                                                 : json_string_value(b)));
        g_ptr_array_add(nodes, (char *)(external ? json_get_str(b, "node", "") : NULL));
    }
    g_ptr_array_add(names, NULL);
}

static CO void *service_add(Export *e, const json_t *options, Handle *h, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new(), nodes = g_ptr_array_new();
    NbdExportConfig config = {
        .name = export_name(options),
        .description = json_get_str(options, "description", NULL),
        .read_only = !json_get_bool(options, "writable", false),
        .allocation_depth = json_get_bool(options, "allocation-depth", false),
        .gone = service_gone,
        .opaque = e,
    };

    read_bitmaps(json_get(options, "bitmaps"), names, nodes);
    config.bitmaps = (const char *const *)names->pdata;
    config.bitmap_nodes = (const char *const *)nodes->pdata;
    return nbd_export_add(server, &config, h, err);
}

static bool service_is_used(const Export *e)
{
    return nbd_export_is_used(e->state);
}

static CO void service_remove(Export *e, bool hard)
{
    nbd_export_remove(e->state, hard ? NBD_REMOVE_HARD : NBD_REMOVE_SOFT, NULL);
}

const ExportDriver export_nbd = {
    .type = "nbd",
    .follows_size = true,
    .may_add = service_may_add,
    .add = service_add,
    .is_used = service_is_used,
    .remove = service_remove,
};
