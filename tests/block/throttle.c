/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits of throttle groups: rates, bursts, sharing among members. */
#include "block/throttle.h"
#include "io/co-lock.h"
#include "io/iothread.h"
#include "io/loop.h"
#include "tests/lib/harness.h"
#include "qapi/object.h"
#include "util/size.h"

#define MS INT64_C(1000000)

static void add_group(const char *text)
{
    g_autoptr(GError) err = NULL;

    object_add_text(text, &err);
    g_assert_no_error(err);
}

static CO Handle *open_throttled(void)
{
    g_autoptr(GError) err = NULL;
    Handle *h = handle_open("json:{'driver':'throttle','throttle-group':'g',"
                            "'file':{'driver':'null-co','size':1048576}}", NULL, OPEN_RDWR, &err);

    g_assert_no_error(err);
    return h;
}

/* Milliseconds that @count writes of @len bytes take. */
static CO int64_t write_ms(Handle *h, int count, size_t len)
{
    g_autofree uint8_t *buf = g_malloc0(len);
    int64_t start = clock_now_ns();

    for (int i = 0; i < count; i++)
        g_assert_cmpint(handle_pwrite(h, 0, span_of(buf, len), 0), ==, 0);
    return (clock_now_ns() - start) / MS;
}

static CO void test_rate(void)
{
    Handle *h;

    add_group("throttle-group,id=g,x-iops-write=100");
    h = open_throttled();
    /* A tenth of a second's worth goes through at once. */
    g_assert_cmpint(write_ms(h, 30, 512), >=, 180);
    handle_close(h);
}

static CO void test_bytes(void)
{
    Handle *h;

    add_group("throttle-group,id=g,x-bps-total=1000000");
    h = open_throttled();
    g_assert_cmpint(write_ms(h, 4, 100000), >=, 190);
    handle_close(h);
}

static CO void test_large_requests_count_more(void)
{
    Handle *h;

    add_group("throttle-group,id=g,x-iops-total=100,x-iops-size=1000");
    h = open_throttled();
    g_assert_cmpint(write_ms(h, 4, 10000), >=, 190);
    handle_close(h);
}

static CO void test_burst(void)
{
    Handle *h;

    add_group("throttle-group,id=g,limits.iops-total=10,limits.iops-total-max=1000,"
              "limits.iops-total-max-length=10");
    h = open_throttled();
    /* At ten a second these would take twenty seconds. */
    g_assert_cmpint(write_ms(h, 200, 512), <, test_is_slowed() ? 15000 : 5000);
    handle_close(h);
}

static CO void test_reads_are_not_writes(void)
{
    Handle *h;

    add_group("throttle-group,id=g,x-iops-read=1");
    h = open_throttled();
    g_assert_cmpint(write_ms(h, 200, 512), <, 5000);
    handle_close(h);
}

typedef struct {
    Handle *h;
    int done;
    bool *stop;
} Member;

static CO void member_run(void *arg)
{
    Member *m = arg;
    uint8_t byte = 0;

    while (!*m->stop) {
        g_assert_cmpint(handle_pwrite(m->h, 0, span_of(&byte, 1), 0), ==, 0);
        m->done++;
    }
}

/* A member with many requests waiting does not starve one with few. */
static CO void test_members_take_turns(void)
{
    bool stop = false;
    Member greedy = { .stop = &stop }, modest = { .stop = &stop };
    CoGroup group = {};

    add_group("throttle-group,id=g,x-iops-total=200");
    greedy.h = open_throttled();
    modest.h = open_throttled();
    for (int i = 0; i < 16; i++)
        co_group_start(&group, member_run, &greedy);
    co_group_start(&group, member_run, &modest);
    co_sleep(400 * MS);
    stop = true;
    co_group_wait(&group);
    g_assert_cmpint(modest.done, >=, 10);
    g_assert_cmpint(modest.done * 3, >=, greedy.done - 36);
    handle_close(greedy.h);
    handle_close(modest.h);
}

/* ---- limits of a handle ---------------------------------------------------------------------- */

static CO void set_limits(Handle *h, const char *name, int64_t value)
{
    g_autoptr(json_t) limits = json_object();
    g_autoptr(GError) err = NULL;

    json_put_int(limits, name, value);
    g_assert_true(handle_throttle(h, "drive", NULL, limits, &err));
    g_assert_no_error(err);
}

static CO Handle *open_limited(const char *name, int64_t value)
{
    g_autoptr(GError) err = NULL;
    Handle *h = handle_open("json:{'driver':'null-co','size':68719476736}", NULL, OPEN_RDWR, &err);

    g_assert_no_error(err);
    set_limits(h, name, value);
    return h;
}

static CO void rate_run(void *arg)
{
    g_assert_cmpint(write_ms(arg, 30, 512), >=, 180);
}

static CO void test_limits_of_a_handle_hold_on_any_loop(void)
{
    Handle *h = open_limited("iops-write", 100);

    add_group("iothread,id=one");
    rate_run(h);
    loop_call_wait(iothread_loop(iothread_find("one")), rate_run, h);
    handle_close(h);
}

typedef struct {
    Handle *h;
    Loop *loop;
    int done;
} Writer;

static CO void writes_run(void *arg)
{
    Writer *w = arg;

    for (int i = 0; i < 3; i++) {
        write_ms(w->h, 1, 512);
        w->done++;
    }
}

static CO void writes_there(void *arg)
{
    Writer *w = arg;

    loop_call_wait(w->loop, writes_run, w);
}

static CO void haste_run(void *arg)
{
    HandleThrottle *hurry = handle_hurry_begin(arg);

    g_assert_nonnull(hurry);
    handle_hurry_end(hurry);
}

/* Each write beyond the first would wait for minutes. */
static CO void limits_end(Loop *loop)
{
    Writer w = { open_limited("bps-total", 1), loop };
    HandleThrottle *hurry;
    CoGroup writers = {};

    co_group_start(&writers, writes_there, &w);
    co_sleep(20 * MS);
    g_assert_cmpint(w.done, <=, 1);
    hurry = handle_hurry_begin(w.h);
    co_group_wait(&writers);
    g_assert_cmpint(w.done, ==, 3);
    loop_call_wait(loop, haste_run, w.h);
    handle_hurry_end(hurry);
    co_sleep(MS); /* the loop has to hear of it */
    w.done = 0;
    co_group_start(&writers, writes_there, &w);
    co_sleep(20 * MS);
    g_assert_cmpint(w.done, ==, 0);
    set_limits(w.h, "bps-total", 0);
    co_group_wait(&writers);
    g_assert_cmpint(w.done, ==, 3);
    handle_close(w.h);
}

static CO void test_who_waits_goes_on_when_limits_end(void)
{
    add_group("iothread,id=one");
    limits_end(loop_self());
    limits_end(iothread_loop(iothread_find("one")));
}

/* What other limits have allowed, or did not count, is not owed. */
static CO void test_other_limits_hold_nobody_up_for_what_was_before(void)
{
    Handle *h = open_limited("iops-total", 1000000);

    write_ms(h, 100, 1000000);
    /* Were those bytes counted, this would take a hundred seconds. */
    set_limits(h, "bps-total", 1000000);
    g_assert_cmpint(write_ms(h, 1, 512), <, 20000);
    write_ms(h, 1, 1000000);
    set_limits(h, "bps-total", 1000);
    g_assert_cmpint(write_ms(h, 1, 512), <, 20000);
    handle_close(h);
}

static CO void test_discards_have_no_limits(void)
{
    Handle *h = open_limited("bps-total", 1000);

    for (int i = 0; i < 3; i++)
        g_assert_cmpint(handle_discard(h, 0, 1000000), ==, 0);
    g_assert_cmpint(write_ms(h, 1, 512), <, 20000);
    handle_close(h);
}

/* The wait would be more nanoseconds than an int64_t holds. */
static CO void test_who_owes_very_much_waits(void)
{
    Writer w = { open_limited("bps-total", 1), loop_self() };
    CoGroup writers = {};

    g_assert_cmpint(handle_zero(w.h, 0, UINT64_C(1) << 35, 0), ==, 0);
    co_group_start(&writers, writes_there, &w);
    co_sleep(20 * MS);
    g_assert_cmpint(w.done, ==, 0);
    set_limits(w.h, "bps-total", 0);
    co_group_wait(&writers);
    g_assert_cmpint(w.done, ==, 3);
    handle_close(w.h);
}

const Test tests[] = {
    { "/throttle/rate", test_rate },
    { "/throttle/bytes", test_bytes },
    { "/throttle/large-requests-count-more", test_large_requests_count_more },
    { "/throttle/burst", test_burst },
    { "/throttle/reads-are-not-writes", test_reads_are_not_writes },
    { "/throttle/members-take-turns", test_members_take_turns },
    { "/throttle/limits-of-a-handle-hold-on-any-loop", test_limits_of_a_handle_hold_on_any_loop },
    { "/throttle/who-waits-goes-on-when-limits-end", test_who_waits_goes_on_when_limits_end },
    { "/throttle/other-limits-hold-nobody-up-for-what-was-before",
      test_other_limits_hold_nobody_up_for_what_was_before },
    { "/throttle/discards-have-no-limits", test_discards_have_no_limits },
    { "/throttle/who-owes-very-much-waits", test_who_owes_very_much_waits },
    {},
};
