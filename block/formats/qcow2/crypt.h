/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encryption of guest data: legacy AES, or LUKS with its header inside the image. */
#ifndef BLOCK_FORMATS_QCOW2_CRYPT_H
#define BLOCK_FORMATS_QCOW2_CRYPT_H

#include "block/formats/qcow2/qcow2.h"
#include "crypto/luks.h"

/* Guest bytes at @off, which lie at @host of the data file. All multiples of 512. */
CO int qcow2_crypt_read(Qcow2 *q, uint64_t off, uint64_t host, Span buf);
CO int qcow2_crypt_write(Qcow2 *q, uint64_t off, uint64_t host, Span buf);

/*
 * Reads the encryption header and, unless @flags say that no data is wanted, gets the key with the
 * secret that @options name.
 */
CO bool qcow2_crypt_open(Qcow2 *q, const json_t *options, OpenFlags flags, GError **err);
void qcow2_crypt_close(Qcow2 *q);
/*
 * Options for encryption mean nothing to an image in clear, unless they insist on a format, which
 * has to be that of the image.
 */
bool qcow2_crypt_check_options(const Qcow2 *q, const json_t *options, GError **err);
/* The "encrypt" member of the format specific information; NULL: not encrypted. */
json_t *qcow2_crypt_info(const Qcow2 *q);

/* What create options ask for. */
typedef struct {
    Qcow2CryptMethod method;
    char *secret;
    LuksFormat luks;
} CryptCreate;
bool qcow2_crypt_create_options(CryptCreate *c, const json_t *opts, GError **err);
void qcow2_crypt_create_clear(CryptCreate *c);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CryptCreate, qcow2_crypt_create_clear)
/* Bytes of the header that qcow2_crypt_create_header makes. */
uint64_t qcow2_crypt_header_len(const CryptCreate *c);
/* Writes the encryption header through @io; checks the secret where there is no header. */
CO bool qcow2_crypt_create_header(const CryptCreate *c, const LuksIo *io, GError **err);
/* Changes key slots as amend's options "encrypt.*" say. */
CO bool qcow2_crypt_amend(Qcow2 *q, const json_t *opts, bool force, GError **err);

#endif
