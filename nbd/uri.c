/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of exports. What they mean stands in uri.h; the reference's man page tells the old forms.
 */
#include "nbd/uri.h"
#include "nbd/proto.h"
#include "util/err.h"
#include <string.h>

#define EXPORT_MARK ":exportname="

/* How a scheme reaches its server. */
typedef struct {
    const char *scheme, *type;
    bool tls;
} Scheme;

static const Scheme schemes[] = {
    { "nbd", "inet", false },        { "nbds", "inet", true },
    { "nbd+tcp", "inet", false },    { "nbds+tcp", "inet", true },
    { "nbd+unix", "unix", false },   { "nbds+unix", "unix", true },
    { "nbd+vsock", "vsock", false }, { "nbds+vsock", "vsock", true },
};

/* ---- URIs ------------------------------------------------------------------------------------ */

static const Scheme *scheme_find(const char *scheme)
{
    for (size_t i = 0; i < G_N_ELEMENTS(schemes); i++)
        if (!strcmp(schemes[i].scheme, scheme))
            return &schemes[i];
    return NULL;
}

/* Takes the parameters of a URI: each may stand once, and all must mean something. */
static bool query_take(const Scheme *s, const char *query, json_t *server, json_t *o, GError **err)
{
    GUriParamsIter iter;
    g_autoptr(GError) why = NULL;
    char *key, *value;

    g_uri_params_iter_init(&iter, query, -1, "&;", G_URI_PARAMS_NONE);
    while (g_uri_params_iter_next(&iter, &key, &value, &why)) {
        g_autofree char *k = key, *v = value;
        bool is_socket = !strcmp(k, "socket") && !strcmp(s->type, "unix");
        bool is_tls = s->tls && (!strcmp(k, "tls-creds") || !strcmp(k, "tls-hostname"));
        json_t *into = is_socket ? server : o;
        const char *as = is_socket ? "path" : k;

        if (!is_socket && !is_tls)
            return err_set(err, EINVAL, "'%s' has no parameter '%s'", s->scheme, k);
        if (json_has(into, as))
            return err_set(err, EINVAL, "Its parameter '%s' is given twice", k);
        json_put_str(into, as, v);
    }
    return !why || err_set(err, EINVAL, "Its parameters are malformed");
}

/*
 * Ports of vsock have 32 bits, more than a GUri takes: cuts the port out of @uri. NULL if there is
 * none.
 */
static char *vsock_port_cut(char *uri)
{
    char *host = strstr(uri, "://") + strlen("://");
    char *end = host + strcspn(host, "/?#"), *colon = memchr(host, ':', end - host), *port;

    if (!colon)
        return NULL;
    port = g_strndup(colon + 1, end - colon - 1);
    memmove(colon, end, strlen(end) + 1);
    return port;
}

/* Where the server is, into @server. @vsock_port: as it stood in the URI, or NULL. */
static bool authority_take(const Scheme *s, GUri *uri, const char *vsock_port, json_t *server,
                           GError **err)
{
    const char *host = g_uri_get_host(uri);
    bool has_host = host && *host;
    int port = g_uri_get_port(uri);
    g_autofree char *text = vsock_port && *vsock_port
                                ? g_strdup(vsock_port)
                                : g_strdup_printf("%d", port > 0 ? port : NBD_PORT);

    json_put_str(server, "type", s->type);
    if (!strcmp(s->type, "unix")) {
        if (has_host || port > 0)
            return err_set(err, EINVAL, "'%s' takes no host: put a third '/' before the export",
                           s->scheme);
        return json_has(server, "path") ||
               err_set(err, EINVAL, "'%s' needs the parameter 'socket'", s->scheme);
    }
    if (!has_host)
        return err_set(err, EINVAL, "It names no host");
    json_put_str(server, !strcmp(s->type, "vsock") ? "cid" : "host", host);
    json_put_str(server, "port", text);
    return true;
}

static bool uri_parse(const char *name, json_t *o, GError **err)
{
    g_autofree char *scheme = g_uri_parse_scheme(name), *text = g_strdup(name), *port = NULL;
    const Scheme *s = scheme ? scheme_find(scheme) : NULL;
    g_autoptr(GError) why = NULL;
    g_autoptr(GUri) uri = NULL;
    g_autoptr(json_t) server = json_object();
    const char *path;

    if (!s)
        return err_set(err, EINVAL, "Its scheme is not one of NBD");
    if (!strcmp(s->type, "vsock"))
        port = vsock_port_cut(text);
    uri = g_uri_parse(text, G_URI_FLAGS_ENCODED_QUERY, &why);
    if (!uri)
        return err_set(err, EINVAL, "%s", why->message);
    if (g_uri_get_query(uri) && !query_take(s, g_uri_get_query(uri), server, o, err))
        return false;
    if (!authority_take(s, uri, port, server, err))
        return false;
    path = g_uri_get_path(uri);
    path += *path == '/';
    if (*path)
        json_put_str(o, "export", path);
    if (s->tls)
        json_put_bool(o, "tls", true);
    json_put(o, "server", g_steal_pointer(&server));
    return true;
}

/* ---- the older forms ------------------------------------------------------------------------- */

/* HOST:PORT, [HOST]:PORT; what may follow a comma has no meaning to clients. */
static bool host_take(const char *text, json_t *server, GError **err)
{
    bool bracket = *text == '[';
    const char *host = bracket ? text + 1 : text;
    const char *end = strchr(host, bracket ? ']' : ':');
    const char *port = end ? end + (bracket ? 1 : 0) : NULL;
    g_autofree char *h = NULL, *p = NULL;

    if (!port || *port != ':' || !port[1])
        return err_set(err, EINVAL, "'%s' is not HOST:PORT", text);
    port++;
    h = g_strndup(host, end - host);
    p = g_strndup(port, strcspn(port, ","));
    json_put_str(server, "type", "inet");
    json_put_str(server, "host", h);
    json_put_str(server, "port", p);
    return true;
}

static bool old_parse(const char *name, json_t *o, GError **err)
{
    const char *rest = g_str_has_prefix(name, "nbd:") ? name + strlen("nbd:") : NULL;
    const char *mark = rest ? strstr(rest, EXPORT_MARK) : NULL;
    g_autoptr(json_t) server = json_object();
    g_autofree char *where = NULL;

    if (!rest)
        return err_set(err, EINVAL, "It has no '://'");
    where = mark ? g_strndup(rest, mark - rest) : g_strdup(rest);
    if (mark && !mark[strlen(EXPORT_MARK)])
        return err_set(err, EINVAL, "'%s' is followed by no name", EXPORT_MARK);
    if (g_str_has_prefix(where, "unix:")) {
        json_put_str(server, "type", "unix");
        json_put_str(server, "path", where + strlen("unix:"));
    } else if (!host_take(where, server, err)) {
        return false;
    }
    if (mark)
        json_put_str(o, "export", mark + strlen(EXPORT_MARK));
    json_put(o, "server", g_steal_pointer(&server));
    return true;
}

bool nbd_uri_parse(const char *name, json_t *o, GError **err)
{
    static const char *const keys[] = { "server", "export", "host", "port", "path", "tls" };

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        if (json_has(o, keys[i]))
            return err_set(err, EINVAL, "Both the name '%s' and the option '%s' are given", name,
                           keys[i]);
    if (strstr(name, "://") ? uri_parse(name, o, err) : old_parse(name, o, err))
        return true;
    err_prefix(err, "'%s' names no NBD export: ", name);
    return err_hint(err,
                    "Names are like nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH.");
}

/* ---- the reverse ----------------------------------------------------------------------------- */

/* True if @server says no more than a URI can. */
static bool server_is_plain(const json_t *server)
{
    const char *type = json_get_str(server, "type", "");

    if (!strcmp(type, "inet"))
        return !json_has(server, "to") && !json_has(server, "ipv4") && !json_has(server, "ipv6");
    return !strcmp(type, "unix") || !strcmp(type, "vsock");
}

/* The parameters of TLS, the first after @lead. Caller frees. */
static char *tls_query(const json_t *o, char lead)
{
    GString *q = g_string_new(NULL);
    const char *creds = json_get_str(o, "tls-creds", NULL);
    const char *name = json_get_str(o, "tls-hostname", NULL);

    if (!json_get_bool(o, "tls", false))
        return g_string_free(q, FALSE);
    if (creds)
        g_string_append_printf(q, "%ctls-creds=%s", lead, creds);
    if (name)
        g_string_append_printf(q, "%ctls-hostname=%s", creds ? '&' : lead, name);
    return g_string_free(q, FALSE);
}

char *nbd_uri_print(const json_t *o)
{
    const json_t *server = json_get(o, "server");
    const char *type = json_get_str(server, "type", "");
    const char *export = json_get_str(o, "export", NULL);
    const char *s = json_get_bool(o, "tls", false) ? "s" : "";
    bool is_unix = !strcmp(type, "unix"), is_vsock = !strcmp(type, "vsock");
    g_autofree char *tls = tls_query(o, is_unix ? '&' : '?');
    const char *slash = export ? "/" : "";

    if (!server_is_plain(server))
        return NULL;
    export = export ? export : "";
    if (is_unix)
        return g_strdup_printf("nbd%s+unix://%s%s?socket=%s%s", s, slash, export,
                               json_get_str(server, "path", ""), tls);
    return g_strdup_printf("nbd%s%s://%s:%s%s%s%s", s, is_vsock ? "+vsock" : "",
                           json_get_str(server, is_vsock ? "cid" : "host", ""),
                           json_get_str(server, "port", ""), slash, export, tls);
}
