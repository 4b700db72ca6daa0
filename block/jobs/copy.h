/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The copying of jobs: one walk over a bitmap of what is still to be copied, several requests in
 * flight, bounded by memory and by the job's speed.
 *
 * One coroutine looks what a range is made of and hands out pieces; each piece is a coroutine that
 * reads and writes. All that happens on the loop where the nodes live: the job, on the main loop,
 * sends the walk there and takes over where it has to wait for its user. A piece holds its range in
 * @busy from before its bits are cleared until it is written, so whoever must not change a range
 * before it is copied waits there (copy_ahead), and two pieces never overlap. What reads as zeroes
 * is never read.
 */
#ifndef BLOCK_JOBS_COPY_H
#define BLOCK_JOBS_COPY_H

#include "block/internal.h"
#include "block/jobs/job.h"
#include "util/hbitmap.h"

typedef struct Copy Copy;

/* What suits most: pieces, and bytes, in flight. */
enum { COPY_WORKERS = 8, COPY_MEMORY = 16 << 20 };

typedef enum { COPY_DATA, COPY_ZERO, COPY_NOTHING } CopyKind;

/* How a job copies where it is not from @from to @to. Operations may be NULL. */
typedef struct {
    /* What is at @off; *@len is cut to what is alike. 0 or a negative errno. */
    CO int (*look)(Copy *c, uint64_t off, uint64_t *len, CopyKind *kind);
    /* Copies a piece. *@is_read: a failure is the source's. */
    CO int (*copy)(Copy *c, CopyKind kind, uint64_t off, uint64_t len, bool *is_read);
} CopyOps;

struct Copy {
    Job *job;               /* NULL: there is only copy_ahead */
    /* pieces are requests of this one; NULL: their parts are of @from and @to */
    Handle *gate;
    const CopyOps *ops;     /* NULL: the usual */
    void *opaque;           /* theirs */
    Handle *from, *to;
    /* with @skips_base: what only it and the layers below hold is left out */
    Node *base;
    bool skips_base;
    HBitmap *todo;          /* a bit for each granule; not owned */
    uint32_t granularity;   /* bytes, a power of two */
    uint64_t len;           /* bytes */
    uint64_t chunk;         /* most bytes of a piece of data, a multiple of @granularity */
    uint64_t memory;        /* most bytes of data in flight */
    unsigned workers;       /* most pieces in flight */
    ReqFlags write_flags;
    bool offload;           /* the host copies if it can; cleared when it turns out not to */
    bool target_has_old;    /* zeroes are written even where the target has zeroes */
    bool is_marked;         /* @todo has all that is to be copied at first; on the nodes' loop */
    bool gives_up;          /* what failed and is to be ignored is not tried again */
    BlockdevOnError on_read, on_write;

    /* internal: */
    RangeLock busy;
    unsigned pieces;        /* in flight */
    uint64_t bytes;         /* of data in flight */
    uint64_t undone;        /* bytes in flight, of any kind */
    CoQueue landed;         /* woken when one is not any more */
    _Atomic int error;      /* negative errno: what made it stop; set on the nodes' loop */
    int ignored;            /* the first failure that was not tried again */
    bool must_wait;         /* something failed and is tried again after a while */
    uint64_t left;          /* copy_left() at the end of the last pass */
};

/*
 * Bytes of a piece from @from to @to, a multiple of @granularity. Through the page cache short
 * pieces are fastest, which stay in the caches of the processor; with O_DIRECT each request takes
 * its time.
 */
uint64_t copy_chunk(const Node *from, const Node *to, uint32_t granularity);
/*
 * Goes once over all of @c. 0: each bit was seen, though some may be set again, see @left;
 * -ECANCELED: the job is to end; else the error that was not to be ignored. No piece is in flight
 * afterwards.
 */
CO int copy_pass(Copy *c);
/* Passes until there is nothing to do. */
CO int copy_all(Copy *c);
/*
 * Sets the bits of what a layer of @h's node above @base has, once. Those that others set
 * meanwhile, for what they write, stay. 0 or a negative errno.
 */
CO int copy_mark_above_base(Copy *c, Handle *h, Node *base);
/* Clears those of what no such layer has: for a source that stays as it is. */
CO int copy_leave_out_base(Copy *c, Handle *h, Node *base);
/*
 * Before [@off, @off + @len) changes: copies what of it is to be copied, past the pieces in flight.
 * @hold is held then, until range_release. 0 or a negative errno; then it is not held.
 */
CO int copy_ahead(Copy *c, uint64_t off, uint64_t len, RangeHold *hold);
/* Sets in @to the bits of all that is in flight. */
void copy_mark_in_flight(const Copy *c, HBitmap *to);
/* Bytes to be copied, in flight or not. On the loop of the nodes. */
uint64_t copy_left(const Copy *c);

#endif
