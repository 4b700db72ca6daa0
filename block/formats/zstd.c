/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of zstd, read only: frames of blocks (RFC 8878), each frame decoded by itself.
 *
 * The headers of frames and blocks are read when the file is opened, which tells where frames begin
 * and, unless one was written from a pipe, the size. Only then all has to be decoded once, unless
 * option "size" says it. See docs/spec/compressed.md.
 */
#include "block/compressed.h"
#include "block/container.h"
#include "util/endian.h"
#include <inttypes.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

enum {
    MAGIC = (int)0xfd2fb528, MAGIC_SKIPPED = 0x184d2a50, SKIPPED_MASK = ~0xf,
    HEADER_MAX = 18, BLOCK_HEAD = 3, BLOCK_RLE = 1, BLOCK_RESERVED = 3, CHECK_LEN = 4,
    READ_LEN = 64 << 10,
};

/* ---- decoding ------------------------------------------------------------------------------- */

typedef struct {
    ZSTD_DStream *stream;
    enum { BETWEEN, FRAME, PADDING } where;
    bool any;           /* a frame has ended */
} Unzstd;

static void *unzstd_new(void *state, const CodecPoint *p)
{
    Unzstd *u = g_try_new0(Unzstd, 1);

    if (u && !(u->stream = ZSTD_createDStream()))
        g_clear_pointer(&u, g_free);
    if (u)
        u->any = p->in > 0;
    return u;
}

static void unzstd_free(void *d)
{
    Unzstd *u = d;

    ZSTD_freeDStream(u->stream);
    g_free(u);
}

static int frame_decode(Unzstd *u, CodecBuffers *b)
{
    ZSTD_inBuffer in = { b->in, b->in_len, 0 };
    ZSTD_outBuffer out = { b->out, b->out_len, 0 };
    size_t r = ZSTD_decompressStream(u->stream, &out, &in);

    b->in += in.pos;
    b->in_len -= in.pos;
    b->out += out.pos;
    b->out_len -= out.pos;
    if (ZSTD_isError(r))
        return ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation ? -ENOMEM : -EIO;
    u->where = r ? FRAME : BETWEEN;
    u->any |= !r;
    b->is_point = !r;
    return CODEC_MORE;
}

static int unzstd_decode(void *d, CodecBuffers *b)
{
    Unzstd *u = d;

    if (u->where == BETWEEN && b->in_len && !*b->in)
        u->where = PADDING;
    if (u->where == PADDING) {
        for (; b->in_len && !*b->in; b->in_len--)
            b->in++;
        return b->in_len || !u->any ? -EIO : CODEC_MORE;
    }
    return u->where == FRAME || b->in_len ? frame_decode(u, b) : CODEC_MORE;
}

static bool unzstd_may_end(const void *d)
{
    const Unzstd *u = d;

    return u->any && u->where != FRAME;
}

static bool unzstd_save(void *d, CodecPoint *p)
{
    return true;
}

static const Codec unzstd = {
    .decoder_new = unzstd_new,
    .decoder_free = unzstd_free,
    .decode = unzstd_decode,
    .may_end = unzstd_may_end,
    .point_save = unzstd_save,
};

/* ---- headers -------------------------------------------------------------------------------- */

/* A window on the file that moves forward. */
typedef struct {
    Edge *file;
    uint8_t *buf;
    uint64_t at, len;   /* of the file: what @buf holds */
} Reader;

/* @len bytes at @off, zeroes past the end; NULL with *@r after a failed read. */
static CO const uint8_t *reader_get(Reader *rd, uint64_t off, size_t len, int *r)
{
    if (off < rd->at || off + len > rd->at + rd->len) {
        uint64_t there = off < edge_size(rd->file) ? MIN(edge_size(rd->file) - off, READ_LEN) : 0;

        memset(rd->buf + there, 0, READ_LEN - there);
        rd->at = off;
        rd->len = READ_LEN;
        *r = there ? edge_pread_buf(rd->file, off, rd->buf, there) : 0;
        if (*r < 0) {
            rd->len = 0;
            return NULL;
        }
    }
    return rd->buf + (off - rd->at);
}

typedef struct {
    uint64_t len;       /* bytes of the file */
    uint64_t content;   /* bytes of the content */
    bool has_content;   /* @content is known */
} Frame;

static uint64_t le_at(const uint8_t *p, size_t len)
{
    uint64_t v = 0;

    while (len--)
        v = v << 8 | p[len];
    return v;
}

/* The header after the magic: its length, whether a check ends the frame, the content's size. */
static size_t frame_header(const uint8_t *h, Frame *f, bool *has_check)
{
    static const uint8_t dictionary[] = { 0, 1, 2, 4 }, size[] = { 0, 2, 4, 8 };
    bool single = h[0] >> 5 & 1;
    size_t at = 1 + !single + dictionary[h[0] & 3], size_len = size[h[0] >> 6];

    if (single && !size_len)
        size_len = 1;
    *has_check = h[0] >> 2 & 1;
    f->has_content = size_len > 0;
    f->content = le_at(h + at, size_len) + (size_len == 2 ? 256 : 0);
    return at + size_len;
}

/* Goes over the blocks from @at on, to the end of the frame. 0, or a negative errno. */
static CO int blocks_pass(Reader *rd, uint64_t *at)
{
    bool last = false;

    while (!last) {
        int r = 0;
        const uint8_t *p = *at < edge_size(rd->file) ? reader_get(rd, *at, BLOCK_HEAD, &r) : NULL;
        uint32_t head, kind;

        if (!p)
            return r < 0 ? r : -EIO;
        head = le_at(p, BLOCK_HEAD);
        kind = head >> 1 & 3;
        if (kind == BLOCK_RESERVED)
            return -EIO;
        last = head & 1;
        *at += BLOCK_HEAD + (kind == BLOCK_RLE ? 1 : head >> 3);
    }
    return 0;
}

/* The frame at @at; a length of 0: there is none any more. */
static CO int frame_read(Reader *rd, uint64_t at, Frame *f)
{
    uint64_t end = at + 4;
    bool has_check;
    int r = 0;
    const uint8_t *p = reader_get(rd, at, HEADER_MAX, &r);

    *f = (Frame){ .has_content = true };
    if (!p)
        return r;
    if ((le32_at(p) & SKIPPED_MASK) == MAGIC_SKIPPED) {
        f->len = 8 + (uint64_t)le32_at(p + 4);
        return 0;
    }
    if (le32_at(p) != (uint32_t)MAGIC)
        return le32_at(p) ? -EIO : 0;
    end += frame_header(p + 4, f, &has_check);
    r = blocks_pass(rd, &end);
    f->len = end + (has_check ? CHECK_LEN : 0) - at;
    return r;
}

/* Adds places and the size to @c; no size if a frame does not tell its own. */
static CO bool frames_read(Compressed *c, Edge *file, GError **err)
{
    g_autofree uint8_t *buf = g_malloc(READ_LEN);
    Reader rd = { .file = file, .buf = buf };
    CodecPoint p = { 0 };
    Frame f;

    for (; p.in < edge_size(file); p.in += f.len) {
        int r = frame_read(&rd, p.in, &f);

        if (r < 0 || f.len > edge_size(file) - p.in)
            return err_set_errno(err, r < 0 ? r : -EIO, "Could not read the frame at byte %" PRIu64,
                                 p.in);
        if (!f.len)
            break;
        if (!f.has_content)
            return true;
        if (f.content && p.out)
            compressed_add_point(c, &p);
        if (!size_add(p.out, f.content, &p.out) || p.out > NODE_SIZE_MAX)
            return err_set(err, EFBIG, "The frames have more content than an image may have");
    }
    if (!p.in)
        return err_set(err, EINVAL, "The file has no frame of zstd");
    compressed_set_size(c, p.out);
    compressed_know_points(c);
    return true;
}

/* ---- the driver ----------------------------------------------------------------------------- */

typedef struct {
    Compressed *content;
} Zstd;

static int zstd_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 4 && le32_at(head) == (uint32_t)MAGIC ? 100 : 0;
}

static CO bool zstd_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Edge *file = container_open_file(n, o, err);
    Compressed *c;

    if (!file)
        return false;
    c = compressed_new(&unzstd, NULL, file);
    if (!frames_read(c, file, err)) {
        compressed_free(c);
        return false;
    }
    return compressed_node_open(n, c, o, flags, err);
}

const BlockDriver block_zstd = {
    .name = "zstd",
    .kind = BLK_FORMAT,
    .prefix = "zstd",
    .is_container = true,
    .state_size = sizeof(Zstd),
    .strong_options = compressed_strong_options,
    .probe = zstd_probe,
    .parse_filename = container_parse_filename,
    .plain_filename = container_plain_filename,
    .open = zstd_open,
    .close = compressed_node_close,
    .drain = compressed_node_drain,
    .learn_size = compressed_node_learn_size,
    .pread = compressed_node_pread,
    .extent = compressed_node_extent,
};
