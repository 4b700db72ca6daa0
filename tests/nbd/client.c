/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parts of the client that need no server: coverage of reads, names, messages to the kernel. */
#include "nbd/coverage.h"
#include "nbd/kernel.h"
#include "nbd/proto.h"
#include "nbd/uri.h"
#include "tests/lib/harness.h"
#include "util/err.h"
#include <string.h>

/* ---- coverage -------------------------------------------------------------------------------- */

static void test_coverage_in_order(void)
{
    Coverage c = { 0 };

    for (unsigned i = 0; i < 100000; i++) {
        g_assert_false(coverage_is_whole(&c, 300000));
        g_assert_true(coverage_add(&c, 3 * i, 3));
    }
    g_assert_true(coverage_is_whole(&c, 300000));
    g_assert_null(c.more);
}

/* Against an array of bytes, with pieces that touch, overlap and fill gaps. */
static void test_coverage_as_a_map_of_bytes(void)
{
    for (unsigned round = 0; round < 2000; round++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(round);
        uint8_t map[64] = { 0 };
        Coverage c = { 0 };

        for (unsigned i = 0; i < 60; i++) {
            unsigned off = g_rand_int_range(rand, 0, 64);
            unsigned len = g_rand_int_range(rand, 1, MIN(65 - off, 9));
            bool free = !memchr(map + off, 1, len);

            g_assert_cmpint(coverage_add(&c, off, len), ==, free);
            if (free)
                memset(map + off, 1, len);
            g_assert_cmpint(coverage_is_whole(&c, 64), ==, !memchr(map, 0, 64));
        }
        coverage_clear(&c);
    }
}

/* Memory is bounded whatever the server does. */
static void test_coverage_is_bounded(void)
{
    Coverage c = { 0 };
    unsigned i = 0;

    while (i < 1 << 20 && coverage_add(&c, 2 * i, 1))
        i++;
    g_assert_cmpuint(i, ==, COVERAGE_RUNS_MAX);
    coverage_clear(&c);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* @name means options @want, and these are printed as @shown. */
static void expect_name(const char *name, const char *want, const char *shown)
{
    g_autoptr(json_t) o = json_object(), wanted = json_parse(want, strlen(want), NULL);
    g_autofree char *text = NULL;

    g_assert_true(nbd_uri_parse(name, o, NULL));
    g_assert_true(json_equal(o, wanted));
    text = nbd_uri_print(o);
    g_assert_cmpstr(text, ==, shown);
}

static void test_names_of_ours(void)
{
    expect_name("nbds://h", "{'tls':true,'server':{'type':'inet','host':'h','port':'10809'}}",
                "nbds://h:10809");
    expect_name("nbds+tcp://h:1/e?tls-creds=t&tls-hostname=x",
                "{'tls':true,'tls-creds':'t','tls-hostname':'x','export':'e',"
                "'server':{'type':'inet','host':'h','port':'1'}}",
                "nbds://h:1/e?tls-creds=t&tls-hostname=x");
    expect_name("nbds+unix:///e?socket=s&tls-hostname=x",
                "{'tls':true,'tls-hostname':'x','export':'e','server':{'type':'unix','path':'s'}}",
                "nbds+unix:///e?socket=s&tls-hostname=x");
    expect_name("nbd+vsock://3:5/e",
                "{'export':'e','server':{'type':'vsock','cid':'3','port':'5'}}",
                "nbd+vsock://3:5/e");
    expect_name("nbd+vsock://3:4294967294",
                "{'server':{'type':'vsock','cid':'3','port':'4294967294'}}",
                "nbd+vsock://3:4294967294");
    expect_name("nbds+vsock://3:/a:b?tls-hostname=c:d",
                "{'tls':true,'tls-hostname':'c:d','export':'a:b',"
                "'server':{'type':'vsock','cid':'3','port':'10809'}}",
                "nbds+vsock://3:10809/a:b?tls-hostname=c:d");
    expect_name("nbds+vsock://3?tls-creds=t",
                "{'tls':true,'tls-creds':'t','server':{'type':'vsock','cid':'3','port':'10809'}}",
                "nbds+vsock://3:10809?tls-creds=t");
    expect_name("nbd://[::1]:7", "{'server':{'type':'inet','host':'::1','port':'7'}}",
                "nbd://::1:7");
}

static void test_names_refused(void)
{
    static const char *const names[] = {
        "nbd:exportname=x", "nbd::exportname=x",
        "nbd://h/?tls-creds=t", "nbd+unix:///?socket=s&tls-creds=t",
        "nbds://h?tls-creds=a&tls-creds=b",
        "nbds://", "nbd+vsock:///e", "nbd+vsock://1/?socket=s", "nbd://h:port", "nbd:h",
        "nbd:[::1]7",
        "nbd+unix:///%00?socket=s", "nbd+unix://h/?socket=s", "nbd+unix:///e", "http://h/e",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(json_t) o = json_object();
        g_autoptr(GError) err = NULL;

        if (nbd_uri_parse(names[i], o, &err))
            g_error("'%s' was taken", names[i]);
        g_assert_cmpint(err_errno(err), ==, -EINVAL);
    }
}

/* ---- the kernel ------------------------------------------------------------------------------ */

/* As linux/nbd-netlink.h and linux/genetlink.h lay it out, byte for byte. */
static void test_netlink_connect(void)
{
    static const uint8_t want[] = {
        80, 0, 0, 0, 30, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* length, family, REQUEST | ACK */
        1, 1, 0, 0,                                       /* CONNECT, version 1 */
        8, 0, 1, 0, 3, 0, 0, 0,                           /* index */
        12, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0,             /* size */
        12, 0, 3, 0, 0, 2, 0, 0, 0, 0, 0, 0,              /* block size */
        12, 0, 5, 0, 3, 0, 0, 0, 0, 0, 0, 0,              /* flags */
        16, 0, 7, 0x80, 12, 0, 1, 0x80,                   /* sockets, an item */
        8, 0, 1, 0, 9, 0, 0, 0,                           /* descriptor */
    };
    NbdKernelExport e = { .size = 1 << 20, .block = 512,
                          .flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY };
    uint8_t buf[NBD_NETLINK_MAX];
    size_t len = nbd_netlink_connect(buf, 30, 3, 9, &e);

    if (G_BYTE_ORDER == G_BIG_ENDIAN)
        test_skip("the bytes are written down for little-endian machines");
    g_assert_cmpmem(buf, len, want, sizeof(want));
}

static void test_netlink_disconnect(void)
{
    static const uint8_t want[] = {
        28, 0, 0, 0, 30, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 8, 0, 1, 0, 3, 0, 0, 0,
    };
    uint8_t buf[NBD_NETLINK_MAX];
    size_t len = nbd_netlink_disconnect(buf, 30, 3);

    if (G_BYTE_ORDER == G_BIG_ENDIAN)
        test_skip("the bytes are written down for little-endian machines");
    g_assert_cmpmem(buf, len, want, sizeof(want));
}

static void test_kernel_export(void)
{
    NbdOffer offer = { .size = 10000, .flags = 0xffff, .block_min = 1 };
    NbdKernelExport e;
    g_autoptr(GError) err = NULL;

    g_assert_true(nbd_kernel_export(&offer, &e, NULL));
    g_assert_cmpuint(e.block, ==, 512);
    g_assert_cmpuint(e.size, ==, 9728);
    g_assert_cmpuint(e.flags & (NBD_FLAG_SEND_DF | NBD_FLAG_SEND_CACHE), ==, 0);
    offer.block_min = 4096;
    g_assert_true(nbd_kernel_export(&offer, &e, NULL));
    g_assert_cmpuint(e.size, ==, 8192);
    offer.block_min = 8192;
    g_assert_false(nbd_kernel_export(&offer, &e, &err));
    g_assert_cmpint(err_errno(err), ==, -ENOTSUP);
}

static void test_device_refused(void)
{
    static const char *const paths[] = { "/dev/null", "/nowhere", "/", "." };

    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        NbdDevice d;

        g_assert_false(nbd_device_find(&d, paths[i], NULL));
    }
}

const Test tests[] = {
    { "/nbd/coverage/in-order-takes-no-memory", test_coverage_in_order },
    { "/nbd/coverage/as-a-map-of-bytes", test_coverage_as_a_map_of_bytes },
    { "/nbd/coverage/is-bounded", test_coverage_is_bounded },
    { "/nbd/names/of-ours", test_names_of_ours },
    { "/nbd/names/refused", test_names_refused },
    { "/nbd/kernel/netlink-connect", test_netlink_connect },
    { "/nbd/kernel/netlink-disconnect", test_netlink_disconnect },
    { "/nbd/kernel/what-it-takes", test_kernel_export },
    { "/nbd/kernel/other-devices-refused", test_device_refused },
    {}
};
