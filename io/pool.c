/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Worker threads: one pool per process, with a queue for what may block and one for what computes.
 * The record of a job lives on the stack of the coroutine that waits for it.
 */
#include "io/pool.h"
#include "io/internal.h"
#include "io/memory.h"
#include "io/thread.h"
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <time.h>

enum { THREADS_MAX = 64, IDLE_SECONDS = 10 };

/*
 * On a machine with few processors that has other work too, threads get a share each: with one
 * for each processor we would wait for the others half of the time.
 */
enum { SHARE = 4 };

/* What a worker may take, most of all address space for its stack. */
enum { WORKER_MEMORY = 8 << 20 };

/* With less memory than this all threads share one arena of malloc(3). */
#define ARENAS_FROM (UINT64_C(4) << 30)

typedef struct Work Work;
struct Work {
    Mail mail;
    Work *next;
    int (*fn)(void *arg);
    void *arg;
    int result;
    bool computes;
    Loop *loop;
    Co *co;
};

typedef struct {
    Work *head, *tail;
    unsigned len;
} WorkQueue;

/* All under the lock. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;      /* a worker may find something to do */
    pthread_cond_t left;      /* a worker has ended */
    WorkQueue blocking;
    WorkQueue computing;
    unsigned n_computing;     /* running now */
    unsigned n_computing_max;
    unsigned threads, threads_max;
    unsigned idle;            /* those that wait for work, or have yet to start */
    bool ready, ending;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .left = PTHREAD_COND_INITIALIZER };

unsigned pool_cpus(void)
{
    return memory_shares(g_get_num_processors(), WORKER_MEMORY);
}

static void queue_push(WorkQueue *q, Work *w)
{
    w->next = NULL;
    if (q->tail)
        q->tail->next = w;
    else
        q->head = w;
    q->tail = w;
    q->len++;
}

static Work *queue_pop(WorkQueue *q)
{
    Work *w = q->head;

    if (!w)
        return NULL;
    q->head = w->next;
    if (!q->head)
        q->tail = NULL;
    q->len--;
    return w;
}

/* How many of the queued jobs may run now. */
static unsigned pool_runnable(void)
{
    return pool.blocking.len + MIN(pool.computing.len, pool.n_computing_max - pool.n_computing);
}

/* The next job that may run now, or NULL. */
static Work *pool_take(void)
{
    Work *w = queue_pop(&pool.blocking);

    if (!w && pool_runnable())
        w = queue_pop(&pool.computing);
    if (w)
        pool.n_computing += w->computes;
    if (w && pool.idle && pool_runnable())
        pthread_cond_signal(&pool.work);
    return w;
}

/* Waits for a signal. False if this worker should end. */
static bool pool_idle(void)
{
    struct timespec until;
    int r;

    if (pool.ending)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    pool.idle++;
    r = pthread_cond_timedwait(&pool.work, &pool.lock, &until);
    pool.idle--;
    return r != ETIMEDOUT || pool_runnable();
}

static void *worker_main(void *arg)
{
    pthread_mutex_lock(&pool.lock);
    pool.idle--;
    for (;;) {
        Work *w = pool_take();
        bool computes;

        if (!w) {
            if (pool_idle())
                continue;
            break;
        }
        computes = w->computes;
        pthread_mutex_unlock(&pool.lock);
        w->result = w->fn(w->arg);
        mailbox_post(w->loop->mailbox, &w->mail); /* @w may be gone from here on */
        pthread_mutex_lock(&pool.lock);
        pool.n_computing -= computes;
    }
    pool.threads--;
    pthread_cond_signal(&pool.left);
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* Idle workers end; one that is stuck in a system call is left to the end of the process. */
static void pool_end(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.ending = true;
    pthread_cond_broadcast(&pool.work);
    while (pool.idle)
        pthread_cond_wait(&pool.left, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

void pool_dismiss(void)
{
    pthread_mutex_lock(&pool.lock);
    if (pool.threads) {
        pool.ending = true;
        pthread_cond_broadcast(&pool.work);
        while (pool.threads)
            pthread_cond_wait(&pool.left, &pool.lock);
        pool.ending = false;
    }
    pthread_mutex_unlock(&pool.lock);
}

static void pool_init(void)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool.work, &attr);
    pthread_condattr_destroy(&attr);
    pool.n_computing_max = MAX(pool_cpus(), MIN(2 * pool_cpus(), SHARE));
    pool.threads_max = memory_shares(THREADS_MAX, WORKER_MEMORY);
    /* Each further arena reserves 64 MiB, which may be missing elsewhere. */
    if (memory_limit() < ARENAS_FROM)
        mallopt(M_ARENA_MAX, 1);
    pool.ready = true;
    atexit(pool_end);
}

/* One more worker. False if there cannot be one. */
static bool pool_grow(void)
{
    pthread_t t;

    if (thread_start(&t, "pool", worker_main, NULL))
        return false;
    pthread_detach(t);
    pool.threads++;
    pool.idle++;
    return true;
}

/* Queues @w. False if there is no thread to take it. */
static bool pool_put(Work *w)
{
    WorkQueue *q = w->computes ? &pool.computing : &pool.blocking;

    if (!pool.ready)
        pool_init();
    if (!pool.threads && !pool_grow())
        return false;
    queue_push(q, w);
    if (pool.idle >= pool_runnable())
        pthread_cond_signal(&pool.work);
    else if (pool.threads < pool.threads_max)
        pool_grow();
    return true;
}

static void work_deliver(Mail *m)
{
    Work *w = CONTAINER_OF(m, Work, mail);

    w->loop->in_flight--;
    co_unblock(w->co);
}

static CO int pool_wait(int (*fn)(void *arg), void *arg, bool computes)
{
    Loop *l = loop_here();
    Work w = {
        .mail.deliver = work_deliver,
        .fn = fn,
        .arg = arg,
        .computes = computes,
        .loop = l,
        .co = l->running,
    };
    bool queued;

    pthread_mutex_lock(&pool.lock);
    queued = pool_put(&w);
    pthread_mutex_unlock(&pool.lock);
    if (!queued)
        return fn(arg);
    l->in_flight++;
    co_block();
    return w.result;
}

int pool_run(int (*fn)(void *arg), void *arg)
{
    return pool_wait(fn, arg, false);
}

int pool_compute(int (*fn)(void *arg), void *arg)
{
    return pool_wait(fn, arg, true);
}
