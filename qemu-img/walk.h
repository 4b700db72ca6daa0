/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A walk over images by several workers: what convert, compare, rebase and their like have in
 * common.
 *
 * Workers are coroutines that share a cursor over a range of bytes. Each takes the next piece and
 * works on it while the others work on theirs. Pieces are looked at one at a time,
 * in the order of offsets, and handed out in that order; a worker that has to start something in
 * that order, too, waits for its turn. In flight are at most as many pieces as there are workers,
 * each with a buffer of its own.
 *
 * What is found (a failure, or what was looked for) stops the walk. Pieces in flight still end, but
 * those that wait for their turn do not start what they wait for. Of several findings the one that
 * stays is the one with the lowest offset.
 */
#ifndef QEMU_IMG_WALK_H
#define QEMU_IMG_WALK_H

#include "io/co-lock.h"
#include "util/span.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct Walk Walk;

typedef struct {
    unsigned kind;       /* its user's */
    uint64_t off, len;   /* bytes */
    uint64_t number;     /* in the order of offsets, among those not left out */
    Aligned *buf;        /* of the worker, see walk_buffer */
} WalkPiece;

/* Those marked so may be NULL. */
typedef struct {
    /*
     * Sets kind and length (not 0) of the piece that begins at @p->off. False: it is left out, and
     * does not count for the progress. One call at a time. What fails calls walk_stop.
     */
    CO bool (*look)(Walk *w, WalkPiece *p);
    /* Works on @p, until nothing of it is in flight. What fails calls walk_stop. */
    CO void (*work)(Walk *w, WalkPiece *p);
    /* Tells how far it has come, after a piece that was worked on. */
    void (*show)(const Walk *w);
    /* The cursor came to the end: sets @w->end if there is more now. May be NULL. */
    CO void (*grow)(Walk *w);
    /* The walk was stopped: wakes who waits in work for what will not come. May be NULL. */
    void (*stopped)(Walk *w);
} WalkOps;

/* What stopped a walk; the numbers of its user's reasons begin at WALK_OWN. */
enum { WALK_NOT_STOPPED, WALK_INTERRUPTED, WALK_OWN };

typedef struct {
    unsigned what;
    uint64_t at;         /* bytes */
    int error;           /* negative errno; 0: none */
    unsigned side;       /* which image, as its user counts them */
} WalkStop;

struct Walk {
    const WalkOps *ops;
    void *opaque;        /* theirs */
    uint64_t next, end;  /* bytes: the cursor, and where it ends */
    unsigned workers;    /* at most; fewer when the memory that we may use is small */
    uint64_t room;       /* bytes of a worker's buffer */
    uint64_t memory;     /* bytes that a worker takes in all, its buffer included */
    bool any_order;      /* nobody waits for a turn */

    uint64_t done;       /* bytes of pieces that were worked on */
    WalkStop stop;

    /* internal: */
    CoMutex looking;
    uint64_t handed;     /* pieces handed out so far */
    uint64_t turn;       /* number of the piece that may start */
    CoQueue turns;
};

/* Walks from @w->next to @w->end, or until it is stopped; @w->stop says which. */
CO void walk_run(Walk *w);
/* Stops the walk because of @what, an own reason, unless something lies before @at that did. */
void walk_stop(Walk *w, unsigned what, uint64_t at, int error, unsigned side);
/* True once it is stopped, which a signal that tool_watch_interrupts watches for does, too. */
bool walk_is_stopped(Walk *w);

/* Waits until those before @p have passed their turn on. False: the walk is stopped. */
CO bool walk_await_turn(Walk *w, const WalkPiece *p);
/* Who has the turn has started what had to be in order: it is the next one's once we suspend. */
void walk_pass_turn(Walk *w);
/* @w->room bytes, which the worker keeps for its next pieces. NULL: no memory. */
void *walk_buffer(const Walk *w, WalkPiece *p);

#endif
