/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUKS images through the core: content, sizes, detached headers, key slots, wrong passwords. */
#include "block/driver.h"
#include "io/co-lock.h"
#include "tests/lib/harness.h"
#include "util/keyval.h"
#include "qapi/object.h"
#include <string.h>

/* @text as options: "driver=luks,key-secret=s,file.filename=..." */
static json_t *options(const char *text)
{
    g_autoptr(GError) err = NULL;
    json_t *o = keyval_parse(text, NULL, &err);

    g_assert_no_error(err);
    return o;
}

static CO char *make(const char *name, uint64_t size, const char *more)
{
    char *path = test_path(name);
    g_autofree char *text = g_strdup_printf("key-secret=s,iter-time=0%s", more);
    g_autoptr(json_t) o = options(text);
    g_autoptr(GError) err = NULL;

    if (!object_find("s", object_classes[0], NULL))
        g_assert_true(object_add_text("secret,id=s,data=pass", NULL) &&
                      object_add_text("secret,id=t,data=word", NULL));
    json_put_int(o, "size", size);
    image_create(path, "luks", o, &err);
    g_assert_no_error(err);
    return path;
}

static CO Handle *try_open(const char *path, const char *more, OpenFlags flags, GError **err)
{
    g_autofree char *text = g_strdup_printf("driver=luks,file.driver=file,file.filename=%s%s",
                                            path, more);

    return handle_open(NULL, options(text), flags, err);
}

static CO Handle *open_rw(const char *path)
{
    g_autoptr(GError) err = NULL;
    Handle *h = try_open(path, ",key-secret=s", OPEN_RDWR | OPEN_RESIZE, &err);

    g_assert_no_error(err);
    return h;
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (i * 131 + seed) >> 3;
}

/* Writes of any alignment read back, and nothing of them is readable in the file. */
static CO void test_content(void)
{
    static const struct {
        uint64_t off, len;
    } writes[] = { { 0, 512 }, { 1000, 1 }, { 511, 2 }, { 4096, 65536 }, { 100001, 3000000 },
                   { 5 * MiB, 3 * MiB }, { 8 * MiB - 7, 7 } };
    g_autofree char *path = make("a.luks", 8 * MiB, "");
    g_autofree uint8_t *model = g_malloc0(8 * MiB), *got = g_malloc(8 * MiB);
    g_autofree char *raw = NULL;
    g_autoptr(Handle) h = open_rw(path);
    size_t raw_len;

    g_assert_cmpuint(handle_size(h), ==, 8 * MiB);
    g_assert_cmpint(handle_pwrite(h, 0, span_of(model, 8 * MiB), 0), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(writes); i++) {
        uint8_t *p = model + writes[i].off;

        fill(p, writes[i].len, i);
        g_assert_cmpint(handle_pwrite(h, writes[i].off, span_of(p, writes[i].len), 0), ==, 0);
    }
    g_assert_cmpint(handle_pread(h, 0, span_of(got, 8 * MiB), 0), ==, 0);
    g_assert_cmpint(memcmp(got, model, 8 * MiB), ==, 0);
    g_assert_cmpint(handle_flush(h), ==, 0);
    g_assert_true(g_file_get_contents(path, &raw, &raw_len, NULL));
    g_assert_null(memmem(raw, raw_len, model + 5 * MiB, 512));
}

/* Pieces of memory that cut sectors in two. */
static CO void test_scattered(void)
{
    g_autofree char *path = make("a.luks", 1 * MiB, ",cipher-alg=serpent-256,cipher-mode=cbc");
    g_autoptr(Handle) h = open_rw(path);
    g_autofree uint8_t *data = g_malloc(256 * KiB), *got = g_malloc0(256 * KiB);
    struct iovec out[] = { { data, 700 }, { data + 700, 100000 }, { data + 100700, 161444 } };
    struct iovec in[] = { { got, 1 }, { got + 1, 199999 }, { got + 200000, 62144 } };

    fill(data, 256 * KiB, 9);
    g_assert_cmpint(handle_pwrite(h, 512, span_of_iov(out, 3), 0), ==, 0);
    g_assert_cmpint(handle_pread(h, 512, span_of_iov(in, 3), 0), ==, 0);
    g_assert_cmpint(memcmp(got, data, 256 * KiB), ==, 0);
}

typedef struct {
    Handle *h;
    unsigned id;
} Writer;

static CO void writer_run(void *arg)
{
    const Writer *w = arg;
    g_autofree uint8_t *data = g_malloc(256 * KiB), *got = g_malloc(256 * KiB);

    for (unsigned round = 0; round < 8; round++) {
        uint64_t off = w->id * 256 * KiB;

        fill(data, 256 * KiB, w->id * 100 + round);
        g_assert_cmpint(handle_pwrite(w->h, off, span_of(data, 256 * KiB), 0), ==, 0);
        g_assert_cmpint(handle_pread(w->h, off, span_of(got, 256 * KiB), 0), ==, 0);
        g_assert_cmpint(memcmp(got, data, 256 * KiB), ==, 0);
    }
}

static CO void test_parallel(void)
{
    g_autofree char *path = make("a.luks", 4 * MiB, "");
    g_autoptr(Handle) h = open_rw(path);
    Writer writers[16];
    CoGroup group = {};

    for (unsigned i = 0; i < 16; i++) {
        writers[i] = (Writer){ h, i };
        co_group_start(&group, writer_run, &writers[i]);
    }
    co_group_wait(&group);
}

static CO void test_wrong_password(void)
{
    g_autofree char *path = make("a.luks", 1 * MiB, "");
    g_autoptr(GError) err = NULL;
    g_autoptr(Handle) h = try_open(path, ",key-secret=t", 0, &err);
    uint8_t b;

    g_assert_null(h);
    g_assert_cmpint(err->code, ==, EPERM);
    g_clear_error(&err);
    g_assert_null(try_open(path, ",key-secret=none", 0, &err));
    g_assert_cmpint(err->code, ==, ENOENT);
    g_clear_error(&err);
    g_assert_null(try_open(path, "", 0, &err));
    g_assert_cmpint(err->code, ==, EINVAL);
    g_clear_error(&err);
    /* To look at its header no password is needed, but data stays closed. */
    h = try_open(path, "", OPEN_NO_IO, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(handle_size(h), ==, 1 * MiB);
    g_assert_cmpint(handle_pread(h, 0, span_of(&b, 1), 0), ==, -EPERM);
}

static CO void test_resize(void)
{
    g_autofree char *path = make("a.luks", 1000, "");
    g_autoptr(Handle) h = open_rw(path);
    g_autoptr(GError) err = NULL;
    char text[] = "end", got[4];

    g_assert_cmpuint(handle_size(h), ==, 1024);
    g_assert_cmpint(handle_pwrite(h, 1021, span_of(text, 3), 0), ==, 0);
    g_assert_true(handle_resize(h, 2 * MiB, false, PREALLOC_OFF, &err));
    g_assert_cmpuint(handle_size(h), ==, 2 * MiB);
    g_assert_cmpint(handle_pread(h, 1021, span_of(got, 3), 0), ==, 0);
    g_assert_cmpmem(got, 3, text, 3);
    g_assert_false(handle_resize(h, INT64_MAX, false, PREALLOC_OFF, &err));
    g_clear_error(&err);
    g_assert_true(handle_resize(h, 1024, false, PREALLOC_OFF, &err));
    g_clear_pointer(&h, handle_close);
    h = open_rw(path);
    g_assert_cmpuint(handle_size(h), ==, 1024);
    g_assert_cmpint(handle_pread(h, 1021, span_of(got, 3), 0), ==, 0);
    g_assert_cmpmem(got, 3, text, 3);
}

/* A header in a file of its own: here a copy of the image's, whose own is then destroyed. */
static CO void test_detached_header(void)
{
    enum { HEADER = 4040 * 512 };
    g_autofree char *path = make("a.luks", 1 * MiB, ""), *header = test_path("header");
    g_autofree char *more = g_strdup_printf(
        ",key-secret=s,header.driver=file,header.filename=%s", header);
    g_autofree char *raw = NULL;
    g_autoptr(GError) err = NULL;
    g_autoptr(Handle) h = open_rw(path);
    char text[] = "data", got[4];
    size_t len;

    g_assert_cmpint(handle_pwrite(h, 4096, span_of(text, 4), 0), ==, 0);
    g_clear_pointer(&h, handle_close);
    g_assert_true(g_file_get_contents(path, &raw, &len, NULL));
    g_assert_true(g_file_set_contents(header, raw, HEADER, NULL));
    memset(raw, 0, HEADER);
    g_assert_true(g_file_set_contents(path, raw, len, NULL));
    h = try_open(path, ",key-secret=s", 0, &err);
    g_assert_null(h);
    g_clear_error(&err);
    h = try_open(path, more, OPEN_RDWR, &err);
    g_assert_no_error(err);
    g_assert_cmpint(handle_pread(h, 4096, span_of(got, 4), 0), ==, 0);
    g_assert_cmpmem(got, 4, text, 4);
    g_clear_pointer(&h, handle_close);
    /* With payload 0 the data starts where its file starts; alone such a header is no image. */
    g_clear_pointer(&raw, g_free);
    g_assert_true(g_file_get_contents(header, &raw, &len, NULL));
    memset(raw + 104, 0, 4);
    g_assert_true(g_file_set_contents(header, raw, len, NULL));
    h = try_open(path, more, OPEN_RDWR, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(handle_size(h), ==, 1 * MiB + HEADER);
    g_clear_pointer(&h, handle_close);
    h = try_open(header, ",key-secret=s", 0, &err);
    g_assert_null(h);
}

static CO int amend(const char *path, const char *text, bool force)
{
    g_autoptr(Handle) h = open_rw(path);
    g_autoptr(json_t) o = options(text);
    g_autoptr(GError) err = NULL;
    const json_t *slot = json_get(o, "keyslot");

    if (!strcmp(json_get_str(o, "state", ""), "active"))
        json_put_int(o, "iter-time", 0);
    if (slot)
        json_put_int(o, "keyslot", g_ascii_strtoll(json_string_value(slot), NULL, 10));
    return driver_find("luks")->amend(handle_node(h), o, force, &err) ? 0 : err->code;
}

static CO void test_amend(void)
{
    g_autofree char *path = make("a.luks", 1 * MiB, "");
    g_autoptr(GError) err = NULL;
    g_autoptr(Handle) h = NULL;

    g_assert_cmpint(amend(path, "state=active,new-secret=t", false), ==, 0);
    h = try_open(path, ",key-secret=t", 0, &err);
    g_assert_no_error(err);
    g_clear_pointer(&h, handle_close);
    g_assert_cmpint(amend(path, "state=inactive,keyslot=1", false), ==, 0);
    g_assert_null(try_open(path, ",key-secret=t", 0, NULL));
    g_assert_cmpint(amend(path, "state=inactive,keyslot=1", false), ==, EINVAL);
    g_assert_cmpint(amend(path, "state=inactive,keyslot=0", false), ==, EPERM);
    g_assert_cmpint(amend(path, "state=inactive,keyslot=8", false), ==, EINVAL);
    g_assert_cmpint(amend(path, "state=inactive", false), ==, EINVAL);
    g_assert_cmpint(amend(path, "state=active", false), ==, EINVAL);
    g_assert_cmpint(amend(path, "new-secret=t", false), ==, EINVAL);
    g_assert_cmpint(amend(path, "state=active,new-secret=t,old-secret=s", false), ==, EINVAL);
    g_assert_cmpint(amend(path, "state=inactive,new-secret=t", false), ==, EINVAL);
    g_assert_cmpint(amend(path, "state=active,new-secret=none", false), ==, ENOENT);
    g_assert_cmpint(amend(path, "state=gone", false), ==, EINVAL);
    g_assert_cmpint(amend(path, "state=inactive,old-secret=s", true), ==, 0);
    g_assert_null(try_open(path, ",key-secret=s", 0, NULL));
}

static CO void test_create_refused(void)
{
    static const char *const wrong[] = {
        "key-secret=none", "cipher-alg=aes-128", "key-secret=s,cipher-alg=rot13",
        "key-secret=s,cipher-mode=gcm", "key-secret=s,hash-alg=crc", "key-secret=s,ivgen-alg=x",
        "key-secret=s,cipher-alg=cast5-128", "key-secret=s,no-such-option=1",
        "key-secret=s,size=9223372036854775807",
    };
    g_autofree char *first G_GNUC_UNUSED = make("a.luks", 1 * MiB, "");
    g_autofree char *path = test_path("b.luks");

    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(json_t) o = options(wrong[i]);
        g_autoptr(GError) err = NULL;

        if (!json_has(o, "size"))
            json_put_int(o, "size", 1 * MiB);
        g_assert_false(image_create(path, "luks", o, &err));
        g_assert_nonnull(err);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    }
}

const Test tests[] = {
    { "/luks-driver/content", test_content },
    { "/luks-driver/scattered-memory", test_scattered },
    { "/luks-driver/parallel", test_parallel },
    { "/luks-driver/wrong-password", test_wrong_password },
    { "/luks-driver/resize", test_resize },
    { "/luks-driver/detached-header", test_detached_header },
    { "/luks-driver/amend", test_amend },
    { "/luks-driver/create-refused", test_create_refused },
    {},
};
