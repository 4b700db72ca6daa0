/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loops and the pool: calls and wakes between threads, life of a loop, limits of the pool. */
#include "io/loop.h"
#include "io/aio.h"
#include "io/co-lock.h"
#include "io/internal.h"
#include "io/pool.h"
#include "tests/lib/harness.h"
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

/* ---- loops in threads ------------------------------------------------------------------------ */

static LoopThread *start_thread(void)
{
    g_autoptr(GError) err = NULL;
    LoopThread *t = loop_thread_start("test loop", &err);

    g_assert_no_error(err);
    return t;
}

static void test_threads_start_and_stop(void)
{
    for (int i = 0; i < (test_is_slowed() ? 4 : 20); i++) {
        LoopThread *a = start_thread();
        LoopThread *b = start_thread();

        g_assert_true(loop_thread_loop(a) != loop_thread_loop(b));
        loop_thread_stop(b);
        loop_thread_stop(a);
    }
}

typedef struct {
    Loop *loop;
    pthread_t thread;
    int value;
} Seen;

static void look_around(void *arg)
{
    Seen *s = arg;

    co_yield();
    co_sleep(1000000);
    s->loop = loop_self();
    s->thread = pthread_self();
    s->value++;
}

static void test_call_wait(void)
{
    LoopThread *t = start_thread();
    Seen s = {};

    for (int i = 0; i < 50; i++)
        loop_call_wait(loop_thread_loop(t), look_around, &s);
    g_assert_true(s.loop == loop_thread_loop(t));
    g_assert_false(pthread_equal(s.thread, pthread_self()));
    g_assert_cmpint(s.value, ==, 50);
    loop_call_wait(loop_self(), look_around, &s);
    g_assert_true(s.loop == loop_self());
    loop_thread_stop(t);
}

static bool ticked;

static void tick(void *arg)
{
    ticked = true;
}

static void wait_for_tick(void *arg)
{
    Loop *home = arg;

    loop_call_wait(home, tick, NULL);
}

/* The caller's loop runs while its coroutine waits for another loop. */
static void test_call_back_while_waiting(void)
{
    LoopThread *t = start_thread();

    loop_call_wait(loop_thread_loop(t), wait_for_tick, loop_self());
    g_assert_true(ticked);
    loop_thread_stop(t);
}

typedef struct {
    Co *main;
    atomic_int count;
    int expected;
} Counter;

static void count_up(void *arg)
{
    Counter *c = arg;

    if (atomic_fetch_add(&c->count, 1) + 1 == c->expected)
        co_wake_from_thread(c->main);
}

/* Calls from several threads to one loop all arrive. */
static void call_often(void *arg)
{
    Loop *to = ((void **)arg)[0];
    Counter *c = ((void **)arg)[1];

    for (int i = 0; i < c->expected / 4; i++)
        loop_call(to, count_up, c);
}

static void test_calls_from_many_threads(void)
{
    Counter c = { .main = co_self(), .expected = test_is_slowed() ? 200 : 4000 };
    void *arg[] = { loop_self(), &c };
    LoopThread *t[4];

    for (int i = 0; i < 4; i++) {
        t[i] = start_thread();
        loop_call(loop_thread_loop(t[i]), call_often, arg);
    }
    co_suspend();
    g_assert_cmpint(c.count, ==, c.expected);
    for (int i = 0; i < 4; i++)
        loop_thread_stop(t[i]);
}

typedef struct {
    Co *co;
    int rounds;
} Waker;

static void *wake_later(void *arg)
{
    Waker *w = arg;

    usleep(2000);
    co_wake_from_thread(w->co);
    return NULL;
}

static void test_wake_from_thread(void)
{
    for (int i = 0; i < 10; i++) {
        Waker w = { .co = co_self() };
        pthread_t t;

        g_assert_cmpint(pthread_create(&t, NULL, wake_later, &w), ==, 0);
        if (i % 2)
            co_suspend();
        else
            g_assert_false(co_sleep(INT64_C(60) * 1000000000));
        pthread_join(t, NULL);
    }
}

/* Whatever the loop sleeps in (mailbox, ring or epoll), mail wakes it. */
static void test_wake_with_poller(void)
{
    int p[2];

    g_assert_cmpint(pipe(p), ==, 0);
    g_assert_cmpint(aio_poll(p[0], POLLIN, clock_now_ns() + 1000000), <, 0);
    test_wake_from_thread();
    close(p[0]);
    close(p[1]);
}

static void stop_from(void *arg)
{
    loop_thread_stop(arg);
}

static void sleep_a_little(void *arg)
{
    co_sleep(20000000);
    *(bool *)arg = true;
}

/* Stopping lets the coroutines that are there end first. */
static void test_stop_waits(void)
{
    LoopThread *t = start_thread();
    bool done = false;

    loop_call(loop_thread_loop(t), sleep_a_little, &done);
    stop_from(t);
    g_assert_true(done);
}

/* However close its deadline, a timer never makes the loop wait without end. */
static void test_wait_for_a_timer_ends(void)
{
    for (int i = 0; i < (test_is_slowed() ? 10000 : 300000); i++) {
        Timer t = {};
        TimerHeap h = {};

        t.deadline_ns = clock_now_ns() + i % 300;
        timer_add(&h, &t);
        g_assert_cmpint(timers_wait_ns(&h), >=, 0);
        timer_remove(&h, &t);
        g_assert_cmpint(timers_wait_ns(&h), ==, -1);
        g_free(h.at);
    }
}

/* ---- life of a loop -------------------------------------------------------------------------- */

static void sleep_long(void *arg)
{
    co_sleep(INT64_C(600) * 1000000000);
    g_assert_not_reached();
}

static int sleep_in_pool(void *arg)
{
    usleep(20000);
    *(int *)arg = 7;
    return 0;
}

static void wait_for_pool(void *arg)
{
    int on_stack = 0;

    pool_run(sleep_in_pool, &on_stack);
    g_assert_not_reached();
}

static void poll_forever(void *arg)
{
    aio_poll(*(int *)arg, POLLIN, 0);
    g_assert_not_reached();
}

/* Leaves coroutines in every kind of wait. */
static void leave_some(void *arg)
{
    co_start(sleep_long, NULL);
    co_start(wait_for_pool, NULL);
    co_start(poll_forever, arg);
    co_yield();
    co_start(sleep_long, NULL);
}

static void *run_leaving(void *arg)
{
    loop_run(leave_some, arg);
    return NULL;
}

static void test_return_abandons_others(void)
{
    int p[2];
    pthread_t t;

    g_assert_cmpint(pipe(p), ==, 0);
    g_assert_cmpint(pthread_create(&t, NULL, run_leaving, p), ==, 0);
    pthread_join(t, NULL);
    close(p[0]);
    close(p[1]);
}

static void end_soon(void *arg)
{
    co_yield();
}

static void test_alone(void)
{
    g_assert_true(loop_is_alone());
    co_start(end_soon, NULL);
    g_assert_false(loop_is_alone());
    co_yield();
    co_yield();
    g_assert_true(loop_is_alone());
}

/* A queue that never empties does not keep ready descriptors waiting. */
static void poll_pipe(void *arg)
{
    int *p = arg;

    p[2] = aio_poll(p[0], POLLIN, 0);
}

static void test_busy_loop_polls(void)
{
    int p[3] = {};

    g_assert_cmpint(pipe(p), ==, 0);
    co_start(poll_pipe, p);
    co_yield();
    g_assert_cmpint(write(p[1], "x", 1), ==, 1);
    for (int i = 0; i < 1000 && !p[2]; i++)
        co_yield();
    g_assert_cmpint(p[2], ==, POLLIN);
    close(p[0]);
    close(p[1]);
}

/* The same where every turn takes long: then it is not turns that count. */
static void test_slow_loop_polls(void)
{
    int p[3] = {};

    g_assert_cmpint(pipe(p), ==, 0);
    co_start(poll_pipe, p);
    co_yield();
    g_assert_cmpint(write(p[1], "x", 1), ==, 1);
    for (int i = 0; i < 5 && !p[2]; i++) {
        g_usleep(1000);
        co_yield();
    }
    g_assert_cmpint(p[2], ==, POLLIN);
    close(p[0]);
    close(p[1]);
}

/* ---- pool ------------------------------------------------------------------------------------ */

static int square(void *arg)
{
    return *(int *)arg * *(int *)arg;
}

static void test_pool_result(void)
{
    for (int i = 0; i < 100; i++) {
        g_assert_cmpint(pool_run(square, &i), ==, i * i);
        g_assert_cmpint(pool_compute(square, &i), ==, i * i);
    }
}

static atomic_int at_once, at_once_max;

static int occupy(void *arg)
{
    int n = atomic_fetch_add(&at_once, 1) + 1;
    int max = at_once_max;

    while (n > max && !atomic_compare_exchange_weak(&at_once_max, &max, n))
        ;
    usleep(*(int *)arg);
    atomic_fetch_sub(&at_once, 1);
    return 0;
}

static void run_occupy(void *arg)
{
    pool_run(occupy, arg);
}

static void compute_occupy(void *arg)
{
    pool_compute(occupy, arg);
}

static int occupy_with(CoFn *fn, int n, int us)
{
    CoGroup g = {};

    at_once_max = 0;
    for (int i = 0; i < n; i++)
        co_group_start(&g, fn, &us);
    co_group_wait(&g);
    return at_once_max;
}

static void test_pool_limits(void)
{
    int max = occupy_with(run_occupy, test_is_slowed() ? 20 : 200, 5000);

    g_assert_cmpint(max, <=, 64);
    g_assert_cmpint(max, >=, test_is_slowed() ? 2 : 8);
    max = occupy_with(compute_occupy, 8 * pool_cpus(), 2000);
    g_assert_cmpint(max, <=, MAX(pool_cpus(), MIN(2 * pool_cpus(), 4)));
}

/* Work that blocks finds a thread even while computing takes all it may. */
static void test_pool_blocking_beside_computing(void)
{
    int us = 100000, x = 3;
    CoGroup g = {};

    for (int i = 0; i < 4 * pool_cpus(); i++)
        co_group_start(&g, compute_occupy, &us);
    co_yield();
    g_assert_cmpint(pool_run(square, &x), ==, 9);
    /* However busy the machine: it did not wait for all that computes. */
    g_assert_cmpint(g.running, >, 0);
    co_group_wait(&g);
}

/* The pool serves several loops at once. */
static void pool_often(void *arg)
{
    for (int i = 0; i < 300; i++)
        g_assert_cmpint(pool_run(square, &i), ==, i * i);
}

static void test_pool_from_several_loops(void)
{
    LoopThread *t[3];

    for (int i = 0; i < 3; i++) {
        t[i] = start_thread();
        loop_call(loop_thread_loop(t[i]), pool_often, NULL);
    }
    pool_often(NULL);
    for (int i = 0; i < 3; i++)
        loop_thread_stop(t[i]);
}

const Test tests[] = {
    { "/loop/threads/start-and-stop", test_threads_start_and_stop },
    { "/loop/threads/stop-waits", test_stop_waits },
    { "/loop/call/wait", test_call_wait },
    { "/loop/call/back-while-waiting", test_call_back_while_waiting },
    { "/loop/call/from-many-threads", test_calls_from_many_threads },
    { "/loop/wake/from-thread", test_wake_from_thread },
    { "/loop/wake/with-poller", test_wake_with_poller },
    { "/loop/timer/wait-ends", test_wait_for_a_timer_ends },
    { "/loop/return/abandons-others", test_return_abandons_others },
    { "/loop/alone", test_alone },
    { "/loop/busy-loop-polls", test_busy_loop_polls },
    { "/loop/slow-loop-polls", test_slow_loop_polls },
    { "/pool/result", test_pool_result },
    { "/pool/limits", test_pool_limits },
    { "/pool/blocking-beside-computing", test_pool_blocking_beside_computing },
    { "/pool/several-loops", test_pool_from_several_loops },
    {}
};
