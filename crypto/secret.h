/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Secrets: passwords and keys that users give by name, objects "secret" and "secret_keyring".
 *
 *     secret,id=ID,data=TEXT             the text itself (visible to others on the command line)
 *     secret,id=ID,file=PATH             the content of a file, all of it
 *     secret_keyring,id=ID,serial=N      a key of the kernel's keyring
 *
 * With format=base64 that is decoded first. With keyid=OTHER,iv=BASE64 it is the encryption of the
 * secret by AES-256-CBC with PKCS#7 padding under the 32 bytes of secret OTHER.
 *
 * Contents are never printed and are wiped from memory when they are done with. Main loop only.
 */
#ifndef CRYPTO_SECRET_H
#define CRYPTO_SECRET_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes to be kept to oneself: g_auto(SecretBytes) s = { 0 }; wipes them in the end. */
typedef struct {
    uint8_t *data; /* @len bytes and a NUL; NULL: none */
    size_t len;
} SecretBytes;

void secret_bytes_clear(SecretBytes *s);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SecretBytes, secret_bytes_clear)

/* A longer secret is refused. */
enum { SECRET_MAX = 1 << 20 };

/* A copy of the content of secret @id. */
bool secret_get(const char *id, SecretBytes *out, GError **err);

/* The same for what must be text: EINVAL unless it is UTF-8 without NUL. */
bool secret_get_utf8(const char *id, SecretBytes *out, GError **err);

/* Asks a person for the password of @what. False: there is nobody to ask, or no answer. */
typedef bool SecretAsk(const char *what, SecretBytes *out);
/* From now on @ask does it; one per process. */
void secret_ask_set(SecretAsk *ask);
bool secret_ask(const char *what, SecretBytes *out);

#endif
