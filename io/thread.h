/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting threads that leave signals to the main thread. */
#ifndef IO_THREAD_H
#define IO_THREAD_H

#include <pthread.h>

/*
 * Starts a thread with all signals blocked. @name: at most 15 bytes count. 0 or a positive errno.
 */
int thread_start(pthread_t *t, const char *name, void *(*fn)(void *arg), void *arg);

#endif
