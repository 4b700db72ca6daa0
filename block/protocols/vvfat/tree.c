/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads a folder of this machine for a FAT disk.
 *
 * Clusters are given in the order in which files are found, level by level, so that each file and
 * folder has one run of them. Links are followed, but a folder is never entered below itself.
 * Whatever a folder has, memory is bounded: by the clusters of the disk and by NODES_MAX.
 */
#include "block/protocols/vvfat/tree.h"
#include "block/protocols/vvfat/name.h"
#include "util/err.h"
#include "util/fd.h"
#include "util/size.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum {
    NODES_MAX = 1 << 17,         /* about the clusters of the largest disk */
    ENTRIES_MAX = 65536,         /* of a folder: the specification's limit */
};

typedef DIR Folder;
static void folder_close(Folder *d)
{
    closedir(d);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Folder, folder_close)

static void node_free(void *p)
{
    FatNode *n = p;

    g_free(n->name);
    if (n->entries)
        g_byte_array_unref(n->entries);
    g_free(n);
}

void fat_tree_free(FatTree *t)
{
    if (!t)
        return;
    if (t->fd >= 0)
        close(t->fd);
    g_ptr_array_unref(t->nodes);
    g_array_unref(t->runs);
    g_free(t);
}

static FatNode *tree_node(const FatTree *t, unsigned i)
{
    return t->nodes->pdata[i];
}

const FatNode *fat_tree_root(const FatTree *t)
{
    return tree_node(t, 0);
}

const FatNode *fat_tree_find(const FatTree *t, uint32_t cluster)
{
    unsigned low = 0, high = t->runs->len;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        const FatNode *n = tree_node(t, g_array_index(t->runs, unsigned, middle));

        if (cluster < n->first)
            high = middle;
        else if (cluster - n->first >= n->clusters)
            low = middle + 1;
        else
            return n;
    }
    return NULL;
}

char *fat_tree_path(const FatTree *t, const FatNode *n)
{
    GString *path = g_string_new(n->name);

    while (n->parent) {
        n = tree_node(t, n->parent);
        g_string_prepend_c(path, '/');
        g_string_prepend(path, n->name);
    }
    return g_string_free(path, false);
}

/* ---- reading folders ------------------------------------------------------------------------- */

static bool does_not_fit(const FatTree *t, GError **err)
{
    uint64_t capacity = (uint64_t)t->layout.clusters * fat_cluster_len(&t->layout);
    g_autofree char *room = size_format(capacity);

    return err_set(err, ENOSPC, "Its files do not fit on a %s with FAT%u, which has room for %s",
                   t->layout.floppy ? "floppy" : "disk", t->layout.bits, room);
}

/* Gives @n the clusters that @bytes need. */
static bool node_allocate(FatTree *t, unsigned i, uint64_t bytes, GError **err)
{
    FatNode *n = tree_node(t, i);
    uint64_t need = div_round_up(bytes, fat_cluster_len(&t->layout));

    if (!need)
        return true;
    if (need > t->layout.clusters - t->used)
        return does_not_fit(t, err);
    n->first = FAT_FIRST_CLUSTER + t->used;
    n->clusters = need;
    t->used += need;
    g_array_append_val(t->runs, i);
    return true;
}

/* Is it folder @i, or one that this lies in? */
static bool leads_back(const FatTree *t, unsigned i, const struct stat *st)
{
    const FatNode *n = tree_node(t, i);

    while (n->device != st->st_dev || n->inode != st->st_ino) {
        if (n == fat_tree_root(t))
            return false;
        n = tree_node(t, n->parent);
    }
    return true;
}

static bool node_add(FatTree *t, unsigned parent, const char *name, const struct stat *st,
                     uint32_t entry, GError **err)
{
    bool folder = S_ISDIR(st->st_mode);
    FatNode *n = g_new(FatNode, 1);

    *n = (FatNode){
        .name = g_strdup(name),
        .parent = parent,
        .path_len = *name ? tree_node(t, parent)->path_len + strlen(name) + 1 : 0,
        .size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
        .entries = folder ? g_byte_array_new() : NULL,
        .device = st->st_dev,
        .inode = st->st_ino,
        .entry = entry,
    };
    g_ptr_array_add(t->nodes, n);
    if (t->nodes->len > NODES_MAX)
        return err_set(err, E2BIG, "It has more than %d files and folders", NODES_MAX);
    return true;
}

/* Nothing is there, or a link that leads nowhere. */
static bool is_gone(int error)
{
    return error == ENOENT || error == ELOOP || error == ENOTDIR;
}

/* So is what we may not look at. */
static bool is_left_out(int error)
{
    return is_gone(error) || error == EACCES;
}

/* The file @name was found in folder @i, which is open as @fd. */
static bool folder_take(FatTree *t, unsigned i, int fd, const char *name, FatNames *names,
                        GError **err)
{
    GByteArray *entries = tree_node(t, i)->entries;
    bool limited = i == 0 && t->layout.root_sectors;
    struct stat st;
    uint32_t at;

    if (fstatat(fd, name, &st, 0) < 0)
        return is_left_out(errno) ||
               err_set_errno(err, errno, "Could not look at '%s' in it", name);
    if (S_ISDIR(st.st_mode) && leads_back(t, i, &st)) {
        t->leading_back++;
        return true;
    }
    if (tree_node(t, i)->path_len + strlen(name) + 1 > PATH_MAX)
        return err_set(err, ENAMETOOLONG, "Folders in it lie too deep: a name has more than %d "
                       "bytes", PATH_MAX - 1);
    if (!fat_entry_add(entries, names, name, &st, &at))
        t->without_long++;
    if (entries->len / FAT_ENTRY_LEN > (limited ? FAT_ROOT_ENTRIES : ENTRIES_MAX))
        return err_set(err, E2BIG, "A folder in it has too many files: names take more than %d "
                       "entries", limited ? FAT_ROOT_ENTRIES : ENTRIES_MAX);
    return node_add(t, i, name, &st, at, err);
}

static void folder_begin_below(FatNode *n, const struct stat *st, const struct stat *above)
{
    fat_entry_add_plain(n->entries, ".          ", FAT_FOLDER, st);
    fat_entry_add_plain(n->entries, "..         ", FAT_FOLDER, above);
}

/* The entries that a folder begins with: its disk's label, or itself and the one above. */
static bool folder_begin(FatTree *t, unsigned i, int fd, GError **err)
{
    FatNode *n = tree_node(t, i);
    struct stat st, above;

    if (i == 0) {
        fat_entry_add_plain(n->entries, t->layout.label, FAT_VOLUME | FAT_ARCHIVE, NULL);
        return true;
    }
    if (fstat(fd, &st) < 0 || fstatat(fd, "..", &above, 0) < 0)
        return err_set_errno(err, errno, "Could not look at a folder in it");
    folder_begin_below(n, &st, &above);
    return true;
}

static bool folder_read_all(FatTree *t, unsigned i, DIR *d, GError **err)
{
    int fd = dirfd(d);
    g_autoptr(FatNames) names = fat_names_new();
    const struct dirent *e;

    if (!folder_begin(t, i, fd, err))
        return false;
    while (errno = 0, (e = readdir(d)))
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
            !folder_take(t, i, fd, e->d_name, names, err))
            return false;
    return errno == 0 || err_set_errno(err, errno, "Could not read a folder in it");
}

static bool folder_read(FatTree *t, unsigned i, GError **err)
{
    FatNode *n = tree_node(t, i);
    g_autofree char *path = fat_tree_path(t, n);
    autofd int fd = openat(t->fd, *path ? path : ".",
                           O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    g_autoptr(Folder) d = fd < 0 ? NULL : fdopendir(fd);

    if (!d && i > 0 && is_gone(errno)) {   /* since it was found: an empty one */
        folder_begin_below(n, NULL, NULL);
        return true;
    }
    if (!d)
        return err_set_errno(err, errno, "Could not read the folder '%s' in it", path);
    fd_steal(&fd);               /* closed with @d */
    return folder_read_all(t, i, d, err);
}

/* Where each file and folder is, into its entry. */
static void tree_link(FatTree *t)
{
    for (unsigned i = 1; i < t->nodes->len; i++) {
        const FatNode *n = tree_node(t, i), *parent = tree_node(t, n->parent);

        fat_entry_set_content(parent->entries->data + n->entry, n->first, (uint32_t)n->size);
        if (n->entries) {
            fat_entry_set_content(n->entries->data, n->first, 0);
            fat_entry_set_content(n->entries->data + FAT_ENTRY_LEN,
                                  n->parent ? parent->first : 0, 0);
        }
    }
}

static bool tree_read_all(FatTree *t, GError **err)
{
    for (unsigned i = 0; i < t->nodes->len; i++) {
        FatNode *n = tree_node(t, i);
        bool in_clusters = i > 0 || !t->layout.root_sectors;

        if (n->entries && !folder_read(t, i, err))
            return false;
        if (in_clusters && !node_allocate(t, i, n->entries ? n->entries->len : n->size, err))
            return false;
    }
    tree_link(t);
    return true;
}

FatTree *fat_tree_read(const char *path, const FatLayout *layout, GError **err)
{
    g_autoptr(FatTree) t = g_new0(FatTree, 1);
    struct stat st;

    t->layout = *layout;
    t->nodes = g_ptr_array_new_with_free_func(node_free);
    t->runs = g_array_new(false, false, sizeof(unsigned));
    t->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    if (t->fd < 0 || fstat(t->fd, &st) < 0) {
        err_set_errno(err, errno, "Could not read directory '%s'", path);
        return NULL;
    }
    if (node_add(t, 0, "", &st, 0, err) && tree_read_all(t, err))
        return g_steal_pointer(&t);
    err_prefix(err, "Could not read directory '%s': ", path);
    return NULL;
}
