/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A sandbox for work on images nobody vouches for: from now on this process can use what it has
 * open and compute, and nothing else. No file can be opened, nothing connected to, nothing
 * executed.
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
 * What this kernel lacks: "Landlock", without which paths can be opened but for the filter of
 * system calls, "seccomp", that filter, or both, in words; NULL: nothing. After sandbox_prepare.
 */
const char *sandbox_missing(void);

/*
 * Shuts this thread and all later ones in. Call it when everything that will be used is open and no
 * job is in the pool, whose threads it ends; false with @err if there are other threads, or if the
 * kernel refuses what it has. What it lacks is left out.
 */
bool sandbox_enter(GError **err);

/*
 * The light sandbox of a process that goes on opening files and sockets: system calls that none of
 * its work needs are refused with EPERM, in all threads, now and later, and in what it starts.
 */
typedef enum {
    SANDBOX_OBSOLETE = 1,       /* calls that newer ones have replaced */
    SANDBOX_PRIVILEGES = 2,     /* becoming another user, or getting capabilities */
    SANDBOX_SPAWN = 4,          /* new processes and programs; threads are free */
    SANDBOX_RESOURCES = 8,      /* priorities of threads, and the processors and memory they use */
} SandboxKind;

/*
 * Forbids the calls of @kinds, and always those that change the whole host: mounts, the clock, its
 * name, kernel modules, swap, reboot. May be called again for more. False with @err, and where the
 * kernel has no filters of system calls.
 */
bool sandbox_forbid(unsigned kinds, GError **err);

#endif
