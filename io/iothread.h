/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Objects iothread: threads with a loop of their own. Main loop only. */
#ifndef IO_IOTHREAD_H
#define IO_IOTHREAD_H

#include "io/loop.h"

typedef struct IoThread IoThread;

/* The object called @id, NULL if there is none. */
IoThread *iothread_find(const char *id);
Loop *iothread_loop(const IoThread *t);
/* Its thread, which ends with the last reference to it (io/loop.h), maybe after the object. */
LoopThread *iothread_thread(const IoThread *t);
/* Between these two, for each user, @t cannot be deleted. */
void iothread_use(IoThread *t);
void iothread_drop(IoThread *t);

#endif
