/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A mount and its requests, for the two files of this module. */
#ifndef FUSE_MODULES_FUSE_INTERNAL_H
#define FUSE_MODULES_FUSE_INTERNAL_H

#define FUSE_USE_VERSION 312

#include "fuse/fuse.h"
#include "io/channel.h"
#include "io/co-lock.h"
#include "io/iothread.h"
#include "io/loop.h"
#include <fuse_lowlevel.h>

/* Bytes of the longest read or write. */
enum { FUSE_DATA_MAX = 1 << 20 };

/* A request, from where it is received to its answer. */
typedef struct FuseTask {
    FuseFile *file;
    struct FuseTask *next;  /* of spare ones */
    char *memory;
    char *data;             /* FUSE_DATA_MAX bytes, aligned to pages: of a write, or for a read */
    /* where requests are received: headers end, and data begins, at @data */
    char *request;
    size_t len;             /* bytes received */
} FuseTask;

/*
 * The first part belongs to the loop that mounted it, the rest to the one where requests are
 * served, which changes only while none is under way.
 */
struct FuseFile {
    FuseConfig config;      /* constant */
    char *path;
    struct fuse_session *session;
    Loop *own;              /* that mounted it */
    Loop *at;               /* where it is served */
    LoopThread *wanted;     /* where it is to be; NULL: on @own */
    GPtrArray *threads;     /* of LoopThread, references: where it or its node may have been since
                             * it last paused */
    bool runs;              /* serve() does */
    bool is_pausing;        /* it has been told to pause, or the telling is on its way */
    bool stopping;
    Mail pause, paused;     /* to serve(), and back when it has ended */
    CoQueue rest;           /* woken when neither of the two is so any more */

    Channel *channel;       /* what the kernel sends comes out of it */
    bool must_pause;
    bool ended;             /* by the kernel */
    mode_t mode;            /* type and permissions; users may change them for as long as we live */
    uid_t uid;
    gid_t gid;
    unsigned n_tasks;       /* under way */
    CoQueue less;           /* woken when that has become less */
    FuseTask *spare;
    unsigned n_spare;
    FuseTask *entered;      /* the task that libfuse was called for last */
    CoMutex growth;         /* held while the image changes its size for a request */
};

extern const struct fuse_lowlevel_ops fuse_ops;

#endif
