/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the module "deflate" offers: faster inflate and deflate. */
#ifndef BLOCK_DEFLATE_H
#define BLOCK_DEFLATE_H

#include <stddef.h>

typedef struct {
    /* One state serves one call at a time. NULL if there is no memory. */
    void *(*state_new)(void);
    void (*state_free)(void *state);
    /*
     * Raw deflate at @in (@len bytes, what follows its end is ignored) to exactly @out_len bytes.
     * 0, or -EIO.
     */
    int (*inflate)(void *state, const void *in, size_t len, void *out, size_t out_len);
    /* A stream of zlib's to at most @out_len bytes; *@made says how many. 0, or -EIO. */
    int (*inflate_zlib)(void *state, const void *in, size_t len, void *out, size_t out_len,
                        size_t *made);
    /* The same for the other direction, at about the ratio of zlib's usual level. */
    void *(*deflater_new)(void);
    void (*deflater_free)(void *state);
    /* Makes a stream of zlib's. Its length, 0 if that is more than @out_len. */
    size_t (*deflate_zlib)(void *state, const void *in, size_t len, void *out, size_t out_len);
} DeflateModule;

#endif
