/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the modules "bzip2" and "lzma" offer. */
#ifndef BLOCK_INFLATE_H
#define BLOCK_INFLATE_H

#include "block/codec.h"

/* Reads the index of a file that has one, at its end. Any thread. */
typedef struct {
    /* Begins with a file of @len bytes. NULL: no memory. */
    void *(*begin)(uint64_t len);
    /*
     * Takes the @len bytes of the file at *@at; *@at is set to where to go on. 1: all is read; 0,
     * or a negative errno.
     */
    int (*feed)(void *index, const uint8_t *in, size_t len, uint64_t *at);
    uint64_t (*size)(void *index); /* bytes of the content */
    void (*end)(void *index);
} IndexReader;

typedef struct {
    /*
     * The stream at @in, and what follows it up to @len, to exactly @out_len bytes. Any thread. 0,
     * or a negative errno.
     */
    int (*inflate)(const void *in, size_t len, void *out, size_t out_len);
    const Codec *codec;         /* of whole files: of bzip2, of xz */
    const IndexReader *index;   /* what it makes is the codec's state; NULL: they have none */
} InflateModule;

#endif
