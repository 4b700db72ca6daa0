/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What handles tell their owners: another size, another node. */
#include "block/internal.h"
#include "tests/lib/harness.h"
#include <unistd.h>

enum { SIZE = 256 << 10 };

typedef struct {
    Handle *h;
    unsigned resized, replaced;
    uint64_t size; /* at the last call */
} Owner;

static void count_resized(void *owner)
{
    Owner *o = owner;

    o->resized++;
    o->size = handle_size(o->h);
}

static void count_replaced(void *owner)
{
    ((Owner *)owner)->replaced++;
}

static const HandleOps ops = { .resized = count_resized, .node_replaced = count_replaced };

static CO Handle *open_ok(const char *description)
{
    g_autoptr(GError) err = NULL;
    Handle *h = handle_open(description, NULL, OPEN_RDWR | OPEN_RESIZE, &err);

    g_assert_no_error(err);
    return h;
}

static char *file_new(const char *name, uint64_t size)
{
    g_autoptr(json_t) opts = json_object();
    g_autoptr(GError) err = NULL;
    char *path = test_path(name);

    json_put_int(opts, "size", size);
    image_create(path, "raw", opts, &err);
    g_assert_no_error(err);
    return path;
}

static CO void resize_ok(Handle *h, uint64_t size)
{
    g_autoptr(GError) err = NULL;

    handle_resize(h, size, false, PREALLOC_OFF, &err);
    g_assert_no_error(err);
}

/* Users of the node and of filters above it, whoever of them resizes it. */
static CO void test_users_are_told_of_a_new_size(void)
{
    g_autofree char *path = file_new("disk", SIZE), *below = NULL, *above = NULL;
    Owner low = {}, high = {};

    below = g_strdup_printf("json:{'driver':'raw','node-name':'low','file':{'driver':'file',"
                            "'filename':'%s'}}", path);
    above = g_strdup("json:{'driver':'blkdebug','image':'low'}");
    low.h = open_ok(below);
    high.h = open_ok(above);
    handle_listen(low.h, &ops, &low);
    handle_listen(high.h, &ops, &high);

    resize_ok(low.h, 2 * SIZE);
    g_assert_cmpuint(low.resized, ==, 1);
    g_assert_cmpuint(low.size, ==, 2 * SIZE);
    g_assert_cmpuint(high.resized, ==, 1);
    g_assert_cmpuint(high.size, ==, 2 * SIZE);

    resize_ok(high.h, SIZE);
    g_assert_cmpuint(low.resized, ==, 2);
    g_assert_cmpuint(low.size, ==, SIZE);
    g_assert_cmpuint(high.resized, ==, 2);
    g_assert_cmpuint(high.size, ==, SIZE);

    /* The size it has already is no news, and who does not listen is not told. */
    resize_ok(low.h, SIZE);
    handle_listen(low.h, NULL, NULL);
    resize_ok(low.h, 2 * SIZE);
    g_assert_cmpuint(low.resized, ==, 2);
    g_assert_cmpuint(high.resized, ==, 3);
    handle_close(high.h);
    handle_close(low.h);
}

static CO void test_a_bitmap_of_a_filter_follows_what_is_below(void)
{
    g_autofree char *path = file_new("disk", SIZE), *below = NULL;
    g_autoptr(GError) err = NULL;
    Handle *low, *high;
    DirtyBitmap *b;

    below = g_strdup_printf("json:{'driver':'raw','node-name':'low','file':{'driver':'file',"
                            "'filename':'%s'}}", path);
    low = open_ok(below);
    high = open_ok("json:{'driver':'blkdebug','image':'low'}");
    b = dirty_add(handle_node(high), "b", 4096, &err);
    g_assert_no_error(err);
    resize_ok(low, 2 * SIZE);
    g_assert_cmpuint(b->size, ==, 2 * SIZE);
    g_assert_cmpint(handle_zero(high, 2 * SIZE - 4096, 4096, 0), ==, 0);
    g_assert_cmpuint(dirty_count(b), ==, 4096);
    handle_close(high);
    handle_close(low);
}

static CO void test_another_node_of_another_size_is_told(void)
{
    g_autofree char *a = file_new("a", SIZE), *b = file_new("b", 3 * SIZE);
    g_autoptr(GError) err = NULL;
    Handle *other = open_ok(b);
    Owner o = { .h = open_ok(a) };
    Edit *edit;

    handle_listen(o.h, &ops, &o);
    edit = edit_begin();
    edit_replace(edit, handle_node(o.h), handle_node(other));
    edit_commit(edit, &err);
    edit_free(edit);
    g_assert_no_error(err);
    g_assert_cmpuint(o.replaced, ==, 1);
    g_assert_cmpuint(o.resized, ==, 1);
    g_assert_cmpuint(o.size, ==, 3 * SIZE);
    handle_close(o.h);
    handle_close(other);
}

typedef struct {
    Handle *h, *beside;
} Beside;

static CO void beside_open(void *arg)
{
    Beside *b = arg;
    g_autoptr(GError) err = NULL;

    b->beside = handle_new_beside(b->h, HANDLE_USER, ACCESS_READ, ACCESS_ALL, &err);
    g_assert_no_error(err);
}

static CO void test_a_handle_beside_another_has_its_node_even_if_that_is_a_new_one(void)
{
    g_autofree char *a = file_new("a", SIZE), *b = file_new("b", SIZE);
    g_autoptr(GError) err = NULL;
    Handle *other = open_ok(b);
    Beside x = { .h = open_ok(a) };
    CoGroup opening = {};
    Edit *edit = edit_begin();

    co_group_start(&opening, beside_open, &x);
    co_yield();
    edit_replace(edit, handle_node(x.h), handle_node(other)); /* the old node is closed */
    edit_commit(edit, &err);
    edit_free(edit);
    g_assert_no_error(err);
    co_group_wait(&opening);
    g_assert_true(handle_node(x.beside) == handle_node(other));
    handle_close(x.beside);
    handle_close(x.h);
    handle_close(other);
}

/* While a node was inactive another program has resized its file. */
static CO void test_a_size_found_when_active_again_is_told(void)
{
    g_autofree char *path = file_new("disk", SIZE);
    g_autoptr(GError) err = NULL;
    Owner o = { .h = open_ok(path) };

    handle_listen(o.h, &ops, &o);
    node_set_active(handle_node(o.h), false, &err);
    g_assert_no_error(err);
    g_assert_cmpint(truncate(path, 5 * SIZE), ==, 0);
    node_set_active(handle_node(o.h), true, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(o.resized, ==, 1);
    g_assert_cmpuint(o.size, ==, 5 * SIZE);
    handle_close(o.h);
}

const Test tests[] = {
    { "/handle-events/users-are-told-of-a-new-size", test_users_are_told_of_a_new_size },
    { "/handle-events/a-bitmap-of-a-filter-follows-what-is-below",
      test_a_bitmap_of_a_filter_follows_what_is_below },
    { "/handle-events/another-node-of-another-size-is-told",
      test_another_node_of_another_size_is_told },
    { "/handle-events/a-handle-beside-another-has-its-node-even-if-that-is-a-new-one",
      test_a_handle_beside_another_has_its_node_even_if_that_is_a_new_one },
    { "/handle-events/a-size-found-when-active-again-is-told",
      test_a_size_found_when_active_again_is_told },
    {}
};
