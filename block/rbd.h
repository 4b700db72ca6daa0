/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What module "rbd" gives to drivers: an image of a Ceph cluster, by librbd. */
#ifndef BLOCK_RBD_H
#define BLOCK_RBD_H

#include "block/server-file.h"
#include <glib.h>

/* An open image with its connection. Belongs to the loop it was opened on. */
typedef struct RbdImage RbdImage;

typedef enum { RBD_CRYPT_NONE, RBD_CRYPT_LUKS, RBD_CRYPT_LUKS2 } RbdCrypt;

/* All is copied by open. Texts may be NULL, but for pool and image: Ceph's default. */
typedef struct {
    const char *pool, *namespace, *image;
    const char *snapshot;           /* shown in place of the image, which is not to be written */
    const char *conf;               /* file of settings */
    const char *user;
    const char *monitors, *auth, *key;  /* settings mon_host, auth_client_required, key */
    char *const *settings;          /* names and values in turn; NULL-ended */
    RbdCrypt crypt;
    const char *passphrase;
    size_t passphrase_len;
    bool write;
    bool cached;                    /* writes may wait in this process for a sync */
} RbdConfig;

typedef struct {
    uint64_t size;
    unsigned order;                 /* log2 of the size of its objects; 0: the cluster's default */
    bool aes_128;                   /* the cipher of its encryption; else AES-256 */
} RbdNew;

typedef struct {
    uint64_t size;
    uint64_t object_size;
    bool has_extents;               /* .extent may know more than that all is data */
} RbdFound;

typedef struct {
    char *name;
    uint64_t size;
} RbdSnapshot;

typedef enum {
    RBD_SNAPSHOT_CREATE, RBD_SNAPSHOT_REMOVE,
    RBD_SNAPSHOT_ROLLBACK,          /* the image gets its content and size */
} RbdSnapshotAction;

/* 0 or a negative errno. */
typedef struct {
    CO RbdImage *(*open)(const RbdConfig *config, RbdFound *found, GError **err);
    /* It must not be there yet. */
    CO bool (*create)(const RbdConfig *config, const RbdNew *new, GError **err);
    ServerFileOps file;
    /* Makes zeroes; without @may_unmap what they take stays allocated. */
    CO int (*zero)(RbdImage *f, uint64_t off, uint64_t len, bool may_unmap);
    CO int (*discard)(RbdImage *f, uint64_t off, uint64_t len);
    /* *@run: how far from @off on all is data, or none is and reads as zeroes; at most @len. */
    CO int (*extent)(RbdImage *f, uint64_t off, uint64_t len, uint64_t *run, bool *data);
    /* Caller frees with .free_snapshots. */
    CO int (*snapshots)(RbdImage *f, RbdSnapshot **list, size_t *count);
    void (*free_snapshots)(RbdSnapshot *list, size_t count);
    /* *@size: bytes of the image after it. */
    CO int (*act)(RbdImage *f, RbdSnapshotAction action, const char *name, uint64_t *size);
} RbdModule;

#endif
