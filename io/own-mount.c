/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files are told apart by the device number of their file system, taken from the kernel's list of
 * mounts: even fstat would be a request to the file system. See proc(5).
 */
#include "io/own-mount.h"
#include "util/fd.h"
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char *path;
    char *device; /* "major:minor" */
} OwnMount;

static GPtrArray *mounts; /* of OwnMount */

/* The number of the mount that the open file @fd is on; -1: it cannot be told. */
static int mount_of(int fd)
{
    g_autofree char *name = g_strdup_printf("/proc/self/fdinfo/%d", fd);
    g_autofree char *text = NULL;
    const char *at;
    int id;

    if (!g_file_get_contents(name, &text, NULL, NULL))
        return -1;
    at = strstr(text, "mnt_id:");
    return at && sscanf(at, "mnt_id: %d", &id) == 1 ? id : -1;
}

/* The device of mount @id, "major:minor"; NULL: there is none such. Caller frees. */
static char *device_of(int id)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL))
        return NULL;
    lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        unsigned major, minor;
        int this;

        if (sscanf(*l, "%d %*d %u:%u", &this, &major, &minor) == 3 && this == id)
            return g_strdup_printf("%u:%u", major, minor);
    }
    return NULL;
}

/* O_PATH: the file's own file system is not asked. */
static char *device_at(const char *path)
{
    autofd int fd = open(path, O_PATH | O_CLOEXEC);

    return fd < 0 ? NULL : device_of(mount_of(fd));
}

void own_mount_add(const char *path)
{
    OwnMount *m = g_new(OwnMount, 1);

    *m = (OwnMount){ .path = g_strdup(path), .device = device_at(path) };
    if (!mounts)
        mounts = g_ptr_array_new();
    g_ptr_array_add(mounts, m);
}

void own_mount_remove(const char *path)
{
    for (guint i = 0; mounts && i < mounts->len; i++) {
        OwnMount *m = mounts->pdata[i];

        if (strcmp(m->path, path))
            continue;
        g_ptr_array_remove_index(mounts, i);
        g_free(m->path);
        g_free(m->device);
        g_free(m);
        return;
    }
}

bool own_mount_has(const char *path)
{
    g_autofree char *device = mounts && mounts->len ? device_at(path) : NULL;

    for (guint i = 0; device && i < mounts->len; i++)
        if (!g_strcmp0(((OwnMount *)mounts->pdata[i])->device, device))
            return true;
    return false;
}
