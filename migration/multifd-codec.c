/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/multifd-codec.h"
#include "util/err.h"
#include <zlib.h>
#include <zstd.h>

struct MultifdCodec {
    MultifdCompression kind;
    bool sends;
    z_stream zlib;
    ZSTD_CStream *compressor;
    ZSTD_DStream *expander;
    ZSTD_inBuffer in;    /* of .expander */
};

static bool open_zlib(MultifdCodec *c, int level)
{
    return (c->sends ? deflateInit(&c->zlib, level) : inflateInit(&c->zlib)) == Z_OK;
}

static bool open_zstd(MultifdCodec *c, int level)
{
    if (!c->sends) {
        c->expander = ZSTD_createDStream();
        return c->expander && !ZSTD_isError(ZSTD_initDStream(c->expander));
    }
    c->compressor = ZSTD_createCStream();
    return c->compressor && !ZSTD_isError(ZSTD_initCStream(c->compressor, level));
}

MultifdCodec *multifd_codec_new(MultifdCompression kind, int level, bool sends, GError **err)
{
    MultifdCodec *c = g_new0(MultifdCodec, 1);

    c->kind = kind;
    c->sends = sends;
    if (kind == MULTIFD_ZLIB ? open_zlib(c, level) : open_zstd(c, level))
        return c;
    err_set(err, ENOMEM, "There is no memory for multifd's %s",
            sends ? "compressor" : "decompressor");
    multifd_codec_free(c);
    return NULL;
}

void multifd_codec_free(MultifdCodec *c)
{
    if (!c)
        return;
    if (c->kind == MULTIFD_ZLIB && c->sends)
        deflateEnd(&c->zlib);
    else if (c->kind == MULTIFD_ZLIB)
        inflateEnd(&c->zlib);
    ZSTD_freeCStream(c->compressor);
    ZSTD_freeDStream(c->expander);
    g_free(c);
}

/* ---- compressing ----------------------------------------------------------------------------- */

static size_t compress_zlib(z_stream *z, const void *from, size_t len, uint8_t *to)
{
    z->next_in = (void *)from;
    z->avail_in = len;
    z->next_out = to;
    z->avail_out = MULTIFD_BODY_MAX;
    /* Room that is left shows that all has been flushed. */
    if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in || !z->avail_out)
        return 0;
    return MULTIFD_BODY_MAX - z->avail_out;
}

static size_t compress_zstd(ZSTD_CStream *s, const void *from, size_t len, uint8_t *to)
{
    ZSTD_inBuffer in = { from, len, 0 };
    ZSTD_outBuffer out = { to, MULTIFD_BODY_MAX, 0 };
    size_t left;

    do
        left = ZSTD_compressStream2(s, &out, &in, ZSTD_e_flush);
    while (!ZSTD_isError(left) && left && out.pos < out.size);
    return left || in.pos != in.size ? 0 : out.pos;
}

size_t multifd_compress(MultifdCodec *c, const void *from, size_t len, uint8_t *to)
{
    return c->kind == MULTIFD_ZLIB ? compress_zlib(&c->zlib, from, len, to)
                                   : compress_zstd(c->compressor, from, len, to);
}

/* ---- expanding ------------------------------------------------------------------------------- */

void multifd_expand_begin(MultifdCodec *c, const uint8_t *from, size_t len)
{
    c->zlib.next_in = (void *)from;
    c->zlib.avail_in = len;
    c->in = (ZSTD_inBuffer){ from, len, 0 };
}

static size_t expand_zlib(z_stream *z, void *to, size_t len)
{
    int r;

    z->next_out = to;
    z->avail_out = len;
    do
        r = inflate(z, Z_SYNC_FLUSH);
    while (r == Z_OK && z->avail_in && z->avail_out);
    return len - z->avail_out;
}

static size_t expand_zstd(ZSTD_DStream *s, ZSTD_inBuffer *in, void *to, size_t len)
{
    ZSTD_outBuffer out = { to, len, 0 };
    size_t before, r;

    do {
        before = in->pos + out.pos;
        r = ZSTD_decompressStream(s, &out, in);
    } while (!ZSTD_isError(r) && out.pos < len && in->pos + out.pos > before);
    return out.pos;
}

static size_t expand(MultifdCodec *c, void *to, size_t len)
{
    return c->kind == MULTIFD_ZLIB ? expand_zlib(&c->zlib, to, len)
                                   : expand_zstd(c->expander, &c->in, to, len);
}

bool multifd_expand(MultifdCodec *c, void *to, size_t len)
{
    return expand(c, to, len) == len;
}

bool multifd_expand_end(MultifdCodec *c)
{
    uint8_t more;

    /* What a flush leaves behind the last byte has to be taken in, and gives none. */
    if (c->kind == MULTIFD_ZLIB)
        return !c->zlib.avail_in || (!expand(c, &more, 1) && !c->zlib.avail_in);
    return c->in.pos == c->in.size || (!expand(c, &more, 1) && c->in.pos == c->in.size);
}
