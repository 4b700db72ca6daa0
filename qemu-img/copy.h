/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copying the content of images into another: what convert and dd do once everything is open; and
 * reading it for its digest.
 *
 * A walk (walk.h) over the input: each worker reads its piece and writes it; what the extents of
 * the input call zero is never read. Writes start in the order of the input unless told otherwise,
 * so that new clusters of the target lie in that order, but they overlap.
 */
#ifndef QEMU_IMG_COPY_H
#define QEMU_IMG_COPY_H

#include "qemu-img/plausible.h"
#include "block/block.h"
#include "qemu-img/digest.h"
#include "qemu-img/walk.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    Handle *h;
    const char *name;       /* as the user gave it */
    uint64_t start, len;    /* where it lies in the input, bytes */
    uint64_t from;          /* bytes of the image that are left out before it */
    /* internal: what the input is made of from some offset up to @known */
    Extent extent;
    uint64_t asked;      /* length of the last question after one that failed; 0: none has */
    uint64_t known;
    Plausible plausible;
} CopySource;

/* What failed; COPY_FAILED: anything else. */
typedef enum {
    COPY_FAILED = WALK_OWN,
    COPY_LOOK_FAILED,
    COPY_READ_FAILED,
    COPY_WRITE_FAILED,
} CopyFailure;

typedef struct CopyJob CopyJob;
struct CopyJob {
    CopySource *sources;    /* one after the other they are the input */
    unsigned nsources;
    uint64_t len;           /* of the input; the target is at least as long */
    Handle *target;         /* NULL: nothing is written, the digest is what is wanted */
    const char *target_name;
    Digest *digest;         /* gets the input as it is copied; NULL: not wanted */
    /*
     * With a backing file below the target: the node of the (only) source whose content that
     * file has. What the layers above @base do not hold is left out. @base may be the target
     * itself, as long as it is at least as long. NULL: everything is copied.
     */
    Node *base;
    uint64_t backing_len;   /* bytes of the target's backing file */
    bool target_is_zero;    /* it reads as zeroes before we begin */
    bool write_all;         /* what is known to be zero is written as data too */
    uint64_t min_sparse;    /* zeroes in data for so many bytes become a hole; 0: never */
    bool fine;              /* write no byte that need not be, even inside clusters of the target */
    bool compress;
    bool any_order;         /* writes may start in any order */
    bool offload;           /* let the host copy where it can, without looking for zeroes */
    bool share;             /* where the file system can, data shares the space of the source */
    bool salvage;           /* what cannot be read becomes zeroes */
    bool quiet;             /* about what was salvaged */
    unsigned workers;
    uint64_t rate;          /* bytes a second to write at most; 0: no limit */
    /*
     * Makes the input longer by what follows @len, and the target with it; NULL: @len is all. 0, or
     * a negative errno with what failed in *@what.
     */
    CO int (*grow)(CopyJob *job, CopyFailure *what);
    uint64_t read, to_read; /* how far that has come, in bytes of the source's file */
};

/* Copies. Shows progress. False: complained, and the target is incomplete. */
CO bool copy_run(CopyJob *job);

#endif
