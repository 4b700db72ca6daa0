/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of gzip, read only: one member after the other (RFC 1952), each a header, a stream of
 * blocks (RFC 1951) and a check.
 *
 * Decoding can start between two blocks with the 32 KiB before them. Nothing in the file tells its
 * size for certain, so all of it is decoded once when it is opened, unless option "size" says it.
 * See docs/spec/compressed.md.
 */
#include "block/compressed.h"
#include "block/container.h"
#include <string.h>
#include <zlib.h>

enum { WINDOW = 32 << 10, TRAILER = 8, WRAPPED = 15 + 16, RAW = -15 };

typedef struct {
    z_stream z;
    enum { BETWEEN, MEMBER, REST_OF_MEMBER, TRAILING, PADDING } where;
    unsigned trailing;      /* bytes of a trailer to be passed over */
    bool any;               /* a member has ended */
    uint8_t byte;           /* the last one taken */
} Gunzip;

static void *gunzip_new(void *state, const CodecPoint *p)
{
    Gunzip *g = g_try_new0(Gunzip, 1);
    bool resumed = p->in > 0;

    if (!g || inflateInit2(&g->z, resumed ? RAW : WRAPPED) != Z_OK) {
        g_free(g);
        return NULL;
    }
    g->where = resumed ? REST_OF_MEMBER : BETWEEN;
    g->byte = p->byte;
    if (p->bits)
        inflatePrime(&g->z, p->bits, p->byte >> (8 - p->bits));
    if (p->window_len)
        inflateSetDictionary(&g->z, p->window, p->window_len);
    return g;
}

static void gunzip_free(void *d)
{
    Gunzip *g = d;

    inflateEnd(&g->z);
    g_free(g);
}

static int member_decode(Gunzip *g, CodecBuffers *b)
{
    size_t had = b->in_len;
    int r;

    g->z.next_in = (uint8_t *)b->in;
    g->z.avail_in = b->in_len;
    g->z.next_out = b->out;
    g->z.avail_out = b->out_len;
    r = inflate(&g->z, Z_BLOCK);
    b->in = g->z.next_in;
    b->in_len = g->z.avail_in;
    b->out = g->z.next_out;
    b->out_len = g->z.avail_out;
    if (b->in_len < had)
        g->byte = b->in[-1];
    if (r == Z_STREAM_END) {
        /* zlib takes the trailer, and checks it, if it has seen the header. */
        g->trailing = TRAILER;
        g->any |= g->where == MEMBER;
        g->where = g->where == MEMBER ? BETWEEN : TRAILING;
        return CODEC_MORE;
    }
    /* After a header or a block that is not the last one. */
    b->is_point = r == Z_OK && g->z.data_type & 128 && !(g->z.data_type & 64);
    return r == Z_OK || r == Z_BUF_ERROR ? CODEC_MORE : r == Z_MEM_ERROR ? -ENOMEM : -EIO;
}

/* Another member, or zero bytes that fill the file up to a block of a tape or a sector. */
static int between(Gunzip *g, CodecBuffers *b)
{
    if (g->where == BETWEEN && *b->in == 0x1f) {
        g->where = MEMBER;
        return inflateReset2(&g->z, WRAPPED) == Z_OK ? member_decode(g, b) : -EIO;
    }
    if (*b->in || !g->any)
        return -EIO;
    g->where = PADDING;
    for (; b->in_len && !*b->in; b->in_len--)
        b->in++;
    return CODEC_MORE;
}

static int gunzip_decode(void *d, CodecBuffers *b)
{
    Gunzip *g = d;
    size_t now = MIN(g->trailing, b->in_len);

    if (g->where == MEMBER || g->where == REST_OF_MEMBER)
        return member_decode(g, b);
    if (g->where == TRAILING) {
        b->in += now;
        b->in_len -= now;
        g->trailing -= now;
        if (g->trailing)
            return CODEC_MORE;
        g->any = true;
        g->where = BETWEEN;
    }
    return b->in_len ? between(g, b) : CODEC_MORE;
}

static bool gunzip_may_end(const void *d)
{
    const Gunzip *g = d;

    return g->any && (g->where == BETWEEN || g->where == PADDING);
}

static bool gunzip_save(void *d, CodecPoint *p)
{
    Gunzip *g = d;
    uint8_t window[WINDOW];
    uInt len = 0;

    if (inflateGetDictionary(&g->z, window, &len) != Z_OK)
        return false;
    p->bits = g->z.data_type & 7;
    p->byte = g->byte;
    p->window_len = len;
    p->window = g_try_malloc(MAX(len, 1));
    if (p->window)
        memcpy(p->window, window, len);
    return p->window;
}

static const Codec gunzip = {
    .has_windows = true,
    .decoder_new = gunzip_new,
    .decoder_free = gunzip_free,
    .decode = gunzip_decode,
    .may_end = gunzip_may_end,
    .point_save = gunzip_save,
};

typedef struct {
    Compressed *content;
} Gzip;

static int gzip_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 3 && head[0] == 0x1f && head[1] == 0x8b && head[2] == Z_DEFLATED ? 100 : 0;
}

static CO bool gzip_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Edge *file = container_open_file(n, o, err);

    return file && compressed_node_open(n, compressed_new(&gunzip, NULL, file), o, flags, err);
}

const BlockDriver block_gzip = {
    .name = "gzip",
    .kind = BLK_FORMAT,
    .prefix = "gzip",
    .is_container = true,
    .state_size = sizeof(Gzip),
    .strong_options = compressed_strong_options,
    .probe = gzip_probe,
    .parse_filename = container_parse_filename,
    .plain_filename = container_plain_filename,
    .open = gzip_open,
    .close = compressed_node_close,
    .drain = compressed_node_drain,
    .learn_size = compressed_node_learn_size,
    .pread = compressed_node_pread,
    .extent = compressed_node_extent,
};
