/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nbd/options.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>

#define SECOND_NS INT64_C(1000000000)

/* ---- addresses ------------------------------------------------------------------------------- */

/* "server" from @path, or from @host and @port. NULL with @err. */
static json_t *server_of_old(const json_t *o, GError **err)
{
    const char *path = json_get_str(o, "path", NULL), *host = json_get_str(o, "host", NULL);
    json_t *server;

    if (path && host) {
        err_set(err, EINVAL, "Options 'path' and 'host' exclude each other");
        return NULL;
    }
    if (!path && !host) {
        err_set(err, EINVAL, "The options do not say where the NBD server is");
        err_hint(err, "Give server.type with server.host and server.port, or server.path.");
        return NULL;
    }
    if (path && json_has(o, "port")) {
        err_set(err, EINVAL, "Option 'port' goes with 'host'");
        return NULL;
    }
    server = json_object();
    json_put_str(server, "type", path ? "unix" : "inet");
    if (path) {
        json_put_str(server, "path", path);
    } else {
        json_put_str(server, "host", host);
        json_put_str(server, "port", json_get_str(o, "port", G_STRINGIFY(10809)));
    }
    return server;
}

json_t *nbd_options_modern(const json_t *o, GError **err)
{
    static const char *const old[] = { "host", "port", "path" };
    json_t *modern, *server;

    if (json_has(o, "server")) {
        for (size_t i = 0; i < G_N_ELEMENTS(old); i++)
            if (json_has(o, old[i])) {
                err_set(err, EINVAL, "Options 'server' and '%s' exclude each other", old[i]);
                return NULL;
            }
        return json_copy((json_t *)o);
    }
    server = server_of_old(o, err);
    if (!server)
        return NULL;
    modern = json_copy((json_t *)o);
    for (size_t i = 0; i < G_N_ELEMENTS(old); i++)
        json_object_del(modern, old[i]);
    json_put(modern, "server", server);
    return modern;
}

/* ---- TLS ------------------------------------------------------------------------------------- */

/* Finds the credentials, and the name that the server's certificate must be for. */
static bool tls_read(const json_t *o, NbdTarget *t, GError **err)
{
    const char *id = json_get_str(o, "tls-creds", NULL);
    const char *name = json_get_str(o, "tls-hostname", NULL);

    if (!id && !json_get_bool(o, "tls", false))
        return true;
    if (!json_get_bool(o, "tls", true))
        return err_set(err, EINVAL, "Option 'tls-creds' contradicts 'tls=off'");
    t->creds = id ? tls_creds_find(id, TLS_CLIENT, err) : tls_creds_of_system(err);
    if (!t->creds)
        return false;
    if (!name && t->address.kind == NET_INET)
        name = t->address.host;
    if (!name && tls_creds_need_hostname(t->creds)) {
        err_set(err, EINVAL, "The certificate of the NBD server cannot be verified without a name");
        return err_hint(err, "Option tls-hostname says what its certificate must be for.");
    }
    t->hostname = g_strdup(name);
    return true;
}

/* ---- all of it ------------------------------------------------------------------------------- */

bool nbd_target_read(const json_t *o, NbdTarget *t, GError **err)
{
    int64_t connections = json_get_int(o, "connections", 1);

    if (connections < 1 || connections > NBD_CONNECTIONS_MAX)
        return err_set(err, EINVAL, "Option 'connections' is 1 to %d, not %" PRId64,
                       NBD_CONNECTIONS_MAX, connections);
    if (!net_address_read(json_get(o, "server"), &t->address, err) || !tls_read(o, t, err)) {
        nbd_target_clear(t);
        return false;
    }
    t->export_name = g_strdup(json_get_str(o, "export", ""));
    t->context = g_strdup(json_get_str(o, "x-dirty-bitmap", NBD_CONTEXT_ALLOCATION));
    t->connections = connections;
    t->reconnect_ns = json_get_int(o, "reconnect-delay", 0) * SECOND_NS;
    t->open_ns = json_get_int(o, "open-timeout", 0) * SECOND_NS;
    return true;
}
