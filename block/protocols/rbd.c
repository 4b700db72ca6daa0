/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images of Ceph clusters. See docs/spec/rbd.md. */
#include "block/driver.h"
#include "block/protocols/rbd-name.h"
#include "block/rbd.h"
#include "crypto/secret.h"
#include "gen/schema.h"
#include "io/co-lock.h"
#include "io/pool.h"
#include "util/endian.h"
#include "util/module.h"
#include <string.h>

enum {
    OBJECT_MIN = 4096,
    LOOK_MAX = 1 << 30,     /* bytes that one question about what is allocated is about */
    LUKS_HEAD = 8,          /* bytes with the magic number and the version of LUKS */
};

typedef struct {
    ServerFile f;
    const RbdModule *module;
    RbdFound found;
    RbdCrypt crypt;
    CoMutex grow;           /* held while a write makes the image larger */
    RbdSnapshot *snapshots; /* as last listed */
    size_t snapshot_count;
} Rbd;

/* ---- options --------------------------------------------------------------------------------- */

/* What options say, in one form that owns what they do not have. */
typedef struct {
    RbdConfig config;
    char **settings;
    char *monitors, *auth, *key;
    SecretBytes passphrase;
} RbdTarget;

static void target_clear(RbdTarget *t)
{
    g_strfreev(t->settings);
    g_free(t->monitors);
    g_free(t->auth);
    g_free(t->key);
    secret_bytes_clear(&t->passphrase);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(RbdTarget, target_clear)

/* "HOST:PORT;[::1]:PORT". Caller frees; NULL: none. */
static char *monitors_text(const json_t *servers)
{
    GString *s = g_string_new(NULL);
    const json_t *server;
    size_t i;

    json_array_foreach(servers, i, server) {
        const char *host = json_get_str(server, "host", "");
        bool numeric = strchr(host, ':') && *host != '[';

        g_string_append_printf(s, "%s%s%s%s:%s", i ? ";" : "", numeric ? "[" : "", host,
                               numeric ? "]" : "", json_get_str(server, "port", ""));
    }
    return g_string_free(s, !json_array_size(servers));
}

/* "cephx;none". Caller frees; NULL: nothing is said. */
static char *auth_text(const json_t *modes)
{
    GString *s = g_string_new(NULL);
    const json_t *mode;
    size_t i;

    json_array_foreach(modes, i, mode)
        g_string_append_printf(s, "%s%s", i ? ";" : "", json_string_value(mode));
    return g_string_free(s, !json_array_size(modes));
}

/* librados wants keys in base64. */
static bool key_read(RbdTarget *t, const char *secret, GError **err)
{
    g_auto(SecretBytes) key = { 0 };

    if (!secret)
        return true;
    if (!secret_get(secret, &key, err))
        return false;
    g_free(t->key);
    t->key = g_base64_encode((const guchar *)key.data, key.len);
    return true;
}

static bool crypt_read(RbdTarget *t, const char *format, const char *secret, GError **err)
{
    if (!format)
        return !secret || err_set(err, EINVAL, "encrypt.key-secret needs encrypt.format");
    if (strcmp(format, "luks") && strcmp(format, "luks2"))
        return err_set(err, EINVAL, "encrypt.format is 'luks' or 'luks2', not '%s'", format);
    if (!secret)
        return err_set(err, EINVAL, "encrypt.key-secret is missing: the passphrase");
    t->config.crypt = strcmp(format, "luks") ? RBD_CRYPT_LUKS2 : RBD_CRYPT_LUKS;
    if (!secret_get(secret, &t->passphrase, err))
        return false;
    t->config.passphrase = (const char *)t->passphrase.data;
    t->config.passphrase_len = t->passphrase.len;
    return true;
}

static bool target_read(RbdTarget *t, const json_t *o, GError **err)
{
    const json_t *encrypt = json_get(o, "encrypt");
    const char *snapshot = json_get_str(o, "snapshot", "");

    *t = (RbdTarget){
        .monitors = monitors_text(json_get(o, "server")),
        .auth = auth_text(json_get(o, "auth-client-required")),
        .settings = rbd_settings_parse(json_get_str(o, "x-settings", ""), err),
    };
    t->config = (RbdConfig){
        .pool = json_get_str(o, "pool", ""),
        .namespace = json_get_str(o, "namespace", ""),
        .image = json_get_str(o, "image", ""),
        .snapshot = *snapshot ? snapshot : NULL,
        .conf = json_get_str(o, "conf", NULL),
        .user = json_get_str(o, "user", NULL),
        .monitors = t->monitors,
        .auth = t->auth,
        .settings = t->settings,
        .cached = true,
    };
    if (!t->settings || !key_read(t, json_get_str(o, "key-secret", NULL), err) ||
        !crypt_read(t, json_get_str(encrypt, "format", NULL),
                    json_get_str(encrypt, "key-secret", NULL), err))
        return false;
    t->config.key = t->key;
    return true;
}

/* For people. Caller frees. */
static char *target_name(const RbdConfig *c)
{
    return g_strdup_printf("rbd:%s/%s%s%s%s%s", c->pool, c->namespace, *c->namespace ? "/" : "",
                           c->image, c->snapshot ? "@" : "", c->snapshot ? c->snapshot : "");
}

/* ---- the module ------------------------------------------------------------------------------ */

typedef struct {
    const RbdModule *module;
    GError **err;
} Load;

static int load_run(void *arg)
{
    Load *l = arg;

    l->module = module_load("rbd", l->err);
    return 0;
}

/* In a worker: constructors of Ceph's libraries need more stack than a coroutine has. */
static CO const RbdModule *rbd_module(GError **err)
{
    Load l = { .err = err };

    pool_run(load_run, &l);
    return l.module;
}

/* ---- opening --------------------------------------------------------------------------------- */

static CO void rbd_close(Node *n)
{
    Rbd *s = node_state(n);

    s->module->free_snapshots(s->snapshots, s->snapshot_count);
    server_file_node_close(n);
}

static CO bool rbd_open_target(Node *n, const RbdConfig *c, GError **err)
{
    Rbd *s = node_state(n);

    s->module = rbd_module(err);
    s->f.file = s->module ? s->module->open(c, &s->found, err) : NULL;
    if (!s->f.file)
        return err_prefix(err, "Cannot open '%s': ", s->f.name);
    s->f.ops = &s->module->file;
    s->f.size = s->found.size;
    s->crypt = c->crypt;
    return true;
}

static CO bool rbd_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    g_auto(RbdTarget) t = { 0 };
    Rbd *s = node_state(n);

    if (flags & OPEN_UNTRUSTED)
        return err_set(err, ENOTSUP, "Images of Ceph clusters cannot be opened with --untrusted: "
                       "the sandbox cannot hold the threads of librbd");
    if (!target_read(&t, o, err) ||
        (t.config.snapshot && !node_fall_back_read_only(n, "A snapshot cannot be written", err)))
        return false;
    t.config.write = node_flags(n) & OPEN_RDWR;
    t.config.cached = !(flags & OPEN_DIRECT);
    s->f.name = target_name(&t.config);
    if (!rbd_open_target(n, &t.config, err)) {
        g_clear_pointer(&s->f.name, g_free);
        return false;
    }
    return server_file_node_open(n, s->found.object_size, err);
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Images do not grow by themselves. Never makes one smaller, whatever else is under way. */
static CO int rbd_grow(Rbd *s, uint64_t end)
{
    CO_LOCKED(&s->grow);
    int r = end > s->f.size ? s->f.ops->resize(s->f.file, end) : 0;

    if (r == 0)
        s->f.size = MAX(s->f.size, end);
    return r;
}

static CO int rbd_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    int r = rbd_grow(node_state(n), off + buf.len);

    return r < 0 ? r : server_file_pwrite(n, off, buf, flags);
}

/* In encrypted images zeroes are written: what an object lacks need not read as zeroes. */
static CO int rbd_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    Rbd *s = node_state(n);
    bool may_unmap = flags & REQ_MAY_UNMAP && !s->crypt;
    int r = rbd_grow(s, off + len);

    return r < 0 ? r : s->module->zero(s->f.file, off, len, may_unmap);
}

static CO int rbd_discard(Node *n, uint64_t off, uint64_t len)
{
    Rbd *s = node_state(n);

    /* The node may end after the image, in the same sector. */
    if (off >= s->f.size)
        return 0;
    return s->module->discard(s->f.file, off, MIN(len, s->f.size - off));
}

static CO int rbd_sync(Node *n)
{
    Rbd *s = node_state(n);

    return s->f.ops->sync(s->f.file);
}

static CO int rbd_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Rbd *s = node_state(n);
    uint64_t have = off < s->f.size ? MIN(len, s->f.size - off) : 0;
    bool data = true;
    int r = 0;

    *e = (Extent){ .len = len, .host = n, .host_off = off };
    if (s->found.has_extents && have) {
        r = s->module->extent(s->f.file, off, MIN(have, LOOK_MAX), &have, &data);
        e->len = have;
    }
    e->flags = (data ? EXTENT_DATA : EXTENT_ZERO) | EXTENT_HOST;
    return r;
}

static CO bool rbd_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                          GError **err)
{
    Rbd *s = node_state(n);
    CO_LOCKED(&s->grow);

    return server_file_resize(n, size, exact, prealloc, flags, err);
}

/* ---- what is told ---------------------------------------------------------------------------- */

static uint64_t rbd_allocated(Node *n, bool *known)
{
    *known = false;
    return 0;
}

static CO int rbd_info(Node *n, NodeInfo *info)
{
    const Rbd *s = node_state(n);

    info->cluster_size = s->found.object_size;
    return 0;
}

/* The encryption of an image that was opened without it. NULL: none that is known. */
static CO int rbd_look_encrypted(Node *n, const char **format)
{
    static const uint8_t magic[] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };
    const Rbd *s = node_state(n);
    uint8_t head[LUKS_HEAD];
    unsigned version;
    int r;

    *format = NULL;
    if (s->crypt || s->f.size < LUKS_HEAD)
        return 0;
    r = s->f.ops->read(s->f.file, 0, span_of(head, sizeof(head)));
    if (r < 0 || memcmp(head, magic, sizeof(magic)))
        return r;
    version = be16_at(head + sizeof(magic));
    *format = version == 1 ? "luks" : version == 2 ? "luks2" : NULL;
    return 0;
}

static CO json_t *rbd_info_specific(Node *n, GError **err)
{
    json_t *data = json_object();
    const char *format;
    int r = rbd_look_encrypted(n, &format);

    if (r < 0) {
        json_decref(data);
        err_set_errno(err, r, "The start of '%s' cannot be read", node_filename(n));
        return NULL;
    }
    if (format)
        json_put_str(data, "encryption-format", format);
    return json_pack("{s:s, s:o}", "type", "rbd", "data", data);
}

static bool rbd_has_zero_init(Node *n)
{
    const Rbd *s = node_state(n);

    return !s->crypt;       /* see rbd_zero */
}

/* Names cannot tell all options: json:{...} does. */
static char *rbd_plain_filename(Node *n)
{
    return NULL;
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static CO int rbd_snapshot_list(Node *n, Snapshot **list, size_t *count)
{
    Rbd *s = node_state(n);

    s->module->free_snapshots(s->snapshots, s->snapshot_count);
    s->snapshot_count = 0;
    int r = s->module->snapshots(s->f.file, &s->snapshots, &s->snapshot_count);

    if (r < 0)
        return r;
    *list = g_new0(Snapshot, s->snapshot_count + 1);
    *count = s->snapshot_count;
    /* As the reference shows them: the time is not told, and the size is the disk's. */
    for (size_t i = 0; i < *count; i++)
        (*list)[i] = (Snapshot){
            .id = s->snapshots[i].name,
            .name = s->snapshots[i].name,
            .vm_state_size = s->snapshots[i].size,
        };
    return 0;
}

static CO int snapshot_act(Node *n, RbdSnapshotAction action, const char *name, const char *failed,
                           GError **err)
{
    Rbd *s = node_state(n);
    uint64_t size;
    int r = s->module->act(s->f.file, action, name, &size);

    if (r < 0) {
        err_set_errno(err, r, "Snapshot '%s' cannot be %s", name, failed);
        return r;
    }
    s->f.size = size;
    node_set_size(n, size);
    return 0;
}

static CO int rbd_snapshot_create(Node *n, Snapshot *s, GError **err)
{
    int r = snapshot_act(n, RBD_SNAPSHOT_CREATE, s->name, "made", err);

    if (r == 0 && !s->id)
        s->id = g_strdup(s->name);
    return r;
}

static CO int rbd_snapshot_remove(Node *n, const char *id, GError **err)
{
    return snapshot_act(n, RBD_SNAPSHOT_REMOVE, id, "deleted", err);
}

static CO void *rbd_snapshot_apply_begin(Node *n, const char *id, GError **err)
{
    return g_strdup(id);
}

static CO bool rbd_snapshot_apply(Node *n, void *state, bool *done, GError **err)
{
    *done = snapshot_act(n, RBD_SNAPSHOT_ROLLBACK, state, "applied", err) == 0;
    return *done;
}

static CO void rbd_snapshot_apply_end(Node *n, void *state)
{
    g_free(state);
}

static CO int rbd_snapshot_load(Node *n, const char *id, GError **err)
{
    err_set(err, ENOTSUP, "'%s': snapshot '%s' has a name of its own, which ends with '@%s'",
            node_filename(n), id, id);
    return -ENOTSUP;
}

/* The cluster keeps disks alone. */
static CO int rbd_snapshot_drop_vmstate(Node *n)
{
    return 0;
}

static const SnapshotOps rbd_snapshots = {
    .list = rbd_snapshot_list,
    .create = rbd_snapshot_create,
    .apply_begin = rbd_snapshot_apply_begin,
    .apply = rbd_snapshot_apply,
    .apply_end = rbd_snapshot_apply_end,
    .remove = rbd_snapshot_remove,
    .load = rbd_snapshot_load,
    .drop_vmstate = rbd_snapshot_drop_vmstate,
};

/* ---- new images ------------------------------------------------------------------------------ */

static bool new_read(RbdNew *new, const json_t *opts, GError **err)
{
    int64_t object = json_get_int(opts, "cluster_size", 0);
    const char *cipher = json_get_str(opts, "encrypt.cipher-alg", "aes-256");

    *new = (RbdNew){ .size = round_up(json_get_int(opts, "size", 0), 512) };
    if (object && (object < OBJECT_MIN || (object & (object - 1))))
        return err_set(err, EINVAL, "cluster_size is %" G_GINT64_FORMAT ", not a power of two from "
                       "4096 on", object);
    while (object && UINT64_C(1) << new->order < (uint64_t)object)
        new->order++;
    if (strcmp(cipher, "aes-128") && strcmp(cipher, "aes-256"))
        return err_set(err, ENOTSUP, "encrypt.cipher-alg is 'aes-128' or 'aes-256', not '%s'",
                       cipher);
    new->aes_128 = !strcmp(cipher, "aes-128");
    return true;
}

/* By @filename or, as a job, by the options of what it is to be opened with. */
static CO bool rbd_create(const char *filename, json_t *opts, GError **err)
{
    g_autoptr(json_t) parsed = json_object();
    const json_t *location = json_get(opts, "#location"), *o = location ? location : parsed;
    g_auto(RbdTarget) t = { 0 };
    const RbdModule *module;
    RbdNew new;

    if (!location && !rbd_name_parse(filename, parsed, err))
        return false;
    if (json_has(o, "encrypt"))
        return err_set(err, EINVAL, "location.encrypt is of an image that exists: give encrypt");
    if (!new_read(&new, opts, err) || !target_read(&t, o, err) ||
        !key_read(&t, json_get_str(opts, "password-secret", NULL), err) ||
        !crypt_read(&t, json_get_str(opts, "encrypt.format", NULL),
                    json_get_str(opts, "encrypt.key-secret", NULL), err))
        return false;
    if (t.config.snapshot)
        return err_set(err, EINVAL, "A snapshot cannot be created like an image: '@%s'",
                       t.config.snapshot);
    t.config.key = t.key;
    module = rbd_module(err);
    if (module && module->create(&t.config, &new, err))
        return true;
    return err_prefix(err, "Cannot create 'rbd:%s/%s': ", t.config.pool, t.config.image);
}

static const char *const rbd_strong_options[] = {
    "pool", "namespace", "image", "conf", "snapshot", "user", "server", NULL,
};

const BlockDriver block_rbd = {
    .name = "rbd",
    .kind = BLK_PROTOCOL,
    .prefix = "rbd",
    .state_size = sizeof(Rbd),
    .zero_flags = REQ_MAY_UNMAP,
    .strong_options = rbd_strong_options,
    .parse_filename = rbd_name_parse,
    .open = rbd_open,
    .close = rbd_close,
    .create_opts = create_opts_rbd,
    .create = rbd_create,
    .pread = server_file_pread,
    .pwrite = rbd_pwrite,
    .zero = rbd_zero,
    .discard = rbd_discard,
    .sync = rbd_sync,
    .syncs_elsewhere = true,
    .extent = rbd_extent,
    .resize = rbd_resize,
    .info = rbd_info,
    .info_specific = rbd_info_specific,
    .allocated = rbd_allocated,
    .has_zero_init = rbd_has_zero_init,
    .plain_filename = rbd_plain_filename,
    .snapshots = &rbd_snapshots,
};
