/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams of xz and lzma, by liblzma. */
#include "block/modules/lzma/xz.h"
#include "util/module.h"
#include <errno.h>
#include <lzma.h>
#include <stdint.h>

enum { MEMORY_MAX = 256 << 20 };

static int lzma_inflate(const void *in, size_t len, void *out, size_t out_len)
{
    lzma_stream s = LZMA_STREAM_INIT;
    lzma_ret r;

    if (lzma_auto_decoder(&s, MEMORY_MAX, 0) != LZMA_OK)
        return -ENOMEM;
    s.next_in = in;
    s.avail_in = len;
    s.next_out = out;
    s.avail_out = out_len;
    r = lzma_code(&s, LZMA_FINISH);
    lzma_end(&s);
    if (r == LZMA_MEM_ERROR || r == LZMA_MEMLIMIT_ERROR)
        return -ENOMEM;
    return r == LZMA_STREAM_END && !s.avail_out ? 0 : -EIO;
}

MODULE_EXPORT const InflateModule ferry_module_lzma = {
    .inflate = lzma_inflate,
    .codec = &xz_codec,
    .index = &xz_index,
};
