/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A mount and its requests, for the two files of this module. */
#ifndef FUSE_MODULES_FUSE_INTERNAL_H
#define FUSE_MODULES_FUSE_INTERNAL_H

#define FUSE_USE_VERSION 312

#include "fuse/fuse.h"
#include "io/channel.h"
#include "io/co-lock.h"
#include <fuse_lowlevel.h>

/* Bytes of the longest read or write. */
enum { FUSE_DATA_MAX = 1 << 20 };

/* A request, from where it is received to its answer. */
typedef struct FuseTask {
    FuseFile *file;
    struct FuseTask *next;  /* of spare ones */
    char *memory;
    char *data;             /* FUSE_DATA_MAX bytes, aligned to pages: of a write, or for a read */
    char *request;          /* where requests are received: headers end, and data begins, at @data */
    size_t len;             /* bytes received */
} FuseTask;

struct FuseFile {
    FuseConfig config;
    char *path;
    struct fuse_session *session;
    Channel *channel;       /* what the kernel sends comes out of it */
    mode_t mode;            /* type and permissions; users may change them for as long as we live */
    uid_t uid;
    gid_t gid;
    bool stopping;
    CoGroup receiver;
    unsigned n_tasks;       /* under way */
    CoQueue less;           /* woken when that has become less */
    FuseTask *spare;
    unsigned n_spare;
    FuseTask *entered;      /* the task that libfuse was called for last */
    CoMutex growth;         /* held while the image changes its size for a request */
};

extern const struct fuse_lowlevel_ops fuse_ops;

#endif
