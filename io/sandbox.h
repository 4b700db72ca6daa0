/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A sandbox for work on images nobody vouches for: from now on this process can use what it has open
 * and compute, and nothing else. No file can be opened, nothing connected to, nothing executed.
 */
#ifndef IO_SANDBOX_H
#define IO_SANDBOX_H

#include <glib.h>
#include <stdbool.h>

typedef struct {
    bool files;    /* the kernel lets no path be opened (Landlock) */
    bool calls;    /* only harmless system calls pass (seccomp) */
    char *missing; /* what this kernel lacks, in words; NULL: nothing. Caller frees. */
} Sandbox;

/*
 * Call it first: forbids io_uring, whose operations no filter sees, and loads what sandbox_enter
 * needs, since later no library can be opened. False with @err.
 */
bool sandbox_prepare(GError **err);

/*
 * Shuts this thread and all later ones in. Call it when everything that will be used is open and no
 * job is in the pool, whose threads it ends; false with @err if there are other threads, or if the
 * kernel refuses what it has. What the kernel lacks is told in @box.
 */
bool sandbox_enter(Sandbox *box, GError **err);

#endif
