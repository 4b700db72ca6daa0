/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LUKS version 1: a header with eight key slots, each of which keeps the master key of the data
 * under a password of its own. Facts and limits are in docs/spec/luks.md.
 *
 * A header lies at the start of a file or inside another format; LuksIo says how to reach it. Where
 * its functions may suspend, so may those here that take a LuksIo.
 */
#ifndef CRYPTO_LUKS_H
#define CRYPTO_LUKS_H

#include "crypto/crypto.h"
#include "crypto/secret.h"
#include "util/json.h"

enum { LUKS_SLOTS = 8, LUKS_ITER_MS = 2000 };

/* Offsets count from the start of the header. Functions return 0 or a negative errno. */
typedef struct {
    int (*read)(void *opaque, uint64_t off, void *buf, size_t len);
    int (*write)(void *opaque, uint64_t off, const void *buf, size_t len); /* NULL: read-only */
    int (*flush)(void *opaque);                                          /* NULL: nothing to do */
    /* Runs @fn(@arg) where computing for seconds disturbs nobody; its result. NULL: right here. */
    int (*compute)(int (*fn)(void *arg), void *arg);
    /* Asked often by key derivation, in any thread: true ends it with ECANCELED. NULL: never. */
    bool (*cancelled)(void *opaque);
    void *opaque;
} LuksIo;

typedef struct Luks Luks;
void luks_free(Luks *l);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Luks, luks_free)

/* 0 to 100: do the first @len bytes of a file look like a LUKS1 header? */
int luks_probe(const uint8_t *head, size_t len);

/*
 * Reads and checks the header; all of it must lie within the first @area_len bytes (UINT64_MAX: no
 * limit is known). Asks for no password. NULL with @err.
 */
Luks *luks_load(const LuksIo *io, uint64_t area_len, GError **err);

/* Byte where the data begins behind the header; 0: the header says it is detached. */
uint64_t luks_payload_offset(const Luks *l);

/*
 * The description that info shows: {"ivgen-alg":..., "hash-alg":..., "cipher-alg":..., "uuid":...,
 * "cipher-mode":..., "slots": [...], "payload-offset":..., "master-key-iters":...}. New reference.
 */
json_t *luks_info(const Luks *l);

/*
 * The cipher of the data, by the first slot that @pass opens. EPERM if none does. Takes as long as
 * whoever made the slots wanted it to, seconds usually.
 */
CryptoBlock *luks_unlock(const Luks *l, const LuksIo *io, const SecretBytes *pass, GError **err);

/* ---- making one ----------------------------------------------------------------------------- */

typedef struct {
    CryptoSpec spec;
    HashAlg hash;           /* of key derivation and splitting */
    bool store_ivgen_hash;  /* the user named it, so it is stored even where it has no use */
    uint64_t iter_ms;       /* CPU time of opening a slot */
} LuksFormat;

/*
 * Takes cipher-alg, cipher-mode, ivgen-alg, ivgen-hash-alg, hash-alg (strings) and iter-time (an
 * integer) from @opts, whose keys start with @prefix ("" or "encrypt."); defaults otherwise.
 */
bool luks_format_options(LuksFormat *f, const json_t *opts, const char *prefix, GError **err);

/* Bytes the header takes with @f: where the data will begin. */
uint64_t luks_format_header_len(const LuksFormat *f);

/*
 * Writes a new header with @pass in slot 0 and a fresh master key. *@block, unless NULL, gets the
 * cipher of the data. @detached: the data begins at 0 of another file. NULL with @err.
 */
Luks *luks_format(const LuksIo *io, const LuksFormat *f, const SecretBytes *pass, bool detached,
                  CryptoBlock **block, GError **err);

/* ---- changing slots ------------------------------------------------------------------------- */

typedef struct {
    bool active;         /* fill a slot with new_secret, or empty slots */
    int64_t slot;        /* -1: the first free one; all that old_secret opens */
    bool iter_given;
    uint64_t iter_ms;
    SecretBytes new_secret, old_secret; /* .data NULL: not given */
} LuksAmend;

void luks_amend_clear(LuksAmend *a);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LuksAmend, luks_amend_clear)

/* Takes state, keyslot, iter-time, new-secret, old-secret from @opts; the secrets are looked up. */
bool luks_amend_options(LuksAmend *a, const json_t *opts, const char *prefix, GError **err);

/*
 * Does @a. @pass opens a slot now (needed to fill one). Without @force an active slot is not
 * overwritten and the last one not emptied. @l describes what is on disk, also after a failure.
 */
bool luks_amend(Luks *l, const LuksIo *io, const LuksAmend *a, const SecretBytes *pass, bool force,
                GError **err);

#endif
