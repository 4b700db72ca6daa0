/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes that live on other loops than those of their users, and move. */
#include "block/home.h"
#include "block/internal.h"
#include "io/co-lock.h"
#include "qapi/object.h"
#include "tests/lib/harness.h"
#include <string.h>

enum { BLOCK = 4096, WORKERS = 3, SIZE = 1 << 20 };

static Handle *image_new(const char *format)
{
    g_autofree char *path = test_path(format);
    g_autoptr(json_t) opts = json_object();
    g_autoptr(GError) err = NULL;
    json_t *o = json_object();
    Handle *h;

    json_put_int(opts, "size", SIZE);
    image_create(path, format, opts, &err);
    g_assert_no_error(err);
    json_put_str(o, "driver", format);
    json_put_str(o, "node-name", "image");
    h = handle_open(path, o, OPEN_RDWR | OPEN_UNMAP, &err);
    g_assert_no_error(err);
    return h;
}

static void threads_add(void)
{
    g_autoptr(GError) err = NULL;

    object_add_text("iothread,id=one", &err);
    g_assert_no_error(err);
    object_add_text("iothread,id=two", &err);
    g_assert_no_error(err);
}

/* @thread: NULL for the main loop. */
static CO void move_to(Handle *h, const char *thread)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Edit) edit = edit_begin();

    edit_set_iothread(edit, handle_node(h), thread ? iothread_find(thread) : NULL);
    edit_commit(edit, &err);
    g_assert_no_error(err);
}

static CO void await_home(Handle *h, Loop *loop)
{
    while (handle_home(h) != loop)
        co_yield();
}

/* ---- requests from all loops ---------------------------------------------------------------- */

typedef struct {
    Handle *h;
    unsigned index;
    _Atomic bool *is_over;
    unsigned requests;
} Worker;

/* Writes, reads back and empties a block of its own. */
static CO void worker_run(void *arg)
{
    Worker *w = arg;
    uint64_t at = w->index * BLOCK * 4;
    uint8_t data[BLOCK], found[BLOCK];

    while (!*w->is_over || !w->requests) {
        uint64_t off = at + w->requests % 4 * BLOCK;

        memset(data, w->requests++ % 255 + 1, BLOCK);
        g_assert_cmpint(handle_pwrite(w->h, off, span_of(data, BLOCK), 0), ==, 0);
        g_assert_cmpint(handle_pread(w->h, off, span_of(found, BLOCK), 0), ==, 0);
        g_assert_cmpmem(data, BLOCK, found, BLOCK);
        if (w->requests % 16 == 0)
            g_assert_cmpint(handle_flush(w->h), ==, 0);
        if (w->requests % 7 == 0)
            g_assert_cmpint(handle_zero(w->h, off, BLOCK, REQ_MAY_UNMAP), ==, 0);
        co_yield();
    }
}

static CO void worker_here(void *arg)
{
    const Worker *w = arg;
    static const char *const threads[WORKERS] = { NULL, "one", "two" };
    const char *thread = threads[w->index % WORKERS];

    loop_call_wait(thread ? iothread_loop(iothread_find(thread)) : loop_self(), worker_run, arg);
}

static CO void moves_under_requests(const char *format, unsigned moves)
{
    static const char *const threads[] = { "one", NULL, "two" };
    Handle *h = image_new(format);
    _Atomic bool is_over = false;
    Worker w[2 * WORKERS];
    CoGroup workers = {};

    for (unsigned i = 0; i < G_N_ELEMENTS(w); i++) {
        w[i] = (Worker){ .h = h, .index = i, .is_over = &is_over };
        co_group_start(&workers, worker_here, &w[i]);
    }
    for (unsigned i = 0; i < moves; i++) {
        const char *thread = threads[i % G_N_ELEMENTS(threads)];

        move_to(h, thread);
        await_home(h, thread ? iothread_loop(iothread_find(thread)) : loop_self());
    }
    is_over = true;
    co_group_wait(&workers);
    handle_close(h);
}

static CO void test_requests_of_all_loops_follow_a_moving_image(void)
{
    threads_add();
    moves_under_requests("qcow2", test_is_slowed() ? 30 : 200);
    moves_under_requests("raw", test_is_slowed() ? 30 : 200);
    object_delete_all();
}

/* Nothing of a request stays on the loop that an image has left: its thread can end at once. */
static CO void test_requests_leave_nothing_on_a_loop_that_ends(void)
{
    unsigned rounds = test_is_slowed() ? 20 : 100;
    Handle *h = image_new("raw");
    _Atomic bool is_over = false;
    Worker w[2 * WORKERS];
    CoGroup workers = {};

    threads_add();
    for (unsigned i = 0; i < G_N_ELEMENTS(w); i++) {
        w[i] = (Worker){ .h = h, .index = i, .is_over = &is_over };
        co_group_start(&workers, worker_here, &w[i]);
    }
    for (unsigned i = 0; i < rounds; i++) {
        g_autoptr(GError) err = NULL;

        object_add_text("iothread,id=short", &err);
        g_assert_no_error(err);
        move_to(h, "short");
        await_home(h, iothread_loop(iothread_find("short")));
        co_yield();
        move_to(h, i % 2 ? "one" : NULL);
        g_assert_true(object_delete("short", &err));
    }
    is_over = true;
    co_group_wait(&workers);
    handle_close(h);
    object_delete_all();
}

/* ---- who stays ------------------------------------------------------------------------------ */

static CO void test_holding_and_jobs_keep_an_image_on_the_main_loop(void)
{
    Handle *h = image_new("qcow2"), *job;
    g_autoptr(GError) err = NULL;
    Loop *one;

    threads_add();
    one = iothread_loop(iothread_find("one"));
    move_to(h, "one");
    await_home(h, one);
    home_hold();
    g_assert_true(handle_home(h) == loop_self());
    home_release();
    await_home(h, one);
    job = handle_new(handle_node(h), HANDLE_JOB, ACCESS_READ, ACCESS_ALL, &err);
    g_assert_no_error(err);
    for (int i = 0; i < 20; i++) {
        g_assert_true(handle_home(h) == loop_self());
        co_yield();
    }
    handle_close(job);
    await_home(h, one);
    g_assert_true(object_is_used("one"));
    handle_close(h);
    g_assert_false(object_is_used("one"));
    object_delete_all();
}

static CO void test_what_knows_one_loop_only_is_named(void)
{
    g_autoptr(GError) err = NULL;
    json_t *o = json_pack("{s:s, s:s, s:i, s:[{s:s}]}", "driver", "quorum", "node-name", "many",
                          "vote-threshold", 1, "children", "driver", "null-co");
    Handle *h;

    threads_add();
    h = handle_open(NULL, o, 0, &err);
    g_assert_no_error(err);
    {
        g_autoptr(Edit) edit = edit_begin();

        edit_set_iothread(edit, handle_node(h), iothread_find("one"));
        g_assert_false(edit_commit(edit, &err));
    }
    g_assert_error(err, FERRY_ERROR, ENOTSUP);
    g_assert_nonnull(strstr(err->message, "'many'"));
    g_assert_false(object_is_used("one"));
    handle_close(h);
    object_delete_all();
}

/* Whoever lets the request go that it holds could not reach it on another loop. */
static CO void test_a_breakpoint_keeps_an_image_on_the_main_loop(void)
{
    g_autoptr(GError) err = NULL;
    json_t *o = json_pack("{s:s, s:s, s:{s:s}}", "driver", "blkdebug", "node-name", "image",
                          "image", "driver", "null-co");
    Handle *h;
    Node *n;

    threads_add();
    h = handle_open(NULL, o, 0, &err);
    g_assert_no_error(err);
    n = handle_node(h);
    move_to(h, "one");
    await_home(h, iothread_loop(iothread_find("one")));
    home_hold();
    g_assert_true(n->drv->debug->add_break(n, "read_aio", "tag", &err));
    home_release();
    for (int i = 0; i < 20; i++)
        co_sleep(1000000);
    g_assert_true(handle_home(h) == loop_self());
    home_hold();
    g_assert_true(n->drv->debug->remove_break(n, "tag", &err));
    home_release();
    await_home(h, iothread_loop(iothread_find("one")));
    handle_close(h);
    object_delete_all();
}

const Test tests[] = {
    { "/home/requests-of-all-loops-follow-a-moving-image",
      test_requests_of_all_loops_follow_a_moving_image },
    { "/home/requests-leave-nothing-on-a-loop-that-ends",
      test_requests_leave_nothing_on_a_loop_that_ends },
    { "/home/holding-and-jobs-keep-an-image-on-the-main-loop",
      test_holding_and_jobs_keep_an_image_on_the_main_loop },
    { "/home/what-knows-one-loop-only-is-named", test_what_knows_one_loop_only_is_named },
    { "/home/a-breakpoint-keeps-an-image-on-the-main-loop",
      test_a_breakpoint_keeps_an_image_on_the_main_loop },
    {}
};
