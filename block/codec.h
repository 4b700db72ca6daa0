/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a format of compressed files (gzip, xz, ...) has to offer to be read at any offset by
 * block/compressed.h. Decoders compute only; they run in any thread, one call at a time.
 */
#ifndef BLOCK_CODEC_H
#define BLOCK_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A place in a compressed file from which decoding can start. Zeroed: the start of the file. */
typedef struct {
    uint64_t out;       /* bytes of content before it */
    uint64_t in;        /* bytes of the file before it */
    uint64_t extra;     /* the codec's */
    uint8_t bits, byte; /* the codec's: places that are not at a byte's boundary */
    void *window;       /* content that is referred to from here; g_free */
    uint32_t window_len;
} CodecPoint;

/* Input and output of one call, which moves both pointers on. */
typedef struct {
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t out_len;
    bool is_point;      /* set by the call: decoding could start again here */
} CodecBuffers;

enum { CODEC_MORE = 0, CODEC_END = 1 };

typedef struct {
    /* A decoder that starts at @p; @state: of the file, see compressed_new. NULL: no memory. */
    void *(*decoder_new)(void *state, const CodecPoint *p);
    void (*decoder_free)(void *d);
    /*
     * Decodes until the input or the room for output is used up, or at a place where decoding could
     * start. CODEC_END: this decoder has come to its end. Otherwise CODEC_MORE or a negative errno.
     */
    int (*decode)(void *d, CodecBuffers *b);
    /* May the file end here? NULL: files end where the size says. */
    bool (*may_end)(const void *d);
    /* After a call that set is_point: completes @p, whose .out and .in are set. False: no memory */
    bool (*point_save)(void *d, CodecPoint *p);
    bool has_windows;   /* places have windows: they take memory and time */
    /*
     * The last place at or before offset @out of the content, for files with an index of their own;
     * a decoder then ends at the next one. NULL: places are those that decoding has found.
     */
    bool (*locate)(void *state, uint64_t out, CodecPoint *p);
    /*
     * Looks for the place after @p without decoding, in the @len bytes of the file from @p->in on,
     * so that several decoders can run at a time. What looks like a place need not be one: it is if
     * the decoder that started at @p saves the same. 1: found, with .out 0 if that is not known; 0:
     * it takes more bytes; -ENODATA: there is none. NULL: cannot be found.
     */
    int (*next)(void *state, const CodecPoint *p, const uint8_t *in, size_t len, CodecPoint *next);
    /*
     * Tells a decoder that started at what looked like a place what the decoder before it has saved
     * there. 0, or a negative errno if that contradicts what was decoded. NULL: nothing depends on
     * it.
     */
    int (*join)(void *d, const CodecPoint *p);
} Codec;

#endif
