/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of bzip2: streams of blocks, each decoded by itself once its first bit is found.
 *
 *     stream    "BZh", level '1' to '9', blocks, end, zero bits up to a whole byte
 *     block     48 bits MAGIC_BLOCK, 32 bits check, content
 *     end       48 bits MAGIC_END, 32 bits check of all blocks
 *
 * The library does not tell where blocks begin, so the input is searched for their marks before the
 * library gets it. Data can look like a mark. It is one if and only if the library has given out
 * something since the last mark: it gives out a block when all of it has come, and no block is
 * empty.
 *
 * A decoder that starts in the middle of a stream gives the library a stream header of its own, and
 * the block's bits moved to whole bytes. The check at the stream's end covers blocks before that
 * start, so it is not looked at; each block has a check of its own.
 */
#include "block/modules/bzip2/file.h"
#include <bzlib.h>
#include <errno.h>
#include <glib.h>
#include <string.h>

#define MAGIC_BLOCK UINT64_C(0x314159265359)
#define MAGIC_END UINT64_C(0x177245385090)
#define MAGIC_MASK UINT64_C(0xffffffffffff)

/* After the byte in which MAGIC_END ends, a stream has END_LEN more, whatever bit that was. */
enum { HEADER_LEN = 4, FEED_LEN = 4096, MAGIC_BITS = 48, END_LEN = 4 };

typedef struct {
    bz_stream z;
    bool ready;                 /* @z is in use */
    enum { HEADER, BLOCKS, SKIPPING, PADDING } where;
    bool any;                   /* a stream has ended */
    bool resumed;               /* this stream was not seen from its start */
    uint8_t header[HEADER_LEN];
    unsigned header_len, skip;  /* bytes */

    uint64_t last;              /* the last 64 bits of the input */
    unsigned bits;              /* of @last that have come since the start or resumption, max. 64 */
    unsigned shift;             /* bits by which input is moved on the way to the library, 0 to 7 */
    char feed[FEED_LEN];        /* the library's input */
    bool ending;                /* a stream may be about to end: another one may follow */
    enum { NO_MARK, MARK_BLOCK, MARK_END } mark; /* seen, with which what was fed ends */
    unsigned mark_after;        /* bits of the input that came after the mark's last one, 0 to 7 */
    uint64_t made, made_at_mark; /* bytes given out: now, and when the last mark came */
} Bunzip;

static bool stream_begin(Bunzip *b)
{
    if (b->ready)
        BZ2_bzDecompressEnd(&b->z);
    b->z = (bz_stream){ 0 };
    b->ready = BZ2_bzDecompressInit(&b->z, 0, 0) == BZ_OK;
    b->where = BLOCKS;
    b->mark = NO_MARK;
    b->made = b->made_at_mark = 0;
    b->bits = b->shift = 0;
    return b->ready;
}

static void feed_header(Bunzip *b, uint8_t level)
{
    memcpy(b->feed, "BZh", 3);
    b->feed[3] = level;
    b->z.next_in = b->feed;
    b->z.avail_in = HEADER_LEN;
}

static void bunzip_free(void *d)
{
    Bunzip *b = d;

    if (b->ready)
        BZ2_bzDecompressEnd(&b->z);
    g_free(b);
}

/* At a block if @p->extra: @p->bits of the byte before @p->in belong to it. Else at a stream. */
static void *bunzip_new(void *state, const CodecPoint *p)
{
    Bunzip *b = g_try_new0(Bunzip, 1);

    if (!b || !p->extra) {
        if (b)
            b->any = p->in > 0;
        return b;
    }
    if (!stream_begin(b)) {
        g_free(b);
        return NULL;
    }
    b->resumed = true;
    b->last = p->byte;
    b->bits = p->bits;
    b->shift = p->bits;
    feed_header(b, '9');
    return b;
}

/* The header of a stream, or zero bytes that fill up the file. */
static int header_take(Bunzip *b, CodecBuffers *io)
{
    static const char magic[] = "BZh";

    while (io->in_len && b->header_len < HEADER_LEN) {
        uint8_t byte = *io->in;

        if (b->header_len < 3 ? byte != magic[b->header_len] : byte < '1' || byte > '9') {
            if (byte || b->header_len || !b->any)
                return -EIO;
            b->where = PADDING;
            return CODEC_MORE;
        }
        b->header[b->header_len++] = byte;
        io->in++;
        io->in_len--;
    }
    if (b->header_len < HEADER_LEN)
        return CODEC_MORE;
    b->header_len = 0;
    b->resumed = false;
    if (!stream_begin(b))
        return -ENOMEM;
    feed_header(b, b->header[3]);
    return CODEC_MORE;
}

/* Does a mark end in the last byte of the input? Then how many bits came after it. */
static bool mark_find(Bunzip *b)
{
    for (unsigned after = 0; after < 8; after++) {
        uint64_t bits = b->last >> after & MAGIC_MASK;

        if (bits != MAGIC_BLOCK && bits != MAGIC_END)
            continue;
        if (b->bits < MAGIC_BITS + after)
            continue;
        b->mark = bits == MAGIC_BLOCK ? MARK_BLOCK : MARK_END;
        b->mark_after = after;
        return true;
    }
    return false;
}

/* Moves input to the library's buffer, up to the end of a mark. */
static void feed_fill(Bunzip *b, CodecBuffers *io)
{
    unsigned len = 0, max = b->ending ? END_LEN : FEED_LEN;

    b->ending = false;
    while (io->in_len && len < max) {
        uint8_t byte = *io->in++;

        io->in_len--;
        b->last = b->last << 8 | byte;
        b->bits = MIN(b->bits + 8, 64);
        b->feed[len++] = (char)(b->last >> b->shift);
        if (mark_find(b))
            break;
    }
    b->z.next_in = b->feed;
    b->z.avail_in = len;
}

static int library_run(Bunzip *b, CodecBuffers *io)
{
    int r;

    b->z.next_out = (char *)io->out;
    b->z.avail_out = MIN(io->out_len, UINT32_MAX);
    r = BZ2_bzDecompress(&b->z);
    b->made += (uint8_t *)b->z.next_out - io->out;
    io->out_len -= (uint8_t *)b->z.next_out - io->out;
    io->out = (uint8_t *)b->z.next_out;
    if (r == BZ_STREAM_END) {
        b->any = true;
        b->where = HEADER;
        io->is_point = true;
        return b->z.avail_in ? -EIO : CODEC_MORE;
    }
    return r == BZ_OK ? CODEC_MORE : r == BZ_MEM_ERROR ? -ENOMEM : -EIO;
}

/* The library has given out all that came before the mark. */
static void mark_reached(Bunzip *b, CodecBuffers *io)
{
    bool is_true = b->made > b->made_at_mark;

    if (b->mark == MARK_END && b->resumed && is_true) {
        b->skip = END_LEN;
        b->where = SKIPPING;
    } else if (b->mark == MARK_END) {
        b->ending = true;
    } else if (is_true) {
        b->made_at_mark = b->made;
        io->is_point = true;
    }
    b->mark = NO_MARK;
}

static int blocks_decode(Bunzip *b, CodecBuffers *io)
{
    int r;

    if (!b->z.avail_in && b->mark == NO_MARK)
        feed_fill(b, io);
    r = library_run(b, io);
    if (r == CODEC_MORE && b->where == BLOCKS && b->mark != NO_MARK && !b->z.avail_in &&
        io->out_len)
        mark_reached(b, io);
    return r;
}

static int bunzip_decode(void *d, CodecBuffers *io)
{
    Bunzip *b = d;
    size_t now;

    switch (b->where) {
    case HEADER:
        return header_take(b, io);
    case BLOCKS:
        return blocks_decode(b, io);
    case SKIPPING:
        now = MIN(b->skip, io->in_len);
        io->in += now;
        io->in_len -= now;
        b->skip -= now;
        if (!b->skip) {
            b->any = true;
            b->where = HEADER;
        }
        return CODEC_MORE;
    default:
        for (; io->in_len && !*io->in; io->in_len--)
            io->in++;
        return io->in_len ? -EIO : CODEC_MORE;
    }
}

static bool bunzip_may_end(const void *d)
{
    const Bunzip *b = d;

    return b->any && (b->where == PADDING || (b->where == HEADER && !b->header_len));
}

/* A block begins with its mark, which has come already. */
static bool bunzip_save(void *d, CodecPoint *p)
{
    const Bunzip *b = d;
    unsigned back = MAGIC_BITS + b->mark_after;     /* bits from the start of the mark to here */

    if (b->where != BLOCKS)
        return true;
    p->extra = 1;
    p->in -= back / 8;
    p->bits = back % 8;
    p->byte = b->last >> (back / 8 * 8);
    return true;
}

const Codec bzip2_codec = {
    .decoder_new = bunzip_new,
    .decoder_free = bunzip_free,
    .decode = bunzip_decode,
    .may_end = bunzip_may_end,
    .point_save = bunzip_save,
};
