/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two compressions of qcow2, on memory. A Codec keeps what the libraries want to keep between
 * calls; one caller at a time, any thread.
 */
#ifndef BLOCK_FORMATS_QCOW2_CODEC_H
#define BLOCK_FORMATS_QCOW2_CODEC_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct Codec Codec;

Codec *codec_new(bool zstd);
void codec_free(Codec *c);
/* Returns the bytes written to @out, 0 if they would be more than @out_len, or a negative errno. */
ssize_t codec_deflate(Codec *c, const void *in, size_t len, void *out, size_t out_len);
/*
 * Exactly @out_len bytes; what follows the compressed data in @in is ignored. -EIO: damaged, or
 * there would be more or less.
 */
int codec_inflate(Codec *c, const void *in, size_t len, void *out, size_t out_len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Codec, codec_free)

#endif
