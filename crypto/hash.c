/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hashes, HMAC, random bytes, and the way to the module that computes. */
#include "crypto/crypto.h"
#include "crypto/module.h"
#include "util/err.h"
#include "util/module.h"
#include <string.h>
#include <sys/random.h>

static const struct {
    const char *name;
    uint8_t len, block;
} hashes[HASH_COUNT] = {
    [HASH_MD5] = { "md5", 16, 64 },        [HASH_SHA1] = { "sha1", 20, 64 },
    [HASH_SHA224] = { "sha224", 28, 64 },  [HASH_SHA256] = { "sha256", 32, 64 },
    [HASH_SHA384] = { "sha384", 48, 128 }, [HASH_SHA512] = { "sha512", 64, 128 },
    [HASH_RIPEMD160] = { "ripemd160", 20, 64 },
};

static const CryptoModule *module; /* any thread, atomic; set once */

const CryptoModule *crypto_module(GError **err)
{
    const CryptoModule *m = g_atomic_pointer_get(&module);

    if (!m) {
        m = module_load("crypto", err);
        g_atomic_pointer_set(&module, m);
    }
    return m;
}

const CryptoModule *crypto_module_loaded(void)
{
    return g_atomic_pointer_get(&module);
}

const char *hash_name(HashAlg alg)
{
    return hashes[alg].name;
}

bool hash_find(const char *name, HashAlg *alg)
{
    for (int i = 0; i < HASH_COUNT; i++) {
        if (!strcmp(name, hashes[i].name)) {
            *alg = i;
            return true;
        }
    }
    return false;
}

size_t hash_len(HashAlg alg)
{
    return hashes[alg].len;
}

size_t hash_block_len(HashAlg alg)
{
    return hashes[alg].block;
}

bool hash_init(Hash *h, HashAlg alg, GError **err)
{
    const CryptoModule *m = crypto_module(err);

    if (!m)
        return false;
    h->alg = alg;
    m->hash_init(alg, h->state);
    return true;
}

void hash_update(Hash *h, const void *buf, size_t len)
{
    crypto_module_loaded()->hash_update(h->alg, h->state, buf, len);
}

void hash_final(Hash *h, uint8_t *digest)
{
    crypto_module_loaded()->hash_digest(h->alg, h->state, digest);
}

bool hash_buffer(HashAlg alg, const void *buf, size_t len, uint8_t *digest, GError **err)
{
    Hash h;

    if (!hash_init(&h, alg, err))
        return false;
    hash_update(&h, buf, len);
    hash_final(&h, digest);
    explicit_bzero(&h, sizeof(h));
    return true;
}

/* Starts @inner and @outer with the key block of HMAC, xor the constants of RFC 2104. */
bool hmac_states(HashAlg alg, const void *key, size_t key_len, Hash *inner, Hash *outer,
                 GError **err)
{
    size_t block = hash_block_len(alg);
    uint8_t pad[HASH_BLOCK_MAX] = { 0 };

    if (!hash_init(inner, alg, err) || !hash_init(outer, alg, err))
        return false;
    if (key_len > block) {
        if (!hash_buffer(alg, key, key_len, pad, err))
            return false;
    } else if (key_len) {
        memcpy(pad, key, key_len);
    }
    for (size_t i = 0; i < block; i++)
        pad[i] ^= 0x36;
    hash_update(inner, pad, block);
    for (size_t i = 0; i < block; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    hash_update(outer, pad, block);
    explicit_bzero(pad, sizeof(pad));
    return true;
}

char *hash_hex(const uint8_t *digest, size_t len)
{
    char *text = g_malloc(2 * len + 1);

    for (size_t i = 0; i < len; i++)
        g_snprintf(text + 2 * i, 3, "%02x", digest[i]);
    text[2 * len] = 0;
    return text;
}

bool hmac_buffer(HashAlg alg, const void *key, size_t key_len, const void *buf, size_t len,
                 uint8_t *mac, GError **err)
{
    Hash inner, outer;

    if (!hmac_states(alg, key, key_len, &inner, &outer, err))
        return false;
    hash_update(&inner, buf, len);
    hash_final(&inner, mac);
    hash_update(&outer, mac, hash_len(alg));
    hash_final(&outer, mac);
    explicit_bzero(&inner, sizeof(inner));
    explicit_bzero(&outer, sizeof(outer));
    return true;
}

bool random_bytes(void *buf, size_t len, GError **err)
{
    uint8_t *p = buf;

    while (len) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0) {
            if (errno == EINTR)
                continue;
            return err_set_errno(err, errno, "Cannot get random bytes");
        }
        p += n;
        len -= n;
    }
    return true;
}

void key_free(void *key, size_t len)
{
    if (key)
        explicit_bzero(key, len);
    g_free(key);
}
