/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening what images name: loops, long chains, files that would make us wait, odd names. */
#include "block/block.h"
#include "tests/lib/harness.h"
#include "util/size.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { CHAIN = 200 };
#define SECOND INT64_C(1000000000)

/* Makes the qcow2 image @name in the test's folder, over @backing as it stands (NULL: none). */
static CO char *make_image(const char *name, const char *backing, const char *format)
{
    g_autoptr(json_t) opts = json_object();
    g_autoptr(GError) err = NULL;
    char *path = test_path(name);

    json_put_int(opts, "size", MiB);
    if (backing) {
        json_put_str(opts, "backing_file", backing);
        json_put_str(opts, "backing_fmt", format);
    }
    image_create(path, "qcow2", opts, &err);
    g_assert_no_error(err);
    return path;
}

/* Opening @filename fails with @code (0: any). */
static CO void expect_refused(const char *filename, int code)
{
    g_autoptr(GError) err = NULL;
    Handle *h = handle_open(filename, NULL, 0, &err);

    g_assert_null(h);
    g_assert_nonnull(err);
    if (code)
        g_assert_cmpint(err->code, ==, code);
}

/* ---- loops ---------------------------------------------------------------------------------- */

static CO void test_own_backing_file(void)
{
    g_autofree char *a = make_image("a", "a", "qcow2"), *b = make_image("b", "./b", "qcow2");
    g_autofree char *full = test_path("c");

    expect_refused(a, ELOOP);
    expect_refused(b, ELOOP);
    g_free(make_image("c", full, "qcow2"));
    expect_refused(full, ELOOP);
}

static CO void test_backing_files_in_a_circle(void)
{
    g_autofree char *a = make_image("a", "b", "qcow2"), *b = make_image("b", "c", "qcow2");
    g_autofree char *c = make_image("c", "a", "qcow2"), *d = make_image("d", "a", "qcow2");

    expect_refused(a, ELOOP);
    expect_refused(b, ELOOP);
    expect_refused(c, ELOOP);
    expect_refused(d, ELOOP);
}

static CO void test_loop_by_link_and_description(void)
{
    g_autofree char *link = test_path("link"), *real = make_image("real", "link", "qcow2");
    g_autofree char *json = g_strdup_printf("json:{\"driver\":\"qcow2\",\"file\":{\"driver\":"
                                            "\"blkdebug\",\"image\":{\"driver\":\"file\","
                                            "\"filename\":\"%s/j\"}}}", test_dir());
    g_autofree char *j = make_image("j", json, "qcow2");

    g_assert_cmpint(symlink(real, link), ==, 0);
    expect_refused(real, ELOOP);
    expect_refused(j, ELOOP);
}

static CO void test_own_data_file(void)
{
    g_autofree char *path = test_path("d");
    g_autofree char *text = g_strdup_printf(
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\","
        "\"filename\":\"%s\"},\"data-file\":{\"driver\":\"file\","
        "\"filename\":\"%s\"}}",
        path, path);
    g_autoptr(json_t) opts = json_object();
    g_autofree char *data = test_path("data");
    g_autoptr(GError) err = NULL;

    json_put_int(opts, "size", MiB);
    json_put_str(opts, "data_file", data);
    image_create(path, "qcow2", opts, &err);
    g_assert_no_error(err);
    expect_refused(text, 0);
}

static CO void test_nested_descriptions(void)
{
    g_autoptr(GString) text = g_string_new("json:");

    for (int i = 0; i < 500; i++)
        g_string_append(text, "{\"driver\":\"raw\",\"file\":");
    g_string_append(text, "{\"driver\":\"null-co\"}");
    for (int i = 0; i < 500; i++)
        g_string_append(text, "}");
    expect_refused(text->str, 0);
}

/* ---- long chains ---------------------------------------------------------------------------- */

static CO void test_chain_of_200(void)
{
    g_autofree char *below = NULL, *buf = g_malloc0(4096);
    g_autoptr(GError) err = NULL;
    int depth = 0;
    Handle *h;
    Extent e;

    for (int i = 0; i < CHAIN; i++) {
        g_autofree char *name = g_strdup_printf("%d", i);
        g_autofree char *path = make_image(name, below, "qcow2");

        if (i == 0) {
            h = handle_open(path, NULL, OPEN_RDWR, &err);
            g_assert_no_error(err);
            memset(buf, 7, 4096);
            g_assert_cmpint(handle_pwrite(h, 64 * KiB, span_of(buf, 4096), 0), ==, 0);
            g_assert_cmpint(handle_flush(h), ==, 0);
            handle_close(h);
        }
        g_free(below);
        below = g_steal_pointer(&name);
    }
    {
        g_autofree char *top = test_path(below);

        h = handle_open(top, NULL, OPEN_RDWR, &err);
    }
    g_assert_no_error(err);
    memset(buf, 0, 4096);
    g_assert_cmpint(handle_pread(h, 64 * KiB, span_of(buf, 4096), 0), ==, 0);
    g_assert_cmpint(buf[0], ==, 7);
    g_assert_cmpint(node_extent_above(handle_node(h), NULL, 64 * KiB, KiB, true, &e, &depth), ==,
                    0);
    g_assert_cmpint(depth, ==, CHAIN - 1);
    handle_close(h);
}

/* ---- what would wait ------------------------------------------------------------------------ */

static CO void expect_answer_soon(const char *filename, bool may_open)
{
    int64_t start = clock_now_ns();
    g_autoptr(GError) err = NULL;
    g_autoptr(Handle) h = handle_open(filename, NULL, 0, &err);
    int64_t limit = test_is_slowed() ? 20 * SECOND : 3 * SECOND;

    g_assert_true(!h == (err != NULL));
    g_assert_true(may_open || !h);
    g_assert_cmpint(clock_now_ns() - start, <, limit);
}

/* In every place a name can stand in. */
static CO void expect_never_waits(const char *path)
{
    static const char *const forms[] = {
        "%s",
        "file:%s",
        "blkdebug::%s",
        "blkdebug:%s:/dev/null",
        "blkverify:%s:%s",
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}",
        "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"host_device\",\"filename\":\"%s\"}}",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        g_auto(GStrv) parts = g_strsplit(forms[i], "%s", -1);
        g_autofree char *name = g_strjoinv(path, parts);

        expect_answer_soon(name, false);
    }
    {
        g_autofree char *over = make_image("over", path, "raw");
        g_autofree char *over_format = make_image("over2", path, "qcow2");

        expect_answer_soon(over, false);
        expect_answer_soon(over_format, false);
    }
}

static CO void test_fifo_never_waits(void)
{
    g_autofree char *path = test_path("fifo");

    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    expect_never_waits(path);
}

static CO void test_socket_never_waits(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    g_autofree char *path = test_path("socket");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(a.sun_path, path, sizeof(a.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&a, sizeof(a)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    expect_never_waits(path);
    close(fd);
}

static CO void test_folder_is_refused(void)
{
    expect_never_waits(test_dir());
}

static CO void test_terminal_never_waits(void)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY);
    g_autofree char *name = NULL;

    if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0)
        test_skip("no terminals here");
    name = g_strdup(ptsname(fd));
    expect_answer_soon(name, true);
    close(fd);
}

/* ---- names ---------------------------------------------------------------------------------- */

static void test_names_inside_images(void)
{
    static const struct {
        const char *base, *name, *result;
    } cases[] = {
        { "a", "b", "b" },
        { "dir/a", "b", "dir/b" },
        { "/dir/a", "b", "/dir/b" },
        { "/dir/a", "/b", "/b" },
        { "/dir/a", "../b", "/dir/../b" },
        { "dir/a", "file:b", "file:b" },
        { "dir/a", "nbd://host/x", "nbd://host/x" },
        { "dir/a", "json:{}", "json:{}" },
        { "dir/a", "sub:x/y", "sub:x/y" },
        { "dir/a", "./sub:x", "dir/./sub:x" },
        { "json:{}", "/b", "/b" },
        { "json:{}", "b", NULL },
        { "http://host/dir/a", "b", "http://host/dir/b" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) err = NULL;
        g_autofree char *got = filename_combine(cases[i].base, cases[i].name, &err);

        g_assert_cmpstr(got, ==, cases[i].result);
        g_assert_true(!got == (err != NULL));
    }
}

/* A backing name counts from the image's folder, also through json: names and filters above it. */
static CO void test_backing_beside_described_image(void)
{
    static const char *const forms[] = {
        "%s",
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}",
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"blkdebug\",\"align\":512,"
        "\"image\":{\"driver\":\"file\",\"filename\":\"%s\"}}}",
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"raw\",\"size\":\"192k\","
        "\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}}",
        "blkdebug::%s",
    };
    g_autofree char *base = make_image("base", NULL, NULL);
    g_autofree char *top = make_image("top", "base", "qcow2");

    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        g_auto(GStrv) parts = g_strsplit(forms[i], "%s", -1);
        g_autofree char *name = g_strjoinv(top, parts);
        g_autoptr(GError) err = NULL;
        Handle *h = handle_open(name, NULL, 0, &err);

        g_assert_no_error(err);
        g_assert_cmpstr(node_filename(node_backing(handle_node(h))), ==, base);
        handle_close(h);
    }
}

/* ---- guessed formats ------------------------------------------------------------------------ */

static CO Handle *open_raw(const char *path, const char *driver)
{
    g_autoptr(json_t) o = json_object();
    g_autoptr(GError) err = NULL;
    Handle *h;

    if (driver)
        json_put_str(o, "driver", driver);
    h = handle_open(path, g_steal_pointer(&o), OPEN_RDWR, &err);
    g_assert_no_error(err);
    return h;
}

/* Only a raw image that was guessed refuses to become something else, in one write or several. */
static CO void test_guessed_raw_stays_raw(void)
{
    static const uint8_t magic[8] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 3 };
    g_autofree char *path = test_path("raw");
    Handle *h;

    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    g_assert_cmpint(truncate(path, MiB), ==, 0);
    h = open_raw(path, NULL);
    g_assert_cmpint(handle_pwrite(h, 0, span_of_const(magic, 8), 0), ==, -EPERM);
    g_assert_cmpint(handle_pwrite(h, 4, span_of_const(magic + 4, 4), 0), ==, 0);
    g_assert_cmpint(handle_pwrite(h, 0, span_of_const(magic, 3), 0), ==, 0);
    g_assert_cmpint(handle_pwrite(h, 3, span_of_const(magic + 3, 1), 0), ==, -EPERM);
    g_assert_cmpint(handle_zero(h, 0, 4096, 0), ==, 0);
    handle_close(h);
    h = open_raw(path, "raw");
    g_assert_cmpint(handle_pwrite(h, 0, span_of_const(magic, 8), 0), ==, 0);
    handle_close(h);
    h = open_raw(path, "raw");
    g_assert_cmpstr(node_format(handle_node(h)), ==, "raw");
    handle_close(h);
}

const Test tests[] = {
    { "/core/open/own-backing-file-is-refused", test_own_backing_file },
    { "/core/open/backing-files-in-a-circle-are-refused", test_backing_files_in_a_circle },
    { "/core/open/loop-by-link-and-description-is-refused", test_loop_by_link_and_description },
    { "/core/open/own-data-file-is-refused", test_own_data_file },
    { "/core/open/deeply-nested-descriptions-are-refused", test_nested_descriptions },
    { "/core/open/chain-of-200", test_chain_of_200 },
    { "/core/open/fifo-never-waits", test_fifo_never_waits },
    { "/core/open/socket-never-waits", test_socket_never_waits },
    { "/core/open/folder-is-refused", test_folder_is_refused },
    { "/core/open/terminal-never-waits", test_terminal_never_waits },
    { "/core/open/names-inside-images", test_names_inside_images },
    { "/core/open/backing-beside-described-image", test_backing_beside_described_image },
    { "/core/open/guessed-raw-stays-raw", test_guessed_raw_stays_raw },
    {},
};
