/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For formats whose data lies in their file as it is, in units that a map places. Their .extent,
 * which tells EXTENT_HOST with an offset in the file, EXTENT_ZERO, or neither where the backing
 * file decides, is enough to read by.
 */
#ifndef BLOCK_FORMATS_MAPPED_H
#define BLOCK_FORMATS_MAPPED_H

#include "block/driver.h"

/* A .pread operation. */
CO int mapped_pread(Node *n, uint64_t off, Span buf, ReqFlags flags);

/* The same where the .extent operation tells users less than @extent does. */
typedef CO int MappedExtent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e);
CO int mapped_pread_by(MappedExtent *extent, Node *n, uint64_t off, Span buf);

/* A .reads_through operation. */
CO int mapped_reads_through(Node *n, uint64_t off, uint64_t len, Node **below);

/* What the backing file of @n has there; zeroes after its end, or if there is none. */
CO int mapped_pread_backing(Node *n, uint64_t off, Span buf);

/*
 * Gives space in the file to some of [@off, @off + @len), at least where it begins; until it is
 * written to, it has to read as before. 0 or a negative errno.
 */
typedef CO int MappedAllocate(Node *n, uint64_t off, uint64_t len);

/* Writes where there is space, and has @allocate make some where there is none. */
CO int mapped_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags, MappedAllocate *allocate);

/*
 * Zeroes: what reads as zeroes stays as it is, the file is told of the rest. With REQ_NO_FALLBACK
 * it may turn out half-way that the file would have to be written to: -ENOTSUP.
 */
CO int mapped_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags, MappedAllocate *allocate);

/* 16 random bytes that are a UUID of version 4, its first three fields in little or big endian. */
void uuid_make_le(uint8_t uuid[16]);
void uuid_make_be(uint8_t uuid[16]);
/* @uuid, all in big endian, as people read it; the caller frees. */
char *uuid_text(const uint8_t uuid[16]);

#endif
