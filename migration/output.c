/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/output.h"
#include "util/endian.h"
#include <string.h>

void output_init(Output *out, CO int (*write)(void *opaque, const struct iovec *iov, int niov),
                 void *opaque)
{
    *out = (Output){ .buf = g_malloc(OUTPUT_BUFFER), .write = write, .opaque = opaque };
}

void output_restart(Output *out, void *opaque)
{
    out->opaque = opaque;
    out->len = out->pieces = 0;
    out->error = 0;
}

void output_clear(Output *out)
{
    g_free(out->buf);
}

CO int output_flush(Output *out)
{
    int pieces = out->pieces;

    out->len = out->pieces = 0;
    if (pieces && !out->error)
        out->error = out->write(out->opaque, out->piece, pieces);
    return out->error;
}

/* There is a free piece. */
static void add_piece(Output *out, const uint8_t *from, size_t len)
{
    struct iovec *last = out->piece + out->pieces - 1;

    if (out->pieces && (uint8_t *)last->iov_base + last->iov_len == from)
        last->iov_len += len;
    else
        out->piece[out->pieces++] = (struct iovec){ (void *)from, len };
}

CO void output_uncopied(Output *out, const void *from, size_t len)
{
    out->total += len;
    if (out->pieces == OUTPUT_PIECES)
        output_flush(out);
    add_piece(out, from, len);
}

CO void output_bytes(Output *out, const void *from, size_t len)
{
    const uint8_t *p = from;

    out->total += len;
    for (size_t n; len; p += n, len -= n) {
        if (out->len == OUTPUT_BUFFER || out->pieces == OUTPUT_PIECES)
            output_flush(out);
        n = MIN(len, OUTPUT_BUFFER - out->len);
        memcpy(out->buf + out->len, p, n);
        add_piece(out, out->buf + out->len, n);
        out->len += n;
    }
}

CO void output_zeroes(Output *out, size_t len)
{
    static const uint8_t zeroes[256];

    for (size_t n; len; len -= n) {
        n = MIN(len, sizeof(zeroes));
        output_bytes(out, zeroes, n);
    }
}

CO void output_u8(Output *out, uint8_t v)
{
    output_bytes(out, &v, 1);
}

CO void output_u16(Output *out, uint16_t v)
{
    be16 b = be16_of(v);

    output_bytes(out, &b, sizeof(b));
}

CO void output_u32(Output *out, uint32_t v)
{
    be32 b = be32_of(v);

    output_bytes(out, &b, sizeof(b));
}

CO void output_u64(Output *out, uint64_t v)
{
    be64 b = be64_of(v);

    output_bytes(out, &b, sizeof(b));
}

CO void output_name(Output *out, const char *name)
{
    size_t len = strlen(name);

    output_u8(out, len);
    output_bytes(out, name, len);
}
