/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of xz: streams of blocks, each of which can be decoded by itself, with an index at the end
 * of each stream. By liblzma.
 */
#include "block/modules/lzma/xz.h"
#include <errno.h>
#include <glib.h>
#include <lzma.h>
#include <string.h>

enum { INDEX_MEMORY_MAX = 64 << 20, DECODER_MEMORY_MAX = 256 << 20 };

static int error_of(lzma_ret r)
{
    switch (r) {
    case LZMA_OK:
    case LZMA_BUF_ERROR:
    case LZMA_SEEK_NEEDED:
        return 0;
    case LZMA_STREAM_END:
        return 1;
    case LZMA_MEM_ERROR:
    case LZMA_MEMLIMIT_ERROR:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

/* ---- index ---------------------------------------------------------------------------------- */

typedef struct {
    lzma_stream s;
    lzma_index *index;      /* NULL: not read yet */
} Index;

static void index_end(void *x)
{
    Index *i = x;

    lzma_end(&i->s);
    lzma_index_end(i->index, NULL);
    g_free(i);
}

static void *index_begin(uint64_t len)
{
    Index *i = g_new0(Index, 1);

    i->s = (lzma_stream)LZMA_STREAM_INIT;
    if (lzma_file_info_decoder(&i->s, &i->index, INDEX_MEMORY_MAX, len) == LZMA_OK)
        return i;
    index_end(i);
    return NULL;
}

static int index_feed(void *x, const uint8_t *in, size_t len, uint64_t *at)
{
    Index *i = x;
    lzma_ret r;

    i->s.next_in = in;
    i->s.avail_in = len;
    r = lzma_code(&i->s, LZMA_RUN);
    *at = r == LZMA_SEEK_NEEDED ? i->s.seek_pos : *at + len - i->s.avail_in;
    return error_of(r);
}

static uint64_t index_size(void *x)
{
    return lzma_index_uncompressed_size(((Index *)x)->index);
}

const IndexReader xz_index = {
    .begin = index_begin,
    .feed = index_feed,
    .size = index_size,
    .end = index_end,
};

/* ---- blocks --------------------------------------------------------------------------------- */

/* The block that has offset @out of the content. */
static bool block_locate(void *state, uint64_t out, lzma_index_iter *it)
{
    Index *i = state;

    lzma_index_iter_init(it, i->index);
    return !lzma_index_iter_locate(it, out);
}

static bool xz_locate(void *state, uint64_t out, CodecPoint *p)
{
    lzma_index_iter it;

    if (!block_locate(state, out, &it))
        return false;
    *p = (CodecPoint){ .out = it.block.uncompressed_file_offset,
                       .in = it.block.compressed_file_offset };
    return true;
}

static int xz_next(void *state, const CodecPoint *p, const uint8_t *in, size_t len,
                   CodecPoint *next)
{
    lzma_index_iter it;

    if (!block_locate(state, p->out, &it) ||
        lzma_index_iter_next(&it, LZMA_INDEX_ITER_NONEMPTY_BLOCK))
        return -ENODATA;
    *next = (CodecPoint){ .out = it.block.uncompressed_file_offset,
                          .in = it.block.compressed_file_offset };
    return 1;
}

typedef struct {
    lzma_stream s;
    lzma_block block;                   /* the stream refers to it */
    uint64_t unpadded, uncompressed;    /* bytes, as the index says */
    uint8_t header[LZMA_BLOCK_HEADER_SIZE_MAX];
    size_t header_len;                  /* bytes of it that have come */
    bool started;
} BlockDecoder;

static void *decoder_new(void *state, const CodecPoint *p)
{
    BlockDecoder *d = g_try_new0(BlockDecoder, 1);
    lzma_index_iter it;

    if (!d || !block_locate(state, p->out, &it) || !it.stream.flags) {
        g_free(d);
        return NULL;
    }
    d->s = (lzma_stream)LZMA_STREAM_INIT;
    d->block.version = 1;
    d->block.check = it.stream.flags->check;
    d->unpadded = it.block.unpadded_size;
    d->uncompressed = it.block.uncompressed_size;
    return d;
}

static void decoder_free(void *x)
{
    BlockDecoder *d = x;

    lzma_end(&d->s);
    g_free(d);
}

/* The header is whole: what it says is compared with the index. */
static int block_start(BlockDecoder *d)
{
    lzma_filter filters[LZMA_FILTERS_MAX + 1];
    lzma_block *block = &d->block;
    uint64_t memory;
    int r;

    block->filters = filters;
    block->header_size = lzma_block_header_size_decode(d->header[0]);
    r = error_of(lzma_block_header_decode(block, NULL, d->header));
    if (r < 0)
        return r;
    memory = lzma_raw_decoder_memusage(filters);
    if (memory > DECODER_MEMORY_MAX)
        r = memory == UINT64_MAX ? -ENOTSUP : -ENOMEM;
    if (r == 0)
        r = error_of(lzma_block_compressed_size(block, d->unpadded));
    if (block->uncompressed_size == LZMA_VLI_UNKNOWN)
        block->uncompressed_size = d->uncompressed;
    if (r == 0 && block->uncompressed_size != d->uncompressed)
        r = -EIO;
    if (r == 0)
        r = error_of(lzma_block_decoder(&d->s, block));
    lzma_filters_free(filters, NULL);
    block->filters = NULL;
    d->started = true;
    return r;
}

/* Takes bytes of the header. */
static int header_take(BlockDecoder *d, CodecBuffers *b)
{
    size_t want = d->header_len ? lzma_block_header_size_decode(d->header[0]) : 1;
    size_t now = MIN(want - d->header_len, b->in_len);

    memcpy(d->header + d->header_len, b->in, now);
    d->header_len += now;
    b->in += now;
    b->in_len -= now;
    if (d->header_len == 1 && !d->header[0])
        return -EIO;    /* the index: there is no block */
    return d->header_len > 1 && d->header_len == want ? block_start(d) : 0;
}

static int decode(void *x, CodecBuffers *b)
{
    BlockDecoder *d = x;
    lzma_ret r;

    if (!d->started)
        return header_take(d, b);
    d->s.next_in = b->in;
    d->s.avail_in = b->in_len;
    d->s.next_out = b->out;
    d->s.avail_out = b->out_len;
    r = lzma_code(&d->s, LZMA_RUN);
    b->in = d->s.next_in;
    b->in_len = d->s.avail_in;
    b->out = d->s.next_out;
    b->out_len = d->s.avail_out;
    return error_of(r);
}

const Codec xz_codec = {
    .decoder_new = decoder_new,
    .decoder_free = decoder_free,
    .decode = decode,
    .locate = xz_locate,
    .next = xz_next,
};
