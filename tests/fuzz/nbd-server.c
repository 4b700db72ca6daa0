/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes from a client: the server neither crashes nor hangs, and lets go of everything.
 *
 * The first byte chooses how much of a right handshake comes before the rest, so that the bytes
 * reach requests too.
 */
#include "block/dirty.h"
#include "io/channel.h"
#include "io/loop.h"
#include "nbd/proto.h"
#include "nbd/server.h"
#include <string.h>
#include <sys/socket.h>

enum { DISK = 64 << 10, SENT_MAX = 32 << 10 };

typedef struct {
    const uint8_t *data;
    size_t len;
} Bytes;

static void add_option(GByteArray *a, uint32_t option, const void *data, size_t len)
{
    NbdOption o = { be64_of(NBD_OPTS_MAGIC), be32_of(option), be32_of(len) };

    g_byte_array_append(a, (void *)&o, sizeof(o));
    g_byte_array_append(a, data, len);
}

/* What a client that knows the protocol sends first, as far as @kind says. */
static void add_handshake(GByteArray *a, uint8_t kind)
{
    static const char context[] = "\0\0\0\0\0\0\0\2\0\0\0\017base:allocation\0\0\0\023"
                                  "qemu:dirty-bitmap:b";
    static const char name[] = { 0, 0, 0, 0, 0, 0 };
    be32 flags = be32_of(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);

    if (kind & 1)
        g_byte_array_append(a, (void *)&flags, sizeof(flags));
    if (kind & 2)
        add_option(a, NBD_OPT_STRUCTURED_REPLY, "", 0);
    if (kind & 4)
        add_option(a, NBD_OPT_EXTENDED_HEADERS, "", 0);
    if (kind & 8)
        add_option(a, NBD_OPT_SET_META_CONTEXT, context, sizeof(context) - 1);
    if (kind & 16)
        add_option(a, NBD_OPT_GO, name, sizeof(name));
}

static NbdServer *server_new(void)
{
    static const char *const bitmaps[] = { "b", NULL };
    NbdServerConfig config = { 0 };
    NbdExportConfig export = { .name = "", .allocation_depth = true, .bitmaps = bitmaps };
    NbdServer *s = nbd_server_new(&config);
    Handle *h = handle_open(NULL, json_pack("{s:s, s:i, s:b}", "driver", "null-co", "size", DISK,
                                            "read-zeroes", 1), OPEN_RDWR, NULL);

    g_assert_nonnull(dirty_add(handle_node(h), "b", 512, NULL));
    g_assert_nonnull(nbd_export_add(s, &export, h, NULL));
    return s;
}

static CO void talk(void *arg)
{
    const Bytes *b = arg;
    g_autoptr(GByteArray) a = g_byte_array_new();
    g_autofree uint8_t *sink = g_malloc(64 << 10);
    NbdServer *s = server_new();
    Channel *c;
    int ends[2];

    add_handshake(a, b->data[0]);
    g_byte_array_append(a, b->data + 1, MIN(b->len - 1, SENT_MAX));
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
    nbd_server_serve(s, ends[0]);
    c = channel_new_socket(ends[1]);
    channel_write_all(c, a->data, a->len);
    shutdown(ends[1], SHUT_WR);
    while (channel_read(c, sink, 64 << 10) > 0)
        ;
    channel_free(c);
    g_assert_true(nbd_server_stop(s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    Bytes b = { data, len };

    if (len)
        loop_run(talk, &b);
    return 0;
}
