/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What module "nfs" gives to drivers: a file on a server of NFS version 3, by libnfs. */
#ifndef BLOCK_NFS_H
#define BLOCK_NFS_H

#include "block/server-file.h"
#include <glib.h>

/* An open file with its connection. Belongs to the loop it was opened on. */
typedef struct NfsFile NfsFile;

/* All is copied by open. 0 stands for libnfs's default. */
typedef struct {
    const char *host;          /* name or number */
    const char *path;          /* export, folders and file; begins with '/' */
    const int *user, *group;   /* NULL: those of this process */
    unsigned tcp_syn_count;    /* tries of TCP to connect; 0: the system's */
    unsigned debug;            /* how much libnfs tells on standard error */
    bool write, create;        /* create: an empty file in place of what is there */
    unsigned timeout_s;        /* without an answer while one is due; then all fails */
} NfsConfig;

typedef struct {
    /* NULL with @err. */
    CO NfsFile *(*open)(const NfsConfig *config, uint64_t *size, GError **err);
    /* After a failed .sync all calls fail with -EIO: the server may have lost some writes. */
    ServerFileOps file;
    /* Bytes that the file takes on the server, as far as answers have told. */
    uint64_t (*allocated)(NfsFile *f);
} NfsModule;

#endif
