/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes from a server: the client neither crashes nor hangs, and takes nothing for an answer
 * that is none.
 *
 * The first byte chooses how much of a right handshake comes before the rest, so that the bytes
 * reach answers to requests too, and whether exports are listed instead.
 */
#include "io/channel.h"
#include "io/co-lock.h"
#include "io/loop.h"
#include "nbd/client.h"
#include <errno.h>
#include <sys/socket.h>

enum { SENT_MAX = 32 << 10, CALLS = 5, LEN = 4096, LISTS = 128 };

typedef struct {
    const uint8_t *data;
    size_t len;
} Bytes;

typedef struct {
    NbdConn *conn;
    NbdCall call;
} Work;

static void add_reply(GByteArray *a, uint32_t option, uint32_t type, const void *data, size_t len)
{
    NbdOptionReply r = { be64_of(NBD_OPTION_REPLY_MAGIC), be32_of(option), be32_of(type),
                         be32_of(len) };

    g_byte_array_append(a, (void *)&r, sizeof(r));
    g_byte_array_append(a, data, len);
}

/* What a server that knows the protocol sends first, as far as @kind says. */
static void add_handshake(GByteArray *a, uint8_t kind)
{
    NbdGreeting greeting = { be64_of(NBD_MAGIC), be64_of(NBD_OPTS_MAGIC), be16_of(3) };
    NbdInfoExport export = { be16_of(NBD_INFO_EXPORT), be64_of(1 << 20), be16_of(0xfff) };
    bool extended = kind & 2;

    if (kind & 1)
        g_byte_array_append(a, (void *)&greeting, sizeof(greeting));
    if (kind & 4)
        add_reply(a, NBD_OPT_EXTENDED_HEADERS, extended ? NBD_REP_ACK : NBD_REP_ERR_UNSUP, "", 0);
    if (kind & 8 && !extended)
        add_reply(a, NBD_OPT_STRUCTURED_REPLY, kind & 64 ? NBD_REP_ERR_UNSUP : NBD_REP_ACK, "", 0);
    if (kind & 16 && !(kind & 64 && !extended)) {
        add_reply(a, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, "\0\0\0\7base:allocation", 19);
        add_reply(a, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, "", 0);
    }
    if (kind & 32) {
        add_reply(a, NBD_OPT_GO, NBD_REP_INFO, &export, sizeof(export));
        add_reply(a, NBD_OPT_GO, NBD_REP_ACK, "", 0);
    }
}

static CO void work_run(void *arg)
{
    Work *w = arg;
    NbdCall *q = &w->call;
    int r = nbd_conn_call(w->conn, q);

    g_assert(r <= 0);
    if (r == 0 && q->type == NBD_CMD_BLOCK_STATUS)
        g_assert_cmpuint(q->n_runs, >=, 1);
    for (unsigned i = 0; i < q->n_runs; i++)
        g_assert_cmpuint(q->runs[i].len, >, 0);
}

static CO void call_all(NbdConn *c)
{
    static uint8_t memory[CALLS][LEN];
    static const uint16_t types[CALLS] = { NBD_CMD_READ, NBD_CMD_BLOCK_STATUS, NBD_CMD_WRITE,
                                           NBD_CMD_READ, NBD_CMD_FLUSH };
    NbdRun runs[2];
    Work work[CALLS];
    CoGroup group = { 0 };

    for (unsigned i = 0; i < CALLS; i++) {
        work[i] = (Work){
            .conn = c,
            .call = {
                .type = types[i],
                .off = i * LEN,
                .len = types[i] == NBD_CMD_FLUSH ? 0 : LEN,
                .buf = span_of(memory[i], LEN),
                .runs = runs,
                .max_runs = G_N_ELEMENTS(runs),
            },
        };
        co_group_start(&group, work_run, &work[i]);
    }
    co_group_wait(&group);
}

static void offer_free(void *p)
{
    nbd_offer_clear(p);
    g_free(p);
}

static CO void list_all(Channel *channel)
{
    g_autoptr(GPtrArray) offers = g_ptr_array_new_with_free_func(offer_free);
    g_autoptr(GPtrArray) contexts = g_ptr_array_new_with_free_func(g_free);
    g_auto(NbdOffer) offer = { 0 };
    NbdHandshake h;

    if (nbd_handshake_start(&h, channel, NULL, NULL, NULL) && !h.oldstyle &&
        nbd_handshake_list(&h, offers, NULL) && nbd_handshake_info(&h, "x", &offer, NULL) &&
        nbd_handshake_list_contexts(&h, "x", contexts, NULL))
        nbd_handshake_abort(&h);
    channel_free(channel);
}

static CO void talk(void *arg)
{
    const Bytes *b = arg;
    g_autoptr(GByteArray) a = g_byte_array_new();
    NbdClientConfig config = { .export_name = "", .context = NBD_CONTEXT_ALLOCATION };
    Channel *server, *client;
    int ends[2];

    add_handshake(a, b->data[0] & LISTS ? 1 : b->data[0]);
    g_byte_array_append(a, b->data + 1, MIN(b->len - 1, SENT_MAX));
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
    server = channel_new_socket(ends[0]);
    client = channel_new_socket(ends[1]);
    channel_write_all(server, a->data, a->len);
    shutdown(ends[0], SHUT_WR);
    if (b->data[0] & LISTS) {
        list_all(client);
    } else {
        NbdConn *c = nbd_conn_new(client, &config, NULL);

        if (c)
            call_all(c);
        nbd_conn_free(c);
    }
    channel_free(server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    Bytes b = { data, len };

    if (len)
        loop_run(talk, &b);
    return 0;
}
