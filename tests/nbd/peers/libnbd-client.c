/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client made of libnbd: libnbd-client URI. The export has 4 MiB: 0x11 in the first MiB, zeroes
 * in the second (a hole), anything in the rest, and is writable. Ends with 0 if all is as it should
 * be.
 */
#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1 << 20)
#define CHECK(x) ((x) ? (void)0 : fail(#x, __LINE__))

static char buf[4 * MIB];

static void fail(const char *what, int line)
{
    const char *error = nbd_get_error();

    fprintf(stderr, "line %d: %s: %s\n", line, what, error ? error : "no error of libnbd");
    exit(1);
}

static bool all(const char *p, size_t len, int byte)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != (char)byte)
            return false;
    return true;
}

/*
 * ---- the handshake, option by option ------------------------------------------------------------
 */

static int count_export(void *n, const char *name, const char *description)
{
    ++*(int *)n;
    return 0;
}

static int count_context(void *n, const char *name)
{
    *(int *)n += !strcmp(name, LIBNBD_CONTEXT_BASE_ALLOCATION);
    return 0;
}

static struct nbd_handle *start(const char *uri)
{
    struct nbd_handle *h = nbd_create();

    CHECK(h);
    CHECK(nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0);
    CHECK(nbd_set_full_info(h, true) == 0);
    CHECK(nbd_set_opt_mode(h, true) == 0);
    CHECK(nbd_connect_uri(h, uri) == 0);
    return h;
}

static void test_options(struct nbd_handle *h)
{
    int n = 0;

    CHECK(nbd_opt_list(h, (nbd_list_callback){ .callback = count_export, .user_data = &n }) == 1);
    CHECK(n == 1);
    n = 0;
    CHECK(nbd_opt_list_meta_context(
              h, (nbd_context_callback){ .callback = count_context, .user_data = &n }) >= 1);
    CHECK(n == 1);
    CHECK(nbd_opt_info(h) == 0);
    CHECK(nbd_get_size(h) == 4 * MIB);
    CHECK(nbd_set_export_name(h, "no such export") == 0);
    CHECK(nbd_opt_info(h) == -1 && nbd_get_errno() == ENOENT);
    CHECK(nbd_opt_go(h) == -1);
    CHECK(nbd_set_export_name(h, "") == 0);
    CHECK(nbd_opt_go(h) == 0);
}

static void test_offer(struct nbd_handle *h)
{
    CHECK(nbd_get_structured_replies_negotiated(h) == 1);
    CHECK(nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1);
    CHECK(nbd_is_read_only(h) == 0 && nbd_can_flush(h) == 1 && nbd_can_fua(h) == 1);
    CHECK(nbd_can_trim(h) == 1 && nbd_can_zero(h) == 1 && nbd_can_fast_zero(h) == 1);
    CHECK(nbd_can_cache(h) == 1 && nbd_can_df(h) == 1 && nbd_can_multi_conn(h) == 1);
    CHECK(nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM) == 1);
    CHECK(nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM) == 32 * MIB);
}

/*
 * ---- commands -----------------------------------------------------------------------------------
 */

typedef struct {
    uint64_t holes, data;
} Kinds;

static int count_kinds(void *k, const void *p, size_t len, uint64_t off, unsigned status,
                       int *error)
{
    *(status == LIBNBD_READ_HOLE ? &((Kinds *)k)->holes : &((Kinds *)k)->data) += len;
    return 0;
}

static int sum_extents(void *k, const char *context, uint64_t off, uint32_t *e, size_t n,
                       int *error)
{
    for (size_t i = 0; i < n; i += 2)
        *(e[i + 1] & LIBNBD_STATE_ZERO ? &((Kinds *)k)->holes : &((Kinds *)k)->data) += e[i];
    return 0;
}

static void test_reads(struct nbd_handle *h)
{
    nbd_chunk_callback count = { .callback = count_kinds };
    nbd_extent_callback sum = { .callback = sum_extents };
    Kinds k = { 0 };

    CHECK(nbd_pread(h, buf, 3, MIB - 2, 0) == 0 && !memcmp(buf, "\x11\x11", 3));
    count.user_data = sum.user_data = &k;
    CHECK(nbd_pread_structured(h, buf, 2 * MIB, 0, count, 0) == 0);
    CHECK(k.data == MIB && k.holes == MIB && all(buf, MIB, 0x11) && all(buf + MIB, MIB, 0));
    k = (Kinds){ 0 };
    CHECK(nbd_pread_structured(h, buf, 2 * MIB, 0, count, LIBNBD_CMD_FLAG_DF) == 0);
    CHECK(k.data == 2 * MIB && !k.holes);
    k = (Kinds){ 0 };
    CHECK(nbd_block_status(h, 2 * MIB, 0, sum, 0) == 0 && k.data == MIB && k.holes == MIB);
    k = (Kinds){ 0 };
    CHECK(nbd_block_status(h, 2 * MIB, 0, sum, LIBNBD_CMD_FLAG_REQ_ONE) == 0);
    CHECK(k.data == MIB && !k.holes);
    CHECK(nbd_cache(h, 2 * MIB, 0, 0) == 0);
}

static void test_changes(struct nbd_handle *h)
{
    memset(buf, 0x22, MIB);
    CHECK(nbd_pwrite(h, buf, 5000, 2 * MIB + 1, LIBNBD_CMD_FLAG_FUA) == 0);
    CHECK(nbd_zero(h, 1000, 2 * MIB + 1001, LIBNBD_CMD_FLAG_NO_HOLE) == 0);
    CHECK(nbd_pread(h, buf + MIB, 5002, 2 * MIB, 0) == 0);
    CHECK(all(buf + MIB + 1, 1000, 0x22) && all(buf + MIB + 1001, 1000, 0));
    CHECK(all(buf + MIB + 2001, 3000, 0x22));
    CHECK(nbd_zero(h, MIB, 3 * MIB, LIBNBD_CMD_FLAG_FAST_ZERO) == 0 || nbd_get_errno() == ENOTSUP);
    CHECK(nbd_trim(h, 65536, 3 * MIB, LIBNBD_CMD_FLAG_FUA) == 0);
    CHECK(nbd_flush(h, 0) == 0);
}

/* What the server must refuse itself, and go on. */
static void test_refusals(struct nbd_handle *h)
{
    CHECK(nbd_set_strict_mode(h, 0) == 0);
    CHECK(nbd_pread(h, buf, 512, 4 * MIB, 0) == -1 && nbd_get_errno() == EINVAL);
    CHECK(nbd_pwrite(h, buf, 512, 4 * MIB - 1, 0) == -1);
    CHECK(nbd_get_errno() == ENOSPC || nbd_get_errno() == EINVAL);
    CHECK(nbd_trim(h, 512, 1ULL << 62, 0) == -1 && nbd_get_errno() == EINVAL);
    CHECK(nbd_pread(h, buf, 512, 0, LIBNBD_CMD_FLAG_NO_HOLE) == -1 && nbd_get_errno() == EINVAL);
    CHECK(nbd_pread(h, buf, 512, 0, 0) == 0 && all(buf, 512, 0x11));
}

/*
 * ---- many at once -------------------------------------------------------------------------------
 */

enum { AT_ONCE = 500, BLOCK = 4000 };

static int count_done(void *n, int *error)
{
    *(int *)n += !*error;
    return 1;
}

static void wait_for(struct nbd_handle *h, const int *n, int wanted)
{
    while (*n < wanted)
        CHECK(nbd_poll(h, -1) == 1);
}

static void test_many_at_once(struct nbd_handle *h)
{
    nbd_completion_callback done = { .callback = count_done };
    static char blocks[AT_ONCE][BLOCK];
    int n = 0;

    done.user_data = &n;
    for (int i = 0; i < AT_ONCE; i++) {
        memset(blocks[i], i, BLOCK);
        CHECK(nbd_aio_pwrite(h, blocks[i], BLOCK, 2 * MIB + (uint64_t)i * BLOCK, done, 0) > 0);
    }
    wait_for(h, &n, AT_ONCE);
    memset(blocks, 0xff, sizeof(blocks));
    n = 0;
    for (int i = AT_ONCE; i-- > 0;)
        CHECK(nbd_aio_pread(h, blocks[i], BLOCK, 2 * MIB + (uint64_t)i * BLOCK, done, 0) > 0);
    wait_for(h, &n, AT_ONCE);
    for (int i = 0; i < AT_ONCE; i++)
        CHECK(all(blocks[i], BLOCK, i));
}

/* What one connection has flushed another one sees. */
static void test_two_connections(struct nbd_handle *a, const char *uri)
{
    struct nbd_handle *b = start(uri);

    CHECK(nbd_opt_go(b) == 0);
    memset(buf, 0x33, BLOCK);
    CHECK(nbd_pwrite(a, buf, BLOCK, 2 * MIB, 0) == 0 && nbd_flush(b, 0) == 0);
    memset(buf, 0, BLOCK);
    CHECK(nbd_pread(b, buf, BLOCK, 2 * MIB, 0) == 0 && all(buf, BLOCK, 0x33));
    CHECK(nbd_shutdown(b, 0) == 0);
    nbd_close(b);
}

int main(int argc, char **argv)
{
    struct nbd_handle *h = start(argv[1]);

    test_options(h);
    test_offer(h);
    test_reads(h);
    test_changes(h);
    test_refusals(h);
    test_many_at_once(h);
    test_two_connections(h, argv[1]);
    CHECK(nbd_shutdown(h, 0) == 0);
    nbd_close(h);
    return argc != 2;
}
