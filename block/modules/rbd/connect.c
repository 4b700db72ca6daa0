/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From settings to an open image. All of it waits for the cluster, so it runs in workers. */
#include "block/modules/rbd/internal.h"
#include "util/err.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SETTING_MAX = 64,           /* of a number as text */
    HEADER_ROOM = 16 << 20,     /* LUKS of version 2 needs that, and whole objects */
};

/* ---- settings -------------------------------------------------------------------------------- */

static bool setting_put(RbdImage *f, const char *name, const char *value, GError **err)
{
    int r = value ? rados_conf_set(f->cluster, name, value) : 0;

    return r >= 0 || err_set_errno(err, r, "invalid setting '%s'", name);
}

/* Those of the file are the least, those that follow from options the most. */
static bool settings_put(RbdImage *f, const RbdConfig *c, GError **err)
{
    int r = rados_conf_read_file(f->cluster, c->conf);

    /* Without a file in the usual places all may be given otherwise. */
    if (r < 0 && c->conf)
        return err_set_errno(err, r, "the file of settings '%s' cannot be read", c->conf);
    for (char *const *s = c->settings; s && *s; s += 2)
        if (!setting_put(f, s[0], s[1], err))
            return false;
    return setting_put(f, "mon_host", c->monitors, err) &&
           setting_put(f, "auth_client_required", c->auth, err) &&
           setting_put(f, "key", c->key, err) &&
           setting_put(f, "rbd_cache", c->cached ? "true" : "false", err);
}

/* Settings that say how long librados waits for an answer, in seconds; 0, the default: for ever. */
static const char *const bounds[] = { "rados_mon_op_timeout", "rados_osd_op_timeout" };

typedef struct {
    char text[G_N_ELEMENTS(bounds)][SETTING_MAX];  /* what they were; "": unchanged */
} Bounds;

/* While opening, the time that librados gives the connection also bounds what follows. */
static void bounds_set(RbdImage *f, Bounds *b)
{
    char limit[SETTING_MAX];

    *b = (Bounds){ 0 };
    if (rados_conf_get(f->cluster, "client_mount_timeout", limit, sizeof(limit)) < 0)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(bounds); i++)
        if (rados_conf_get(f->cluster, bounds[i], b->text[i], SETTING_MAX) < 0 ||
            strtod(b->text[i], NULL) > 0 || rados_conf_set(f->cluster, bounds[i], limit) < 0)
            *b->text[i] = '\0';
}

/* Requests wait again as they were told to. */
static bool bounds_restore(RbdImage *f, const Bounds *b, GError **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(bounds); i++)
        if (*b->text[i] && !setting_put(f, bounds[i], b->text[i], err))
            return false;
    return true;
}

/* ---- the pool -------------------------------------------------------------------------------- */

static bool namespace_enter(RbdImage *f, const char *name, GError **err)
{
    bool exists = true;
    int r = *name ? rbd_namespace_exists(f->pool, name, &exists) : 0;

    if (r < 0)
        return err_set_errno(err, r, "namespace '%s'", name);
    if (!exists)
        return err_set(err, ENOENT, "namespace '%s' does not exist", name);
    rados_ioctx_set_namespace(f->pool, name);
    return true;
}

bool ceph_connect(RbdImage *f, const RbdConfig *c, GError **err)
{
    Bounds b;
    bool ok;
    int r = rados_create(&f->cluster, c->user);

    if (r < 0)
        return err_set_errno(err, r, "librados does not start");
    if (!settings_put(f, c, err))
        return false;
    r = rados_connect(f->cluster);
    if (r < 0)
        return err_set_errno(err, r, "no connection to the cluster");
    bounds_set(f, &b);
    r = rados_ioctx_create(f->cluster, c->pool, &f->pool);
    ok = r < 0 ? err_set_errno(err, r, "pool '%s'", c->pool)
               : namespace_enter(f, c->namespace ? c->namespace : "", err);
    return ok && bounds_restore(f, &b, err);
}

void ceph_disconnect(RbdImage *f)
{
    if (f->image)
        rbd_close(f->image);
    if (f->pool)
        rados_ioctx_destroy(f->pool);
    if (f->cluster)
        rados_shutdown(f->cluster);
    f->image = f->pool = f->cluster = NULL;
}

/* ---- images ---------------------------------------------------------------------------------- */

static bool ceph_decrypt(RbdImage *f, const RbdConfig *c, GError **err)
{
    rbd_encryption_luks1_format_options_t luks = {
        .passphrase = c->passphrase, .passphrase_size = c->passphrase_len,
    };
    rbd_encryption_luks2_format_options_t luks2 = {
        .passphrase = c->passphrase, .passphrase_size = c->passphrase_len,
    };
    uint64_t whole, content;
    int r = rbd_get_size(f->image, &whole);

    if (r >= 0 && c->crypt == RBD_CRYPT_LUKS)
        r = rbd_encryption_load(f->image, RBD_ENCRYPTION_FORMAT_LUKS1, &luks, sizeof(luks));
    else if (r >= 0 && c->crypt == RBD_CRYPT_LUKS2)
        r = rbd_encryption_load(f->image, RBD_ENCRYPTION_FORMAT_LUKS2, &luks2, sizeof(luks2));
    r = r < 0 ? r : rbd_get_size(f->image, &content);
    if (r < 0)
        return err_set_errno(err, r, "the encryption cannot be opened: wrong passphrase or "
                             "format?");
    f->header = whole - MIN(content, whole);
    return true;
}

/*
 * Some releases of librbd count the header of an encrypted image as a part of its size, others do
 * not, so what is asked for first may be too much. It is never too little: that would lose content.
 */
int ceph_set_size(RbdImage *f, uint64_t size)
{
    uint64_t got;
    int r = rbd_resize(f->image, size + f->header);

    r = r < 0 ? r : rbd_get_size(f->image, &got);
    return r < 0 || got == size ? r : rbd_resize(f->image, size);
}

/* What is known of the image's objects only helps where offsets in it are those of its content. */
static int ceph_look(RbdImage *f, const RbdConfig *c, RbdFound *found)
{
    uint64_t features, stripes;
    rbd_image_info_t info;
    int r = rbd_stat(f->image, &info, sizeof(info));

    r = r < 0 ? r : rbd_get_features(f->image, &features);
    r = r < 0 ? r : rbd_get_stripe_count(f->image, &stripes);
    if (r < 0)
        return r;
    *found = (RbdFound){
        .size = info.size,
        .object_size = info.obj_size,
        .has_extents = features & RBD_FEATURE_FAST_DIFF && stripes == 1 && !c->crypt,
    };
    return 0;
}

static bool ceph_take(RbdImage *f, const RbdConfig *c, RbdFound *found, GError **err)
{
    int r = c->write ? rbd_open(f->pool, c->image, &f->image, c->snapshot)
                     : rbd_open_read_only(f->pool, c->image, &f->image, c->snapshot);

    if (r < 0) {
        f->image = NULL;
        return err_set_errno(err, r, "image '%s'%s%s", c->image, c->snapshot ? ", snapshot " : "",
                             c->snapshot ? c->snapshot : "");
    }
    if (!ceph_decrypt(f, c, err))
        return false;
    r = ceph_look(f, c, found);
    if (r < 0)
        return err_set_errno(err, r, "image '%s'", c->image);
    r = rbd_set_image_notification(f->image, f->event, EVENT_TYPE_EVENTFD);
    return r >= 0 || err_set_errno(err, r, "librbd tells of no answers");
}

bool ceph_open(RbdImage *f, const RbdConfig *c, RbdFound *found, GError **err)
{
    Bounds b;

    bounds_set(f, &b);
    return ceph_take(f, c, found, err) && bounds_restore(f, &b, err);
}

static bool ceph_encrypt(RbdImage *f, const RbdConfig *c, const RbdNew *new, GError **err)
{
    rbd_encryption_algorithm_t alg =
        new->aes_128 ? RBD_ENCRYPTION_ALGORITHM_AES128 : RBD_ENCRYPTION_ALGORITHM_AES256;
    rbd_encryption_luks1_format_options_t luks = { alg, c->passphrase, c->passphrase_len };
    rbd_encryption_luks2_format_options_t luks2 = { alg, c->passphrase, c->passphrase_len };
    int r;

    if (c->crypt == RBD_CRYPT_LUKS)
        r = rbd_encryption_format(f->image, RBD_ENCRYPTION_FORMAT_LUKS1, &luks, sizeof(luks));
    else
        r = rbd_encryption_format(f->image, RBD_ENCRYPTION_FORMAT_LUKS2, &luks2, sizeof(luks2));
    return r >= 0 || err_set_errno(err, r, "the new image cannot be encrypted");
}

static bool ceph_reopen(RbdImage *f, const RbdConfig *c, GError **err)
{
    int r = f->image ? rbd_close(f->image) : 0;

    f->image = NULL;
    r = r < 0 ? r : rbd_open(f->pool, c->image, &f->image, NULL);
    if (r >= 0)
        return true;
    f->image = NULL;
    return err_set_errno(err, r, "the new image '%s' cannot be opened", c->image);
}

/* @room: for the header of the encryption, which is a part of the image. */
static bool ceph_fill(RbdImage *f, const RbdConfig *c, const RbdNew *new, uint64_t room,
                      GError **err)
{
    int r;

    if (!ceph_reopen(f, c, err))
        return false;
    r = rbd_resize(f->image, new->size + room);
    if (r < 0)
        return err_set_errno(err, r, "the new image has no room for the header of its encryption");
    if (!ceph_encrypt(f, c, new, err) || !ceph_reopen(f, c, err) || !ceph_decrypt(f, c, err))
        return false;
    r = ceph_set_size(f, new->size);
    return r >= 0 || err_set_errno(err, r, "the new image cannot get its size");
}

bool ceph_create(RbdImage *f, const RbdConfig *c, const RbdNew *new, GError **err)
{
    int order = (int)new->order, r;
    Bounds b;

    bounds_set(f, &b);
    r = rbd_create(f->pool, c->image, new->size, &order);
    if (r < 0)
        return err_set_errno(err, r, "image '%s' cannot be made", c->image);
    if (c->crypt == RBD_CRYPT_NONE ||
        ceph_fill(f, c, new, HEADER_ROOM + (UINT64_C(2) << order), err))
        return true;
    if (f->image)
        rbd_close(f->image);
    f->image = NULL;
    rbd_remove(f->pool, c->image);
    return false;
}
