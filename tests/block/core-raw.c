/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The core over raw files: requests of any alignment, ends of files, locks. */
#include "block/block.h"
#include "tests/lib/harness.h"
#include "util/fd.h"
#include "util/keyval.h"
#include "util/size.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static char *temp_image(uint64_t size)
{
    g_autofree char *dir = g_dir_make_tmp("ferry-XXXXXX", NULL);
    char *path = g_build_filename(dir, "a.img", NULL);
    g_autoptr(json_t) opts = json_object();
    g_autoptr(GError) err = NULL;

    json_put_int(opts, "size", size);
    g_assert_true(image_create(path, "raw", opts, &err));
    g_assert_no_error(err);
    return path;
}

static void temp_remove(char *path)
{
    g_autofree char *dir = g_path_get_dirname(path);

    g_assert_cmpint(unlink(path), ==, 0);
    g_assert_cmpint(rmdir(dir), ==, 0);
    g_free(path);
}

static CO void test_write_reads_back(void)
{
    char *path = temp_image(1 * MiB);
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) o = json_object();
    uint8_t out[3000], in[3000];
    Handle *h;

    json_put_str(o, "driver", "raw");
    h = handle_open(path, g_steal_pointer(&o), OPEN_RDWR, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(handle_size(h), ==, 1 * MiB);
    memset(out, 0xa5, sizeof(out));
    g_assert_cmpint(handle_pwrite(h, 12345, span_of(out, sizeof(out)), 0), ==, 0);
    g_assert_cmpint(handle_pread(h, 12345, span_of(in, sizeof(in)), 0), ==, 0);
    g_assert_cmpmem(out, sizeof(out), in, sizeof(in));
    g_assert_cmpint(handle_pread(h, 1 * MiB - 10, span_of(in, 11), 0), ==, -EIO);
    g_assert_cmpint(handle_zero(h, 12345 + 10, 100, REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(handle_pread(h, 12345, span_of(in, sizeof(in)), 0), ==, 0);
    memset(out + 10, 0, 100);
    g_assert_cmpmem(out, sizeof(out), in, sizeof(in));
    g_assert_cmpint(handle_flush(h), ==, 0);
    g_assert_cmpstr(node_filename(handle_node(h)), ==, path);
    handle_close(h);
    temp_remove(path);
}

static CO void test_holes_are_zero_extents(void)
{
    char *path = temp_image(1 * MiB);
    g_autoptr(GError) err = NULL;
    uint8_t byte = 1;
    Extent e;
    Handle *h = handle_open(path, NULL, OPEN_RDWR, &err);

    g_assert_no_error(err);
    g_assert_cmpint(handle_extent(h, 0, MiB, true, &e), ==, 0);
    g_assert_cmpuint(e.len, ==, MiB);
    g_assert_cmpuint(e.flags & EXTENT_ZERO, !=, 0);
    g_assert_cmpint(handle_pwrite(h, 512 * KiB, span_of(&byte, 1), 0), ==, 0);
    g_assert_cmpint(handle_extent(h, 0, MiB, true, &e), ==, 0);
    g_assert_cmpuint(e.len, ==, 512 * KiB);
    g_assert_cmpint(handle_extent(h, 512 * KiB, MiB, true, &e), ==, 0);
    g_assert_cmpuint(e.flags & EXTENT_DATA, !=, 0);
    handle_close(h);
    temp_remove(path);
}

/* Without locks anybody may write: a hole that was seen must be looked at again. */
static CO void test_unlocked_holes_are_not_remembered(void)
{
    char *path = temp_image(1 * MiB);
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) o = json_object();
    autofd int other = open(path, O_WRONLY | O_CLOEXEC);
    Extent e;
    Handle *h;

    json_put_str(o, "driver", "raw");
    json_put_str(o, "file.locking", "off");
    h = handle_open(path, g_steal_pointer(&o), 0, &err);
    g_assert_no_error(err);
    g_assert_cmpint(handle_extent(h, 0, MiB, true, &e), ==, 0);
    g_assert_cmpuint(e.flags & EXTENT_ZERO, !=, 0);
    g_assert_cmpint(pwrite(other, "x", 1, 0), ==, 1);
    g_assert_cmpint(handle_extent(h, 0, MiB, true, &e), ==, 0);
    g_assert_cmpuint(e.flags & EXTENT_DATA, !=, 0);
    handle_close(h);
    temp_remove(path);
}

static CO void test_guess_guards_first_block(void)
{
    char *path = temp_image(1 * MiB);
    g_autoptr(GError) err = NULL;
    uint8_t byte = 1;
    Handle *h = handle_open(path, NULL, OPEN_RDWR, &err);

    g_assert_no_error(err);
    g_assert_cmpint(handle_pwrite(h, 3, span_of(&byte, 1), 0), ==, 0);
    handle_close(h);
    temp_remove(path);
}

const Test tests[] = {
    { "/core/raw/write-reads-back", test_write_reads_back },
    { "/core/raw/holes-are-zero-extents", test_holes_are_zero_extents },
    { "/core/raw/unlocked-holes-are-not-remembered", test_unlocked_holes_are_not_remembered },
    { "/core/raw/ordinary-write-to-guessed-raw-passes", test_guess_guards_first_block },
    {}
};
