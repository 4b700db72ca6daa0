/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the module "deflate" offers: a faster inflate. */
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
} DeflateModule;

#endif
