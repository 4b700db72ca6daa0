/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waiting for each other: locks for critical sections that contain a suspending call.
 *
 * All belong to one loop (the one whose coroutines use them), are fair (first come, first served),
 * need no destruction, and may be initialised by zeroing.
 */
#ifndef IO_CO_LOCK_H
#define IO_CO_LOCK_H

#include "io/co.h"
#include <glib.h>

/* A list of waiting coroutines. */
typedef struct CoWaiter CoWaiter;
typedef struct {
    CoWaiter *head, *tail;
} CoQueue;

CO void co_queue_wait(CoQueue *q);          /* suspends until woken through @q */
bool co_queue_wake_one(CoQueue *q);         /* false if nobody waits */
void co_queue_wake_all(CoQueue *q);
bool co_queue_is_empty(const CoQueue *q);

typedef struct {
    bool locked;
    CoQueue waiters;
} CoMutex;

CO void co_mutex_lock(CoMutex *m);
void co_mutex_unlock(CoMutex *m);           /* hands the lock to the first waiter */

/* Waits on @q with @m released; holds @m again on return. */
CO void co_queue_wait_unlocked(CoQueue *q, CoMutex *m);

typedef struct {
    int readers;                            /* -1: a writer */
    CoQueue waiters;
} CoRwLock;

CO void co_rwlock_rdlock(CoRwLock *l);
CO void co_rwlock_wrlock(CoRwLock *l);
void co_rwlock_unlock(CoRwLock *l);

typedef struct {
    unsigned free;
    CoQueue waiters;
} CoSemaphore;

void co_semaphore_init(CoSemaphore *s, unsigned free);
CO void co_semaphore_take(CoSemaphore *s);
void co_semaphore_give(CoSemaphore *s);

/* Counts running children so that a parent can wait for all of them. */
typedef struct {
    unsigned running;
    CoQueue waiters;
} CoGroup;

/* Starts @fn(@arg) as a member: the group knows when it returns. */
void co_group_start(CoGroup *g, CoFn *fn, void *arg);
CO void co_group_wait(CoGroup *g);          /* until no member runs */

static inline void co_mutex_guard_cleanup(CoMutex **m)
{
    co_mutex_unlock(*m);
}

static inline CoMutex *co_mutex_guard(CoMutex *m)
{
    co_mutex_lock(m);
    return m;
}

/* Holds @m until the end of the enclosing block. */
#define CO_LOCKED(m)                                                                               \
    __attribute__((cleanup(co_mutex_guard_cleanup), unused))                                       \
    CoMutex *G_PASTE(co_locked_, __LINE__) = co_mutex_guard(m)

#endif
