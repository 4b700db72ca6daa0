/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files on other machines, by SFTP: ssh://[USER@]HOST[:PORT]/PATH[?host_key_check=CHECK]. */
#include "block/driver.h"
#include "block/ssh.h"
#include "gen/schema.h"
#include "util/module.h"
#include <string.h>
#include <unistd.h>

enum {
    TIMEOUT_S = 60,
    LARGE = 2 << 20,      /* requests that are worth their way */
};

typedef struct {
    ServerFile f;
    bool no_sync;         /* the server cannot, and the user knows */
} Ssh;

/* What options say, in one form. */
typedef struct {
    NetAddress address;
    SshConfig config;
    char *check;          /* as a name has it, NULL: known_hosts */
} SshTarget;

/* ---- options --------------------------------------------------------------------------------- */

static const char *const hash_names[] = { "md5", "sha1", "sha256" };

static bool hash_read(SshTarget *t, const char *type, const char *hash)
{
    for (int i = 0; i < (int)G_N_ELEMENTS(hash_names); i++)
        if (!strcmp(hash_names[i], type)) {
            t->config.trust = SSH_TRUST_HASH;
            t->config.hash_type = i;
            t->config.hash = hash;
            t->check = g_strdup_printf("%s:%s", type, hash);
            return true;
        }
    return false;
}

/* The older form: no, yes, TYPE:HASH. */
static bool check_read_text(SshTarget *t, const char *text, GError **err)
{
    const char *colon = strchr(text, ':');
    g_autofree char *type = g_strndup(text, colon ? colon - text : 0);

    if (!strcmp(text, "yes") || (colon && hash_read(t, type, colon + 1)))
        return true;
    if (strcmp(text, "no"))
        return err_set(err, EINVAL, "host_key_check is yes, no, md5:HASH, sha1:HASH or "
                       "sha256:HASH, not '%s'", text);
    t->config.trust = SSH_TRUST_ANY;
    t->check = g_strdup("no");
    return true;
}

static bool check_read(SshTarget *t, const json_t *o, GError **err)
{
    const json_t *check = json_get(o, "host-key-check");
    const char *mode = json_get_str(check, "mode", "known_hosts");

    if (json_has(o, "host_key_check"))
        return check ? err_set(err, EINVAL, "host_key_check and host-key-check exclude each other")
                     : check_read_text(t, json_get_str(o, "host_key_check", ""), err);
    if (!strcmp(mode, "none"))
        return check_read_text(t, "no", err);
    if (!strcmp(mode, "hash"))
        return hash_read(t, json_get_str(check, "type", ""), json_get_str(check, "hash", ""));
    return true;
}

static bool server_read(SshTarget *t, const json_t *o, GError **err)
{
    const json_t *given = json_get(o, "server");
    const char *host = json_get_str(o, "host", NULL);
    g_autoptr(json_t) server = given ? json_copy((json_t *)given) : json_object();

    if (!given == !host || (given && json_has(o, "port")))
        return err_set(err, EINVAL, "Give either server.host with server.port, or host");
    json_put_str(server, "type", "inet");
    if (host) {
        json_put_str(server, "host", host);
        json_put_str(server, "port", json_get_str(o, "port", "22"));
    }
    return net_address_read(server, &t->address, err);
}

static void target_clear(SshTarget *t)
{
    net_address_clear(&t->address);
    g_free(t->check);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SshTarget, target_clear)

static bool target_read(SshTarget *t, const json_t *o, GError **err)
{
    t->config = (SshConfig){
        .address = &t->address,
        .user = json_get_str(o, "user", g_get_user_name()),
        .path = json_get_str(o, "path", ""),
        .timeout_s = TIMEOUT_S,
    };
    return server_read(t, o, err) && check_read(t, o, err);
}

/* ssh://... */
static char *target_name(const SshTarget *t)
{
    bool numeric = strchr(t->address.host, ':');
    g_autofree char *path = g_uri_escape_string(t->config.path, "/", true);

    return g_strdup_printf("ssh://%s@%s%s%s:%s%s%s%s", t->config.user, numeric ? "[" : "",
                           t->address.host, numeric ? "]" : "", t->address.port, path,
                           t->check ? "?host_key_check=" : "", t->check ? t->check : "");
}

/* ---- opening --------------------------------------------------------------------------------- */

static CO bool ssh_connect_file(Ssh *s, SshTarget *t, GError **err)
{
    const SshModule *m = module_load("ssh", err);

    s->f.name = target_name(t);
    s->f.file = m ? m->open(&t->config, &s->f.size, err) : NULL;
    if (s->f.file) {
        s->f.ops = &m->file;
        return true;
    }
    err_prefix(err, "Cannot open '%s': ", s->f.name);
    g_clear_pointer(&s->f.name, g_free);
    return false;
}

static CO bool ssh_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    g_auto(SshTarget) t = { 0 };

    if (!target_read(&t, o, err))
        return false;
    t.config.write = flags & OPEN_RDWR;
    return ssh_connect_file(node_state(n), &t, err) && server_file_node_open(n, LARGE, err);
}

static CO int ssh_sync(Node *n)
{
    Ssh *s = node_state(n);
    int r = s->f.ops->sync(s->f.file);

    if (r != -ENOTSUP)
        return r;
    if (!s->no_sync)
        block_warn("The server of '%s' cannot make files durable", s->f.name);
    s->no_sync = true;
    return 0;
}

/* ---- names and making files ------------------------------------------------------------------ */

static bool query_take(const char *query, json_t *o, GError **err)
{
    g_autoptr(GHashTable) params = g_uri_parse_params(query, -1, "&;", G_URI_PARAMS_NONE, NULL);
    GHashTableIter iter;
    gpointer key, value;

    if (!params)
        return err_set(err, EINVAL, "the part after '?' is malformed");
    g_hash_table_iter_init(&iter, params);
    while (g_hash_table_iter_next(&iter, &key, &value))
        if (strcmp(key, "host_key_check"))
            return err_set(err, EINVAL, "there is no parameter '%s'", (char *)key);
        else
            json_put_str(o, "host_key_check", value);
    return true;
}

static bool uri_take(const char *filename, json_t *o, GError **err)
{
    g_autoptr(GError) why = NULL;
    g_autoptr(GUri) uri = g_uri_parse(filename, G_URI_FLAGS_ENCODED_QUERY, &why);
    g_autofree char *port = NULL;

    if (!uri)
        return err_set(err, EINVAL, "%s", why->message);
    if (strcmp(g_uri_get_scheme(uri), "ssh") || !g_uri_get_host(uri) || !*g_uri_get_host(uri))
        return err_set(err, EINVAL, "it is not ssh://HOST/PATH");
    if (!*g_uri_get_path(uri))
        return err_set(err, EINVAL, "it names no file");
    if (g_uri_get_query(uri) && !query_take(g_uri_get_query(uri), o, err))
        return false;
    port = g_strdup_printf("%d", g_uri_get_port(uri) > 0 ? g_uri_get_port(uri) : 22);
    json_put_str(o, "host", g_uri_get_host(uri));
    json_put_str(o, "port", port);
    json_put_str(o, "path", g_uri_get_path(uri));
    if (g_uri_get_userinfo(uri) && *g_uri_get_userinfo(uri))
        json_put_str(o, "user", g_uri_get_userinfo(uri));
    return true;
}

static bool ssh_parse_filename(const char *filename, json_t *o, GError **err)
{
    return uri_take(filename, o, err) || err_prefix(err, "Name '%s': ", filename);
}

static CO bool ssh_create(const char *filename, json_t *opts, GError **err)
{
    g_autoptr(json_t) o = json_object();
    g_auto(SshTarget) t = { 0 };
    uint64_t size = round_up(json_get_int(opts, "size", 0), 512);
    Ssh s = { 0 };

    if (!ssh_parse_filename(filename, o, err) || !target_read(&t, o, err))
        return false;
    t.config.write = t.config.create = true;
    return ssh_connect_file(&s, &t, err) && server_file_fill(&s.f, size, err);
}

static uint64_t ssh_allocated(Node *n, bool *known)
{
    *known = false;
    return 0;
}

static const char *const ssh_strong_options[] = {
    "server", "host", "port", "path", "user", "host-key-check", "host_key_check", NULL,
};

const BlockDriver block_ssh = {
    .name = "ssh",
    .kind = BLK_PROTOCOL,
    .prefix = "ssh",
    .state_size = sizeof(Ssh),
    .strong_options = ssh_strong_options,
    .parse_filename = ssh_parse_filename,
    .open = ssh_open,
    .close = server_file_node_close,
    .create_opts = create_opts_ssh,
    .create = ssh_create,
    .pread = server_file_pread,
    .pwrite = server_file_pwrite,
    .sync = ssh_sync,
    .syncs_elsewhere = true,
    .resize = server_file_resize,
    .allocated = ssh_allocated,
    .has_zero_init = server_file_has_zero_init,
    .plain_filename = server_file_plain_filename,
};
