/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Locks of coroutines: exclusion, fairness, hand-over. */
#include "io/co-lock.h"
#include "io/loop.h"
#include "tests/lib/harness.h"

static GString *trace;

static void note(const char *text)
{
    g_string_append(trace, text);
}

static void expect_trace(const char *text)
{
    g_assert_cmpstr(trace->str, ==, text);
    g_string_truncate(trace, 0);
}

static void trace_begin(void)
{
    trace = g_string_new("");
}

static void trace_end(void)
{
    g_string_free(trace, TRUE);
}

static void let_run(void)
{
    for (int i = 0; i < 20; i++)
        co_yield();
}

/* ---- queue ----------------------------------------------------------------------------------- */

static CoQueue queue;

typedef struct {
    const char *name;
    Co *co;
} Named;

static void queue_member(void *arg)
{
    Named *n = arg;

    n->co = co_self();
    co_queue_wait(&queue);
    note(n->name);
}

static void test_queue_order(void)
{
    Named n[] = { { "a" }, { "b" }, { "c" }, { "d" } };

    trace_begin();
    g_assert_true(co_queue_is_empty(&queue));
    g_assert_false(co_queue_wake_one(&queue));
    for (int i = 0; i < 4; i++)
        co_start(queue_member, &n[i]);
    let_run();
    expect_trace("");
    g_assert_false(co_queue_is_empty(&queue));
    g_assert_true(co_queue_wake_one(&queue));
    let_run();
    expect_trace("a");
    co_queue_wake_all(&queue);
    let_run();
    expect_trace("bcd");
    g_assert_true(co_queue_is_empty(&queue));
    trace_end();
}

/* co_wake is for co_suspend; it does not end the wait in a queue. */
static void test_queue_ignores_wake(void)
{
    Named n = { "x" };

    trace_begin();
    co_start(queue_member, &n);
    let_run();
    co_wake(n.co);
    let_run();
    expect_trace("");
    co_queue_wake_one(&queue);
    let_run();
    expect_trace("x");
    trace_end();
}

/* ---- mutex ----------------------------------------------------------------------------------- */

static CoMutex mutex;
static int inside;

static void guarded(void)
{
    CO_LOCKED(&mutex);

    g_assert_cmpint(inside++, ==, 0);
    co_yield();
    co_yield();
    g_assert_cmpint(--inside, ==, 0);
}

static void lock_often(void *arg)
{
    for (int i = 0; i < 100; i++)
        guarded();
}

static void test_mutex_excludes(void)
{
    CoGroup g = {};

    for (int i = 0; i < 10; i++)
        co_group_start(&g, lock_often, NULL);
    co_group_wait(&g);
    g_assert_false(mutex.locked);
}

static void lock_and_note(void *arg)
{
    co_mutex_lock(&mutex);
    note(arg);
    co_mutex_unlock(&mutex);
}

/* Who unlocks and locks again at once comes after those who already wait. */
static void test_mutex_is_fair(void)
{
    char a[] = "a", b[] = "b", c[] = "c";

    trace_begin();
    co_mutex_lock(&mutex);
    co_start(lock_and_note, a);
    co_start(lock_and_note, b);
    co_yield();
    co_mutex_unlock(&mutex);
    co_start(lock_and_note, c);
    co_mutex_lock(&mutex);
    note("main");
    co_mutex_unlock(&mutex);
    let_run();
    expect_trace("abmainc");
    trace_end();
}

static int items;

static void consumer(void *arg)
{
    CO_LOCKED(&mutex);

    while (!items)
        co_queue_wait_unlocked(&queue, &mutex);
    items--;
}

static void test_wait_unlocked(void)
{
    CoGroup g = {};

    for (int i = 0; i < 5; i++)
        co_group_start(&g, consumer, NULL);
    for (int i = 0; i < 5; i++) {
        let_run();
        co_mutex_lock(&mutex);
        items++;
        co_yield();
        co_queue_wake_all(&queue);
        co_mutex_unlock(&mutex);
    }
    co_group_wait(&g);
    g_assert_cmpint(items, ==, 0);
    g_assert_false(mutex.locked);
}

/* ---- rwlock ---------------------------------------------------------------------------------- */

static CoRwLock rwlock;

static void reader(void *arg)
{
    co_rwlock_rdlock(&rwlock);
    note("r(");
    co_yield();
    note(")");
    co_rwlock_unlock(&rwlock);
}

static void writer(void *arg)
{
    co_rwlock_wrlock(&rwlock);
    note("W(");
    co_yield();
    note(")");
    co_rwlock_unlock(&rwlock);
}

static void test_rwlock_shares_readers(void)
{
    trace_begin();
    co_start(reader, NULL);
    co_start(reader, NULL);
    let_run();
    expect_trace("r(r())");
    co_start(writer, NULL);
    co_start(writer, NULL);
    let_run();
    expect_trace("W()W()");
    trace_end();
}

/* A writer that waits keeps later readers behind it; they then share again. */
static void test_rwlock_is_fair(void)
{
    trace_begin();
    co_rwlock_rdlock(&rwlock);
    co_start(writer, NULL);
    co_start(reader, NULL);
    co_start(reader, NULL);
    co_start(writer, NULL);
    let_run();
    expect_trace("");
    co_rwlock_unlock(&rwlock);
    let_run();
    expect_trace("W()r(r())W()");
    g_assert_cmpint(rwlock.readers, ==, 0);
    trace_end();
}

/* ---- semaphore and group --------------------------------------------------------------------- */

static CoSemaphore semaphore;
static int at_once, at_once_max;

static void take_and_give(void *arg)
{
    co_semaphore_take(&semaphore);
    at_once++;
    at_once_max = MAX(at_once_max, at_once);
    let_run();
    at_once--;
    co_semaphore_give(&semaphore);
}

static void test_semaphore_bounds(void)
{
    CoGroup g = {};

    co_semaphore_init(&semaphore, 3);
    for (int i = 0; i < 20; i++)
        co_group_start(&g, take_and_give, NULL);
    co_group_wait(&g);
    g_assert_cmpint(at_once_max, ==, 3);
    g_assert_cmpuint(semaphore.free, ==, 3);
}

static CoGroup group;
static int ended;

static void member(void *arg)
{
    let_run();
    ended++;
    if (arg)
        co_group_start(&group, member, NULL);
}

/* A group waits for members that members started, and can be used again. */
static void test_group_waits_for_all(void)
{
    co_group_wait(&group);
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < 10; i++)
            co_group_start(&group, member, &group);
        co_group_wait(&group);
        g_assert_cmpint(ended, ==, 20 * round);
        g_assert_cmpuint(group.running, ==, 0);
    }
    g_assert_true(loop_is_alone());
}

const Test tests[] = {
    { "/co-lock/queue/order", test_queue_order },
    { "/co-lock/queue/ignores-wake", test_queue_ignores_wake },
    { "/co-lock/mutex/excludes", test_mutex_excludes },
    { "/co-lock/mutex/fair", test_mutex_is_fair },
    { "/co-lock/queue/wait-unlocked", test_wait_unlocked },
    { "/co-lock/rwlock/shares-readers", test_rwlock_shares_readers },
    { "/co-lock/rwlock/fair", test_rwlock_is_fair },
    { "/co-lock/semaphore/bounds", test_semaphore_bounds },
    { "/co-lock/group/waits-for-all", test_group_waits_for_all },
    {}
};
