/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of disks while they are under way, and what becomes of their errors: the guest is told,
 * or it is stopped, they rest, and are tried again when it goes on.
 */
#ifndef HW_VIRTIO_DISK_WORK_H
#define HW_VIRTIO_DISK_WORK_H

#include "block/block.h"
#include "gen/schema.h"
#include "io/co-lock.h"
#include "system/base/device.h"
#include "system/base/lock.h"

typedef struct {
    /* Properties werror and rerror; NULL: the default. */
    char *on_write, *on_read;

    MachineCond *idle;   /* woken when nothing is in flight any more */
    unsigned in_flight;  /* with the lock held */
    CoQueue resting;     /* failed requests that wait for the guest to go on; main loop only */
    bool ending;
} DiskWork;

bool disk_work_init(DiskWork *w, GError **err);
void disk_work_free(DiskWork *w);

/* ---- with the lock held ---------------------------------------------------------------------- */

static inline void disk_work_enter(DiskWork *w)
{
    w->in_flight++;
}

void disk_work_leave(DiskWork *w);
/*
 * Waits until nothing is in flight; limits of @h hold up no request meanwhile. Requests that rest
 * stay.
 */
void disk_work_wait(DiskWork *w, Handle *h);
/* Lets requests that rest go on: they are in flight again. Main loop. */
void disk_work_resume(DiskWork *w, Board *b);

/* ---- main loop, without the lock ------------------------------------------------------------- */

/* The same. */
CO void disk_work_drain(DiskWork *w, Handle *h);
/* Ends: those that rest give up, all have ended. */
CO void disk_work_end(DiskWork *w, Board *b, Handle *h);

/*
 * What becomes of the error *@r of a request, which is in flight, of @d on @h. True: it is to be
 * tried again, now that the guest goes on, unless a reset has forgotten it. False: *@r, maybe 0
 * now, is its result.
 */
CO bool disk_work_retry(DiskWork *w, Device *d, Handle *h, bool is_read, int *r);

#endif
