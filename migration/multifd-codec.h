/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bodies of multifd packets: one compressed stream a channel, flushed after each packet. */
#ifndef MIGRATION_MULTIFD_CODEC_H
#define MIGRATION_MULTIFD_CODEC_H

#include "migration/multifd.h"

typedef struct MultifdCodec MultifdCodec;

/* A body has this many bytes at most. */
enum { MULTIFD_BODY_MAX = 2 * MULTIFD_PAGES * 4096 };

/* @kind is not MULTIFD_NONE. NULL with @err. */
MultifdCodec *multifd_codec_new(MultifdCompression kind, int level, bool sends, GError **err);
void multifd_codec_free(MultifdCodec *c);
/* The size of what @len bytes at @from became at @to, which has MULTIFD_BODY_MAX; 0: it failed. */
size_t multifd_compress(MultifdCodec *c, const void *from, size_t len, uint8_t *to);
/* Another body, [@from, @from + @len), will be expanded; it stays the caller's. */
void multifd_expand_begin(MultifdCodec *c, const uint8_t *from, size_t len);
/* The next @len bytes of it. False: it is damaged, or ends before. */
bool multifd_expand(MultifdCodec *c, void *to, size_t len);
/* True if all of it was expanded. */
bool multifd_expand_end(MultifdCodec *c);

#endif
