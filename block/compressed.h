/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed files read at any offset, without a temporary file: an index of places from which
 * decoding can start, one decoder that goes on where the last read ended, and a few decoded chunks.
 *
 * Memory is bounded whatever the file says: 8 chunks of 1 MiB, what the decoder takes, at most 1024
 * places with their windows, and 4 bytes for each of the first 4 Mi chunks.
 */
#ifndef BLOCK_COMPRESSED_H
#define BLOCK_COMPRESSED_H

#include "block/codec.h"
#include "block/driver.h"

typedef struct Compressed Compressed;

/* Reads @file by @codec; @state is passed to the codec and stays the caller's. */
Compressed *compressed_new(const Codec *codec, void *state, Edge *file);
void compressed_free(Compressed *c);

/*
 * Adds a place that is known without decoding, unless the last one is near. In order of offsets.
 * Takes over the window.
 */
void compressed_add_point(Compressed *c, const CodecPoint *p);

/* Bytes of the content. Reads fail with EIO if the file has more or less. */
void compressed_set_size(Compressed *c, uint64_t size);
/*
 * Decodes all of the file once, which verifies it, builds the index and tells the size. False with
 * @err.
 */
CO bool compressed_scan(Compressed *c, GError **err);
/* Settles the size: by option "size" of @options, or by a scan if nothing else has told it. */
CO bool compressed_settle(Compressed *c, const json_t *options, GError **err);
uint64_t compressed_size(const Compressed *c);

/* A .pread operation; zeroes past the end. */
CO int compressed_pread(Compressed *c, uint64_t off, Span buf);
/* An .extent operation: which parts are zero, as far as is known or costs one chunk to know. */
CO int compressed_extent(Compressed *c, uint64_t off, uint64_t len, bool precise, Extent *e);

/* ---- operations for drivers whose state begins with a pointer to a Compressed ---- */

/* Sets @n up to read its storage by @codec, and settles the size. */
CO bool compressed_node_open(Node *n, const Codec *codec, const json_t *options, GError **err);
CO void compressed_node_close(Node *n);
CO int compressed_node_pread(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO int compressed_node_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e);
extern const char *const compressed_strong_options[];

#endif
