/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inflate by libdeflate, about three times as fast as zlib's. */
#include "block/deflate.h"
#include "util/module.h"
#include <errno.h>
#include <libdeflate.h>

static void *state_new(void)
{
    return libdeflate_alloc_decompressor();
}

static void state_free(void *state)
{
    libdeflate_free_decompressor(state);
}

static int inflate_exactly(void *state, const void *in, size_t len, void *out, size_t out_len)
{
    size_t used, made;

    if (libdeflate_deflate_decompress_ex(state, in, len, out, out_len, &used, &made) !=
        LIBDEFLATE_SUCCESS)
        return -EIO;
    return made == out_len ? 0 : -EIO;
}

MODULE_EXPORT const DeflateModule ferry_module_deflate = {
    .state_new = state_new,
    .state_free = state_free,
    .inflate = inflate_exactly,
};
