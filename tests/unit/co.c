/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Coroutines: order, waking, sleeping, stacks. */
#include "io/co.h"
#include "io/loop.h"
#include "tests/lib/harness.h"
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* What ran, in order. */
static GString *trace;

static void note(void *arg)
{
    g_string_append(trace, arg);
}

static void start(CoFn *fn, const char *name)
{
    co_start(fn, (void *)name);
}

static void expect_trace(const char *text)
{
    g_assert_cmpstr(trace->str, ==, text);
    g_string_free(trace, TRUE);
    trace = NULL;
}

static void test_start_order(void)
{
    trace = g_string_new("");
    start(note, "a");
    start(note, "b");
    start(note, "c");
    g_string_append(trace, "main ");
    co_yield();
    expect_trace("main abc");
}

static void test_start_now_runs_until_the_first_wait(void)
{
    trace = g_string_new("");
    start(note, "a");
    co_start_now(note, (void *)"b");
    g_string_append(trace, " ");
    co_yield();
    expect_trace("b a");
}

static void nest(void *arg)
{
    note(arg);
    co_start_now(note, (void *)"inner");
    co_yield();
    note(arg);
}

static void test_start_now_nests(void)
{
    trace = g_string_new("");
    co_start_now(nest, (void *)"<");
    g_string_append(trace, " main ");
    co_yield();
    expect_trace("<inner main <");
}

static void say_twice(void *arg)
{
    note(arg);
    co_yield();
    note(arg);
}

static void test_yield_alternates(void)
{
    trace = g_string_new("");
    start(say_twice, "a");
    start(say_twice, "b");
    for (int i = 0; i < 3; i++)
        co_yield();
    expect_trace("abab");
}

static Co *waiting;

static void wait_and_note(void *arg)
{
    waiting = co_self();
    co_suspend();
    note(arg);
}

static void test_suspend_until_woken(void)
{
    trace = g_string_new("");
    start(wait_and_note, "woken");
    for (int i = 0; i < 10; i++)
        co_yield();
    g_assert_cmpstr(trace->str, ==, "");
    co_wake(waiting);
    g_assert_cmpstr(trace->str, ==, "");
    co_yield();
    expect_trace("woken");
}

static void test_wake_is_remembered_once(void)
{
    co_wake(co_self());
    co_wake(co_self());
    co_suspend();
    g_assert_false(!co_sleep(1000));
}

static void wake_main(void *arg)
{
    co_wake(arg);
}

static void test_wake_during_yield_is_kept(void)
{
    co_start(wake_main, co_self());
    co_yield();
    co_suspend();
}

static void test_self_is_stable(void)
{
    Co *me = co_self();

    g_assert_nonnull(me);
    co_yield();
    g_assert_true(co_self() == me);
}

static void test_sleep_takes_its_time(void)
{
    int64_t began = clock_now_ns();

    g_assert_true(co_sleep(20 * 1000 * 1000));
    g_assert_cmpint(clock_now_ns() - began, >=, 20 * 1000 * 1000);
    g_assert_true(co_sleep(0));
    g_assert_true(co_sleep(-5));
}

static void keep_house(void *arg)
{
    Co **self = arg;

    *self = co_self();
    g_assert_false(co_sleep(INT64_MAX));
    *self = NULL;
}

static void test_keeper_is_no_company(void)
{
    Co *keeper = NULL, *other = NULL;

    g_assert_true(loop_is_alone());
    co_start_keeper(keep_house, &keeper);
    g_assert_true(loop_is_alone());
    co_yield();
    co_start(keep_house, &other);
    g_assert_false(loop_is_alone());
    co_wake(keeper);
    co_yield();
    g_assert_null(keeper);
    g_assert_false(loop_is_alone());
    co_wake(other);
    co_yield();
    g_assert_null(other);
}

static void test_sleep_woken_early(void)
{
    int64_t began = clock_now_ns();

    co_start(wake_main, co_self());
    g_assert_false(co_sleep(INT64_MAX));
    co_wake(co_self());
    g_assert_false(co_sleep(INT64_C(60) * 1000000000));
    g_assert_cmpint(clock_now_ns() - began, <, INT64_C(30) * 1000000000);
}

typedef struct {
    const char *name;
    int64_t ns;
    unsigned *left;
} Sleeper;

static void sleep_and_note(void *arg)
{
    Sleeper *s = arg;

    co_sleep(s->ns);
    note((void *)s->name);
    --*s->left;
}

static void test_timers_fire_in_order(void)
{
    unsigned left = 5;
    Sleeper s[] = {
        { "d", 40000000, &left }, { "a", 1000000, &left },  { "c", 30000000, &left },
        { "e", 50000000, &left }, { "b", 15000000, &left },
    };

    trace = g_string_new("");
    for (int i = 0; i < 5; i++)
        co_start(sleep_and_note, &s[i]);
    while (left)
        co_sleep(5000000);
    expect_trace("abcde");
}

static unsigned count;

static void count_up(void *arg)
{
    count++;
    co_yield();
    count++;
}

static void test_thousands_at_once(void)
{
    unsigned n = test_is_slowed() ? 200 : 20000;

    count = 0;
    for (unsigned i = 0; i < n; i++)
        co_start(count_up, NULL);
    co_yield();
    g_assert_cmpuint(count, ==, n);
    co_yield();
    g_assert_cmpuint(count, ==, 2 * n);
    g_assert_true(loop_is_alone());
}

static void test_stacks_are_reused(void)
{
    unsigned n = test_is_slowed() ? 2000 : 300000;

    count = 0;
    for (unsigned i = 0; i < n; i++) {
        co_start(count_up, NULL);
        co_start(count_up, NULL);
        co_yield();
        co_yield();
    }
    g_assert_cmpuint(count, ==, 4 * n);
}

/* Uses about 200 KiB of stack, and suspends at the bottom of it. */
static unsigned deep(unsigned level)
{
    volatile char room[4096];
    unsigned below;

    memset((char *)room, level, sizeof(room));
    if (level == 0) {
        co_yield();
        return room[100];
    }
    below = deep(level - 1);
    return below + (room[4095] == (char)level);
}

static void dive(void *arg)
{
    count += deep(48);
}

static void test_deep_stack(void)
{
    count = 0;
    for (int i = 0; i < 8; i++)
        co_start(dive, NULL);
    co_yield();
    co_yield();
    g_assert_cmpuint(count, ==, 8 * 48);
}

static unsigned recurse(volatile unsigned *n)
{
    volatile char room[512];

    room[0] = ++*n;
    return *n ? recurse(n) + room[0] : 0;
}

static void overflow(void *arg)
{
    volatile unsigned n = 0;

    recurse(&n);
}

/* The guard page ends the process before memory of others is written. */
static void test_overflow_is_caught(void)
{
    int status;
    pid_t pid;

    if (test_is_slowed())
        test_skip("the tool watches the stack itself");
    pid = fork();
    if (!pid) {
        struct rlimit none = {};

        setrlimit(RLIMIT_CORE, &none);
        co_start(overflow, NULL);
        co_start(overflow, NULL);
        co_yield();
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGSEGV);
}

static void compute(void *arg)
{
    double *x = arg;

    for (int i = 0; i < 1000; i++) {
        double before = *x;

        co_yield();
        g_assert_true(*x == before);
        *x = sqrt(*x) + 1;
    }
}

/* Registers, the floating point ones too, survive switches between different computations. */
static void test_registers_survive(void)
{
    double x[4] = { 1, 1e10, 1e-10, 12345 };
    double expected[4];

    for (int i = 0; i < 4; i++) {
        expected[i] = x[i];
        for (int j = 0; j < 1000; j++)
            expected[i] = sqrt(expected[i]) + 1;
        co_start(compute, &x[i]);
    }
    for (int j = 0; j <= 1001; j++)
        co_yield();
    for (int i = 0; i < 4; i++)
        g_assert_true(x[i] == expected[i]);
}

const Test tests[] = {
    { "/co/start-now/runs-until-the-first-wait", test_start_now_runs_until_the_first_wait },
    { "/co/start-now/nests", test_start_now_nests },
    { "/co/start/order", test_start_order },
    { "/co/yield/alternates", test_yield_alternates },
    { "/co/suspend/until-woken", test_suspend_until_woken },
    { "/co/wake/remembered-once", test_wake_is_remembered_once },
    { "/co/wake/kept-during-yield", test_wake_during_yield_is_kept },
    { "/co/self/stable", test_self_is_stable },
    { "/co/sleep/takes-its-time", test_sleep_takes_its_time },
    { "/co/keeper-is-no-company", test_keeper_is_no_company },
    { "/co/sleep/woken-early", test_sleep_woken_early },
    { "/co/timers/fire-in-order", test_timers_fire_in_order },
    { "/co/many/at-once", test_thousands_at_once },
    { "/co/stack/reused", test_stacks_are_reused },
    { "/co/stack/deep", test_deep_stack },
    { "/co/stack/overflow-is-caught", test_overflow_is_caught },
    { "/co/switch/keeps-registers", test_registers_survive },
    {}
};
