/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The digest of what an image shows to its guest, worked out while it is read. Two kinds:
 *
 *   sha256    of all bytes, one after the other
 *   tree      of 1 MiB blocks whose digests are hashed together, see docs/spec/hash.md
 *
 * Several workers add what they have read. The bytes of a block are hashed in order, which makes
 * workers wait for each other; different blocks of a tree are hashed at the same time.
 */
#ifndef QEMU_IMG_DIGEST_H
#define QEMU_IMG_DIGEST_H

#include "io/co.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Digest Digest;

/*
 * Are --hash=@kind and --expect=@expect (each may be NULL) a pair that can be? False: complained.
 */
bool digest_check_args(const char *kind, const char *expect);

/*
 * Starts a digest of @kind over @len bytes, which at most @workers coroutines of this loop add.
 * NULL: complained.
 */
Digest *digest_new(const char *kind, uint64_t len, unsigned workers);
void digest_free(Digest *d);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Digest, digest_free)

/* Pieces that begin and end at multiples of so many bytes are hashed best. A power of two. */
uint64_t digest_unit(const Digest *d);

/*
 * Adds @len bytes at @off: those at @buf, or zeroes if it is NULL. Each byte has to be added once,
 * by workers that took their pieces in the order of offsets. Waits until the bytes before, of the
 * same block, are added.
 */
CO void digest_add(Digest *d, uint64_t off, const void *buf, uint64_t len);
/* Some bytes will never be added: nobody waits for them from now on. */
void digest_abandon(Digest *d);

/* The digest in hexadecimal, when all bytes were added. Owned by @d. */
const char *digest_text(Digest *d);

/* Prints the digest of @name as sha256sum(1) does. */
void digest_print(Digest *d, const char *name);
/* Is it the @expect-ed one (or is that NULL)? False: complained about @name. */
bool digest_matches(Digest *d, const char *expect, const char *name);

/* Entries of option tables. */
#define OPTION_EXPECT(type)                                                                        \
    { 0, "expect", "DIGEST", "fail if the digest is another", OPT_TEXT, offsetof(type, expect) }

#endif
