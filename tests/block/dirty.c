/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dirty bitmaps of a node in memory. */
#include "block/block.h"
#include "block/dirty.h"
#include "tests/lib/harness.h"
#include "util/err.h"
#include "util/size.h"
#include <string.h>

static CO Handle *test_disk(const char *size)
{
    g_autoptr(GError) err = NULL;
    json_t *o = json_object();
    Handle *h;

    json_put_str(o, "driver", "null-co");
    json_put_str(o, "size", size);
    h = handle_open(NULL, o, OPEN_RDWR | OPEN_RESIZE, &err);
    g_assert_no_error(err);
    return h;
}

/* Whole granules are marked, the last one only as far as the disk goes. */
static CO void test_marks_granules(void)
{
    g_autoptr(Handle) h = test_disk("1000448");
    Node *n = handle_node(h);
    DirtyBitmap *b = dirty_add(n, "b", 65536, NULL), *fine = dirty_add(n, "fine", 512, NULL);
    uint8_t byte = 1;

    g_assert_true(dirty_first(n) == b && b->next == fine && !fine->next);
    g_assert_cmpint(handle_pwrite(h, 65536 + 1000, span_of(&byte, 1), 0), ==, 0);
    g_assert_cmpuint(dirty_count(b), ==, 65536);
    g_assert_cmpuint(dirty_count(fine), ==, 512);
    g_assert_cmpint(handle_zero(h, 65536, 65537, 0), ==, 0);
    g_assert_cmpuint(dirty_count(b), ==, 131072);
    dirty_mark(n, 1000447, 1);
    g_assert_cmpuint(dirty_count(b), ==, 131072 + 1000448 % 65536);
    dirty_mark(n, 1000448, 5);
    dirty_mark(n, 0, 0);
    g_assert_cmpuint(dirty_count(b), ==, 131072 + 1000448 % 65536);
}

static CO void test_disabled_records_nothing(void)
{
    g_autoptr(Handle) h = test_disk("1048576");
    DirtyBitmap *b = dirty_add(handle_node(h), "b", 65536, NULL);

    b->enabled = false;
    dirty_mark(handle_node(h), 0, 65536);
    g_assert_cmpuint(dirty_count(b), ==, 0);
}

static CO void test_bad_bitmaps_refused(void)
{
    g_autoptr(Handle) h = test_disk("1048576");
    g_autofree char *long_name = g_strnfill(1024, 'x'), *longest = g_strnfill(1023, 'x');
    Node *n = handle_node(h);

    g_assert_nonnull(dirty_add(n, "b", 65536, NULL));
    g_assert_null(dirty_add(n, "b", 512, NULL));
    g_assert_null(dirty_add(n, "", 512, NULL));
    g_assert_null(dirty_add(n, "c", 256, NULL));
    g_assert_null(dirty_add(n, "c", 1000, NULL));
    g_assert_null(dirty_add(n, long_name, 512, NULL));
    g_assert_nonnull(dirty_add(n, longest, UINT32_C(1) << 31, NULL));
}

static CO void test_too_many_bits_refused(void)
{
    g_autoptr(Handle) h = test_disk("4611686018427387904");
    g_autoptr(GError) err = NULL;

    g_assert_null(dirty_add(handle_node(h), "b", 512, &err));
    g_assert_error(err, FERRY_ERROR, EFBIG);
    g_assert_nonnull(dirty_add(handle_node(h), "b", UINT32_C(1) << 31, NULL));
}

static CO void test_removed_is_gone(void)
{
    g_autoptr(Handle) h = test_disk("1048576");
    Node *n = handle_node(h);
    DirtyBitmap *a = dirty_add(n, "a", 512, NULL), *b = dirty_add(n, "b", 512, NULL);

    dirty_remove(n, a);
    g_assert_null(dirty_find(n, "a"));
    g_assert_true(dirty_first(n) == b);
    dirty_remove(n, b);
    g_assert_null(dirty_first(n));
}

static CO void test_default_granularity(void)
{
    g_autoptr(Handle) h = test_disk("1048576");

    g_assert_cmpuint(dirty_default_granularity(handle_node(h)), ==, 65536);
}

const Test tests[] = {
    { "/dirty/marks-whole-granules", test_marks_granules },
    { "/dirty/disabled-records-nothing", test_disabled_records_nothing },
    { "/dirty/bad-bitmaps-refused", test_bad_bitmaps_refused },
    { "/dirty/too-many-bits-refused", test_too_many_bits_refused },
    { "/dirty/removed-is-gone", test_removed_is_gone },
    { "/dirty/default-granularity", test_default_granularity },
    {}
};
