/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Module "crypto": hashes and block ciphers of the nettle library. */
#include "crypto/module.h"
#include "util/module.h"
#include <nettle/memxor.h>
#include <nettle/nettle-meta.h>
#include <nettle/ripemd160.h>
#include <nettle/sha2.h>
#include <string.h>

extern const CryptoModule ferry_module_crypto;

static const struct nettle_hash *const hashes[HASH_COUNT] = {
    [HASH_MD5] = &nettle_md5,
    [HASH_SHA1] = &nettle_sha1,
    [HASH_SHA224] = &nettle_sha224,
    [HASH_SHA256] = &nettle_sha256,
    [HASH_SHA384] = &nettle_sha384,
    [HASH_SHA512] = &nettle_sha512,
    [HASH_RIPEMD160] = &nettle_ripemd160,
};

static const struct nettle_cipher *const ciphers[CIPHER_COUNT] = {
    [CIPHER_AES_128] = &nettle_aes128,
    [CIPHER_AES_192] = &nettle_aes192,
    [CIPHER_AES_256] = &nettle_aes256,
    [CIPHER_CAST5_128] = &nettle_cast128,
    [CIPHER_SERPENT_128] = &nettle_serpent128,
    [CIPHER_SERPENT_192] = &nettle_serpent192,
    [CIPHER_SERPENT_256] = &nettle_serpent256,
    [CIPHER_TWOFISH_128] = &nettle_twofish128,
    [CIPHER_TWOFISH_192] = &nettle_twofish192,
    [CIPHER_TWOFISH_256] = &nettle_twofish256,
};

/* The largest states; the others are smaller by their definition. */
G_STATIC_ASSERT(sizeof(struct sha512_ctx) <= HASH_STATE_MAX);
G_STATIC_ASSERT(sizeof(struct sha256_ctx) <= HASH_STATE_MAX);
G_STATIC_ASSERT(sizeof(struct ripemd160_ctx) <= HASH_STATE_MAX);

static void module_hash_init(HashAlg alg, void *state)
{
    hashes[alg]->init(state);
}

static void module_hash_update(HashAlg alg, void *state, const void *buf, size_t len)
{
    hashes[alg]->update(state, len, buf);
}

static void module_hash_digest(HashAlg alg, void *state, uint8_t *digest)
{
    hashes[alg]->digest(state, hashes[alg]->digest_size, digest);
}

static void module_hmac_rounds(HashAlg alg, const void *inner, const void *outer, uint8_t *u,
                               uint8_t *t, uint64_t rounds)
{
    const struct nettle_hash *h = hashes[alg];
    _Alignas(16) uint8_t state[HASH_STATE_MAX];

    for (; rounds; rounds--) {
        memcpy(state, inner, h->context_size);
        h->update(state, h->digest_size, u);
        h->digest(state, h->digest_size, u);
        memcpy(state, outer, h->context_size);
        h->update(state, h->digest_size, u);
        h->digest(state, h->digest_size, u);
        memxor(t, u, h->digest_size);
    }
    explicit_bzero(state, sizeof(state));
}

static size_t module_cipher_state_size(CipherAlg alg)
{
    return ciphers[alg]->context_size;
}

static void module_cipher_set_encrypt_key(CipherAlg alg, void *state, const uint8_t *key)
{
    ciphers[alg]->set_encrypt_key(state, key);
}

static void module_cipher_set_decrypt_key(CipherAlg alg, void *state, const uint8_t *key)
{
    ciphers[alg]->set_decrypt_key(state, key);
}

static void module_cipher_encrypt(CipherAlg alg, const void *state, uint8_t *dst,
                                  const uint8_t *src, size_t len)
{
    ciphers[alg]->encrypt(state, len, dst, src);
}

static void module_cipher_decrypt(CipherAlg alg, const void *state, uint8_t *dst,
                                  const uint8_t *src, size_t len)
{
    ciphers[alg]->decrypt(state, len, dst, src);
}

MODULE_EXPORT const CryptoModule ferry_module_crypto = {
    .hash_init = module_hash_init,
    .hash_update = module_hash_update,
    .hash_digest = module_hash_digest,
    .hmac_rounds = module_hmac_rounds,
    .cipher_state_size = module_cipher_state_size,
    .cipher_set_encrypt_key = module_cipher_set_encrypt_key,
    .cipher_set_decrypt_key = module_cipher_set_decrypt_key,
    .cipher_encrypt = module_cipher_encrypt,
    .cipher_decrypt = module_cipher_decrypt,
};
