/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Timers: in the order of their times, thousands of them, set anew and cancelled, by either clock.
 */
#include "io/timer.h"
#include "io/internal.h"
#include "io/loop.h"
#include "tests/lib/harness.h"

enum { MS = 1000 * 1000, MANY = 5000 };

typedef struct {
    Timer timer;
    int64_t wanted_ns;
    unsigned count;
} Counted;

static unsigned expired;
static int64_t last_ns;

static void on_expired(Timer *t)
{
    Counted *c = CONTAINER_OF(t, Counted, timer);

    g_assert_cmpint(c->wanted_ns, >=, last_ns);
    g_assert_cmpint(clock_now_ns(), >=, c->wanted_ns);
    last_ns = c->wanted_ns;
    c->count++;
    expired++;
}

static void test_thousands_expire_in_order(void)
{
    g_autofree Counted *all = g_new0(Counted, MANY);
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    int64_t now = clock_now_ns();

    for (unsigned i = 0; i < MANY; i++) {
        all[i].timer.expired = on_expired;
        all[i].wanted_ns = now + g_rand_int_range(rand, 0, 50 * MS);
        timer_set(&all[i].timer, all[i].wanted_ns);
    }
    for (unsigned i = 0; i < MANY; i += 5)
        timer_cancel(&all[i].timer);
    co_sleep(100 * MS);
    g_assert_cmpuint(expired, ==, MANY - MANY / 5);
    for (unsigned i = 0; i < MANY; i++) {
        g_assert_cmpuint(all[i].count, ==, i % 5 != 0);
        g_assert_false(timer_is_set(&all[i].timer));
    }
}

static void test_set_again_counts_last(void)
{
    Counted c = { .timer.expired = on_expired };
    int64_t now = clock_now_ns();

    timer_set(&c.timer, now + 1000 * MS);
    c.wanted_ns = now + 5 * MS;
    timer_set(&c.timer, c.wanted_ns);
    co_sleep(20 * MS);
    g_assert_cmpuint(c.count, ==, 1);
    timer_set(&c.timer, clock_now_ns() + 1000 * MS);
    timer_cancel(&c.timer);
    timer_cancel(&c.timer);
    co_sleep(5 * MS);
    g_assert_cmpuint(c.count, ==, 1);
}

static Counted again;

static void on_again(Timer *t)
{
    again.count++;
    if (again.count < 3)
        timer_set(t, clock_now_ns() + MS);
}

static void test_may_be_set_when_it_expires(void)
{
    again.timer.expired = on_again;
    timer_set(&again.timer, 1);
    co_sleep(50 * MS);
    g_assert_cmpuint(again.count, ==, 3);
}

/* ---- the time of day ------------------------------------------------------------------------- */

static unsigned rung;

static void on_rung(WallTimer *w)
{
    g_assert_cmpint(clock_wall_ns(), >=, w->due_ns);
    rung++;
}

static void test_wall_timers_expire(void)
{
    WallTimer early = { .expired = on_rung }, late = { .expired = on_rung };
    int64_t now = clock_wall_ns();

    wall_timer_set(&late, now + 3600 * INT64_C(1000000000));
    wall_timer_set(&early, now + 10 * MS);
    co_sleep(40 * MS);
    g_assert_cmpuint(rung, ==, 1);
    g_assert_false(wall_timer_is_set(&early));
    g_assert_true(wall_timer_is_set(&late));
    wall_timer_set(&late, now);
    co_sleep(5 * MS);
    g_assert_cmpuint(rung, ==, 2);
    wall_timer_set(&late, clock_wall_ns() + 5 * MS);
    wall_timer_cancel(&late);
    co_sleep(10 * MS);
    g_assert_cmpuint(rung, ==, 2);
}

/* As if somebody had put the clock forward, and back, while timers are set. */
static void test_wall_timers_follow_a_set_clock(void)
{
    WallTimer w = { .expired = on_rung };
    int64_t due;
    unsigned before;
    bool waits;

    wall_timer_set(&w, clock_wall_ns() + 20 * MS);
    /* The clock was an hour ahead when it was set: by the monotonic clock it is far away. */
    timer_set(&w.timer, clock_now_ns() + 3600 * INT64_C(1000000000));
    wall_clock_jumped(loop_here());
    co_sleep(40 * MS);
    g_assert_cmpuint(rung, ==, 1);
    /* It was behind: the monotonic time comes first, and the timer waits on. */
    due = clock_wall_ns() + 30 * MS;
    wall_timer_set(&w, due);
    timer_set(&w.timer, clock_now_ns());
    co_sleep(10 * MS);
    before = rung;
    waits = wall_timer_is_set(&w);
    if (clock_wall_ns() < due) {    /* on a busy machine it may be later by now */
        g_assert_cmpuint(before, ==, 1);
        g_assert_true(waits);
    }
    co_sleep(40 * MS);
    g_assert_cmpuint(rung, ==, 2);
}

static void use_wall_timer(void *arg)
{
    WallTimer w = { .expired = on_rung };

    wall_timer_set(&w, clock_wall_ns() + MS);
    co_sleep(20 * MS);
    g_assert_false(wall_timer_is_set(&w));
}

/* What watches the clock does not keep a loop alive. */
static void test_a_loop_with_wall_timers_ends(void)
{
    LoopThread *t = loop_thread_start("timers", NULL);

    loop_call_wait(loop_thread_loop(t), use_wall_timer, NULL);
    loop_thread_stop(t);
    g_assert_cmpuint(rung, ==, 1);
}

const Test tests[] = {
    { "/timer/thousands-expire-in-order", test_thousands_expire_in_order },
    { "/timer/set-again-counts-last", test_set_again_counts_last },
    { "/timer/may-be-set-when-it-expires", test_may_be_set_when_it_expires },
    { "/timer/wall/expire", test_wall_timers_expire },
    { "/timer/wall/follow-a-set-clock", test_wall_timers_follow_a_set_clock },
    { "/timer/wall/a-loop-with-them-ends", test_a_loop_with_wall_timers_ends },
    {},
};
