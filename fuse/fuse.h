/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What module "fuse" gives to this room: images as files, by libfuse. Nobody else includes this. */
#ifndef FUSE_FUSE_H
#define FUSE_FUSE_H

#include "block/block.h"

/*
 * An image that is shown as a file. Belongs to the loop that mounted it, though requests may be
 * served on another.
 */
typedef struct FuseFile FuseFile;

typedef enum { FUSE_OTHERS_AUTO, FUSE_OTHERS_ON, FUSE_OTHERS_OFF } FuseOthers;

typedef struct {
    const char *path;     /* absolute, of the regular file that the mount covers */
    Handle *handle;       /* stays the caller's, open until fuse_unmount has returned */
    bool writable;
    bool growable;        /* writes past the end make the image longer */
    FuseOthers others;    /* may other users than ours look at it? AUTO: if the system lets them */
    /* The kernel has ended it without us: somebody unmounted it. unmount is still to be called. */
    void (*ended)(void *opaque);
    void *opaque;
} FuseConfig;

typedef struct {
    /* NULL with @err. */
    CO FuseFile *(*mount)(const FuseConfig *config, GError **err);
    /*
     * Requests are to be served on the loop of @thread; NULL: on the one that mounted it. They go
     * there when those under way have been answered. Does not suspend, and may be called until
     * unmount returns.
     */
    void (*follow)(FuseFile *f, IoThread *thread);
    /* Waits for requests under way; those that come later, and all open files, see ENOTCONN. */
    CO void (*unmount)(FuseFile *f);
} FuseModule;

#endif
