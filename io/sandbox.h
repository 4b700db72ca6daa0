/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A sandbox for work on images nobody vouches for: from now on this process can use what it has open
 * and compute, and nothing else. No file can be opened, nothing connected to, nothing executed.
 */
#ifndef IO_SANDBOX_H
#define IO_SANDBOX_H

#include <glib.h>
#include <stdbool.h>

/*
 * Call it first: forbids io_uring, whose operations no filter sees, and loads what sandbox_enter
 * needs, since later no library can be opened. False with @err.
 */
bool sandbox_prepare(GError **err);

/*
 * What this kernel lacks: "Landlock", without which paths can be opened but for the filter of system
 * calls, "seccomp", that filter, or both, in words; NULL: nothing. After sandbox_prepare.
 */
const char *sandbox_missing(void);

/*
 * Shuts this thread and all later ones in. Call it when everything that will be used is open and no
 * job is in the pool, whose threads it ends; false with @err if there are other threads, or if the
 * kernel refuses what it has. What it lacks is left out.
 */
bool sandbox_enter(GError **err);

#endif
