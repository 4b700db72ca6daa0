/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the programs do alike when they open images. */
#include "tools/image.h"
#include "block/driver.h"
#include "block/snapshot.h"
#include "tools/complain.h"
#include "util/err.h"
#include "util/keyval.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- modes ---------------------------------------------------------------------------------- */

bool open_cache_mode(const char *what, const char *mode, OpenFlags *flags)
{
    return !mode || cache_mode_parse(mode, flags) ||
           complain("There is no %s mode '%s'; choose none, writeback, writethrough, directsync or "
                    "unsafe", what, mode);
}

bool open_discard_mode(const char *mode, OpenFlags *flags)
{
    return discard_mode_parse(mode, flags) ||
           complain("There is no discard mode '%s'; choose ignore or unmap", mode);
}

bool open_aio_mode(const char *mode, OpenFlags *flags)
{
    return aio_mode_parse(mode, flags) ||
           complain("There is no AIO mode '%s'; choose threads, native or io_uring", mode);
}

/* ---- options -------------------------------------------------------------------------------- */

/* The second line is what callers of the reference know. */
void warn_of_short_forms(const char *text, const char *implied_key)
{
    g_auto(GStrv) forms = keyval_short_forms(text, implied_key);

    for (char **form = forms; *form; form++) {
        complain("warning: an option without a value is an old way to say '%s'", *form);
        fprintf(stderr, "Please use %s instead\n", *form);
    }
}

json_t *image_opts_parse(const char *text, const char *implied_key, GError **err)
{
    warn_of_short_forms(text, implied_key);
    return keyval_parse(text, implied_key, err);
}

bool image_opts_merge(const char *text, json_t *into, GError **err)
{
    warn_of_short_forms(text, NULL);
    return keyval_parse_flat(text, NULL, into, err);
}

/* ---- writing to a temporary file ------------------------------------------------------------ */

/* The name of a new empty file for temporary data. NULL with @err. */
static char *temporary_file(GError **err)
{
    const char *folder = g_getenv("TMPDIR");
    g_autofree char *name = g_build_filename(folder && *folder ? folder : "/var/tmp",
                                             "ferry-XXXXXX", NULL);
    int fd = g_mkstemp(name);

    if (fd < 0) {
        err_set_errno(err, errno, "Could not make temporary file '%s'", name);
        return NULL;
    }
    close(fd);
    return g_steal_pointer(&name);
}

/* Opens file @name, made into an empty qcow2 image, over @base. */
static CO Handle *overlay_open(Handle *base, const char *name, OpenFlags flags, GError **err)
{
    g_autoptr(json_t) create = json_pack("{s:I}", "size", (json_int_t)handle_size(base));
    json_t *options = json_pack("{s:s, s:s, s:{s:s, s:s}, s:s}", "driver", "qcow2", "node-name",
                                "snapshot-top", "file", "driver", "file", "filename", name,
                                "backing", node_name(handle_node(base)));

    if (!image_create(name, "qcow2", create, err)) {
        json_decref(options);
        return NULL;
    }
    return handle_open(NULL, options, flags | OPEN_NO_FLUSH, err);
}

CO Handle *image_open_snapshot(const char *name, json_t *options, OpenFlags flags, GError **err)
{
    OpenFlags never = OPEN_RDWR | OPEN_COPY_ON_READ | OPEN_WRITETHROUGH;
    g_autoptr(Handle) base = NULL;
    g_autofree char *file = NULL;
    Handle *top;

    if (!options)
        options = json_object();
    if (!json_has(options, "node-name"))
        json_put_str(options, "node-name", "snapshot-base");
    base = handle_open(name, options, flags & ~never, err);
    if (!base)
        return NULL;
    file = temporary_file(err);
    if (!file)
        return NULL;
    top = overlay_open(base, file, flags, err);
    unlink(file);
    return top;
}

/* ---- internal snapshots -------------------------------------------------------------------- */

/* What @param names: *@id and *@name (one of them NULL), or both the same for either. */
static bool snapshot_param_parse(const char *param, char **id, char **name, GError **err)
{
    g_autoptr(json_t) o = NULL;

    if (!g_str_has_prefix(param, "snapshot.")) {
        *id = g_strdup(param);
        *name = g_strdup(param);
        return true;
    }
    o = json_object();
    if (!keyval_parse_flat(param, NULL, o, err))
        return false;
    *id = g_strdup(json_get_str(o, "snapshot.id", NULL));
    *name = g_strdup(json_get_str(o, "snapshot.name", NULL));
    if (json_object_size(o) != !!*id + !!*name)
        return err_set(err, EINVAL, "'%s' has more than snapshot.id and snapshot.name", param);
    return true;
}

static CO bool load_snapshot(Node *n, const char *param, GError **err)
{
    const SnapshotOps *ops = node_driver(n)->snapshots;
    g_autofree char *id = NULL, *name = NULL;
    const Snapshot *s = NULL;
    g_autofree Snapshot *list = NULL;
    size_t count = 0;
    bool ok;
    int r;

    if (!snapshot_param_parse(param, &id, &name, err))
        return false;
    if (!ops || !ops->load)
        return err_set(err, ENOTSUP, "Images of format '%s' have no snapshots", node_format(n));
    r = ops->list(n, &list, &count);
    if (r < 0)
        return err_set_errno(err, r, "Snapshots of '%s' cannot be listed", node_filename(n));
    if (id && name && strcmp(id, name)) {
        for (size_t i = 0; i < count && !s; i++)
            if (!strcmp(list[i].id, id) && !strcmp(list[i].name, name))
                s = &list[i];
    } else {
        s = snapshot_find(list, count, id, name);
    }
    ok = s ? ops->load(n, s->id, err) >= 0
           : err_set(err, ENOENT, "'%s' has no snapshot '%s'", node_filename(n), param);
    return ok;
}

bool image_load_snapshot(Handle *h, const char *param)
{
    g_autoptr(GError) err = NULL;

    return load_snapshot(node_skip_filters(handle_node(h)), param, &err) || complain_err(err);
}
