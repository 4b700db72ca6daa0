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
 * the block's bits moved to whole bytes. The check at the stream's end is made of those of its
 * blocks, each turned left by a bit for each block after it. It covers blocks before that start, so
 * it is worked out here; a place knows that of what comes before it.
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
enum {
    HEADER_LEN = 4, FEED_LEN = 4096, MAGIC_BITS = 48, MAGIC_LEN = 6, END_LEN = 4, CHECK_LEN = 4,
};

/*
 * CodecPoint.extra: at a block; with the check of the stream's blocks before it in the upper half.
 */
enum { AT_BLOCK = 1, CHECK_KNOWN = 2 };

/* Which values the last byte but one has when the last one ends a mark, whatever bit that is at. */
typedef struct {
    bool may_end[256];
} Marks;

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
    Marks marks;

    uint32_t check;             /* of the blocks that this decoder has seen of the stream */
    unsigned blocks;            /* how many these are */
    uint32_t check_before;      /* of those before them */
    bool before_known;
    unsigned check_wait;        /* bytes until the check of the block that has begun is in @last */
    unsigned check_after;       /* bits of the input that will have come after it then */
    uint32_t check_end;         /* what the end of the stream says */
    bool has_end;               /* this is to be compared with @check_before yet */
} Bunzip;

static uint32_t turned(uint32_t x, unsigned bits)
{
    bits %= 32;
    return bits ? x << bits | x >> (32 - bits) : x;
}

/* The check of all blocks of the stream up to here. */
static uint32_t check_all(const Bunzip *b)
{
    return turned(b->check_before, b->blocks) ^ b->check;
}

static void marks_init(Marks *m)
{
    for (unsigned after = 0; after < 8; after++)
        m->may_end[MAGIC_BLOCK >> (8 - after) & 0xff] =
            m->may_end[MAGIC_END >> (8 - after) & 0xff] = true;
}

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
    b->check = b->check_before = b->blocks = b->check_wait = 0;
    b->before_known = true;
    b->has_end = false;
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

    if (b)
        marks_init(&b->marks);
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
    b->before_known = p->extra & CHECK_KNOWN;
    b->check_before = p->extra >> 32;
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

/*
 * Does a mark end in the last byte of @last, which has @bits of them? *@after: bits after its end.
 */
static bool mark_find(const Marks *m, uint64_t last, unsigned bits, bool *is_end, unsigned *after)
{
    if (!m->may_end[last >> 8 & 0xff])
        return false;
    for (*after = 0; *after < 8; ++*after) {
        uint64_t magic = last >> *after & MAGIC_MASK;

        *is_end = magic == MAGIC_END;
        if ((*is_end || magic == MAGIC_BLOCK) && bits >= MAGIC_BITS + *after)
            return true;
    }
    return false;
}

/* A block begins after the mark that has just come: its check is to follow. */
static void check_expect(Bunzip *b)
{
    b->check_wait = CHECK_LEN;
    b->check_after = b->mark_after;
}

static void check_take(Bunzip *b)
{
    b->check = turned(b->check, 1) ^ (uint32_t)(b->last >> b->check_after);
    b->blocks++;
}

/* Moves input to the library's buffer, up to the end of a mark. */
static void feed_fill(Bunzip *b, CodecBuffers *io)
{
    unsigned len = 0, max = b->ending ? END_LEN : FEED_LEN;
    bool is_end;

    b->ending = false;
    while (io->in_len && len < max) {
        uint8_t byte = *io->in++;

        io->in_len--;
        b->last = b->last << 8 | byte;
        b->bits = MIN(b->bits + 8, 64);
        b->feed[len++] = (char)(b->last >> b->shift);
        if (b->check_wait && !--b->check_wait)
            check_take(b);
        if (mark_find(&b->marks, b->last, b->bits, &is_end, &b->mark_after)) {
            b->mark = is_end ? MARK_END : MARK_BLOCK;
            break;
        }
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
    bool is_true = b->made > b->made_at_mark, is_first = !b->blocks && !b->check_wait;

    if (b->mark == MARK_END && b->resumed && is_true) {
        b->skip = END_LEN;
        b->where = SKIPPING;
    } else if (b->mark == MARK_END) {
        b->ending = true;
    } else if (is_true) {
        b->made_at_mark = b->made;
        io->is_point = true;
    }
    if (b->mark == MARK_BLOCK && (is_true || is_first))
        check_expect(b);
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

/* Compares the check of a stream with its blocks', if those before this decoder are known. */
static int end_compare(Bunzip *b)
{
    b->has_end = !b->before_known;
    return b->has_end || b->check_end == check_all(b) ? CODEC_MORE : -EIO;
}

static int stream_end(Bunzip *b, CodecBuffers *io)
{
    b->any = true;
    b->where = HEADER;
    b->check_end = b->last >> b->mark_after;
    io->is_point = true;
    return end_compare(b);
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
        for (size_t i = 0; i < now; i++)
            b->last = b->last << 8 | *io->in++;
        io->in_len -= now;
        b->skip -= now;
        return b->skip ? CODEC_MORE : stream_end(b, io);
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

/* Moves @p, which is at the end of @last, back to the mark that ends @after bits before that. */
static void place_set(CodecPoint *p, uint64_t last, unsigned after)
{
    unsigned back = MAGIC_BITS + after;

    p->in -= back / 8;
    p->bits = back % 8;
    p->byte = last >> (back / 8 * 8);
    p->extra |= AT_BLOCK;
}

/* A block begins with its mark, which has come already. */
static bool bunzip_save(void *d, CodecPoint *p)
{
    const Bunzip *b = d;

    if (b->where != BLOCKS)
        return true;
    place_set(p, b->last, b->mark_after);
    if (b->before_known)
        p->extra |= CHECK_KNOWN | (uint64_t)check_all(b) << 32;
    return true;
}

static int bunzip_join(void *d, const CodecPoint *p)
{
    Bunzip *b = d;

    /* A decoder that began with a stream knows all. */
    if (!b->before_known) {
        b->before_known = true;
        b->check_before = p->extra >> 32;
    }
    return b->has_end ? end_compare(b) : 0;
}

/* The mark after that at @p: where a block begins, or a stream has ended. */
static int bunzip_next(void *state, const CodecPoint *p, const uint8_t *in, size_t len,
                       CodecPoint *next)
{
    size_t at = p->extra ? MAGIC_LEN : HEADER_LEN + MAGIC_LEN;
    uint64_t last = 0;
    unsigned after;
    Marks marks = { 0 };
    bool is_end;

    marks_init(&marks);
    for (unsigned bits = 0; at < len; at++) {
        last = last << 8 | in[at];
        bits = MIN(bits + 8, 64);
        if (mark_find(&marks, last, bits, &is_end, &after))
            break;
    }
    if (at >= len)
        return 0;
    *next = (CodecPoint){ .in = p->in + at + 1 };
    if (is_end)
        next->in += END_LEN;
    else
        place_set(next, last, after);
    return 1;
}

const Codec bzip2_codec = {
    .decoder_new = bunzip_new,
    .decoder_free = bunzip_free,
    .decode = bunzip_decode,
    .may_end = bunzip_may_end,
    .point_save = bunzip_save,
    .next = bunzip_next,
    .join = bunzip_join,
};
