/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A folder of this machine as the clusters of a FAT disk: which file each one belongs to, and what
 * the disk's folders hold. Contents of files stay where they are.
 */
#ifndef BLOCK_PROTOCOLS_VVFAT_TREE_H
#define BLOCK_PROTOCOLS_VVFAT_TREE_H

#include "block/protocols/vvfat/layout.h"
#include <glib.h>
#include <sys/types.h>

typedef struct {
    char *name;             /* in its folder */
    unsigned parent;        /* index of the folder */
    unsigned path_len;      /* bytes of fat_tree_path and its 0; the root folder: 0 */
    uint32_t first;         /* cluster; 0: has none */
    uint32_t clusters;
    uint64_t size;          /* bytes of a file when the folder was read */
    GByteArray *entries;    /* of a folder; NULL: a file */
    dev_t device;           /* with @inode: which file or folder it is */
    ino_t inode;
    uint32_t entry;         /* bytes of the parent's entries before its own */
} FatNode;

typedef struct {
    int fd;                 /* of the folder */
    FatLayout layout;
    GPtrArray *nodes;       /* of FatNode; the first is the folder itself */
    GArray *runs;           /* of unsigned: those that have clusters, in the order of these */
    uint32_t used;          /* clusters */
    unsigned without_long;  /* names that are not UTF-8 */
    unsigned leading_back;  /* links to a folder that they lie in: left out */
} FatTree;

/*
 * Reads the folder @path for a disk laid out as @layout. Waits for the file system; any thread.
 * NULL with @err if it cannot be read, or does not fit.
 */
FatTree *fat_tree_read(const char *path, const FatLayout *layout, GError **err);
void fat_tree_free(FatTree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FatTree, fat_tree_free)

/* The root folder of the disk. */
const FatNode *fat_tree_root(const FatTree *t);
/* Whose cluster @cluster is; NULL: it is free. */
const FatNode *fat_tree_find(const FatTree *t, uint32_t cluster);
/* Name of @n below the folder. The caller frees. */
char *fat_tree_path(const FatTree *t, const FatNode *n);

#endif
