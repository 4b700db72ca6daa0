/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inactive nodes: images that two programs write in turn. Two graphs in one process lock each other
 * out as two programs would.
 */
#include "block/internal.h"
#include "tests/lib/harness.h"
#include <string.h>

enum { SIZE = 256 << 10 };

static char *image_new(const char *name)
{
    g_autoptr(json_t) opts = json_object();
    g_autoptr(GError) err = NULL;
    char *path = test_path(name);

    json_put_int(opts, "size", SIZE);
    image_create(path, "qcow2", opts, &err);
    g_assert_no_error(err);
    return path;
}

static CO Handle *image_open(const char *path, GError **err)
{
    json_t *o = json_object();

    json_put_str(o, "driver", "qcow2");
    return handle_open(path, o, OPEN_RDWR | OPEN_RESIZE, err);
}

static CO Handle *image_open_ok(const char *path)
{
    g_autoptr(GError) err = NULL;
    Handle *h = image_open(path, &err);

    g_assert_no_error(err);
    return h;
}

static CO void set_active(Handle *h, bool active)
{
    g_autoptr(GError) err = NULL;

    node_set_active(handle_node(h), active, &err);
    g_assert_no_error(err);
    g_assert_cmpint(node_is_active(handle_node(h)), ==, active);
}

static CO int put(Handle *h, uint64_t off, uint8_t value)
{
    uint8_t buf[4096];

    memset(buf, value, sizeof(buf));
    return handle_pwrite(h, off, span_of(buf, sizeof(buf)), 0);
}

/* The byte at @off, or a negative errno. */
static CO int get(Handle *h, uint64_t off)
{
    uint8_t byte;
    int r = handle_pread(h, off, span_of(&byte, 1), 0);

    return r < 0 ? r : byte;
}

/* The other program's writes, size and bitmaps are seen afterwards; ours were there for it. */
static CO void test_image_is_handed_over_and_back(void)
{
    g_autofree char *path = image_new("a");
    Handle *ours = image_open_ok(path), *theirs;
    g_autoptr(GError) err = NULL;
    DirtyBitmap *b = dirty_add(handle_node(ours), "b", 65536, NULL);

    b->persistent = b->enabled = true;
    g_assert_cmpint(put(ours, 0, 1), ==, 0);
    g_assert_null(image_open(path, &err));
    g_assert_error(err, FERRY_ERROR, EAGAIN);
    set_active(ours, false);
    theirs = image_open_ok(path);
    g_assert_cmpint(get(theirs, 0), ==, 1);
    b = dirty_find(handle_node(theirs), "b");
    g_assert_cmpuint(dirty_count(b), ==, 65536);
    g_assert_cmpint(put(theirs, 128 << 10, 2), ==, 0);
    g_assert_true(handle_resize(theirs, 2 * SIZE, true, PREALLOC_OFF, NULL));
    handle_close(theirs);
    set_active(ours, true);
    g_assert_cmpuint(handle_size(ours), ==, 2 * SIZE);
    g_assert_cmpint(get(ours, 0), ==, 1);
    g_assert_cmpint(get(ours, 128 << 10), ==, 2);
    g_assert_cmpuint(dirty_count(dirty_find(handle_node(ours), "b")), ==, 2 * 65536);
    g_assert_cmpint(put(ours, SIZE, 3), ==, 0);
    handle_close(ours);
}

static CO void test_inactive_image_takes_no_requests(void)
{
    g_autofree char *path = image_new("a");
    Handle *h = image_open_ok(path);
    Extent e;

    set_active(h, false);
    g_assert_cmpint(put(h, 0, 1), ==, -EPERM);
    g_assert_cmpint(get(h, 0), ==, -EPERM);
    g_assert_cmpint(handle_zero(h, 0, 512, 0), ==, -EPERM);
    g_assert_cmpint(handle_discard(h, 0, 65536), ==, -EPERM);
    g_assert_cmpint(handle_extent(h, 0, 512, true, &e), ==, -EPERM);
    g_assert_cmpint(handle_flush(h), ==, 0);
    g_assert_false(handle_resize(h, 2 * SIZE, true, PREALLOC_OFF, NULL));
    set_active(h, false);
    set_active(h, true);
    g_assert_cmpint(put(h, 0, 1), ==, 0);
    handle_close(h);
}

static CO void test_image_of_another_program_stays_inactive(void)
{
    g_autofree char *path = image_new("a");
    Handle *ours = image_open_ok(path), *theirs;
    g_autoptr(GError) err = NULL;

    set_active(ours, false);
    theirs = image_open_ok(path);
    g_assert_false(node_set_active(handle_node(ours), true, &err));
    g_assert_error(err, FERRY_ERROR, EAGAIN);
    g_assert_false(node_is_active(handle_node(ours)));
    g_assert_cmpint(put(theirs, 0, 5), ==, 0);
    handle_close(theirs);
    set_active(ours, true);
    g_assert_cmpint(get(ours, 0), ==, 5);
    handle_close(ours);
}

/* What cannot be written keeps the image with us, as writable as before. */
static CO void test_failure_to_write_back_leaves_it_active(void)
{
    g_autofree char *path = image_new("a"), *desc = NULL;
    g_autoptr(GError) err = NULL;
    Handle *h;

    desc = g_strdup_printf("json:{'driver':'qcow2','file':{'driver':'blkdebug','inject-error':[{"
                           "'event':'none','once':true,'iotype':'flush','errno':5}],"
                           "'image':{'driver':'file','filename':'%s'}}}", path);
    h = handle_open(desc, NULL, OPEN_RDWR, &err);
    g_assert_no_error(err);
    g_assert_cmpint(put(h, 0, 1), ==, 0);
    g_assert_false(node_set_active(handle_node(h), false, &err));
    g_assert_nonnull(err);
    g_assert_true(node_is_active(handle_node(h)));
    g_assert_cmpint(get(h, 0), ==, 1);
    g_assert_cmpint(put(h, 65536, 2), ==, 0);
    set_active(h, false);
    handle_close(h);
}

/* ---- a filter whose flushes fail ------------------------------------------------------------- */

static int flushes_left = -1; /* before one fails; less than 0: none does */

static CO int failing_flush(Node *n)
{
    return flushes_left >= 0 && flushes_left-- == 0 ? -EIO
                                                    : edge_flush(node_edge(n, ROLE_FILTERED));
}

static const BlockDriver block_failing = {
    .name = "failing", .kind = BLK_FILTER, .flush_all = failing_flush,
};

/* The image at @path over a failing filter. */
static CO Handle *image_over_failing(const char *path)
{
    g_autoptr(GError) err = NULL;
    json_t *o = json_object();
    g_autoptr(Node) file = NULL, filter = node_new(&block_failing, "failing", &err);
    g_autoptr(Edit) edit = NULL;

    g_assert_no_error(err);
    json_put_str(o, "driver", "file");
    json_put_str(o, "filename", path);
    file = node_open(NULL, o, OPEN_RDWR, 0, &err);
    g_assert_no_error(err);
    filter->flags = OPEN_RDWR;
    filter->options = json_object();
    filter->given = json_object();
    filter->is_open = true;
    filter->state = NODE_ACTIVE;
    node_set_size(filter, node_size(file));
    edit = edit_begin();
    edit_attach(edit, filter, "file", ROLE_FILTERED, file);
    g_assert_true(edit_commit(edit, NULL));
    return handle_open("json:{'driver':'qcow2','file':'failing'}", NULL, OPEN_RDWR, &err);
}

/* True if the file says that the content of its bitmap is up to date. */
static CO bool file_bitmap_is_trusted(const char *path)
{
    g_autofree char *desc = g_strdup_printf(
        "json:{'driver':'qcow2','force-share':true,'read-only':true,"
        "'file':{'driver':'file','filename':'%s'}}",
        path);
    g_autoptr(GError) err = NULL;
    Handle *h = handle_open(desc, NULL, 0, &err);
    bool trusted;

    g_assert_no_error(err);
    trusted = !dirty_find(handle_node(h), "b")->inconsistent;
    handle_close(h);
    return trusted;
}

/*
 * Whichever flush fails: an image that goes on being written does not say that its bitmap is
 * complete.
 */
static CO void test_failure_leaves_bitmaps_in_use(void)
{
    g_autofree char *path = image_new("a");
    Handle *h = image_open_ok(path);
    DirtyBitmap *b = dirty_add(handle_node(h), "b", 65536, NULL);
    int refused = 0;

    b->persistent = b->enabled = true;
    handle_close(h);
    for (int flush = 0; flush < 12; flush++) {
        h = image_over_failing(path);
        g_assert_cmpint(put(h, 0, 1), ==, 0);
        flushes_left = flush;
        if (!node_set_active(handle_node(h), false, NULL)) {
            refused++;
            flushes_left = -1;
            g_assert_true(node_is_active(handle_node(h)));
            if (put(h, 65536, 2) == 0)
                g_assert_false(file_bitmap_is_trusted(path));
        }
        flushes_left = -1;
        handle_close(h);
    }
    g_assert_cmpint(refused, >, 2);
}

/*
 * A bitmap in memory only knows nothing of what the other program did: everything may have changed.
 */
static CO void test_bitmaps_in_memory_are_full_afterwards(void)
{
    g_autofree char *path = image_new("a");
    Handle *ours = image_open_ok(path), *theirs;
    DirtyBitmap *b = dirty_add(handle_node(ours), "memory", 65536, NULL);

    b->enabled = true;
    set_active(ours, false);
    theirs = image_open_ok(path);
    g_assert_true(handle_resize(theirs, 4 * SIZE, true, PREALLOC_OFF, NULL));
    handle_close(theirs);
    set_active(ours, true);
    g_assert_true(dirty_find(handle_node(ours), "memory") == b);
    g_assert_cmpuint(dirty_count(b), ==, 4 * SIZE);
    handle_close(ours);
}

/* An attempt that fails does not spoil the next one. */
static CO void test_second_attempt_to_activate_succeeds(void)
{
    g_autofree char *path = image_new("a");
    Handle *h = image_open_ok(path);
    DirtyBitmap *b = dirty_add(handle_node(h), "b", 65536, NULL);
    int failed = 0;

    b->persistent = b->enabled = true;
    handle_close(h);
    for (int flush = 0; flush < 12; flush++) {
        h = image_over_failing(path);
        set_active(h, false);
        flushes_left = flush;
        if (!node_set_active(handle_node(h), true, NULL)) {
            failed++;
            flushes_left = -1;
            set_active(h, true);
        }
        flushes_left = -1;
        g_assert_nonnull(dirty_find(handle_node(h), "b"));
        g_assert_cmpint(put(h, 0, 1), ==, 0);
        handle_close(h);
    }
    g_assert_cmpint(failed, >, 0);
}

/* A backing file that another, active overlay reads has to stay active. */
static CO void test_node_with_an_active_parent_stays_active(void)
{
    g_autofree char *path = image_new("base"), *desc = NULL;
    g_autoptr(GError) err = NULL;
    Handle *base, *over;

    desc = g_strdup_printf("json:{'driver':'qcow2','node-name':'base','file':{'driver':'file',"
                           "'filename':'%s'}}", path);
    base = handle_open(desc, NULL, 0, &err);
    g_assert_no_error(err);
    over = handle_open("json:{'driver':'raw','file':'base'}", NULL, 0, &err);
    g_assert_no_error(err);
    g_assert_false(node_set_active(handle_node(base), false, &err));
    g_assert_error(err, FERRY_ERROR, EBUSY);
    g_assert_true(node_is_active(handle_node(base)));
    set_active(over, false);
    g_assert_false(node_is_active(handle_node(base)));
    set_active(over, true);
    handle_close(over);
    handle_close(base);
}

const Test tests[] = {
    { "/inactive/image-is-handed-over-and-back", test_image_is_handed_over_and_back },
    { "/inactive/inactive-image-takes-no-requests", test_inactive_image_takes_no_requests },
    { "/inactive/image-of-another-program-stays-inactive",
      test_image_of_another_program_stays_inactive },
    { "/inactive/failure-to-write-back-leaves-it-active",
      test_failure_to_write_back_leaves_it_active },
    { "/inactive/failure-leaves-bitmaps-in-use", test_failure_leaves_bitmaps_in_use },
    { "/inactive/bitmaps-in-memory-are-full-afterwards",
      test_bitmaps_in_memory_are_full_afterwards },
    { "/inactive/second-attempt-to-activate-succeeds", test_second_attempt_to_activate_succeeds },
    { "/inactive/node-with-an-active-parent-stays-active",
      test_node_with_an_active_parent_stays_active },
    {}
};
