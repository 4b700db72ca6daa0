/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Worker threads for what would block or burn a CPU: at most 64 and what the memory allows, started
 * on demand, ended when idle for ten seconds and at exit. One pool per process.
 */
#ifndef IO_POOL_H
#define IO_POOL_H

#include "io/co.h"

/* Runs @fn(@arg) in a worker and returns its result; the calling loop goes on meanwhile. */
CO int pool_run(int (*fn)(void *arg), void *arg);

/*
 * The same for work that only computes: no more of these run at once than there are CPUs, or four
 * (but no more than two for each CPU).
 */
CO int pool_compute(int (*fn)(void *arg), void *arg);

/* Ends all workers; no job may be queued or running. The next job starts new ones. */
void pool_dismiss(void);

/* CPUs this process may use, at least 1, and no more than its memory allows (io/memory.h). */
unsigned pool_cpus(void);

#endif
