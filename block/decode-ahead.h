/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several decoders at a time, each at a place of its own in one file: those behind the first one
 * decode ahead. Memory is bounded: at most 8 of them, each with 32 MiB of content that waits.
 */
#ifndef BLOCK_DECODE_AHEAD_H
#define BLOCK_DECODE_AHEAD_H

#include "block/decoding.h"
#include "io/co-lock.h"

/* A decoder with what it has decoded ahead. */
typedef struct {
    Decoding d;                 /* a worker's while @running */
    CodecPoint start;           /* .out 0: not known */
    CodecPoint at;              /* the same as the piece before has found it */
    bool is_ahead;              /* started at what looks like a place */
    bool settled;               /* that is compared with what came before it */
    bool running, dropped;
    int result;                 /* CODEC_MORE: there is more to decode after @filled */
    GQueue filled;              /* of Filled */
    size_t taken;               /* bytes of the first one */
    CoQueue changed;
} Piece;

/* A piece that starts at @p and decodes only what is read. NULL: no memory. */
Piece *piece_new(const Codec *codec, void *state, Edge *file, Places *places, const CodecPoint *p);
/* Frees @p, at once or when its worker has returned. NULL is fine. */
void piece_drop(Piece *p);
/* Reads up to @len bytes, fewer at a place or the end; results as of decoding_run. */
CO int piece_read(Piece *p, uint8_t *out, size_t len, size_t *made);
/*
 * After CODEC_PLACE: goes on with the same decoder; it stops at the first place from @stop_in on.
 */
void piece_go_on(Piece *p, uint64_t stop_in);

typedef struct {
    const Codec *codec;
    void *state;
    Edge *file;
    const Places *places;       /* all that there are; NULL: the codec finds them */
    unsigned max;               /* pieces at a time */
    GQueue pieces;              /* of Piece, in order */
    CodecPoint next;            /* where the one after them starts */
    bool has_next;
    uint8_t *tail;              /* read already: @tail_len bytes of the file from @tail_in on */
    uint64_t tail_in;
    size_t tail_len;
    CoGroup running;
} Ahead;

void ahead_init(Ahead *a, const Codec *codec, void *state, Edge *file);
/*
 * Starts as many pieces as there may be, after those that there are or, if there are none, after
 * @from.
 */
CO void ahead_fill(Ahead *a, const CodecPoint *from);
/* The byte of the file where the first piece starts; UINT64_MAX: there is none. */
uint64_t ahead_first(const Ahead *a);
/* The piece that starts at @at, or NULL. Drops those before it. */
Piece *ahead_take(Ahead *a, const CodecPoint *at);
void ahead_drop(Ahead *a);
/* Waits until no worker runs. */
CO void ahead_wait(Ahead *a);

#endif
