/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/output.h"
#include "util/endian.h"
#include <string.h>

void output_init(Output *out, CO int (*write)(void *opaque, const void *buf, size_t len),
                 void *opaque)
{
    *out = (Output){ .buf = g_malloc(OUTPUT_BUFFER), .write = write, .opaque = opaque };
}

void output_restart(Output *out, void *opaque)
{
    out->opaque = opaque;
    out->len = 0;
    out->error = 0;
}

void output_clear(Output *out)
{
    g_free(out->buf);
}

CO int output_flush(Output *out)
{
    size_t len = out->len;

    out->len = 0;
    if (len && !out->error)
        out->error = out->write(out->opaque, out->buf, len);
    return out->error;
}

CO void output_bytes(Output *out, const void *from, size_t len)
{
    const uint8_t *p = from;

    out->total += len;
    while (len) {
        size_t n = MIN(len, OUTPUT_BUFFER - out->len);

        memcpy(out->buf + out->len, p, n);
        out->len += n;
        p += n;
        len -= n;
        if (out->len == OUTPUT_BUFFER)
            output_flush(out);
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
