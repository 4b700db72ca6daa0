/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of qemu-img convert share. */
#ifndef QEMU_IMG_CONVERT_H
#define QEMU_IMG_CONVERT_H

#include "block/block.h"
#include "qemu-img/copy.h"
#include "qemu-img/platform.h"

typedef struct {
    const char *source_format, *source_cache, *snapshot;
    const char *format, *target_cache, *backing, *backing_format;
    const char *sparse, *rate, *workers, *progress, *hash, *expect, *untrusted, *platform;
    GArray *options;
    bool image_opts, target_image_opts, no_create, target_is_zero, compress, bitmaps, skip_broken,
        offload, any_order, salvage, force_share, quiet;
} ConvertArgs;

typedef struct {
    const ConvertArgs *args;
    const Platform *platform; /* NULL: any */
    CopyJob job;
    const char *format;      /* of the target */
    OpenFlags source_flags, target_flags;
    json_t *opts;            /* create options */
    bool has_backing;        /* the target has a backing file */
    bool to_pipe;            /* the target is standard output */
    uint64_t pipe_end;       /* bytes of it in all */
} Convert;

/* Makes the target @name, or opens it, after the sources. False: complained. */
CO bool convert_open_target(Convert *c, const char *name);
/* Decides how to copy: what the target has already, and how it wants what it has not. */
CO void convert_plan(Convert *c);

#endif
