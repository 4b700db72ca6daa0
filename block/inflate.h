/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the modules "bzip2" and "lzma" offer. */
#ifndef BLOCK_INFLATE_H
#define BLOCK_INFLATE_H

#include <stddef.h>

typedef struct {
    /*
     * The stream at @in, and what follows it up to @len, to exactly @out_len bytes. Any thread. 0, or a
     * negative errno.
     */
    int (*inflate)(const void *in, size_t len, void *out, size_t out_len);
} InflateModule;

#endif
