/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LUKS1: one key slot, opened, filled and emptied.
 *
 *     password --PBKDF2--> slot key --decrypts--> split key --merge--> master key
 *     master key --PBKDF2--> digest
 *
 * Reading and writing happen in the caller; all between is one job for luks_compute.
 */
#include "crypto/luks-internal.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>

/* A job and what it needs. */
typedef struct {
    Luks *l;
    const LuksIo *io;
    unsigned slot;
    const SecretBytes *pass;
    uint64_t iter_ms;
    uint8_t key[CIPHER_KEY_MAX]; /* master key */
    uint8_t *material;           /* @material_len bytes */
    size_t material_len;
    GError *err;
} SlotJob;

static void slot_job_clear(SlotJob *j)
{
    explicit_bzero(j->key, sizeof(j->key));
    key_free(j->material, j->material_len);
    g_clear_error(&j->err);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SlotJob, slot_job_clear)

int luks_compute(const LuksIo *io, int (*fn)(void *arg), void *arg)
{
    return io->compute ? io->compute(fn, arg) : fn(arg);
}

/* Room for the material, whole sectors, zeroed. */
static void slot_job_room(SlotJob *j)
{
    j->material_len = (size_t)luks_material_sectors(j->l->key_len) * CRYPTO_SECTOR;
    j->material = g_malloc0(j->material_len);
}

static uint64_t slot_start(const Luks *l, unsigned slot)
{
    return (uint64_t)l->slots[slot].offset * CRYPTO_SECTOR;
}

/* The cipher of the slot's material: that of the data, with a key made from the password. */
static CryptoBlock *slot_cipher(const SlotJob *j, GError **err)
{
    const LuksSlot *s = &j->l->slots[j->slot];
    uint8_t key[CIPHER_KEY_MAX];
    CryptoBlock *b = NULL;

    if (kdf_pbkdf2(j->l->hash, j->pass->data, j->pass->len, s->salt, sizeof(s->salt), s->rounds,
                   key, j->l->key_len, j->io->cancelled, j->io->opaque, err))
        b = crypto_block_new(&j->l->spec, key, j->l->key_len, err);
    explicit_bzero(key, sizeof(key));
    return b;
}

static bool digest_compute(const Luks *l, const uint8_t *key, KdfCancelled *cancelled, void *arg,
                           uint8_t *digest, GError **err)
{
    return kdf_pbkdf2(l->hash, key, l->key_len, l->digest_salt, sizeof(l->digest_salt),
                      l->digest_rounds, digest, LUKS_DIGEST_LEN, cancelled, arg, err);
}

/* Compares without telling by its time where the difference is. */
static bool digest_equals(const uint8_t *a, const uint8_t *b)
{
    unsigned diff = 0;

    for (size_t i = 0; i < LUKS_DIGEST_LEN; i++)
        diff |= a[i] ^ b[i];
    return !diff;
}

/* Decrypts the material and looks whether it holds the master key: 1, 0, or -1 with .err. */
static int slot_open_job(void *arg)
{
    SlotJob *j = arg;
    g_autoptr(CryptoBlock) b = slot_cipher(j, &j->err);
    uint8_t digest[LUKS_DIGEST_LEN];

    if (!b)
        return -1;
    crypto_block_decrypt(b, 0, j->material, j->material, j->material_len);
    if (!af_merge(j->l->hash, j->material, j->l->key_len, LUKS_STRIPES, j->key, &j->err) ||
        !digest_compute(j->l, j->key, j->io->cancelled, j->io->opaque, digest, &j->err))
        return -1;
    return digest_equals(digest, j->l->digest);
}

int luks_slot_open(const Luks *l, const LuksIo *io, unsigned slot, const SecretBytes *pass,
                   uint8_t *key, GError **err)
{
    g_auto(SlotJob) j = { .l = (Luks *)l, .io = io, .slot = slot, .pass = pass };
    int r;

    slot_job_room(&j);
    r = io->read(io->opaque, slot_start(l, slot), j.material, j.material_len);
    if (r < 0) {
        err_set_errno(err, r, "Cannot read LUKS key slot %u", slot);
        return -1;
    }
    r = luks_compute(io, slot_open_job, &j);
    if (r < 0) {
        g_propagate_error(err, g_steal_pointer(&j.err));
        err_prefix(err, "LUKS key slot %u: ", slot);
    } else if (r) {
        memcpy(key, j.key, l->key_len);
    }
    return r;
}

/* Rounds for @ms of CPU, within what may be stored. */
static bool rounds_for_ms(HashAlg hash, size_t out_len, uint64_t ms, uint32_t *rounds,
                          GError **err)
{
    uint64_t n;

    if (!kdf_rounds_for_ms(hash, out_len, ms, &n, err))
        return false;
    if (n > LUKS_ROUNDS_MAX)
        return err_set(err, ERANGE, "%" PRIu64 " ms of key derivation are too long: they are more "
                                    "than the %d rounds allowed", ms, LUKS_ROUNDS_MAX);
    *rounds = MAX(n, LUKS_ROUNDS_MIN);
    return true;
}

bool luks_digest_make(Luks *l, const uint8_t *key, uint64_t iter_ms, GError **err)
{
    return random_bytes(l->digest_salt, sizeof(l->digest_salt), err) &&
           rounds_for_ms(l->hash, LUKS_DIGEST_LEN, iter_ms, &l->digest_rounds, err) &&
           digest_compute(l, key, NULL, NULL, l->digest, err);
}

/* Makes the encrypted material of .key; the slot's rounds and salt are set in .l. */
static int slot_fill_job(void *arg)
{
    SlotJob *j = arg;
    LuksSlot *s = &j->l->slots[j->slot];
    g_autoptr(CryptoBlock) b = NULL;

    if (!rounds_for_ms(j->l->hash, j->l->key_len, j->iter_ms, &s->rounds, &j->err) ||
        !random_bytes(s->salt, sizeof(s->salt), &j->err) ||
        !af_split(j->l->hash, j->key, j->l->key_len, LUKS_STRIPES, j->material, &j->err))
        return -1;
    b = slot_cipher(j, &j->err);
    if (!b)
        return -1;
    crypto_block_encrypt(b, 0, j->material, j->material, j->material_len);
    return 0;
}

/* Writes the material of a slot and, only when that is safe, the header of @l. */
static bool slot_write(const SlotJob *j, GError **err)
{
    int r = j->io->write(j->io->opaque, slot_start(j->l, j->slot), j->material, j->material_len);

    if (r >= 0 && j->io->flush)
        r = j->io->flush(j->io->opaque);
    if (r < 0)
        return err_set_errno(err, r, "Cannot write LUKS key slot %u", j->slot);
    return luks_store(j->l, j->io, err);
}

bool luks_slot_fill(Luks *l, const LuksIo *io, unsigned slot, const SecretBytes *pass,
                    uint64_t iter_ms, const uint8_t *key, GError **err)
{
    Luks next = *l;
    g_auto(SlotJob) j = { .l = &next, .io = io, .slot = slot, .pass = pass, .iter_ms = iter_ms };

    slot_job_room(&j);
    memcpy(j.key, key, l->key_len);
    next.slots[slot].active = true;
    if (luks_compute(io, slot_fill_job, &j) < 0) {
        g_propagate_error(err, g_steal_pointer(&j.err));
        return err_prefix(err, "LUKS key slot %u: ", slot);
    }
    if (!slot_write(&j, err))
        return false;
    *l = next;
    return true;
}

bool luks_slot_erase(Luks *l, const LuksIo *io, unsigned slot, GError **err)
{
    Luks next = *l;
    g_auto(SlotJob) j = { .l = &next, .io = io, .slot = slot };
    LuksSlot *s = &next.slots[slot];

    slot_job_room(&j);
    s->active = false;
    s->rounds = 0;
    memset(s->salt, 0, sizeof(s->salt));
    if (!random_bytes(j.material, j.material_len, err) || !slot_write(&j, err))
        return false;
    *l = next;
    return true;
}
