/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ciphers, modes and IV generators by name, and which of them go together. */
#include "crypto/crypto.h"
#include "crypto/module.h"
#include "util/err.h"
#include <string.h>

static const struct {
    const char *name, *family;
    uint8_t key_len, block_len;
} ciphers[CIPHER_COUNT] = {
    [CIPHER_AES_128] = { "aes-128", "aes", 16, 16 },
    [CIPHER_AES_192] = { "aes-192", "aes", 24, 16 },
    [CIPHER_AES_256] = { "aes-256", "aes", 32, 16 },
    [CIPHER_CAST5_128] = { "cast5-128", "cast5", 16, 8 },
    [CIPHER_SERPENT_128] = { "serpent-128", "serpent", 16, 16 },
    [CIPHER_SERPENT_192] = { "serpent-192", "serpent", 24, 16 },
    [CIPHER_SERPENT_256] = { "serpent-256", "serpent", 32, 16 },
    [CIPHER_TWOFISH_128] = { "twofish-128", "twofish", 16, 16 },
    [CIPHER_TWOFISH_192] = { "twofish-192", "twofish", 24, 16 },
    [CIPHER_TWOFISH_256] = { "twofish-256", "twofish", 32, 16 },
};

static const char *const modes[MODE_COUNT] = {
    [MODE_ECB] = "ecb",
    [MODE_CBC] = "cbc",
    [MODE_XTS] = "xts",
    [MODE_CTR] = "ctr",
};

static const char *const ivgens[IVGEN_COUNT] = {
    [IVGEN_PLAIN] = "plain",
    [IVGEN_PLAIN64] = "plain64",
    [IVGEN_ESSIV] = "essiv",
};

/* The index of @name in @names, or -1. */
static int name_index(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

const char *cipher_name(CipherAlg alg)
{
    return ciphers[alg].name;
}

bool cipher_find(const char *name, CipherAlg *alg)
{
    for (int i = 0; i < CIPHER_COUNT; i++) {
        if (!strcmp(ciphers[i].name, name)) {
            *alg = i;
            return true;
        }
    }
    return false;
}

const char *cipher_family(CipherAlg alg)
{
    return ciphers[alg].family;
}

bool cipher_find_family(const char *family, size_t key_len, CipherAlg *alg)
{
    for (int i = 0; i < CIPHER_COUNT; i++) {
        if (!strcmp(ciphers[i].family, family) && ciphers[i].key_len == key_len) {
            *alg = i;
            return true;
        }
    }
    return false;
}

size_t cipher_block_len(CipherAlg alg)
{
    return ciphers[alg].block_len;
}

size_t cipher_key_len(CipherAlg alg, CipherMode mode)
{
    return ciphers[alg].key_len * (mode == MODE_XTS ? 2 : 1);
}

const char *cipher_mode_name(CipherMode mode)
{
    return modes[mode];
}

bool cipher_mode_find(const char *name, CipherMode *mode)
{
    int i = name_index(modes, MODE_COUNT, name);

    if (i < 0)
        return false;
    *mode = i;
    return true;
}

const char *ivgen_name(IvGen iv)
{
    return ivgens[iv];
}

bool ivgen_find(const char *name, IvGen *iv)
{
    int i = name_index(ivgens, IVGEN_COUNT, name);

    if (i < 0)
        return false;
    *iv = i;
    return true;
}

bool cipher_find_essiv(const CryptoSpec *s, CipherAlg *alg)
{
    return ciphers[s->cipher].block_len == 16 &&
           cipher_find_family(ciphers[s->cipher].family, hash_len(s->ivgen_hash), alg);
}

bool crypto_spec_check(const CryptoSpec *s, GError **err)
{
    CipherAlg essiv;

    if (s->mode == MODE_XTS && ciphers[s->cipher].block_len != 16)
        return err_set(err, ENOTSUP, "Cipher '%s' does not work in mode xts, which needs blocks of "
                                     "16 bytes", ciphers[s->cipher].name);
    if (s->ivgen != IVGEN_ESSIV)
        return true;
    if (ciphers[s->cipher].block_len != 16)
        return err_set(err, ENOTSUP, "Cipher '%s' does not work with IV generator essiv",
                       ciphers[s->cipher].name);
    if (!cipher_find_essiv(s, &essiv))
        return err_set(err, ENOTSUP, "IV generator essiv with hash '%s' needs a cipher '%s' with "
                                     "keys of %zu bytes, and there is none",
                       hash_name(s->ivgen_hash), ciphers[s->cipher].family,
                       hash_len(s->ivgen_hash));
    return true;
}
