/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files on servers of NFS: nfs://HOST/EXPORT/FILE[?PARAMETER=VALUE[&...]]. See docs/spec/nfs.md. */
#include "block/driver.h"
#include "block/nfs.h"
#include "gen/schema.h"
#include "util/module.h"
#include <stdlib.h>
#include <string.h>

enum {
    TIMEOUT_S = 60,
    LARGE = 1 << 20,      /* best size of a request */
    SYN_COUNT_MAX = 255,
    DEBUG_MAX = 2,
};

typedef struct {
    ServerFile f;
    const NfsModule *module;
} Nfs;

/* What options say, in one form. */
typedef struct {
    NfsConfig config;
    int user, group;
} NfsTarget;

/* ---- options --------------------------------------------------------------------------------- */

/* The parameters of names and the options that they stand for. */
static const struct {
    const char *parameter, *option;
    int64_t max;          /* 0: refused */
    bool is_named;        /* in the names that are shown, unless it is 0 */
} numbers[] = {
    { "uid", "user", INT32_MAX, true },
    { "gid", "group", INT32_MAX, true },
    { "tcp-syncnt", "tcp-syn-count", SYN_COUNT_MAX },
    { "readahead", "readahead-size" },
    { "pagecache", "page-cache-size" },
    { "debug", "debug", DEBUG_MAX },
};

static bool numbers_check(const json_t *o, GError **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        int64_t v = json_get_int(o, numbers[i].option, 0);

        if (v < 0 || (numbers[i].max && v > numbers[i].max))
            return err_set(err, EINVAL, "%s is %" G_GINT64_FORMAT ", not a number from 0 to %"
                           G_GINT64_FORMAT, numbers[i].option, v, numbers[i].max);
        if (v && !numbers[i].max)
            return err_set(err, ENOTSUP,
                           "%s is not supported: files on NFS are not cached here",
                           numbers[i].option);
    }
    return true;
}

static bool target_read(NfsTarget *t, const json_t *o, GError **err)
{
    const json_t *server = json_get(o, "server");

    t->user = (int)json_get_int(o, "user", 0);
    t->group = (int)json_get_int(o, "group", 0);
    t->config = (NfsConfig){
        .host = json_get_str(server, "host", ""),
        .path = json_get_str(o, "path", ""),
        .user = json_has(o, "user") ? &t->user : NULL,
        .group = json_has(o, "group") ? &t->group : NULL,
        .tcp_syn_count = (unsigned)json_get_int(o, "tcp-syn-count", 0),
        .debug = (unsigned)json_get_int(o, "debug", 0),
        .timeout_s = TIMEOUT_S,
    };
    if (!*t->config.host)
        return err_set(err, EINVAL, "server.host is empty");
    if (*t->config.path != '/')
        return err_set(err, EINVAL, "The path '%s' does not begin with '/'", t->config.path);
    if (g_str_has_suffix(t->config.path, "/"))
        return err_set(err, EINVAL, "The path '%s' names no file: it ends with '/'",
                       t->config.path);
    return numbers_check(o, err);
}

/* nfs://... */
static char *target_name(const NfsTarget *t, const json_t *o)
{
    g_autofree char *path = g_uri_escape_string(t->config.path, "/", true);
    bool numeric = strchr(t->config.host, ':');
    GString *name = g_string_new(NULL);
    char mark = '?';

    g_string_printf(name, "nfs://%s%s%s%s", numeric ? "[" : "", t->config.host, numeric ? "]" : "",
                    path);
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (json_get_int(o, numbers[i].option, 0) && numbers[i].is_named) {
            g_string_append_printf(name, "%c%s=%" G_GINT64_FORMAT, mark, numbers[i].parameter,
                                   json_get_int(o, numbers[i].option, 0));
            mark = '&';
        }
    return g_string_free(name, false);
}

/* ---- opening --------------------------------------------------------------------------------- */

static CO bool nfs_connect_file(Nfs *s, const NfsTarget *t, const json_t *o, GError **err)
{
    s->f.name = target_name(t, o);
    s->module = module_load("nfs", err);
    s->f.file = s->module ? s->module->open(&t->config, &s->f.size, err) : NULL;
    if (s->f.file) {
        s->f.ops = &s->module->file;
        return true;
    }
    err_prefix(err, "Cannot open '%s': ", s->f.name);
    g_clear_pointer(&s->f.name, g_free);
    return false;
}

static CO bool nfs_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    NfsTarget t = { 0 };

    if (!target_read(&t, o, err))
        return false;
    t.config.write = flags & OPEN_RDWR;
    return nfs_connect_file(node_state(n), &t, o, err) && server_file_node_open(n, LARGE, err);
}

static CO int nfs_sync(Node *n)
{
    Nfs *s = node_state(n);

    return s->f.ops->sync(s->f.file);
}

/* ---- names and making files ------------------------------------------------------------------ */

static bool number_take(const char *parameter, const char *text, json_t *o, GError **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        char *end;
        uint64_t v;

        if (strcmp(parameter, numbers[i].parameter))
            continue;
        v = g_ascii_strtoull(text, &end, 10);
        if (!g_ascii_isdigit(*text) || *end || v > INT64_MAX)
            return err_set(err, EINVAL, "parameter '%s' is '%s', not a number", parameter, text);
        json_put_int(o, numbers[i].option, (int64_t)v);
        return true;
    }
    return err_set(err, EINVAL, "there is no parameter '%s'", parameter);
}

static bool query_take(const char *query, json_t *o, GError **err)
{
    g_autoptr(GHashTable) params = g_uri_parse_params(query, -1, "&;", G_URI_PARAMS_NONE, NULL);
    GHashTableIter iter;
    gpointer key, value;

    if (!params)
        return err_set(err, EINVAL, "the part after '?' is malformed");
    g_hash_table_iter_init(&iter, params);
    while (g_hash_table_iter_next(&iter, &key, &value))
        if (!number_take(key, value, o, err))
            return false;
    return true;
}

static bool uri_take(const char *filename, json_t *o, GError **err)
{
    g_autoptr(GError) why = NULL;
    g_autoptr(GUri) uri = g_uri_parse(filename, G_URI_FLAGS_ENCODED_QUERY, &why);

    if (!uri)
        return err_set(err, EINVAL, "%s", why->message);
    if (strcmp(g_uri_get_scheme(uri), "nfs") || !g_uri_get_host(uri) || !*g_uri_get_host(uri))
        return err_set(err, EINVAL, "it is not nfs://HOST/EXPORT/FILE");
    if (g_uri_get_port(uri) > 0)
        return err_set(err, ENOTSUP, "a name cannot give a port: the server's portmapper does");
    if (strlen(g_uri_get_path(uri)) < 2 || g_str_has_suffix(g_uri_get_path(uri), "/"))
        return err_set(err, EINVAL, "it names no file");
    if (g_uri_get_query(uri) && !query_take(g_uri_get_query(uri), o, err))
        return false;
    json_put(o, "server", json_pack("{s:s, s:s}", "type", "inet", "host", g_uri_get_host(uri)));
    json_put_str(o, "path", g_uri_get_path(uri));
    return true;
}

static bool nfs_parse_filename(const char *filename, json_t *o, GError **err)
{
    return uri_take(filename, o, err) || err_prefix(err, "Name '%s': ", filename);
}

static CO bool nfs_create(const char *filename, json_t *opts, GError **err)
{
    g_autoptr(json_t) o = json_object();
    uint64_t size = round_up(json_get_int(opts, "size", 0), 512);
    NfsTarget t = { 0 };
    Nfs s = { 0 };

    if (!nfs_parse_filename(filename, o, err) || !target_read(&t, o, err))
        return false;
    t.config.write = t.config.create = true;
    return nfs_connect_file(&s, &t, o, err) && server_file_fill(&s.f, size, err);
}

static uint64_t nfs_allocated(Node *n, bool *known)
{
    Nfs *s = node_state(n);

    *known = true;
    return MIN(s->module->allocated(s->f.file), INT64_MAX);
}

static const char *const nfs_strong_options[] = {
    "server", "path", "user", "group", "tcp-syn-count", "readahead-size", "page-cache-size",
    "debug", NULL,
};

const BlockDriver block_nfs = {
    .name = "nfs",
    .kind = BLK_PROTOCOL,
    .prefix = "nfs",
    .state_size = sizeof(Nfs),
    .strong_options = nfs_strong_options,
    .parse_filename = nfs_parse_filename,
    .open = nfs_open,
    .close = server_file_node_close,
    .create_opts = create_opts_nfs,
    .create = nfs_create,
    .pread = server_file_pread,
    .pwrite = server_file_pwrite,
    .sync = nfs_sync,
    .syncs_elsewhere = true,
    .resize = server_file_resize,
    .allocated = nfs_allocated,
    .has_zero_init = server_file_has_zero_init,
    .plain_filename = server_file_plain_filename,
};
