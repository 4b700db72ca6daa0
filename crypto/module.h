/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What module "crypto" gives to this room: bare algorithms. Nobody else includes this. */
#ifndef CRYPTO_MODULE_H
#define CRYPTO_MODULE_H

#include "crypto/crypto.h"

typedef struct {
    /*
     * @state: HASH_STATE_MAX bytes, aligned to 16, copied freely. digest starts the state afresh.
     */
    void (*hash_init)(HashAlg alg, void *state);
    void (*hash_update)(HashAlg alg, void *state, const void *buf, size_t len);
    void (*hash_digest)(HashAlg alg, void *state, uint8_t *digest);
    /*
     * @rounds times: u = HMAC(u), t ^= u; the HMAC given as the states after its inner and outer
     * key block. u and t are of the length of the digest.
     */
    void (*hmac_rounds)(HashAlg alg, const void *inner, const void *outer, uint8_t *u, uint8_t *t,
                        uint64_t rounds);

    size_t (*cipher_state_size)(CipherAlg alg);
    void (*cipher_set_encrypt_key)(CipherAlg alg, void *state, const uint8_t *key);
    void (*cipher_set_decrypt_key)(CipherAlg alg, void *state, const uint8_t *key);
    /* Each block on its own; @src may be @dst. @state belongs to that direction. */
    void (*cipher_encrypt)(CipherAlg alg, const void *state, uint8_t *dst, const uint8_t *src,
                           size_t len);
    void (*cipher_decrypt)(CipherAlg alg, const void *state, uint8_t *dst, const uint8_t *src,
                           size_t len);
} CryptoModule;

/* The module, NULL with @err when it is missing. */
const CryptoModule *crypto_module(GError **err);
/* The same after a call that succeeded. */
const CryptoModule *crypto_module_loaded(void);

/*
 * The states of HMAC (RFC 2104) after the key: a message goes through a copy of @inner, its digest
 * through a copy of @outer. To be wiped.
 */
bool hmac_states(HashAlg alg, const void *key, size_t key_len, Hash *inner, Hash *outer,
                 GError **err);

/* Bytes of a block of @alg. */
size_t cipher_block_len(CipherAlg alg);
/* The cipher that encrypts sector numbers for IVGEN_ESSIV: its key is a digest of the key. */
bool cipher_find_essiv(const CryptoSpec *s, CipherAlg *alg);

#endif
