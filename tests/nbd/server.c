/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server as its users see it: exports that come and go while clients are there. */
#include "nbd/server.h"
#include "block/internal.h"
#include "io/channel.h"
#include "nbd/proto.h"
#include "qapi/object.h"
#include "tests/lib/harness.h"
#include "util/err.h"
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { DISK = 1 << 20 };

static CO Handle *disk_open(void)
{
    g_autoptr(GError) err = NULL;
    Handle *h = handle_open(NULL, json_pack("{s:s, s:i, s:b}", "driver", "null-co", "size", DISK,
                                            "read-zeroes", 1), OPEN_RDWR, &err);

    g_assert_no_error(err);
    return h;
}

static CO NbdExport *add(NbdServer *s, const char *name, GError **err)
{
    NbdExportConfig config = { .name = name };

    return nbd_export_add(s, &config, disk_open(), err);
}

static NbdServer *server_new(void)
{
    NbdServerConfig config = { 0 };

    return nbd_server_new(&config);
}

/* ---- a client -------------------------------------------------------------------------------- */

static CO Channel *connect_to(NbdServer *s)
{
    be32 flags = be32_of(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    NbdGreeting hello;
    Channel *c;
    int ends[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
    nbd_server_serve(s, ends[0]);
    c = channel_new_socket(ends[1]);
    g_assert_cmpint(channel_read_all(c, &hello, sizeof(hello)), ==, 0);
    g_assert_cmpint(channel_write_all(c, &flags, sizeof(flags)), ==, 0);
    return c;
}

/* Asks for export @name; true if it was granted. */
static CO bool agree(Channel *c, const char *name)
{
    size_t len = strlen(name);
    NbdOption o = { be64_of(NBD_OPTS_MAGIC), be32_of(NBD_OPT_GO), be32_of(6 + len) };
    be32 name_len = be32_of(len);
    be16 none = be16_of(0);
    struct iovec iov[] = {
        { &o, sizeof(o) }, { &name_len, 4 }, { (void *)name, len }, { &none, 2 },
    };

    g_assert_cmpint(channel_writev_all(c, iov, G_N_ELEMENTS(iov)), ==, 0);
    for (;;) {
        NbdOptionReply r;
        uint8_t data[4096];

        g_assert_cmpint(channel_read_all(c, &r, sizeof(r)), ==, 0);
        g_assert_cmpuint(be32_get(r.length), <=, sizeof(data));
        g_assert_cmpint(channel_read_all(c, data, be32_get(r.length)), ==, 0);
        if (be32_get(r.type) != NBD_REP_INFO)
            return be32_get(r.type) == NBD_REP_ACK;
    }
}

static CO Channel *user_of(NbdServer *s, const char *name)
{
    Channel *c = connect_to(s);

    g_assert_true(agree(c, name));
    return c;
}

/* The error a FLUSH ends with; -1: the connection does. */
static CO int flush(Channel *c)
{
    NbdRequest q = { .magic = be32_of(NBD_REQUEST_MAGIC), .type = be16_of(NBD_CMD_FLUSH) };
    NbdSimpleReply r;

    if (channel_write_all(c, &q, sizeof(q)) < 0 || channel_read_all(c, &r, sizeof(r)) < 0)
        return -1;
    return be32_get(r.error);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static CO void test_names_are_unique(void)
{
    NbdServer *s = server_new();
    g_autoptr(GError) err = NULL;

    g_assert_nonnull(add(s, "a", &err));
    g_assert_null(add(s, "a", &err));
    g_assert_cmpint(err->code, ==, EEXIST);
    g_assert_true(nbd_server_stop(s));
}

static CO void test_safe_removal_needs_an_unused_export(void)
{
    NbdServer *s = server_new();
    NbdExport *e = add(s, "a", NULL);
    Channel *c = user_of(s, "a");
    g_autoptr(GError) err = NULL;

    g_assert_false(nbd_export_remove(e, NBD_REMOVE_SAFE, &err));
    g_assert_cmpint(err->code, ==, EBUSY);
    g_assert_cmpint(flush(c), ==, 0);
    channel_free(c);
    while (nbd_server_clients(s))
        co_yield();
    g_assert_true(nbd_export_remove(e, NBD_REMOVE_SAFE, NULL));
    g_assert_null(nbd_export_find(s, "a"));
    g_assert_true(nbd_server_stop(s));
}

static CO void test_soft_removal_hides_and_refuses(void)
{
    NbdServer *s = server_new();
    Channel *user, *other, *late;

    add(s, "a", NULL);
    add(s, "b", NULL);
    user = user_of(s, "a");
    other = user_of(s, "b");
    g_assert_true(nbd_export_remove(nbd_export_find(s, "a"), NBD_REMOVE_SOFT, NULL));
    g_assert_cmpint(flush(user), ==, NBD_ESHUTDOWN);
    g_assert_cmpint(flush(other), ==, 0);
    late = connect_to(s);
    g_assert_false(agree(late, "a"));
    g_assert_nonnull(add(s, "a", NULL));
    g_assert_true(agree(late, "a"));
    g_assert_cmpint(flush(late), ==, 0);
    g_assert_cmpint(flush(user), ==, NBD_ESHUTDOWN);
    channel_free(user);
    channel_free(other);
    channel_free(late);
    g_assert_true(nbd_server_stop(s));
}

static CO void test_hard_removal_cuts_its_clients_off(void)
{
    NbdServer *s = server_new();
    Channel *user, *other;

    add(s, "a", NULL);
    add(s, "b", NULL);
    user = user_of(s, "a");
    other = user_of(s, "b");
    g_assert_true(nbd_export_remove(nbd_export_find(s, "a"), NBD_REMOVE_HARD, NULL));
    g_assert_cmpint(flush(user), ==, -1);
    g_assert_cmpint(flush(other), ==, 0);
    channel_free(user);
    channel_free(other);
    g_assert_true(nbd_server_stop(s));
}

/* Sends option @option with @data and takes no answer. */
static CO void ask(Channel *c, uint32_t option, const void *data, size_t len)
{
    NbdOption o = { be64_of(NBD_OPTS_MAGIC), be32_of(option), be32_of(len) };
    struct iovec iov[] = { { &o, sizeof(o) }, { (void *)data, len } };

    g_assert_cmpint(channel_writev_all(c, iov, len ? 2 : 1), ==, 0);
}

static CO void test_hard_removal_cuts_off_who_chose_contexts(void)
{
    static const uint8_t query[] = "\0\0\0\1a\0\0\0\1\0\0\0\17base:allocation";
    NbdServer *s = server_new();
    NbdOptionReply r;
    Channel *c;
    uint8_t room[19];

    add(s, "a", NULL);
    c = connect_to(s);
    ask(c, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    ask(c, NBD_OPT_SET_META_CONTEXT, query, sizeof(query) - 1);
    g_assert_cmpint(channel_read_all(c, &r, sizeof(r)), ==, 0);
    g_assert_cmpint(channel_read_all(c, &r, sizeof(r)), ==, 0);
    g_assert_cmpuint(be32_get(r.type), ==, NBD_REP_META_CONTEXT);
    g_assert_cmpint(channel_read_all(c, room, sizeof(room)), ==, 0);
    g_assert_cmpint(channel_read_all(c, &r, sizeof(r)), ==, 0);
    g_assert_true(nbd_export_remove(nbd_export_find(s, "a"), NBD_REMOVE_HARD, NULL));
    channel_set_deadline(c, clock_now_ns() + INT64_C(5000000000));
    g_assert_cmpint(channel_read(c, room, 1), ==, 0);
    channel_free(c);
    g_assert_true(nbd_server_stop(s));
}

/* Until the server has sent all that it can now. */
static CO void await_silence(Channel *c)
{
    int before = -1, bytes;

    for (int same = 0; same < 5; same = bytes == before ? same + 1 : 0, before = bytes) {
        co_sleep(5 * 1000000);
        g_assert_cmpint(ioctl(channel_fd(c), FIONREAD, &bytes), ==, 0);
    }
}

/* A client that has asked for @n unknown options, then for export "a", and takes no answer. */
static CO Channel *silent_client(NbdServer *s, int n)
{
    static const uint8_t go[] = "\0\0\0\1a\0";
    g_autofree NbdOption *unknown = g_new(NbdOption, n);
    Channel *c = connect_to(s);

    for (int i = 0; i < n; i++)
        unknown[i] = (NbdOption){ be64_of(NBD_OPTS_MAGIC), be32_of(77), be32_of(0) };
    g_assert_cmpint(channel_write_all(c, unknown, n * sizeof(*unknown)), ==, 0);
    ask(c, NBD_OPT_GO, go, sizeof(go));
    await_silence(c);
    return c;
}

/* How many answers to unknown options a socket takes. */
static CO int answers_that_fit(NbdServer *s)
{
    enum { MANY = 4000 };
    Channel *c = silent_client(s, MANY);
    NbdOptionReply r;
    int bytes;

    g_assert_cmpint(ioctl(channel_fd(c), FIONREAD, &bytes), ==, 0);
    g_assert_cmpint(channel_read_all(c, &r, sizeof(r)), ==, 0);
    channel_free(c);
    return bytes / (sizeof(r) + be32_get(r.length));
}

/* Wherever the answer to GO is stuck when the export goes. */
static CO void test_hard_removal_while_an_answer_is_stuck(void)
{
    NbdServer *s = server_new();
    int fit;

    add(s, "a", NULL);
    fit = answers_that_fit(s);
    for (int n = fit - 8; n <= fit; n++) {
        Channel *c = silent_client(s, n);
        uint8_t room[4096];
        ssize_t got;

        g_assert_true(nbd_export_remove(nbd_export_find(s, "a"), NBD_REMOVE_HARD, NULL));
        channel_set_deadline(c, clock_now_ns() + INT64_C(30000000000));
        while ((got = channel_read(c, room, sizeof(room))) > 0)
            ;
        g_assert_cmpint(got, !=, -ETIMEDOUT);
        channel_free(c);
        add(s, "a", NULL);
    }
    g_assert_true(nbd_server_stop(s));
}

static void count(const NbdClientStatus *st, void *arg)
{
    unsigned *n = arg;

    g_assert_cmpstr(st->export_name, ==, "a");
    g_assert_cmpuint(st->requests, ==, 2);
    ++*n;
}

static CO void test_clients_can_be_watched(void)
{
    NbdServer *s = server_new();
    unsigned n = 0;
    Channel *c;

    add(s, "a", NULL);
    c = user_of(s, "a");
    g_assert_cmpint(flush(c), ==, 0);
    g_assert_cmpint(flush(c), ==, 0);
    nbd_server_foreach_client(s, count, &n);
    g_assert_cmpuint(n, ==, 1);
    channel_free(c);
    g_assert_true(nbd_server_stop(s));
}

/* ---- bitmaps of other images ----------------------------------------------------------------- */

static CO Handle *image_on_thread(const char *name, const char *thread)
{
    g_autoptr(GError) err = NULL;
    Handle *h = handle_open(NULL,
                            json_pack("{s:s, s:s, s:i, s:b}", "driver", "null-co", "node-name",
                                      name, "size", DISK, "read-zeroes", 1),
                            OPEN_RDWR, &err);
    g_autoptr(Edit) edit = NULL;

    g_assert_no_error(err);
    edit = edit_begin();
    edit_set_iothread(edit, handle_node(h), iothread_find(thread));
    g_assert_true(edit_commit(edit, &err));
    return h;
}

/* Whether it comes by the time that it has had its chances to. */
static CO bool comes_to(Handle *h, Loop *loop)
{
    for (int i = 0; i < 1000 && handle_home(h) != loop; i++)
        co_sleep(i < 20 ? 0 : 1000000);
    return handle_home(h) == loop;
}

static CO void test_an_image_whose_bitmap_is_exported_stays_where_that_is_read(void)
{
    const char *bitmaps[] = { "b", NULL }, *nodes[] = { "other", NULL };
    NbdExportConfig config = { .name = "a", .bitmaps = bitmaps, .bitmap_nodes = nodes };
    g_autoptr(GError) err = NULL;
    NbdServer *s = server_new();
    NbdExport *e;
    Handle *h;

    object_add_text("iothread,id=one", &err);
    g_assert_no_error(err);
    h = image_on_thread("other", "one");
    g_assert_true(comes_to(h, iothread_loop(iothread_find("one"))));
    g_assert_nonnull(dirty_add(handle_node(h), "b", 65536, &err));
    e = nbd_export_add(s, &config, disk_open(), &err);
    g_assert_nonnull(e);
    for (int i = 0; i < 50; i++) {
        g_assert_true(handle_home(h) == loop_self());
        co_yield();
    }
    g_assert_true(nbd_export_remove(e, NBD_REMOVE_SAFE, NULL));
    g_assert_true(comes_to(h, iothread_loop(iothread_find("one"))));
    g_assert_true(nbd_server_stop(s));
    handle_close(h);
    object_delete_all();
}

const Test tests[] = {
    { "/nbd/server/names-are-unique", test_names_are_unique },
    { "/nbd/server/safe-removal-needs-an-unused-export", test_safe_removal_needs_an_unused_export },
    { "/nbd/server/soft-removal-hides-and-refuses", test_soft_removal_hides_and_refuses },
    { "/nbd/server/hard-removal-cuts-its-clients-off", test_hard_removal_cuts_its_clients_off },
    { "/nbd/server/hard-removal-cuts-off-who-chose-contexts",
      test_hard_removal_cuts_off_who_chose_contexts },
    { "/nbd/server/hard-removal-while-an-answer-is-stuck",
      test_hard_removal_while_an_answer_is_stuck },
    { "/nbd/server/clients-can-be-watched", test_clients_can_be_watched },
    { "/nbd-server/bitmaps/their-image-stays-where-they-are-read",
      test_an_image_whose_bitmap_is_exported_stays_where_that_is_read },
    {}
};
