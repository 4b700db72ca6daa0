/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Anti-forensic splitting of LUKS ("AFsplit"): a key becomes many stripes, all but the last random,
 * whose combination gives it back. One lost byte anywhere loses the key, so overwriting works even
 * on disks that keep old copies of some sectors.
 *
 *     d = 0;  for each stripe but the last: d = diffuse(d xor stripe);  key = d xor last stripe
 */
#include "crypto/luks-internal.h"
#include "util/endian.h"
#include <string.h>

/* Replaces each piece of @d as long as a digest by the digest of its number and itself. */
static bool af_diffuse(HashAlg hash, uint8_t *d, size_t len, GError **err)
{
    uint8_t digest[HASH_LEN_MAX];
    Hash h;

    if (!hash_init(&h, hash, err))
        return false;
    for (size_t at = 0, i = 0; at < len; at += hash_len(hash), i++) {
        size_t n = MIN(len - at, hash_len(hash));
        be32 number = be32_of((uint32_t)i);

        hash_update(&h, number.b, sizeof(number));
        hash_update(&h, d + at, n);
        hash_final(&h, digest);
        memcpy(d + at, digest, n);
    }
    explicit_bzero(digest, sizeof(digest));
    explicit_bzero(&h, sizeof(h));
    return true;
}

/* d after all stripes of @in but the last. */
static bool af_combine(HashAlg hash, const uint8_t *in, size_t len, unsigned stripes, uint8_t *d,
                       GError **err)
{
    memset(d, 0, len);
    for (unsigned s = 0; s + 1 < stripes; s++) {
        for (size_t i = 0; i < len; i++)
            d[i] ^= in[s * len + i];
        if (!af_diffuse(hash, d, len, err))
            return false;
    }
    return true;
}

bool af_split(HashAlg hash, const uint8_t *key, size_t len, unsigned stripes, uint8_t *out,
              GError **err)
{
    uint8_t d[CIPHER_KEY_MAX];
    bool ok = random_bytes(out, (stripes - 1) * len, err) &&
              af_combine(hash, out, len, stripes, d, err);

    for (size_t i = 0; ok && i < len; i++)
        out[(stripes - 1) * len + i] = d[i] ^ key[i];
    explicit_bzero(d, sizeof(d));
    return ok;
}

bool af_merge(HashAlg hash, const uint8_t *in, size_t len, unsigned stripes, uint8_t *key,
              GError **err)
{
    if (!af_combine(hash, in, len, stripes, key, err))
        return false;
    for (size_t i = 0; i < len; i++)
        key[i] ^= in[(stripes - 1) * len + i];
    return true;
}
