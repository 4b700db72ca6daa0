/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Detached calls: their results, and that they can be left to themselves. */
#include "io/detached-call.h"
#include "tests/lib/harness.h"
#include <errno.h>
#include <pthread.h>

#define MS INT64_C(1000000)

/* Something that takes as long as the test likes. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool may_end, freed;
} Task;

#define TASK { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false }

static int task_work(void *arg)
{
    Task *t = arg;

    pthread_mutex_lock(&t->lock);
    while (!t->may_end)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
    return 42;
}

static void task_free(void *arg)
{
    Task *t = arg;

    pthread_mutex_lock(&t->lock);
    t->freed = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static void task_end(Task *t)
{
    pthread_mutex_lock(&t->lock);
    t->may_end = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static void task_wait_freed(Task *t)
{
    pthread_mutex_lock(&t->lock);
    while (!t->freed)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static void test_result(void)
{
    Task t = TASK;
    DetachedCall *e = detached_call_start(task_work, &t, task_free);
    int result = 0;

    task_end(&t);
    g_assert_cmpint(detached_call_wait(e, 0, &result), ==, 0);
    g_assert_cmpint(result, ==, 42);
    detached_call_end(e);
    task_wait_freed(&t);
}

static void test_given_up_in_time(void)
{
    Task t = TASK;
    DetachedCall *e = detached_call_start(task_work, &t, task_free);
    int result = 0;

    g_assert_cmpint(detached_call_wait(e, clock_now_ns() + 20 * MS, &result), ==, -ETIMEDOUT);
    detached_call_end(e);
    g_assert_false(t.freed);
    task_end(&t);
    task_wait_freed(&t);
}

static void cancel(void *arg)
{
    co_sleep(20 * MS);
    detached_call_cancel(arg);
}

static void test_cancelled(void)
{
    Task t = TASK;
    DetachedCall *e = detached_call_start(task_work, &t, task_free);
    int result = 0;

    co_start(cancel, e);
    g_assert_cmpint(detached_call_wait(e, 0, &result), ==, -ECANCELED);
    g_assert_cmpint(detached_call_wait(e, 0, &result), ==, -ECANCELED);
    detached_call_end(e);
    detached_call_cancel(NULL);
    task_end(&t);
    task_wait_freed(&t);
}

const Test tests[] = {
    { "/detached call/result", test_result },
    { "/detached call/given-up-in-time", test_given_up_in_time },
    { "/detached call/cancelled", test_cancelled },
    {}
};
