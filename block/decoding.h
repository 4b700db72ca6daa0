/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A decoder on its way through a compressed file, and the places that it found to start from again.
 */
#ifndef BLOCK_DECODING_H
#define BLOCK_DECODING_H

#include "block/codec.h"
#include "block/driver.h"

/* Places in a file, thinned out when there are too many. */
typedef struct {
    GArray *points;     /* of CodecPoint, by offset */
    uint64_t spacing;   /* bytes of content between two */
    unsigned max;
} Places;

void places_init(Places *s, const Codec *codec);
void places_clear(Places *s);
/* Adds @p unless the last one is near. In order of offsets. Takes over the window. */
void places_add(Places *s, const CodecPoint *p);
/* The last place at or before @out; the start of the file if there is none. */
CodecPoint places_find(const Places *s, uint64_t out);
/* The first place after @out. False: there is none. */
bool places_next(const Places *s, uint64_t out, CodecPoint *next);

/* What a call has come to, beside CODEC_MORE (all the room is used), CODEC_END and errors. */
enum { CODEC_PLACE = 2 };

typedef struct {
    const Codec *codec;
    Edge *file;
    void *decoder;              /* NULL: none */
    Places *places;             /* gets the places that are found; NULL: nobody does */
    uint64_t stop_in;           /* stops at the first place from this byte of the file on */
    uint64_t out_at, in_at;     /* where it has come to */
    CodecPoint place;           /* the last one that it has come by, without window */
    uint8_t *input;             /* read, not decoded: @input_len bytes from @input_at */
    size_t input_room, input_at, input_len;
} Decoding;

/* Starts at @p, which @state belongs to; drops what was before. 0, or a negative errno. */
int decoding_start(Decoding *d, void *state, const CodecPoint *p);
/* The input begins with the @len bytes at @input, which are taken over. After decoding_start. */
void decoding_give_input(Decoding *d, uint8_t *input, size_t len);
/* Gives up the decoder, not the memory of the input. */
void decoding_stop(Decoding *d);
void decoding_free(Decoding *d);
/* Decodes up to @len bytes; *@made says how many. */
CO int decoding_run(Decoding *d, uint8_t *out, size_t len, size_t *made);

#endif
