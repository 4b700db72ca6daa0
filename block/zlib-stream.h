/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams of zlib's, inflated and deflated in the pool: by the module "deflate" where it is
 * installed, by zlib elsewhere.
 */
#ifndef BLOCK_ZLIB_STREAM_H
#define BLOCK_ZLIB_STREAM_H

#include "io/co.h"
#include <stddef.h>

/*
 * States of the library that are kept for the next call, and how many calls go on. Home loop only.
 */
typedef struct ZlibStreams ZlibStreams;
ZlibStreams *zlib_streams_new(void);
void zlib_streams_free(ZlibStreams *s);

/* The stream at @in to at most @out_len bytes; *@made says how many. 0, or a negative errno. */
CO int zlib_stream_inflate(ZlibStreams *s, const void *in, size_t len, void *out, size_t out_len,
                           size_t *made);
/* The most bytes that a stream of @len bytes takes. */
size_t zlib_stream_bound(size_t len);
/*
 * @len bytes at @in as a stream, which takes *@made bytes of @out_len, at least zlib_stream_bound.
 */
CO int zlib_stream_deflate(ZlibStreams *s, const void *in, size_t len, void *out, size_t out_len,
                           size_t *made);

#endif
