/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUKS1 inside: the header in memory, its slots, splitting of keys. */
#ifndef CRYPTO_LUKS_INTERNAL_H
#define CRYPTO_LUKS_INTERNAL_H

#include "crypto/luks.h"

enum {
    LUKS_STRIPES = 4000,
    LUKS_SALT_LEN = 32,
    LUKS_DIGEST_LEN = 20,
    LUKS_UUID_LEN = 40,
    LUKS_SLOT_ALIGN = 8, /* sectors */
    LUKS_ROUNDS_MIN = 1000, /* of what we write */
    LUKS_ROUNDS_MAX = 1 << 30, /* of what we accept */
};

typedef struct {
    bool active;
    uint32_t rounds;
    uint8_t salt[LUKS_SALT_LEN];
    uint32_t offset; /* sectors */
} LuksSlot;

struct Luks {
    CryptoSpec spec;
    HashAlg hash;
    bool store_ivgen_hash;
    size_t key_len;
    uint32_t payload; /* sectors */
    uint8_t digest[LUKS_DIGEST_LEN];
    uint8_t digest_salt[LUKS_SALT_LEN];
    uint32_t digest_rounds;
    char uuid[LUKS_UUID_LEN];
    LuksSlot slots[LUKS_SLOTS];
};

/* Sectors of the split key in a slot. */
uint32_t luks_material_sectors(size_t key_len);

/* Writes the header of @l, not its slots' material. */
bool luks_store(const Luks *l, const LuksIo *io, GError **err);

/* Runs @fn where the caller wants computing done. */
int luks_compute(const LuksIo *io, int (*fn)(void *arg), void *arg);

/* Tries @pass on active slot @slot: 1 with the master key in @key, 0 wrong, -1 with @err. */
int luks_slot_open(const Luks *l, const LuksIo *io, unsigned slot, const SecretBytes *pass,
                   uint8_t *key, GError **err);

/*
 * Puts @key into @slot under @pass: material first, then the header. If the material cannot be
 * written the header on disk stays as it is.
 */
bool luks_slot_fill(Luks *l, const LuksIo *io, unsigned slot, const SecretBytes *pass,
                    uint64_t iter_ms, const uint8_t *key, GError **err);

/* Overwrites the material of @slot, then marks it empty in the header. */
bool luks_slot_erase(Luks *l, const LuksIo *io, unsigned slot, GError **err);

/* Sets a new salt, a number of rounds for @iter_ms and the digest of @key. Computes. */
bool luks_digest_make(Luks *l, const uint8_t *key, uint64_t iter_ms, GError **err);

/*
 * Anti-forensic splitting: @key (@len bytes) becomes @stripes times as much at @out, of which every
 * byte is needed to get it back.
 */
bool af_split(HashAlg hash, const uint8_t *key, size_t len, unsigned stripes, uint8_t *out,
              GError **err);
bool af_merge(HashAlg hash, const uint8_t *in, size_t len, unsigned stripes, uint8_t *key,
              GError **err);

#endif
