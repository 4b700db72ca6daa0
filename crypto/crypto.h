/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hashes, key derivation, random bytes and the ciphers of disk images.
 *
 * The algorithms themselves are in module "crypto", loaded by the first call that needs it; that
 * call fails with the reason when the module is missing. Everything may be used from any thread.
 */
#ifndef CRYPTO_CRYPTO_H
#define CRYPTO_CRYPTO_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- hashes --------------------------------------------------------------------------------- */

typedef enum {
    HASH_MD5,
    HASH_SHA1,
    HASH_SHA224,
    HASH_SHA256,
    HASH_SHA384,
    HASH_SHA512,
    HASH_RIPEMD160,
    HASH_COUNT,
} HashAlg;

enum { HASH_LEN_MAX = 64, HASH_BLOCK_MAX = 128, HASH_STATE_MAX = 256 };

const char *hash_name(HashAlg alg);             /* "sha256" */
bool hash_find(const char *name, HashAlg *alg); /* false: no such name */
size_t hash_len(HashAlg alg);                   /* bytes of a digest */
size_t hash_block_len(HashAlg alg);             /* bytes of a block of its compression */

/* A digest in the making. May be copied while in use; needs no destruction. */
typedef struct {
    _Alignas(16) uint8_t state[HASH_STATE_MAX];
    HashAlg alg;
} Hash;

/* Starts a digest. Fails only if the module is missing; nothing after it can fail. */
bool hash_init(Hash *h, HashAlg alg, GError **err);
void hash_update(Hash *h, const void *buf, size_t len);
/* Puts hash_len bytes into @digest and starts @h afresh. */
void hash_final(Hash *h, uint8_t *digest);

/* The digest of @len bytes at @buf. */
bool hash_buffer(HashAlg alg, const void *buf, size_t len, uint8_t *digest, GError **err);

/* @digest as hexadecimal digits. Caller frees. */
char *hash_hex(const uint8_t *digest, size_t len);

/* HMAC (RFC 2104) of @len bytes at @buf; hash_len bytes into @mac. */
bool hmac_buffer(HashAlg alg, const void *key, size_t key_len, const void *buf, size_t len,
                 uint8_t *mac, GError **err);

/* ---- keys from passwords -------------------------------------------------------------------- */

/* Asked between slices of a few milliseconds; true ends the work with ECANCELED. */
typedef bool KdfCancelled(void *arg);

/*
 * PBKDF2 (RFC 8018) with HMAC of @alg: @rounds (at least 1) over @pass and @salt, @out_len bytes
 * into @out. Burns CPU: a few million rounds a second. @cancelled may be NULL.
 */
bool kdf_pbkdf2(HashAlg alg, const void *pass, size_t pass_len, const void *salt, size_t salt_len,
                uint64_t rounds, uint8_t *out, size_t out_len, KdfCancelled *cancelled, void *arg,
                GError **err);

/*
 * How many rounds this machine does in @ms milliseconds of CPU for @out_len bytes. Measured at the
 * first call for @alg, remembered for the life of the process; that call takes a few milliseconds.
 */
bool kdf_rounds_for_ms(HashAlg alg, size_t out_len, uint64_t ms, uint64_t *rounds, GError **err);

/* @len bytes from the kernel's generator. */
bool random_bytes(void *buf, size_t len, GError **err);

/* ---- ciphers of disk images ----------------------------------------------------------------- */

typedef enum {
    CIPHER_AES_128,
    CIPHER_AES_192,
    CIPHER_AES_256,
    CIPHER_CAST5_128,
    CIPHER_SERPENT_128,
    CIPHER_SERPENT_192,
    CIPHER_SERPENT_256,
    CIPHER_TWOFISH_128,
    CIPHER_TWOFISH_192,
    CIPHER_TWOFISH_256,
    CIPHER_COUNT,
} CipherAlg;

typedef enum { MODE_ECB, MODE_CBC, MODE_XTS, MODE_CTR, MODE_COUNT } CipherMode;

/* How the number of a sector becomes an initialisation vector. */
typedef enum { IVGEN_PLAIN, IVGEN_PLAIN64, IVGEN_ESSIV, IVGEN_COUNT } IvGen;

/* Longest key (XTS takes two) and the unit that is encrypted on its own. */
enum { CIPHER_KEY_MAX = 64, CRYPTO_SECTOR = 512 };

const char *cipher_name(CipherAlg alg); /* "aes-256" */
bool cipher_find(const char *name, CipherAlg *alg);
const char *cipher_family(CipherAlg alg); /* "aes": the name without its key size */
/* The member of @family with keys of @key_len bytes. */
bool cipher_find_family(const char *family, size_t key_len, CipherAlg *alg);
size_t cipher_key_len(CipherAlg alg, CipherMode mode); /* bytes */
const char *cipher_mode_name(CipherMode mode);         /* "xts" */
bool cipher_mode_find(const char *name, CipherMode *mode);
const char *ivgen_name(IvGen iv); /* "plain64" */
bool ivgen_find(const char *name, IvGen *iv);

/* A description of how sectors are encrypted. */
typedef struct {
    CipherAlg cipher;
    CipherMode mode;
    IvGen ivgen;
    HashAlg ivgen_hash; /* of IVGEN_ESSIV only */
} CryptoSpec;

/* Can sectors be encrypted so? Otherwise ENOTSUP with the clashing parts named. */
bool crypto_spec_check(const CryptoSpec *spec, GError **err);

/*
 * A cipher with its key, for the data area of an image. It does not change once made: any number of
 * threads may encrypt and decrypt with it at once.
 */
typedef struct CryptoBlock CryptoBlock;

/* @key_len must be cipher_key_len. The key is copied. NULL with @err. */
CryptoBlock *crypto_block_new(const CryptoSpec *spec, const uint8_t *key, size_t key_len,
                              GError **err);
/* Wipes the key. */
void crypto_block_free(CryptoBlock *b);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CryptoBlock, crypto_block_free)

/*
 * Encrypts or decrypts the sectors at byte @off of the numbering that feeds the IVs, from @src to
 * @dst (the same memory, or apart). @off and @len are multiples of CRYPTO_SECTOR; memory may be
 * unaligned. Cannot fail, does not allocate.
 */
void crypto_block_encrypt(const CryptoBlock *b, uint64_t off, const void *src, void *dst,
                          size_t len);
void crypto_block_decrypt(const CryptoBlock *b, uint64_t off, const void *src, void *dst,
                          size_t len);

/*
 * The cipher of qcow2's legacy encryption: AES-128 in CBC mode, the key being the first 16 bytes of
 * the password, padded with zeroes.
 */
CryptoBlock *crypto_block_new_qcow(const void *pass, size_t pass_len, GError **err);

/* One run of CBC over @len bytes with a vector of our own: for secrets kept under a master key. */
bool crypto_cbc_decrypt(CipherAlg alg, const uint8_t *key, const uint8_t *iv, const uint8_t *src,
                        uint8_t *dst, size_t len, GError **err);

/* Memory for keys: g_malloc that is wiped when freed. @len is that of the allocation. */
void key_free(void *key, size_t len);

#endif
