/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed loop images of KNOPPIX, version 2, read only.
 *
 *     0       a shell script
 *     128     block size and number of blocks, be32
 *     136     where each block begins, be64, and where the last one ends
 *             blocks, each a stream of zlib's
 *
 * See docs/spec/cloop.md.
 */
#include "block/driver.h"
#include "block/zlib-stream.h"
#include "util/endian.h"
#include <inttypes.h>
#include <string.h>

enum { SCRIPT_LEN = 128, TABLE_AT = 136, BLOCK_MAX = 64 << 20 };

static const char script[] = "#!/bin/sh\n#V2.0 Format\n"
                             "modprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";

typedef struct {
    uint64_t block;         /* bytes */
    uint32_t blocks;
    be64 *starts;           /* one more than blocks */
    ZlibStreams *streams;
    uint8_t *kept;          /* content of block @kept_block; NULL: none yet */
    uint64_t kept_block;
} Cloop;

static int cloop_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= strlen(script) && !memcmp(head, script, strlen(script)) ? 100 : 0;
}

static CO bool table_read(Cloop *c, Edge *file, GError **err)
{
    be32 numbers[2];
    uint64_t len;
    int r = edge_pread_buf(file, SCRIPT_LEN, numbers, sizeof(numbers));

    if (r < 0)
        return err_set_errno(err, r, "Could not read the header");
    c->block = be32_get(numbers[0]);
    c->blocks = be32_get(numbers[1]);
    if (!c->block || c->block % 512 || c->block > BLOCK_MAX)
        return err_set(err, EINVAL,
                       "Blocks of %" PRIu64 " bytes cannot be: 512 to %d can, in whole sectors",
                       c->block, BLOCK_MAX);
    len = ((uint64_t)c->blocks + 1) * sizeof(be64);
    if (edge_size(file) < TABLE_AT || len > edge_size(file) - TABLE_AT)
        return err_set(err, EINVAL, "The table of %" PRIu32 " blocks is not in the file",
                       c->blocks);
    c->starts = g_try_malloc(len);
    r = c->starts ? edge_pread_buf(file, TABLE_AT, c->starts, len) : -ENOMEM;
    return r >= 0 || err_set_errno(err, r, "Could not read the table of blocks");
}

/* Blocks follow each other, and no stream is longer than one that does not shrink. */
static bool table_check(const Cloop *c, GError **err)
{
    for (uint32_t i = 0; i < c->blocks; i++) {
        uint64_t start = be64_get(c->starts[i]), end = be64_get(c->starts[i + 1]);

        if (end < start || end > INT64_MAX)
            return err_set(err, EINVAL, "Block %" PRIu32 " ends before it begins", i);
        if (end - start > zlib_stream_bound(c->block))
            return err_set(err, EINVAL,
                           "Block %" PRIu32 " has %" PRIu64 " bytes, more than it can have", i,
                           end - start);
    }
    return true;
}

static void free_all(Cloop *c)
{
    g_free(c->starts);
    g_free(c->kept);
    zlib_streams_free(c->streams);
    *c = (Cloop){ 0 };
}

static CO bool cloop_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Cloop *c = node_state(n);
    Edge *file;

    if (!node_fall_back_read_only(n, "Compressed loop images can only be read", err))
        return false;
    file = node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err);
    if (!file)
        return false;
    if (table_read(c, file, err) && table_check(c, err)) {
        c->streams = zlib_streams_new();
        node_set_size(n, c->block * c->blocks);
        return true;
    }
    free_all(c);
    return false;
}

static CO void cloop_close(Node *n)
{
    free_all(node_state(n));
}

/* The whole of block @b in memory of the caller's. 0 or a negative errno. */
static CO int block_read(Cloop *c, Edge *file, uint64_t b, uint8_t **out)
{
    uint64_t start = be64_get(c->starts[b]), len = be64_get(c->starts[b + 1]) - start;
    g_autofree uint8_t *in = NULL, *all = NULL;
    size_t made;
    int r;

    if (start > edge_size(file) || len > edge_size(file) - start)
        return -EIO;
    in = g_try_malloc(MAX(len, 1));
    all = g_try_malloc(c->block);
    if (!in || !all)
        return -ENOMEM;
    r = edge_pread_buf(file, start, in, len);
    if (r == 0)
        r = zlib_stream_inflate(c->streams, in, len, all, c->block, &made);
    if (r < 0 || made != c->block)
        return r < 0 ? r : -EIO;
    *out = g_steal_pointer(&all);
    return 0;
}

static CO int cloop_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Cloop *c = node_state(n);

    while (buf.len) {
        uint64_t b = off / c->block, within = off % c->block, len = MIN(buf.len, c->block - within);

        if (!c->kept || c->kept_block != b) {
            uint8_t *all = NULL;
            int r = block_read(c, node_edge(n, ROLE_STORAGE), b, &all);

            if (r < 0)
                return r;
            g_free(c->kept);
            c->kept = all;
            c->kept_block = b;
        }
        span_write(span_slice(buf, 0, len), c->kept + within);
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return 0;
}

const BlockDriver block_cloop = {
    .name = "cloop",
    .kind = BLK_FORMAT,
    .state_size = sizeof(Cloop),
    .probe = cloop_probe,
    .open = cloop_open,
    .close = cloop_close,
    .pread = cloop_pread,
};
