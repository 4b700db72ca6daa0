/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line's words for character devices, which are flat, as the schema's ChardevBackend.
 */
#include "monitor/chardev.h"
#include "qapi/schema.h"
#include "util/err.h"
#include "util/keyval.h"
#include "qapi/object.h"
#include "util/size.h"
#include <string.h>

/* What an option of a kind is in the schema; of addresses: a member of those of that type. */
typedef struct {
    const char *kind;    /* NULL: any */
    const char *option;
    const char *member;  /* NULL: the same name */
    const char *address; /* "unix": a member of "addr" of that type; NULL: of the backend */
    bool is_size;        /* with a suffix, where the schema wants a plain number */
} Word;

static const Word words[] = {
    { NULL, "logfile" },
    { NULL, "logappend" },
    { "file", "path", "out" },
    { "file", "input-path", "in" },
    { "file", "append" },
    { "pipe", "path", "device" },
    { "ringbuf", "size", .is_size = true },
    { "memory", "size", .is_size = true },
    { "stdio", "signal" },
    { "socket", "path", NULL, "unix" },
    { "socket", "abstract", NULL, "unix" },
    { "socket", "tight", NULL, "unix" },
    { "socket", "fd", "str", "fd" },
    { "socket", "host", NULL, "inet" },
    { "socket", "port", NULL, "inet" },
    { "socket", "to", NULL, "inet" },
    { "socket", "ipv4", NULL, "inet" },
    { "socket", "ipv6", NULL, "inet" },
    { "socket", "server" },
    { "socket", "wait" },
    { "socket", "nodelay" },
    { "socket", "telnet" },
    { "socket", "tn3270" },
    { "socket", "websocket" },
    { "socket", "reconnect" },
    { "socket", "tls-creds" },
    { "socket", "tls-authz" },
};

static const Word *word_find(const char *kind, const char *option)
{
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if ((!words[i].kind || !strcmp(words[i].kind, kind)) && !strcmp(words[i].option, option))
            return &words[i];
    return NULL;
}

/* The type of the address that the options @o describe, or NULL with @err. */
static const char *address_type(const json_t *o, GError **err)
{
    bool path = json_has(o, "path"), fd = json_has(o, "fd"), inet = json_has(o, "host") ||
                json_has(o, "port");

    if (path + fd + inet != 1) {
        err_set(err, EINVAL, "A socket is given by one of path=, fd=, and host= with port=");
        return NULL;
    }
    if (inet && !json_has(o, "port")) {
        err_set(err, EINVAL, "chardev: socket: no port given");
        return NULL;
    }
    return path ? "unix" : fd ? "fd" : "inet";
}

/*
 * Puts what the command line takes for granted of sockets into @data, and the type of its address.
 */
static bool socket_defaults(const json_t *o, json_t *data, json_t *address, const char **type,
                            GError **err)
{
    bool is_server = !strcmp(json_get_str(o, "server", "off"), "on");

    *type = address_type(o, err);
    if (!*type)
        return false;
    if (!json_has(o, "server"))
        json_put_str(data, "server", "off");
    if (is_server && !json_has(o, "wait"))
        json_put_str(data, "wait", "on");
    if (!strcmp(*type, "inet") && !json_has(o, "host"))
        json_put_str(address, "host", is_server ? "" : "localhost");
    return true;
}

static bool option_is_general(const char *option)
{
    static const char *const general[] = { "backend", "id", "mux", NULL };

    return g_strv_contains(general, option);
}

/* @v as the schema wants it; a new reference, NULL with @err. */
static json_t *word_value(const Word *w, json_t *v, GError **err)
{
    uint64_t size;

    if (!w->is_size)
        return json_incref(v);
    if (size_parse(json_string_value(v), 1, &size, NULL) == 0 && size <= INT64_MAX)
        return json_integer((json_int_t)size);
    err_set(err, EINVAL, "Option '%s' must be a size, not '%s'", w->option, json_string_value(v));
    return NULL;
}

/* Moves the options @o of @kind to @data and, those of an address of @type, to @address. */
static bool move_options(const json_t *o, const char *kind, const char *type, json_t *data,
                         json_t *address, GError **err)
{
    const char *option;
    json_t *v;

    json_object_foreach((json_t *)o, option, v) {
        const Word *w = word_find(kind, option);
        json_t *value;

        if (option_is_general(option))
            continue;
        if (!w)
            return err_set(err, EINVAL, "Invalid parameter '%s'", option);
        if (w->address && strcmp(w->address, type))
            return err_set(err, EINVAL, "Option '%s' is not for this kind of address", option);
        value = word_value(w, v, err);
        if (!value)
            return false;
        json_put(w->address ? address : data, w->member ? w->member : option, value);
    }
    return true;
}

/* The options @o of @kind as ChardevBackend, all values text. NULL with @err. */
static json_t *backend_of(const char *kind, const json_t *o, GError **err)
{
    g_autoptr(json_t) backend = json_object();
    json_t *data = json_object(), *address = json_object();
    const char *type = "";
    bool is_socket = !strcmp(kind, "socket"), ok;

    json_put_str(backend, "type", kind);
    json_put(backend, "data", data);
    ok = (!is_socket || socket_defaults(o, data, address, &type, err)) &&
         move_options(o, kind, type, data, address, err);
    if (ok && is_socket)
        json_put(data, "addr", json_pack("{s:s, s:O}", "type", type, "data", address));
    json_decref(address);
    return ok ? g_steal_pointer(&backend) : NULL;
}

static bool kind_exists(const char *kind)
{
    const char *k;

    for (unsigned i = 0; (k = chardev_kind_at(i)); i++)
        if (!strcmp(k, kind))
            return true;
    return false;
}

bool chardev_parse(const char *text, char **id, json_t **backend, GError **err)
{
    g_autoptr(json_t) o = json_object();
    const char *kind, *name;

    if (!keyval_parse_flat(text, "backend", o, err))
        return false;
    kind = json_get_str(o, "backend", "");
    name = json_get_str(o, "id", NULL);
    if (!kind_exists(kind))
        return err_set(err, EINVAL, "'%s' is not a valid char driver name", kind);
    if (!name)
        return err_set(err, EINVAL, "chardev: no id specified");
    if (!id_is_valid(name))
        return err_set(err, EINVAL, "Parameter 'id' expects an identifier");
    if (!strcmp(json_get_str(o, "mux", "off"), "on"))
        return err_set(err, ENOTSUP, "Devices are not shared: mux=on is not there");
    *backend = backend_of(kind, o, err);
    if (*backend && schema_check("ChardevBackend", *backend, err)) {
        *id = g_strdup(name);
        return true;
    }
    g_clear_pointer(backend, json_decref);
    return false;
}
