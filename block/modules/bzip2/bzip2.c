/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams of bzip2, by libbz2. */
#include "block/inflate.h"
#include "block/modules/bzip2/file.h"
#include "util/module.h"
#include <bzlib.h>
#include <errno.h>
#include <stdint.h>

static int bzip2_inflate(const void *in, size_t len, void *out, size_t out_len)
{
    unsigned int made = out_len;
    int r;

    if (len > UINT32_MAX || out_len > UINT32_MAX)
        return -EFBIG;
    r = BZ2_bzBuffToBuffDecompress(out, &made, (char *)in, len, 0, 0);
    if (r == BZ_MEM_ERROR)
        return -ENOMEM;
    return r == BZ_OK && made == out_len ? 0 : -EIO;
}

MODULE_EXPORT const InflateModule ferry_module_bzip2 = {
    .inflate = bzip2_inflate,
    .codec = &bzip2_codec,
};
