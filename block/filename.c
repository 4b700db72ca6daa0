/* SPDX-License-Identifier: GPL-2.0-or-later */
/* File names: which driver they mean, and what they mean inside another file. */
#include "block/internal.h"
#include "io/own-mount.h"
#include "util/suggest.h"
#include <string.h>
#include <sys/stat.h>

bool filename_has_protocol(const char *filename)
{
    size_t n = strcspn(filename, ":/");

    return filename[n] == ':';
}

const BlockDriver *driver_find(const char *name)
{
    for (const BlockDriver *const *d = block_drivers; *d; d++)
        if (!strcmp((*d)->name, name))
            return *d;
    return NULL;
}

char *driver_suggestion(const char *name)
{
    Suggestion s = { .word = name };

    for (const BlockDriver *const *d = block_drivers; *d; d++)
        suggest_try(&s, (*d)->name);
    return suggestion_text(&s);
}

bool driver_unknown(const char *what, const char *name, GError **err)
{
    g_autofree char *perhaps = driver_suggestion(name);

    return err_set(err, ENOENT, "Unknown %s '%s'%s", what, name, perhaps);
}

static bool driver_has_prefix(const BlockDriver *d, const char *prefix)
{
    for (const char *const *p = d->more_prefixes; p && *p; p++)
        if (!strcmp(*p, prefix))
            return true;
    return d->prefix && !strcmp(d->prefix, prefix);
}

static const BlockDriver *driver_by_prefix(const char *filename)
{
    g_autofree char *prefix = g_strndup(filename, strcspn(filename, ":"));

    for (const BlockDriver *const *d = block_drivers; *d; d++)
        if (driver_has_prefix(*d, prefix))
            return *d;
    return NULL;
}

const BlockDriver *driver_for_filename(const char *filename, bool allow_prefix, GError **err)
{
    struct stat st;
    bool is_device;

    if (allow_prefix && filename_has_protocol(filename)) {
        const BlockDriver *d = driver_by_prefix(filename);
        size_t n = strcspn(filename, ":");

        if (d)
            return d;
        err_set(err, ENOENT, "Unknown protocol '%.*s' in '%s'", (int)MIN(n, 64), filename,
                filename);
        err_hint(err, "A file whose name has a colon is meant by './%s'.", filename);
        return NULL;
    }
    is_device = !own_mount_has(filename) && stat(filename, &st) == 0 &&
                (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode));
    return driver_find(is_device ? "host_device" : "file");
}

char *filename_combine(const char *base, const char *filename, GError **err)
{
    bool is_path = !filename_has_protocol(base);
    const BlockDriver *d = is_path ? NULL : driver_by_prefix(base);
    const char *slash, *dir_end;

    if (filename[0] == '/' || filename_has_protocol(filename))
        return g_strdup(filename);
    if (g_str_has_prefix(base, "json:")) {
        err_set(err, EINVAL, "The relative name '%s' means nothing beside '%s'", filename, base);
        err_hint(err, "Give the backing file by its full name.");
        return NULL;
    }
    /* What follows "file:" is a path, with colons that mean nothing. */
    if (d && d->identify) {
        base = strchr(base, ':') + 1;
        is_path = true;
    }
    slash = strrchr(base, '/');
    dir_end = slash ? slash + 1 : base;
    if (!slash && !is_path)
        dir_end = strrchr(base, ':') + 1;
    return g_strdup_printf("%.*s%s", (int)(dir_end - base), base, filename);
}
