/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest tells of its free memory while it is migrated, which need not be sent: virtio 1.2,
 * 5.5.6.5 "Free Page Hinting".
 *
 * The device asks with a command, the number of a round. The driver answers with that number, then
 * with pages that it keeps unused until the device is done; should it need one earlier, it writes
 * to it first. A hint is therefore good until written pages are looked for: what was hinted is
 * taken before that, and a new round begins, in which hints of the last one are not heard any more.
 *
 * All with the machine's lock held.
 */
#ifndef BALLOON_HINTS_H
#define BALLOON_HINTS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Commands that are no rounds. */
enum { HINTS_STOP = 0, HINTS_DONE = 1, HINTS_FIRST_ROUND = 2 };

/* Pages [first, first + count) of the guest's memory. */
typedef struct {
    uint64_t first, count;
} HintRun;

typedef struct {
    uint32_t command;  /* what the driver is told */
    uint32_t round;    /* the last one; 0: there was none */
    bool is_answering; /* the driver has sent the number of the round under way */
    GArray *runs;      /* of HintRun: what has not been taken */
    uint64_t pages;    /* of the guest's memory */
    uint64_t left;     /* most pages that are heard of before hints are taken again */
} BalloonHints;

/* For a guest with so many @pages of memory. */
void hints_init(BalloonHints *h, uint64_t pages);
void hints_clear(BalloonHints *h);

/* Begins a round, as .command says. */
void hints_begin_round(BalloonHints *h);
/* Ends it. @command, HINTS_STOP or HINTS_DONE, says whether another one may follow. */
void hints_end_round(BalloonHints *h, uint32_t command);

/* The driver sends a number, which begins or ends its answer. */
void hints_take_number(BalloonHints *h, uint32_t number);
/*
 * The driver, which is answering, does not use these pages. Bounded: when too many runs, or more
 * pages than there are, have not been taken, some are left out. They are sent, that is all.
 */
void hints_add(BalloonHints *h, uint64_t first, uint64_t count);
/* Calls @fn for each run that has come since the last time. */
void hints_take(BalloonHints *h, void (*fn)(void *opaque, uint64_t first, uint64_t count),
                void *opaque);

#endif
