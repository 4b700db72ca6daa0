/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed files read at any offset, without a temporary file: an index of places from which
 * decoding can start, a decoder that goes on where the last read ended, others that decode ahead of
 * it where the format lets them, and a few decoded chunks.
 *
 * Memory is bounded whatever the file says: 8 chunks of 1 MiB, what decoders take, what they have
 * decoded ahead (block/decode-ahead.h), places (block/decoding.h), and 4 bytes for each of the
 * first 4 Mi chunks.
 */
#ifndef BLOCK_COMPRESSED_H
#define BLOCK_COMPRESSED_H

#include "block/codec.h"
#include "block/driver.h"

typedef struct Compressed Compressed;

/* Reads @file by @codec; @state is passed to the codec and stays the caller's. */
Compressed *compressed_new(const Codec *codec, void *state, Edge *file);
CO void compressed_free(Compressed *c);

/*
 * Adds a place that is known without decoding, unless the last one is near. In order of offsets.
 * Takes over the window.
 */
void compressed_add_point(Compressed *c, const CodecPoint *p);
/* There are no other places than those that were added: decoders can start ahead there. */
void compressed_know_points(Compressed *c);

/* Bytes of the content. Reads fail with EIO if the file has more or less. */
void compressed_set_size(Compressed *c, uint64_t size);
/*
 * Decodes, which verifies it and builds the index, until at least @wanted bytes of the content are
 * known, or its size. False with @err.
 */
CO bool compressed_learn_size(Compressed *c, uint64_t wanted, GError **err);
/* A .pread operation; zeroes past the end. */
CO int compressed_pread(Compressed *c, uint64_t off, Span buf);
/* An .extent operation: which parts are zero, as far as is known or costs one chunk to know. */
CO int compressed_extent(Compressed *c, uint64_t off, uint64_t len, bool precise, Extent *e);

/* ---- operations for drivers whose state begins with a pointer to a Compressed ---- */

/*
 * Sets @n up to read its storage by @c, which is taken over, and settles the size: by option "size"
 * of @options, or by decoding all if nothing else has told it and OPEN_SIZE_LATER is not in @flags.
 */
CO bool compressed_node_open(Node *n, Compressed *c, const json_t *options, OpenFlags flags,
                             GError **err);
CO bool compressed_node_learn_size(Node *n, uint64_t wanted, SizeLearned *l, GError **err);
CO void compressed_node_drain(Node *n);
CO void compressed_node_close(Node *n);
CO int compressed_node_pread(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO int compressed_node_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e);
extern const char *const compressed_strong_options[];

#endif
