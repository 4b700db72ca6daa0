/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How commands start the kinds of jobs. Nodes are those that the command named, all checks are done
 * here.
 */
#ifndef BLOCK_JOBS_KINDS_H
#define BLOCK_JOBS_KINDS_H

#include "block/dirty.h"
#include "block/jobs/job.h"

typedef struct {
    JobArgs job;
    Node *source, *target;
    const char *replaces;       /* NULL: @source */
    const char *filter_name;    /* NULL: ours to choose */
    MirrorSyncMode sync;
    MirrorCopyMode copy_mode;
    uint32_t granularity;       /* bytes, 0: ours to choose */
    int64_t memory;             /* bytes in flight, 0: ours to choose */
    BlockdevOnError on_read, on_write;
    const char *resume;         /* persistent bitmap that says what is to be copied; NULL: none */
} MirrorArgs;

CO bool mirror_start(const MirrorArgs *args, GError **err);

typedef struct {
    JobArgs job;
    Node *active;               /* the top of the chain */
    /* what @top and the layers down to above @base hold goes into @base */
    Node *top, *base;
    const char *backing_file;   /* name of @base for the layer above @top; NULL: its own */
    const char *filter_name;
    BlockdevOnError on_error;
} CommitArgs;

/* Into the backing file of an image that is in use; like a mirror, it is completed by command. */
CO bool commit_active_start(const CommitArgs *args, GError **err);
CO bool commit_start(const CommitArgs *args, GError **err);

typedef struct {
    JobArgs job;
    Node *node;
    Node *base;                 /* stays the backing file; NULL: nothing does */
    Node *bottom;               /* the last layer that is copied */
    const char *backing_file;   /* name of @base to be stored; NULL: its own */
    const char *filter_name;
    BlockdevOnError on_error;
} StreamArgs;

CO bool stream_start(const StreamArgs *args, GError **err);

typedef struct {
    JobArgs job;
    Node *source, *target;
    MirrorSyncMode sync;
    DirtyBitmap *bitmap;        /* NULL: none */
    BitmapSyncMode bitmap_mode;
    bool compress, offload;
    const char *filter_name;
    unsigned workers;           /* 0: ours to choose */
    uint64_t chunk;             /* most bytes of a request, 0: ours to choose */
    BlockdevOnError on_read, on_write;
} BackupArgs;

/*
 * Adds to @edit what begins a backup, whose target will show what the source has at that moment.
 * Then the job is to be started; if *@ok is false or the edit fails, it is to be dropped after the
 * edit was freed. NULL with @err: there is none.
 */
CO Job *backup_new(const BackupArgs *args, Edit *edit, bool *ok, GError **err);

/* @options: a BlockdevCreateOptions. */
CO bool create_start(const char *id, json_t *options, GError **err);
/* @options: a BlockdevAmendOptions for @n. */
CO bool amend_start(const char *id, Node *n, json_t *options, bool force, GError **err);

/* Makes the file of image @n as short as what is in it. */
CO bool compact_start(const JobArgs *args, Node *n, GError **err);

#endif
