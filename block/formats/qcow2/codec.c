/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Deflate as the format wants it: raw, with a window of 4 KiB, which any reader can rely on. Other
 * libraries than zlib cannot bound their window, so only reading uses a faster one.
 */
#include "block/formats/qcow2/codec.h"
#include "block/deflate.h"
#include "util/module.h"
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { WINDOW_BITS = -12 };

struct Codec {
    bool zstd;
    bool deflating, inflating;     /* the zlib streams are initialised */
    z_stream deflate, inflate;
    void *fast;                    /* of the module */
    ZSTD_CCtx *cctx;
    ZSTD_DCtx *dctx;
};

/* NULL if it is not installed. Threads that come at the same time all look, and find the same. */
static const DeflateModule *fast_inflate(void)
{
    static _Atomic(const DeflateModule *) module;
    static _Atomic bool looked;

    if (!looked) {
        module = module_load("deflate", NULL);
        looked = true;
    }
    return module;
}

Codec *codec_new(bool zstd)
{
    Codec *c = g_new0(Codec, 1);

    c->zstd = zstd;
    return c;
}

void codec_free(Codec *c)
{
    if (!c)
        return;
    if (c->deflating)
        deflateEnd(&c->deflate);
    if (c->inflating)
        inflateEnd(&c->inflate);
    if (c->fast)
        fast_inflate()->state_free(c->fast);
    ZSTD_freeCCtx(c->cctx);
    ZSTD_freeDCtx(c->dctx);
    g_free(c);
}

/* ---- zlib ----------------------------------------------------------------------------------- */

/* Are all values of a byte about as frequent as in random data, neither more nor less so? */
static bool is_flat(const uint8_t *p, size_t len)
{
    /* Chi squared with 255 degrees of freedom: 255, and a standard deviation of 23. */
    enum { LOW = 160, HIGH = 325 };
    uint32_t n[4][256] = {};
    uint64_t squares = 0, chi;

    for (size_t i = 0; i + 4 <= len; i += 4)    /* four tables: no count waits for the one before */
        for (int k = 0; k < 4; k++)
            n[k][p[i + k]]++;
    for (int i = 0; i < 256; i++) {
        uint64_t sum = (uint64_t)n[0][i] + n[1][i] + n[2][i] + n[3][i];

        squares += sum * sum;
    }
    chi = squares * 256 / len;
    return chi >= len + LOW && chi <= len + HIGH;
}

/*
 * Data that is compressed or encrypted already cannot shrink: a look at it costs a hundredth of
 * trying. What repeats itself within the window has counts that are too uneven, and what counts up,
 * too even.
 */
static bool is_incompressible(const uint8_t *p, size_t len)
{
    enum { SAMPLE = 4096, ENOUGH = 32 << 10 };

    return len >= ENOUGH && is_flat(p + len / 2, SAMPLE) && is_flat(p, len);
}

static ssize_t zlib_deflate(Codec *c, const void *in, size_t len, void *out, size_t out_len)
{
    z_stream *z = &c->deflate;
    int r;

    if (is_incompressible(in, len))
        return 0;
    if (!c->deflating && deflateInit2(z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_BITS, 9,
                                      Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    if (c->deflating && deflateReset(z) != Z_OK)
        return -EIO;
    c->deflating = true;
    z->next_in = (void *)in;
    z->avail_in = len;
    z->next_out = out;
    z->avail_out = out_len;
    r = deflate(z, Z_FINISH);
    return r == Z_STREAM_END ? (ssize_t)(out_len - z->avail_out) : r == Z_OK ? 0 : -EIO;
}

static int zlib_inflate(Codec *c, const void *in, size_t len, void *out, size_t out_len)
{
    z_stream *z = &c->inflate;

    if (!c->inflating && inflateInit2(z, WINDOW_BITS) != Z_OK)
        return -ENOMEM;
    if (c->inflating && inflateReset(z) != Z_OK)
        return -EIO;
    c->inflating = true;
    z->next_in = (void *)in;
    z->avail_in = len;
    z->next_out = out;
    z->avail_out = out_len;
    return inflate(z, Z_FINISH) == Z_STREAM_END && !z->avail_out ? 0 : -EIO;
}

static int deflate_read(Codec *c, const void *in, size_t len, void *out, size_t out_len)
{
    const DeflateModule *m = fast_inflate();

    if (m && !c->fast)
        c->fast = m->state_new();
    return c->fast ? m->inflate(c->fast, in, len, out, out_len)
                   : zlib_inflate(c, in, len, out, out_len);
}

/* ---- zstd ----------------------------------------------------------------------------------- */

static ssize_t zstd_deflate(Codec *c, const void *in, size_t len, void *out, size_t out_len)
{
    size_t r;

    if (!c->cctx)
        c->cctx = ZSTD_createCCtx();
    if (!c->cctx)
        return -ENOMEM;
    r = ZSTD_compressCCtx(c->cctx, out, out_len, in, len, ZSTD_CLEVEL_DEFAULT);
    return ZSTD_isError(r) ? 0 : (ssize_t)r;
}

/* One or more frames, as many as fill @out exactly. */
static int zstd_inflate(Codec *c, const void *in, size_t len, void *out, size_t out_len)
{
    const uint8_t *from = in;
    uint8_t *to = out;

    if (!c->dctx)
        c->dctx = ZSTD_createDCtx();
    if (!c->dctx)
        return -ENOMEM;
    while (out_len) {
        size_t frame = ZSTD_findFrameCompressedSize(from, len);
        size_t made = ZSTD_isError(frame) ? frame
                                          : ZSTD_decompressDCtx(c->dctx, to, out_len, from, frame);

        if (ZSTD_isError(made) || !made)
            return -EIO;
        from += frame;
        len -= frame;
        to += made;
        out_len -= made;
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------- */

ssize_t codec_deflate(Codec *c, const void *in, size_t len, void *out, size_t out_len)
{
    return c->zstd ? zstd_deflate(c, in, len, out, out_len)
                   : zlib_deflate(c, in, len, out, out_len);
}

int codec_inflate(Codec *c, const void *in, size_t len, void *out, size_t out_len)
{
    return c->zstd ? zstd_inflate(c, in, len, out, out_len)
                   : deflate_read(c, in, len, out, out_len);
}
