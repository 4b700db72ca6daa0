/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encryption of requests: long ones are spread over all CPUs while the loop goes on. */
#ifndef BLOCK_CRYPT_H
#define BLOCK_CRYPT_H

#include "block/driver.h"
#include "crypto/luks.h"

/*
 * Encrypts @src into @src.len bytes at @dst. @off, in the numbering of @b's vectors, and the length
 * are multiples of CRYPTO_SECTOR; the pieces of @src may be of any length.
 */
CO void crypt_encrypt(const CryptoBlock *b, uint64_t off, Span src, void *dst);

/* Decrypts @buf in place, under the same conditions. 0 or -ENOMEM. */
CO int crypt_decrypt(const CryptoBlock *b, uint64_t off, Span buf);

/* How LUKS code reaches a header that starts at byte 0 of edge @e; @e must outlive it. */
LuksIo crypt_luks_io(Edge *e);

#endif
