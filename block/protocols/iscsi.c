/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Logical units of iSCSI targets: iscsi://[USER[%PASSWORD]@]HOST[:PORT]/TARGET/LUN. */
#include "block/driver.h"
#include "block/iscsi.h"
#include "crypto/secret.h"
#include "gen/schema.h"
#include "util/module.h"
#include <string.h>

enum {
    LUN_MAX = 0x3fff,
    TRANSFER_MAX = 8 << 20,  /* where the target knows no limit */
    LARGE = 1 << 20,         /* requests that are worth their way */
};

#define INITIATOR "iqn.2008-11.org.linux-kvm" /* what access lists of targets may have */

typedef struct {
    const IscsiModule *module;
    IscsiLun *lun;
    IscsiFound is;
    bool no_status;          /* the target does not tell what is allocated */
} Iscsi;

/* ---- opening --------------------------------------------------------------------------------- */

static void iscsi_limits(Node *n)
{
    Iscsi *s = node_state(n);
    Limits *l = node_limits(n);

    l->request_alignment = s->is.block_len;
    l->max_transfer = MIN(s->is.max_transfer ? s->is.max_transfer : TRANSFER_MAX, TRANSFER_MAX);
    l->opt_transfer = s->is.opt_transfer ? s->is.opt_transfer : LARGE;
    l->zero_alignment = s->is.block_len;
    l->max_zero = s->is.max_same ? s->is.max_same : (uint64_t)UINT16_MAX * s->is.block_len;
    l->discard_alignment = MAX(s->is.unmap_align, s->is.block_len);
    l->max_discard =
        s->is.max_unmap ? s->is.max_unmap : UINT32_MAX / s->is.block_len * s->is.block_len;
    if (l->discard_alignment & (l->discard_alignment - 1))
        l->discard_alignment = s->is.block_len;
    l->max_transfer = MAX(round_down(l->max_transfer, s->is.block_len), s->is.block_len);
}

static bool config_read(const json_t *o, IscsiConfig *c, SecretBytes *secret, GError **err)
{
    int64_t lun = json_get_int(o, "lun", 0), timeout = json_get_int(o, "timeout", 0);
    const char *id = json_get_str(o, "password-secret", NULL);

    if (strcmp(json_get_str(o, "transport", "tcp"), "tcp"))
        return err_set(err, ENOTSUP, "iSCSI is spoken over transport tcp only");
    if (lun < 0 || lun > LUN_MAX)
        return err_set(err, EINVAL, "There is no lun %" G_GINT64_FORMAT, lun);
    if (timeout < 0 || timeout > 24 * 3600)
        return err_set(err, EINVAL, "timeout must be between 0 and a day of seconds");
    if (id && json_has(o, "password"))
        return err_set(err, EINVAL, "password and password-secret exclude each other");
    if (id && !secret_get_utf8(id, secret, err))
        return false;
    *c = (IscsiConfig){
        .portal = json_get_str(o, "portal", ""),
        .target = json_get_str(o, "target", ""),
        .initiator = json_get_str(o, "initiator-name", INITIATOR),
        .user = json_get_str(o, "user", NULL),
        .password = id ? (const char *)secret->data : json_get_str(o, "password", NULL),
        .header_digest = json_get_str(o, "header-digest", NULL),
        .lun = lun,
        .timeout_s = timeout,
    };
    if (c->user && !c->password)
        return err_set(err, EINVAL, "A user needs a password: give password-secret");
    return true;
}

static CO void iscsi_close(Node *n)
{
    Iscsi *s = node_state(n);

    s->module->close(s->lun);
}

static CO bool iscsi_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Iscsi *s = node_state(n);
    g_auto(SecretBytes) secret = { 0 };
    IscsiConfig c;

    if (!config_read(o, &c, &secret, err))
        return false;
    s->module = module_load("iscsi", err);
    s->lun = s->module ? s->module->open(&c, &s->is, err) : NULL;
    if (!s->lun)
        return err_prefix(err, "Target '%s' at '%s': ", c.target, c.portal);
    iscsi_limits(n);
    node_set_size(n, s->is.size);
    if (s->is.size <= NODE_SIZE_MAX &&
        (!s->is.is_read_only || node_fall_back_read_only(n, "The unit is write protected", err)))
        return true;
    if (s->is.size > NODE_SIZE_MAX)
        err_set(err, EFBIG, "The unit is too large");
    iscsi_close(n);
    return false;
}

/* ---- requests -------------------------------------------------------------------------------- */

static CO int iscsi_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Iscsi *s = node_state(n);

    return s->module->read(s->lun, off, buf);
}

static CO int iscsi_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Iscsi *s = node_state(n);

    if (off > s->is.size || buf.len > s->is.size - off)
        return -ENOSPC;
    return s->module->write(s->lun, off, buf, flags & REQ_FUA);
}

static CO int iscsi_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    Iscsi *s = node_state(n);
    int r;

    if (off > s->is.size || len > s->is.size - off)
        return -ENOSPC;
    if (!s->is.has_same)
        return -ENOTSUP;
    r = s->module->zero(s->lun, off, len, flags & REQ_MAY_UNMAP && s->is.same_unmaps);
    if (r == -ENOTSUP)
        s->is.has_same = false;
    return r;
}

static CO int iscsi_discard(Node *n, uint64_t off, uint64_t len)
{
    Iscsi *s = node_state(n);
    int r = s->is.has_unmap ? s->module->unmap(s->lun, off, len) : -ENOTSUP;

    if (r == -ENOTSUP)
        s->is.has_unmap = false;
    return r;
}

static CO int iscsi_sync(Node *n)
{
    Iscsi *s = node_state(n);

    return s->module->sync(s->lun);
}

static CO int iscsi_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Iscsi *s = node_state(n);
    uint64_t first = round_down(off, s->is.block_len), run = 0;
    bool mapped = true;
    int r =
        s->is.is_thin && !s->no_status ? s->module->status(s->lun, first, &run, &mapped) : -ENOTSUP;

    *e = (Extent){
        .len = len,
        .flags = EXTENT_DATA | EXTENT_HOST,
        .host = n,
        .host_off = off,
    };
    /* All data is always true. */
    s->no_status |= r == -ENOTSUP;
    if (r < 0 || run <= off - first)
        return r == -ENOTSUP || r >= 0 || r == -EINVAL ? 0 : r;
    e->len = MIN(len, run - (off - first));
    if (!mapped)
        e->flags = (s->is.unmap_zeroes ? EXTENT_ZERO : 0) | EXTENT_HOST;
    return 0;
}

/* ---- size and names -------------------------------------------------------------------------- */

static CO bool iscsi_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                            GError **err)
{
    uint64_t have = node_size(n);

    if (prealloc != PREALLOC_OFF)
        return err_set(err, ENOTSUP, "Unsupported preallocation mode '%s' for a logical unit",
                       prealloc_name(prealloc));
    return (exact ? size == have : size <= have) ||
           err_set(err, ENOTSUP, "A logical unit keeps its size");
}

static CO bool iscsi_create(const char *filename, json_t *o, GError **err)
{
    return protocol_create_existing(NULL, filename, o, err);
}

/* USER[%PASSWORD] */
static void user_take(const char *text, json_t *o)
{
    const char *percent = strchr(text, '%');
    g_autofree char *user = percent ? g_strndup(text, percent - text) : g_strdup(text);

    json_put_str(o, "user", user);
    if (percent)
        json_put_str(o, "password", percent + 1);
}

static bool iscsi_parse_filename(const char *filename, json_t *o, GError **err)
{
    const char *rest = g_str_has_prefix(filename, "iscsi://") ? filename + strlen("iscsi://") : "";
    g_auto(GStrv) parts = g_strsplit(rest, "/", 4);
    char *at = parts[0] ? strchr(parts[0], '@') : NULL, *end;
    uint64_t lun;

    if (g_strv_length(parts) != 3 || !*parts[0] || !*parts[1] || !g_ascii_isdigit(*parts[2]))
        return err_set(err, EINVAL, "'%s' is not iscsi://HOST/TARGET/LUN", filename);
    lun = g_ascii_strtoull(parts[2], &end, 10);
    if (*end || lun > LUN_MAX)
        return err_set(err, EINVAL, "'%s' has no lun at its end", filename);
    if (at) {
        *at = '\0';
        user_take(parts[0], o);
    }
    json_put_str(o, "transport", "tcp");
    json_put_str(o, "portal", at ? at + 1 : parts[0]);
    json_put_str(o, "target", parts[1]);
    json_put_str(o, "lun", parts[2]);
    return true;
}

static uint64_t iscsi_allocated(Node *n, bool *known)
{
    *known = false;
    return 0;
}

static char *iscsi_plain_filename(Node *n)
{
    return NULL;
}

static const char *const iscsi_strong_options[] = {
    "transport", "portal", "target", "lun", "user", "password", "password-secret", NULL,
};

const BlockDriver block_iscsi = {
    .name = "iscsi",
    .kind = BLK_PROTOCOL,
    .prefix = "iscsi",
    .state_size = sizeof(Iscsi),
    .write_flags = REQ_FUA,
    .zero_flags = REQ_MAY_UNMAP,
    .strong_options = iscsi_strong_options,
    .parse_filename = iscsi_parse_filename,
    .open = iscsi_open,
    .close = iscsi_close,
    .create_opts = create_opts_iscsi,
    .create = iscsi_create,
    .pread = iscsi_pread,
    .pwrite = iscsi_pwrite,
    .zero = iscsi_zero,
    .discard = iscsi_discard,
    .sync = iscsi_sync,
    .syncs_elsewhere = true,
    .extent = iscsi_extent,
    .resize = iscsi_resize,
    .allocated = iscsi_allocated,
    .plain_filename = iscsi_plain_filename,
};
