/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks of coroutines. Who releases passes the lock to the first waiter before that one runs, so
 * nobody can overtake.
 */
#include "io/internal.h"

/* On the stack of the one who waits. */
struct CoWaiter {
    Co *co;
    CoWaiter *next;
    bool writer; /* rwlock */
};

static void queue_wait(CoQueue *q, bool writer)
{
    CoWaiter w = { .co = co_self(), .writer = writer };

    if (q->tail)
        q->tail->next = &w;
    else
        q->head = &w;
    q->tail = &w;
    co_block();
}

void co_queue_wait(CoQueue *q)
{
    queue_wait(q, false);
}

bool co_queue_wake_one(CoQueue *q)
{
    CoWaiter *w = q->head;

    if (!w)
        return false;
    q->head = w->next;
    if (!q->head)
        q->tail = NULL;
    co_unblock(w->co);
    return true;
}

void co_queue_wake_all(CoQueue *q)
{
    while (co_queue_wake_one(q))
        ;
}

bool co_queue_is_empty(const CoQueue *q)
{
    return !q->head;
}

void co_mutex_lock(CoMutex *m)
{
    if (m->locked)
        co_queue_wait(&m->waiters);
    m->locked = true;
}

void co_mutex_unlock(CoMutex *m)
{
    g_assert(m->locked);
    if (!co_queue_wake_one(&m->waiters))
        m->locked = false;
}

void co_queue_wait_unlocked(CoQueue *q, CoMutex *m)
{
    co_mutex_unlock(m);
    co_queue_wait(q);
    co_mutex_lock(m);
}

void co_rwlock_rdlock(CoRwLock *l)
{
    if (l->readers < 0 || l->waiters.head)
        queue_wait(&l->waiters, false);
    else
        l->readers++;
}

void co_rwlock_wrlock(CoRwLock *l)
{
    if (l->readers || l->waiters.head)
        queue_wait(&l->waiters, true);
    else
        l->readers = -1;
}

void co_rwlock_unlock(CoRwLock *l)
{
    CoWaiter *w;

    g_assert(l->readers);
    l->readers = l->readers < 0 ? 0 : l->readers - 1;
    while ((w = l->waiters.head) && !w->writer && l->readers >= 0) {
        l->readers++;
        co_queue_wake_one(&l->waiters);
    }
    if (w && w->writer && !l->readers) {
        l->readers = -1;
        co_queue_wake_one(&l->waiters);
    }
}

void co_semaphore_init(CoSemaphore *s, unsigned free)
{
    *s = (CoSemaphore){ .free = free };
}

void co_semaphore_take(CoSemaphore *s)
{
    if (s->free)
        s->free--;
    else
        co_queue_wait(&s->waiters);
}

void co_semaphore_give(CoSemaphore *s)
{
    if (!co_queue_wake_one(&s->waiters))
        s->free++;
}

void co_group_start(CoGroup *g, CoFn *fn, void *arg)
{
    g->running++;
    loop_start_co(loop_here(), fn, arg)->group = g;
}

void co_group_leave(CoGroup *g)
{
    if (--g->running == 0)
        co_queue_wake_all(&g->waiters);
}

void co_group_wait(CoGroup *g)
{
    while (g->running)
        co_queue_wait(&g->waiters);
}
