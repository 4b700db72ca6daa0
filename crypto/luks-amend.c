/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUKS1: making a header, unlocking it, filling and emptying its slots as users ask. */
#include "crypto/luks-internal.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

/* ---- options -------------------------------------------------------------------------------- */

/* The value of option @prefix@name of @opts, or NULL. */
static const json_t *opt_get(const json_t *opts, const char *prefix, const char *name)
{
    g_autofree char *key = g_strconcat(prefix, name, NULL);

    return json_get(opts, key);
}

static const char *opt_str(const json_t *opts, const char *prefix, const char *name)
{
    return json_string_value(opt_get(opts, prefix, name));
}

/* Takes iter-time, if given, into *@ms. */
static bool opt_iter_ms(const json_t *opts, const char *prefix, bool *given, uint64_t *ms,
                        GError **err)
{
    const json_t *v = opt_get(opts, prefix, "iter-time");

    *given = v;
    if (!v)
        return true;
    if (json_integer_value(v) < 0)
        return err_set(err, EINVAL, "iter-time of %" PRId64 " ms is negative",
                       (int64_t)json_integer_value(v));
    *ms = json_integer_value(v);
    return true;
}

bool luks_format_options(LuksFormat *f, const json_t *opts, const char *prefix, GError **err)
{
    const char *cipher = opt_str(opts, prefix, "cipher-alg");
    const char *mode = opt_str(opts, prefix, "cipher-mode");
    const char *ivgen = opt_str(opts, prefix, "ivgen-alg");
    const char *ivgen_hash = opt_str(opts, prefix, "ivgen-hash-alg");
    const char *hash = opt_str(opts, prefix, "hash-alg");
    bool given;

    *f = (LuksFormat){
        .spec = { CIPHER_AES_256, MODE_XTS, IVGEN_PLAIN64, HASH_SHA256 },
        .hash = HASH_SHA256,
        .iter_ms = LUKS_ITER_MS,
    };
    if (cipher && !cipher_find(cipher, &f->spec.cipher))
        return err_set(err, EINVAL, "There is no cipher-alg '%s' for LUKS", cipher);
    if (mode && !cipher_mode_find(mode, &f->spec.mode))
        return err_set(err, EINVAL, "There is no cipher-mode '%s'", mode);
    if (ivgen && !ivgen_find(ivgen, &f->spec.ivgen))
        return err_set(err, EINVAL, "There is no ivgen-alg '%s'", ivgen);
    if (ivgen_hash && !hash_find(ivgen_hash, &f->spec.ivgen_hash))
        return err_set(err, EINVAL, "There is no ivgen-hash-alg '%s'", ivgen_hash);
    if (hash && !hash_find(hash, &f->hash))
        return err_set(err, EINVAL, "There is no hash-alg '%s'", hash);
    f->store_ivgen_hash = ivgen_hash || f->spec.ivgen == IVGEN_ESSIV;
    return opt_iter_ms(opts, prefix, &given, &f->iter_ms, err) && crypto_spec_check(&f->spec, err);
}

void luks_amend_clear(LuksAmend *a)
{
    secret_bytes_clear(&a->new_secret);
    secret_bytes_clear(&a->old_secret);
}

bool luks_amend_options(LuksAmend *a, const json_t *opts, const char *prefix, GError **err)
{
    const char *state = opt_str(opts, prefix, "state");
    const char *new_id = opt_str(opts, prefix, "new-secret");
    const char *old_id = opt_str(opts, prefix, "old-secret");
    const json_t *slot = opt_get(opts, prefix, "keyslot");

    *a = (LuksAmend){ .slot = -1, .iter_ms = LUKS_ITER_MS };
    if (!state)
        return err_set(err, EINVAL, "Option 'state' must say what to do: active or inactive");
    a->active = !strcmp(state, "active");
    if (!a->active && strcmp(state, "inactive"))
        return err_set(err, EINVAL, "Option 'state' must be active or inactive, not '%s'", state);
    if (a->active && !new_id)
        return err_set(err, EINVAL, "To fill a key slot 'new-secret' must be given");
    if (a->active && old_id)
        return err_set(err, EINVAL, "To fill a key slot 'old-secret' must not be given");
    if (!a->active && new_id)
        return err_set(err, EINVAL, "To empty key slots 'new-secret' must not be given");
    if (!opt_iter_ms(opts, prefix, &a->iter_given, &a->iter_ms, err))
        return false;
    if (!a->active && a->iter_given)
        return err_set(err, EINVAL, "To empty key slots 'iter-time' must not be given");
    if (!a->active && !old_id && !slot)
        return err_set(err, EINVAL, "To empty key slots 'keyslot' or 'old-secret' must say which");
    if (slot) {
        a->slot = json_integer_value(slot);
        if (a->slot < 0 || a->slot >= LUKS_SLOTS)
            return err_set(err, EINVAL, "There is no key slot %" PRId64 ", only 0 to %d", a->slot,
                           LUKS_SLOTS - 1);
    }
    return (!new_id || secret_get_utf8(new_id, &a->new_secret, err)) &&
           (!old_id || secret_get(old_id, &a->old_secret, err));
}

/* ---- unlocking ------------------------------------------------------------------------------ */

/* The master key by the first slot that @pass opens. */
static bool luks_find_key(const Luks *l, const LuksIo *io, const SecretBytes *pass, uint8_t *key,
                          GError **err)
{
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        int r = l->slots[i].active ? luks_slot_open(l, io, i, pass, key, err) : 0;

        if (r)
            return r > 0;
    }
    err_set(err, EPERM, "The password opens no key slot");
    if (pass->len && pass->data[pass->len - 1] == '\n')
        err_hint(err,
                 "It ends in a newline, which counts: 'printf %%s' writes a file without one.");
    return false;
}

CryptoBlock *luks_unlock(const Luks *l, const LuksIo *io, const SecretBytes *pass, GError **err)
{
    uint8_t key[CIPHER_KEY_MAX];
    CryptoBlock *b = NULL;

    if (luks_find_key(l, io, pass, key, err))
        b = crypto_block_new(&l->spec, key, l->key_len, err);
    explicit_bzero(key, sizeof(key));
    return b;
}

/* ---- making --------------------------------------------------------------------------------- */

/* Sectors from one slot's material to the next one's. */
static uint32_t slot_stride(size_t key_len)
{
    return round_up(luks_material_sectors(key_len), LUKS_SLOT_ALIGN);
}

uint64_t luks_format_header_len(const LuksFormat *f)
{
    uint64_t stride = slot_stride(cipher_key_len(f->spec.cipher, f->spec.mode));

    return (LUKS_SLOT_ALIGN + LUKS_SLOTS * stride) * CRYPTO_SECTOR;
}

/* A random UUID, version 4, as text. */
static bool uuid_make(char *text, size_t len, GError **err)
{
    uint8_t u[16];

    if (!random_bytes(u, sizeof(u), err))
        return false;
    u[6] = (u[6] & 0x0f) | 0x40;
    u[8] = (u[8] & 0x3f) | 0x80;
    g_snprintf(text, len, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
               u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
               u[13], u[14], u[15]);
    return true;
}

/* What luks_digest_make needs, as a job. */
typedef struct {
    Luks *l;
    const uint8_t *key;
    uint64_t iter_ms;
    GError **err;
} DigestJob;

static int digest_job(void *arg)
{
    DigestJob *j = arg;

    return luks_digest_make(j->l, j->key, j->iter_ms, j->err) ? 0 : -1;
}

/* The header of @f with empty slots and the digest of @key. */
static Luks *luks_new(const LuksFormat *f, const LuksIo *io, bool detached, const uint8_t *key,
                      GError **err)
{
    g_autoptr(Luks) l = g_new0(Luks, 1);
    /* The digest is checked once for each slot tried: it gets an eighth of a slot's time. */
    DigestJob job = { .l = l, .key = key, .iter_ms = f->iter_ms / LUKS_SLOTS, .err = err };

    l->spec = f->spec;
    l->hash = f->hash;
    l->store_ivgen_hash = f->store_ivgen_hash;
    l->key_len = cipher_key_len(f->spec.cipher, f->spec.mode);
    l->payload = detached ? 0 : luks_format_header_len(f) / CRYPTO_SECTOR;
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        l->slots[i].offset = LUKS_SLOT_ALIGN + i * slot_stride(l->key_len);
    if (!uuid_make(l->uuid, sizeof(l->uuid), err) || luks_compute(io, digest_job, &job) < 0)
        return NULL;
    return g_steal_pointer(&l);
}

Luks *luks_format(const LuksIo *io, const LuksFormat *f, const SecretBytes *pass, bool detached,
                  CryptoBlock **block, GError **err)
{
    uint8_t key[CIPHER_KEY_MAX];
    g_autoptr(Luks) l = NULL;
    bool ok = random_bytes(key, sizeof(key), err);

    if (ok)
        l = luks_new(f, io, detached, key, err);
    ok = l && luks_slot_fill(l, io, 0, pass, f->iter_ms, key, err);
    if (ok && block) {
        *block = crypto_block_new(&l->spec, key, l->key_len, err);
        ok = *block;
    }
    explicit_bzero(key, sizeof(key));
    return ok ? g_steal_pointer(&l) : NULL;
}

/* ---- changing slots ------------------------------------------------------------------------- */

static bool luks_amend_fill(Luks *l, const LuksIo *io, const LuksAmend *a, const SecretBytes *pass,
                            bool force, GError **err)
{
    uint8_t key[CIPHER_KEY_MAX];
    unsigned slot = 0;
    bool ok;

    if (a->slot >= 0) {
        slot = a->slot;
        if (l->slots[slot].active && !force)
            return err_set(err, EEXIST, "Key slot %u is active; empty it first or use --force",
                           slot);
    } else {
        while (slot < LUKS_SLOTS && l->slots[slot].active)
            slot++;
        if (slot == LUKS_SLOTS)
            return err_set(err, ENOSPC, "All %d key slots are active", LUKS_SLOTS);
    }
    ok = luks_find_key(l, io, pass, key, err) &&
         luks_slot_fill(l, io, slot, &a->new_secret, a->iter_ms, key, err);
    explicit_bzero(key, sizeof(key));
    return ok;
}

/* The set of active slots that @pass opens in *@mask, a bit each; of @only alone unless -1. */
static bool luks_find_slots(const Luks *l, const LuksIo *io, const SecretBytes *pass, int64_t only,
                            unsigned *mask, GError **err)
{
    uint8_t key[CIPHER_KEY_MAX];
    bool ok = true;

    *mask = 0;
    for (unsigned i = 0; ok && i < LUKS_SLOTS; i++) {
        int r;

        if (!l->slots[i].active || (only >= 0 && i != only))
            continue;
        r = luks_slot_open(l, io, i, pass, key, err);
        ok = r >= 0;
        *mask |= (unsigned)(r > 0) << i;
    }
    explicit_bzero(key, sizeof(key));
    return ok;
}

static bool luks_amend_empty(Luks *l, const LuksIo *io, const LuksAmend *a, bool force,
                             GError **err)
{
    unsigned mask, active = 0;

    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        active |= (unsigned)l->slots[i].active << i;
    if (a->slot >= 0 && !(active >> a->slot & 1) && !a->old_secret.data)
        return force || err_set(err, EINVAL, "Key slot %" PRId64 " is empty already", a->slot);
    if (!a->old_secret.data)
        mask = 1u << a->slot;
    else if (!luks_find_slots(l, io, &a->old_secret, a->slot, &mask, err))
        return false;
    if (!mask && a->slot >= 0)
        return err_set(err, EPERM, "The old password does not open key slot %" PRId64, a->slot);
    if (!mask)
        return err_set(err, EPERM, "The old password opens no key slot");
    if (mask == active && !force)
        return err_set(err, EPERM, "This would empty the last active key slot and so lose all data "
                                   "for ever; --force does it");
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        if (mask >> i & 1 && !luks_slot_erase(l, io, i, err))
            return false;
    return true;
}

bool luks_amend(Luks *l, const LuksIo *io, const LuksAmend *a, const SecretBytes *pass, bool force,
                GError **err)
{
    return a->active ? luks_amend_fill(l, io, a, pass, force, err)
                     : luks_amend_empty(l, io, a, force, err);
}
