/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kind of export that shows an image as a file, in the place of one that is there already. */
#include "block/driver.h"
#include "block/export.h"
#include "fuse/fuse.h"
#include "io/own-mount.h"
#include "io/pool.h"
#include "util/err.h"
#include "util/module.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    Export *export;
    Handle *handle;
    const FuseModule *module;
    char *path;      /* of the mount, absolute; NULL: not yet known */
    FuseFile *file;
    bool ending;     /* somebody is taking it away */
} FuseExport;

static GPtrArray *mounts; /* of FuseExport, mounted or about to be */

/* ---- the place ------------------------------------------------------------------------------- */

typedef struct {
    const char *mountpoint;
    char *path;     /* absolute, without links */
    struct stat st;
} Place;

/* In a worker: the file may be one that this process shows, and then waits for our loop. */
static int place_look(void *arg)
{
    Place *p = arg;

    p->path = realpath(p->mountpoint, NULL);
    return p->path && stat(p->path, &p->st) == 0 ? 0 : -errno;
}

static bool is_mounted(const char *path)
{
    for (guint i = 0; mounts && i < mounts->len; i++)
        if (!g_strcmp0(((FuseExport *)mounts->pdata[i])->path, path))
            return true;
    return false;
}

/* The path of the file @mountpoint if an image can take its place. NULL with @err. Caller frees. */
static CO char *place_find(const char *mountpoint, GError **err)
{
    Place p = { .mountpoint = mountpoint };
    int r = pool_run(place_look, &p);
    g_autofree char *path = p.path;

    if (path && is_mounted(path))
        err_set(err, EBUSY, "There already is a FUSE export on '%s'", mountpoint);
    else if (r < 0)
        err_set_errno(err, r, "Failed to stat '%s'", mountpoint);
    else if (!S_ISREG(p.st.st_mode))
        err_set(err, EINVAL, "'%s' is not a regular file", mountpoint);
    else
        return g_steal_pointer(&path);
    return NULL;
}

/* ---- coming and going ------------------------------------------------------------------------ */

static CO void export_close(FuseExport *f)
{
    g_autoptr(GError) err = NULL;

    g_ptr_array_remove(mounts, f);
    if (!handle_close_err(f->handle, &err))
        block_warn("%s", err->message);
    g_free(f->path);
    g_free(f);
}

static CO void export_end(void *arg)
{
    FuseExport *f = arg;
    Export *e = f->export;

    f->module->unmount(f->file);
    handle_listen(f->handle, NULL, NULL);
    own_mount_remove(f->path);
    export_close(f);
    export_gone(e);
}

/* The mount is gone before the export: the id becomes free as if it had been removed. */
static void fuse_ended(void *opaque)
{
    FuseExport *f = opaque;

    if (f->ending)
        return;
    export_node_name(f->export);
    f->ending = f->export->removed = true;
    co_start(export_end, f);
}

static void fuse_home_changed(void *opaque, IoThread *thread)
{
    const FuseExport *f = opaque;

    f->module->follow(f->file, thread);
}

static const HandleOps fuse_handle_ops = {
    .home_changed = fuse_home_changed,
};

static FuseOthers others_of(const json_t *options)
{
    const char *word = json_get_str(options, "allow-other", "auto");

    return !strcmp(word, "on") ? FUSE_OTHERS_ON : !strcmp(word, "off") ? FUSE_OTHERS_OFF
                                                                      : FUSE_OTHERS_AUTO;
}

static CO void *fuse_add(Export *e, const json_t *options, Handle *h, GError **err)
{
    FuseExport *f = g_new0(FuseExport, 1);
    FuseConfig config = {
        .handle = h,
        .writable = json_get_bool(options, "writable", false),
        .growable = json_get_bool(options, "growable", false),
        .others = others_of(options),
        .ended = fuse_ended,
        .opaque = f,
    };

    *f = (FuseExport){ .export = e, .handle = h };
    if (!mounts)
        mounts = g_ptr_array_new();
    g_ptr_array_add(mounts, f);
    config.path = f->path = place_find(json_get_str(options, "mountpoint", ""), err);
    if (f->path && (!config.writable || !config.growable || handle_require(h, ACCESS_RESIZE, err)))
        f->module = module_load("fuse", err);
    if (f->module)
        f->file = f->module->mount(&config, err);
    if (f->file) {
        own_mount_add(f->path);
        handle_listen(h, &fuse_handle_ops, f);
        return f;
    }
    export_close(f);
    return NULL;
}

/* Open files keep nothing: whoever has one sees ENOTCONN. */
static bool fuse_is_used(const Export *e)
{
    return false;
}

static CO void fuse_remove(Export *e, bool hard)
{
    FuseExport *f = e->state;

    f->ending = true;
    export_end(f);
}

const ExportDriver export_fuse = {
    .type = "fuse",
    .follows_size = true,
    .add = fuse_add,
    .is_used = fuse_is_used,
    .remove = fuse_remove,
};
