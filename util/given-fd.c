/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/given-fd.h"
#include "util/fd.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* ---- names ----------------------------------------------------------------------------------- */

static GHashTable *named; /* descriptor + 1 by name */

void named_fd_put(const char *name, int fd)
{
    int before = named_fd_take(name);

    if (before >= 0)
        close(before);
    if (!named)
        named = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_hash_table_insert(named, g_strdup(name), GINT_TO_POINTER(fd + 1));
}

int named_fd_find(const char *name)
{
    return named ? GPOINTER_TO_INT(g_hash_table_lookup(named, name)) - 1 : -1;
}

int named_fd_take(const char *name)
{
    int fd = named_fd_find(name);

    if (fd >= 0)
        g_hash_table_remove(named, name);
    return fd;
}

/* ---- sets ------------------------------------------------------------------------------------ */

static GPtrArray *sets; /* of FdSet, by falling id */

static void member_clear(void *p)
{
    FdSetMember *m = p;

    close(m->fd);
    g_free(m->opaque);
}

static void set_free(void *p)
{
    FdSet *s = p;

    g_array_unref(s->members);
    g_free(s);
}

const FdSet *fdset_at(unsigned i)
{
    return sets && i < sets->len ? sets->pdata[i] : NULL;
}

/* Where set @id is, or would be. */
static guint set_place(int64_t id)
{
    guint i = 0;

    while (fdset_at(i) && fdset_at(i)->id > id)
        i++;
    return i;
}

static int64_t free_id(void)
{
    int64_t id = 0;

    while (fdset_at(set_place(id)) && fdset_at(set_place(id))->id == id)
        id++;
    return id;
}

FdSet *fdset_add(int64_t id, int fd, const char *opaque)
{
    FdSetMember m = { fd, g_strdup(opaque) };
    guint at;
    FdSet *s;

    if (!sets)
        sets = g_ptr_array_new_with_free_func(set_free);
    if (id < 0)
        id = free_id();
    at = set_place(id);
    if (!fdset_at(at) || fdset_at(at)->id != id) {
        s = g_new0(FdSet, 1);
        s->id = id;
        s->members = g_array_new(FALSE, FALSE, sizeof(FdSetMember));
        g_array_set_clear_func(s->members, member_clear);
        g_ptr_array_insert(sets, at, s);
    }
    s = sets->pdata[at];
    g_array_append_val(s->members, m);
    return s;
}

bool fdset_remove(int64_t id, int fd)
{
    guint at = set_place(id);
    FdSet *s = sets && at < sets->len ? sets->pdata[at] : NULL;
    bool found = false;

    for (guint i = s && s->id == id ? s->members->len : 0; i-- > 0;) {
        if (fd >= 0 && g_array_index(s->members, FdSetMember, i).fd != fd)
            continue;
        g_array_remove_index(s->members, i);
        found = true;
    }
    if (found && !s->members->len)
        g_ptr_array_remove_index(sets, at);
    return found;
}

/* A duplicate of the first of @s that can be used as @flags say, or -1 with errno set. */
static int set_open(const FdSet *s, int flags)
{
    int settable = O_APPEND | O_DIRECT | O_NONBLOCK;

    for (guint i = 0; i < s->members->len; i++) {
        int fd = g_array_index(s->members, FdSetMember, i).fd, mode = fcntl(fd, F_GETFL);
        autofd int copy = -1;

        if (mode < 0 || (mode & O_ACCMODE) != (flags & O_ACCMODE))
            continue;
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0 || fcntl(copy, F_SETFL, (mode & ~settable) | (flags & settable)) < 0)
            return -1;
        return fd_steal(&copy);
    }
    errno = EACCES;
    return -1;
}

int fdset_open(const char *path, int flags)
{
    static const char prefix[] = "/dev/fdset/";
    guint64 id;

    if (!g_str_has_prefix(path, prefix))
        return open(path, flags | O_CLOEXEC);
    if (g_ascii_string_to_unsigned(path + strlen(prefix), 10, 0, INT64_MAX, &id, NULL)) {
        const FdSet *s = fdset_at(set_place((int64_t)id));

        if (s && s->id == (int64_t)id)
            return set_open(s, flags);
    }
    errno = ENOENT;
    return -1;
}

void given_fds_close(void)
{
    GHashTableIter iter;
    gpointer fd;

    g_clear_pointer(&sets, g_ptr_array_unref);
    if (!named)
        return;
    g_hash_table_iter_init(&iter, named);
    while (g_hash_table_iter_next(&iter, NULL, &fd))
        close(GPOINTER_TO_INT(fd) - 1);
    g_clear_pointer(&named, g_hash_table_unref);
}
