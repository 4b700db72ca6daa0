/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LUKS1: the header on disk, read, checked, written and described.
 *
 *     0        header: cipher, hash, digest of the master key, eight slots
 *     4096     split keys of slots 0 to 7, one after the other, each at a multiple of 4 KiB
 *     payload  data
 *
 * All numbers are big-endian; positions are in sectors of 512 bytes. See docs/spec/luks.md.
 */
#include "crypto/luks-internal.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

static const uint8_t luks_magic[6] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };

enum { LUKS_VERSION = 1, LUKS_NAME_LEN = 32 };
enum { LUKS_SLOT_ACTIVE = 0x00ac71f3, LUKS_SLOT_EMPTY = 0x0000dead };

typedef struct {
    be32 active; /* LUKS_SLOT_ACTIVE or LUKS_SLOT_EMPTY */
    be32 rounds;
    uint8_t salt[LUKS_SALT_LEN];
    be32 offset; /* of the split key, sectors */
    be32 stripes;
} LuksDiskSlot;

typedef struct {
    uint8_t magic[6];
    be16 version;
    char cipher[LUKS_NAME_LEN]; /* "aes" */
    char mode[LUKS_NAME_LEN];   /* "xts-plain64", "cbc-essiv:sha256" */
    char hash[LUKS_NAME_LEN];   /* "sha256" */
    be32 payload;               /* sectors; 0: in another file */
    be32 key_len;               /* of the master key, bytes */
    uint8_t digest[LUKS_DIGEST_LEN];
    uint8_t digest_salt[LUKS_SALT_LEN];
    be32 digest_rounds;
    char uuid[LUKS_UUID_LEN];
    LuksDiskSlot slots[LUKS_SLOTS];
} LuksDisk; /* "LUKS On-Disk Format Specification" 1.2.3, figure 1 */
G_STATIC_ASSERT(sizeof(LuksDisk) == 592);

void luks_free(Luks *l)
{
    g_free(l);
}

int luks_probe(const uint8_t *head, size_t len)
{
    if (len < sizeof(luks_magic) + sizeof(be16) || memcmp(head, luks_magic, sizeof(luks_magic)))
        return 0;
    return be16_at(head + sizeof(luks_magic)) == LUKS_VERSION ? 100 : 0;
}

uint64_t luks_payload_offset(const Luks *l)
{
    return (uint64_t)l->payload * CRYPTO_SECTOR;
}

uint32_t luks_material_sectors(size_t key_len)
{
    return div_round_up((uint64_t)key_len * LUKS_STRIPES, CRYPTO_SECTOR);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* True if the @len bytes at @s hold a text of printable ASCII with its NUL. */
static bool field_is_text(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!s[i])
            return true;
        if (!g_ascii_isprint(s[i]))
            return false;
    }
    return false;
}

/* Reads "xts-plain64" or "cbc-essiv:sha256"; "ecb" alone is what other tools write for it. */
static bool luks_parse_mode(Luks *l, const char *text, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(text, "-", 2);
    g_auto(GStrv) iv = parts[0] && parts[1] ? g_strsplit(parts[1], ":", 2) : NULL;

    if (!parts[0] || !cipher_mode_find(parts[0], &l->spec.mode))
        return err_set(err, ENOTSUP, "LUKS header: cipher mode '%s' is not supported", text);
    if (!iv && l->spec.mode == MODE_ECB) {
        l->spec.ivgen = IVGEN_PLAIN;
        return true;
    }
    if (!iv || !iv[0] || !ivgen_find(iv[0], &l->spec.ivgen))
        return err_set(err, ENOTSUP, "LUKS header: the IV generator in cipher mode '%s' is not "
                                     "supported", text);
    if (iv[1] && !hash_find(iv[1], &l->spec.ivgen_hash))
        return err_set(err, ENOTSUP, "LUKS header: the hash in cipher mode '%s' is not supported",
                       text);
    if (l->spec.ivgen == IVGEN_ESSIV && !iv[1])
        return err_set(err, EINVAL, "LUKS header: cipher mode '%s' names no hash for essiv", text);
    l->store_ivgen_hash = iv[1];
    return true;
}

static bool luks_parse_algorithms(Luks *l, const LuksDisk *d, GError **err)
{
    uint32_t key_len = be32_get(d->key_len);

    if (!field_is_text(d->cipher, sizeof(d->cipher)) || !field_is_text(d->mode, sizeof(d->mode)) ||
        !field_is_text(d->hash, sizeof(d->hash)) || !field_is_text(d->uuid, sizeof(d->uuid)))
        return err_set(err, EINVAL, "LUKS header: cipher name, cipher mode, hash or UUID is not a "
                                    "text that ends inside its field");
    if (!luks_parse_mode(l, d->mode, err))
        return false;
    if (!hash_find(d->hash, &l->hash))
        return err_set(err, ENOTSUP, "LUKS header: hash '%s' is not supported", d->hash);
    if (key_len > CIPHER_KEY_MAX || (l->spec.mode == MODE_XTS && key_len % 2) ||
        !cipher_find_family(d->cipher, l->spec.mode == MODE_XTS ? key_len / 2 : key_len,
                            &l->spec.cipher))
        return err_set(err, ENOTSUP, "LUKS header: cipher '%s' in mode '%s' with a key of %" PRIu32
                                     " bytes is not supported", d->cipher, d->mode, key_len);
    l->key_len = key_len;
    return crypto_spec_check(&l->spec, err) || err_prefix(err, "LUKS header: ");
}

static bool luks_check_rounds(const char *what, uint32_t rounds, GError **err)
{
    if (!rounds || rounds > LUKS_ROUNDS_MAX)
        return err_set(err, EINVAL, "LUKS header: %s has %" PRIu32 " rounds of key derivation, "
                                    "allowed are 1 to %d", what, rounds, LUKS_ROUNDS_MAX);
    return true;
}

static bool luks_parse_slot(Luks *l, unsigned i, const LuksDiskSlot *d, GError **err)
{
    LuksSlot *s = &l->slots[i];
    uint32_t active = be32_get(d->active);
    g_autofree char *what = g_strdup_printf("key slot %u", i);

    if (active != LUKS_SLOT_ACTIVE && active != LUKS_SLOT_EMPTY)
        return err_set(err, EINVAL, "LUKS header: key slot %u has state 0x%08" PRIx32
                                    ", neither active nor empty", i, active);
    if (be32_get(d->stripes) != LUKS_STRIPES)
        return err_set(err, EINVAL,
                       "LUKS header: key slot %u has %" PRIu32 " stripes instead of %d", i,
                       be32_get(d->stripes), LUKS_STRIPES);
    s->active = active == LUKS_SLOT_ACTIVE;
    s->rounds = be32_get(d->rounds);
    s->offset = be32_get(d->offset);
    memcpy(s->salt, d->salt, sizeof(s->salt));
    return !s->active || luks_check_rounds(what, s->rounds, err);
}

/* The split keys must lie between header and data, apart from each other. */
static bool luks_check_layout(const Luks *l, uint64_t area_len, GError **err)
{
    uint64_t len = luks_material_sectors(l->key_len);
    uint64_t end = area_len / CRYPTO_SECTOR;

    if (l->payload)
        end = MIN(end, l->payload);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        uint64_t from = l->slots[i].offset;

        if (from * CRYPTO_SECTOR < sizeof(LuksDisk))
            return err_set(err, EINVAL, "LUKS header: the key of slot %u at sector %" PRIu64
                                        " overlaps the header", i, from);
        if (from + len > end)
            return err_set(err, EINVAL, "LUKS header: the key of slot %u at sector %" PRIu64
                                        " reaches past the end of the header area at %" PRIu64, i,
                           from, end);
        for (unsigned j = 0; j < i; j++) {
            uint64_t other = l->slots[j].offset;

            if (from < other + len && other < from + len)
                return err_set(err, EINVAL, "LUKS header: the keys of slots %u and %u overlap", j,
                               i);
        }
    }
    return true;
}

static bool luks_parse(Luks *l, const LuksDisk *d, uint64_t area_len, GError **err)
{
    if (memcmp(d->magic, luks_magic, sizeof(luks_magic)))
        return err_set(err, EINVAL, "There is no LUKS header");
    if (be16_get(d->version) != LUKS_VERSION)
        return err_set(err, ENOTSUP, "LUKS version %u is not supported, only version %d is",
                       be16_get(d->version), LUKS_VERSION);
    if (!luks_parse_algorithms(l, d, err))
        return false;
    l->payload = be32_get(d->payload);
    memcpy(l->digest, d->digest, sizeof(l->digest));
    memcpy(l->digest_salt, d->digest_salt, sizeof(l->digest_salt));
    l->digest_rounds = be32_get(d->digest_rounds);
    memcpy(l->uuid, d->uuid, sizeof(l->uuid));
    if (!luks_check_rounds("the digest of the master key", l->digest_rounds, err))
        return false;
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        if (!luks_parse_slot(l, i, &d->slots[i], err))
            return false;
    return luks_check_layout(l, area_len, err);
}

Luks *luks_load(const LuksIo *io, uint64_t area_len, GError **err)
{
    g_autoptr(Luks) l = g_new0(Luks, 1);
    LuksDisk d;
    int r;

    if (area_len < sizeof(d)) {
        err_set(err, EINVAL, "%" PRIu64 " bytes are too few for a LUKS header", area_len);
        return NULL;
    }
    r = io->read(io->opaque, 0, &d, sizeof(d));
    if (r < 0) {
        err_set_errno(err, r, "Cannot read the LUKS header");
        return NULL;
    }
    return luks_parse(l, &d, area_len, err) ? g_steal_pointer(&l) : NULL;
}

/* ---- writing -------------------------------------------------------------------------------- */

bool luks_store(const Luks *l, const LuksIo *io, GError **err)
{
    LuksDisk d = { .version = be16_of(LUKS_VERSION), .payload = be32_of(l->payload),
                   .key_len = be32_of((uint32_t)l->key_len),
                   .digest_rounds = be32_of(l->digest_rounds) };
    int r;

    memcpy(d.magic, luks_magic, sizeof(d.magic));
    g_strlcpy(d.cipher, cipher_family(l->spec.cipher), sizeof(d.cipher));
    g_snprintf(d.mode, sizeof(d.mode), "%s-%s%s%s", cipher_mode_name(l->spec.mode),
               ivgen_name(l->spec.ivgen), l->store_ivgen_hash ? ":" : "",
               l->store_ivgen_hash ? hash_name(l->spec.ivgen_hash) : "");
    g_strlcpy(d.hash, hash_name(l->hash), sizeof(d.hash));
    memcpy(d.digest, l->digest, sizeof(d.digest));
    memcpy(d.digest_salt, l->digest_salt, sizeof(d.digest_salt));
    memcpy(d.uuid, l->uuid, sizeof(d.uuid));
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *s = &l->slots[i];

        d.slots[i] = (LuksDiskSlot){
            .active = be32_of(s->active ? LUKS_SLOT_ACTIVE : LUKS_SLOT_EMPTY),
            .rounds = be32_of(s->rounds),
            .offset = be32_of(s->offset),
            .stripes = be32_of(LUKS_STRIPES),
        };
        memcpy(d.slots[i].salt, s->salt, sizeof(s->salt));
    }
    r = io->write(io->opaque, 0, &d, sizeof(d));
    if (r >= 0 && io->flush)
        r = io->flush(io->opaque);
    return r >= 0 || err_set_errno(err, r, "Cannot write the LUKS header");
}

/* ---- describing ----------------------------------------------------------------------------- */

static json_t *luks_slot_info(const LuksSlot *s)
{
    json_t *o = json_object();

    json_put_bool(o, "active", s->active);
    if (s->active) {
        json_put_int(o, "iters", s->rounds);
        json_put_int(o, "stripes", LUKS_STRIPES);
    }
    json_put_int(o, "key-offset", (int64_t)s->offset * CRYPTO_SECTOR);
    return o;
}

json_t *luks_info(const Luks *l)
{
    json_t *o = json_object(), *slots = json_array();

    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        json_array_append_new(slots, luks_slot_info(&l->slots[i]));
    json_put_str(o, "cipher-alg", cipher_name(l->spec.cipher));
    json_put_str(o, "cipher-mode", cipher_mode_name(l->spec.mode));
    json_put_str(o, "ivgen-alg", ivgen_name(l->spec.ivgen));
    if (l->spec.ivgen == IVGEN_ESSIV)
        json_put_str(o, "ivgen-hash-alg", hash_name(l->spec.ivgen_hash));
    json_put_str(o, "hash-alg", hash_name(l->hash));
    json_put_str(o, "uuid", l->uuid);
    json_put_int(o, "payload-offset", (int64_t)luks_payload_offset(l));
    json_put_int(o, "master-key-iters", l->digest_rounds);
    json_put(o, "slots", slots);
    return o;
}
