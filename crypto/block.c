/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encryption of the data area of an image, sector by sector.
 *
 * Each sector of 512 bytes is encrypted on its own, with an initialisation vector made from its
 * number. The cipher of the module encrypts many blocks in one call much faster than one by one,
 * and within a sector most modes chain the blocks; so sectors are worked on in batches, all their
 * blocks of one step together:
 *
 *     XTS, CTR    all blocks of all sectors of the batch in one call
 *     CBC         decryption the same; encryption block k of all sectors in one call
 *
 * What a batch needs lies on the stack. Nothing is written to the CryptoBlock.
 */
#include "crypto/crypto.h"
#include "crypto/module.h"
#include "util/endian.h"
#include "util/err.h"
#include <stdlib.h>
#include <string.h>

enum {
    BATCH = 8, /* sectors */
    BLOCK = 16, /* bytes of the largest block */
    BATCH_LEN = BATCH * CRYPTO_SECTOR,
};

struct CryptoBlock {
    const CryptoModule *m;
    CryptoSpec spec;
    CipherAlg essiv_alg;
    size_t block_len;
    size_t size; /* of this allocation */
    /* Key schedules, behind the struct; NULL where the mode needs none. */
    void *encrypt, *decrypt;
    void *tweak; /* XTS: of the second half of the key, for encryption */
    void *essiv;
};

/* Memory that may be unaligned, by words and by what every CPU handles at once. */
typedef uint64_t Word __attribute__((aligned(1), may_alias));
typedef uint64_t Pair __attribute__((vector_size(16), aligned(1), may_alias));
typedef int32_t Quad __attribute__((vector_size(16), may_alias));

/* dst = a ^ b. The regions are the same or apart; @len is a multiple of 8. */
static void xor_words(void *dst, const void *a, const void *b, size_t len)
{
    uint8_t *d = dst;
    const uint8_t *x = a, *y = b;
    size_t at = 0;

    for (; len - at >= 64; at += 64) {
        Pair p = *(const Pair *)(x + at) ^ *(const Pair *)(y + at);
        Pair q = *(const Pair *)(x + at + 16) ^ *(const Pair *)(y + at + 16);
        Pair r = *(const Pair *)(x + at + 32) ^ *(const Pair *)(y + at + 32);
        Pair s = *(const Pair *)(x + at + 48) ^ *(const Pair *)(y + at + 48);

        *(Pair *)(d + at) = p;
        *(Pair *)(d + at + 16) = q;
        *(Pair *)(d + at + 32) = r;
        *(Pair *)(d + at + 48) = s;
    }
    for (; at < len; at += 8)
        *(Word *)(d + at) = *(const Word *)(x + at) ^ *(const Word *)(y + at);
}

/* The vectors of @n sectors from number @sector on, one block each, close together. */
static void block_ivs(const CryptoBlock *b, uint64_t sector, size_t n, uint8_t *ivs)
{
    memset(ivs, 0, n * b->block_len);
    for (size_t i = 0; i < n; i++) {
        uint64_t v = sector + i;

        le64_put(ivs + i * b->block_len, b->spec.ivgen == IVGEN_PLAIN ? (uint32_t)v : v);
    }
    if (b->spec.ivgen == IVGEN_ESSIV)
        b->m->cipher_encrypt(b->essiv_alg, b->essiv, ivs, ivs, n * b->block_len);
}

/* ---- XTS (IEEE 1619) ------------------------------------------------------------------------ */

/* A tweak as a number of 128 bits, the low half first: multiplying by x is a shift to the left. */
typedef Pair Tweak;

static inline Tweak tweak_double(Tweak t)
{
    enum { TOP = __BYTE_ORDER == __LITTLE_ENDIAN }; /* which half of a number has its top bit */
    Quad halves = (Quad)t;
    /* All ones where the other number loses a bit. */
    Quad carry = __builtin_shufflevector(halves, halves, 2 + TOP, 2 + TOP, TOP, TOP) >> 31;

    return (t + t) ^ ((Pair)carry & (Pair){ 0x87, 1 });
}

/* Between a tweak and its 16 little-endian bytes. */
static inline Tweak tweak_le(Tweak t)
{
#if __BYTE_ORDER == __LITTLE_ENDIAN
    return t;
#else
    return (Tweak){ le64toh(t[0]), le64toh(t[1]) };
#endif
}

static inline Tweak tweak_at(const uint8_t *p)
{
    return tweak_le(*(const Pair *)p);
}

/* Stores @t at @tweak, and at @dst the block at @src xor @t. */
static inline void tweak_apply(Tweak t, uint8_t *tweak, const uint8_t *src, uint8_t *dst)
{
    t = tweak_le(t);
    *(Pair *)tweak = t;
    *(Pair *)dst = *(const Pair *)src ^ t;
}

/*
 * The tweaks of all blocks of @n sectors whose encrypted vectors are @ivs, into @tweaks; @dst gets
 * @src xor them. Two sectors go side by side, since doubling alone would wait for itself.
 */
static void xts_tweaks(const uint8_t *ivs, size_t n, uint8_t *tweaks, const uint8_t *src,
                       uint8_t *dst)
{
    size_t s = 0;

    for (; s + 1 < n; s += 2) {
        Tweak t = tweak_at(ivs + s * BLOCK), u = tweak_at(ivs + (s + 1) * BLOCK);

        for (size_t k = s * CRYPTO_SECTOR; k < (s + 1) * CRYPTO_SECTOR; k += BLOCK) {
            tweak_apply(t, tweaks + k, src + k, dst + k);
            tweak_apply(u, tweaks + k + CRYPTO_SECTOR, src + k + CRYPTO_SECTOR,
                        dst + k + CRYPTO_SECTOR);
            t = tweak_double(t);
            u = tweak_double(u);
        }
    }
    if (s < n) {
        Tweak t = tweak_at(ivs + s * BLOCK);

        for (size_t k = s * CRYPTO_SECTOR; k < (s + 1) * CRYPTO_SECTOR; k += BLOCK) {
            tweak_apply(t, tweaks + k, src + k, dst + k);
            t = tweak_double(t);
        }
    }
}

static void xts_batch(const CryptoBlock *b, bool encrypt, uint8_t *ivs, const uint8_t *src,
                      uint8_t *dst, size_t n)
{
    _Alignas(64) uint8_t tweaks[BATCH_LEN];
    size_t len = n * CRYPTO_SECTOR;

    b->m->cipher_encrypt(b->spec.cipher, b->tweak, ivs, ivs, n * BLOCK);
    xts_tweaks(ivs, n, tweaks, src, dst);
    if (encrypt)
        b->m->cipher_encrypt(b->spec.cipher, b->encrypt, dst, dst, len);
    else
        b->m->cipher_decrypt(b->spec.cipher, b->decrypt, dst, dst, len);
    xor_words(dst, dst, tweaks, len);
}

/* ---- the other modes ------------------------------------------------------------------------ */

/* Here @ivs is the chain: block k - 1 of each sector of the batch, close together. */
static void cbc_encrypt_batch(const CryptoBlock *b, uint8_t *ivs, const uint8_t *src, uint8_t *dst,
                              size_t n)
{
    size_t block = b->block_len;

    for (size_t k = 0; k < CRYPTO_SECTOR; k += block) {
        for (size_t s = 0; s < n; s++)
            xor_words(ivs + s * block, ivs + s * block, src + s * CRYPTO_SECTOR + k, block);
        b->m->cipher_encrypt(b->spec.cipher, b->encrypt, ivs, ivs, n * block);
        for (size_t s = 0; s < n; s++)
            memcpy(dst + s * CRYPTO_SECTOR + k, ivs + s * block, block);
    }
}

static void cbc_decrypt_batch(const CryptoBlock *b, const uint8_t *ivs, const uint8_t *src,
                              uint8_t *dst, size_t n)
{
    _Alignas(64) uint8_t plain[BATCH_LEN];
    size_t block = b->block_len;

    b->m->cipher_decrypt(b->spec.cipher, b->decrypt, plain, src, n * CRYPTO_SECTOR);
    for (size_t s = 0; s < n; s++) {
        size_t at = s * CRYPTO_SECTOR;

        /* The last block first: @dst may be @src, whose previous block is still wanted. */
        for (size_t k = CRYPTO_SECTOR - block; k; k -= block)
            xor_words(dst + at + k, plain + at + k, src + at + k - block, block);
        xor_words(dst + at, plain + at, ivs + s * block, block);
    }
    explicit_bzero(plain, n * CRYPTO_SECTOR);
}

/* Adds one to the big-endian number of @len bytes, 8 or 16, at @p. */
static void counter_add(uint8_t *p, size_t len)
{
    uint64_t low = be64_at(p + len - 8) + 1;

    be64_put(p + len - 8, low);
    if (!low && len > 8)
        be64_put(p, be64_at(p) + 1);
}

/* The counters of all blocks of @n sectors, at least one, that start at @ivs. */
static void ctr_counters(uint8_t *ivs, size_t block, size_t n, uint8_t *counters)
{
    size_t at = 0;

    do {
        uint8_t *iv = ivs + at / CRYPTO_SECTOR * block;

        memcpy(counters + at, iv, block);
        counter_add(iv, block);
        at += block;
    } while (at < n * CRYPTO_SECTOR);
}

static void ctr_batch(const CryptoBlock *b, uint8_t *ivs, const uint8_t *src, uint8_t *dst,
                      size_t n)
{
    _Alignas(64) uint8_t stream[BATCH_LEN];

    ctr_counters(ivs, b->block_len, n, stream);
    b->m->cipher_encrypt(b->spec.cipher, b->encrypt, stream, stream, n * CRYPTO_SECTOR);
    xor_words(dst, src, stream, n * CRYPTO_SECTOR);
    explicit_bzero(stream, n * CRYPTO_SECTOR);
}

static void ecb_batch(const CryptoBlock *b, bool encrypt, const uint8_t *src, uint8_t *dst,
                      size_t n)
{
    if (encrypt)
        b->m->cipher_encrypt(b->spec.cipher, b->encrypt, dst, src, n * CRYPTO_SECTOR);
    else
        b->m->cipher_decrypt(b->spec.cipher, b->decrypt, dst, src, n * CRYPTO_SECTOR);
}

static void block_run(const CryptoBlock *b, bool encrypt, uint64_t off, const uint8_t *src,
                      uint8_t *dst, size_t len)
{
    _Alignas(64) uint8_t ivs[BATCH * BLOCK];

    g_assert(!(off % CRYPTO_SECTOR) && !(len % CRYPTO_SECTOR));
    while (len) {
        size_t n = MIN(len / CRYPTO_SECTOR, BATCH);

        block_ivs(b, off / CRYPTO_SECTOR, n, ivs);
        switch (b->spec.mode) {
        case MODE_XTS:
            xts_batch(b, encrypt, ivs, src, dst, n);
            break;
        case MODE_CBC:
            if (encrypt)
                cbc_encrypt_batch(b, ivs, src, dst, n);
            else
                cbc_decrypt_batch(b, ivs, src, dst, n);
            break;
        case MODE_CTR:
            ctr_batch(b, ivs, src, dst, n);
            break;
        default:
            ecb_batch(b, encrypt, src, dst, n);
        }
        off += n * CRYPTO_SECTOR;
        src += n * CRYPTO_SECTOR;
        dst += n * CRYPTO_SECTOR;
        len -= n * CRYPTO_SECTOR;
    }
}

void crypto_block_encrypt(const CryptoBlock *b, uint64_t off, const void *src, void *dst,
                          size_t len)
{
    block_run(b, true, off, src, dst, len);
}

void crypto_block_decrypt(const CryptoBlock *b, uint64_t off, const void *src, void *dst,
                          size_t len)
{
    block_run(b, false, off, src, dst, len);
}

/* ---- life ----------------------------------------------------------------------------------- */

/* Key schedules start at multiples of a cache line. */
static size_t state_room(const CryptoModule *m, CipherAlg alg)
{
    return (m->cipher_state_size(alg) + 63) & ~(size_t)63;
}

/* Keys the cipher of vectors with the digest of the whole key. */
static bool block_key_essiv(CryptoBlock *b, const uint8_t *key, size_t key_len, GError **err)
{
    uint8_t digest[HASH_LEN_MAX];

    if (!hash_buffer(b->spec.ivgen_hash, key, key_len, digest, err))
        return false;
    b->m->cipher_set_encrypt_key(b->essiv_alg, b->essiv, digest);
    explicit_bzero(digest, sizeof(digest));
    return true;
}

CryptoBlock *crypto_block_new(const CryptoSpec *spec, const uint8_t *key, size_t key_len,
                              GError **err)
{
    const CryptoModule *m = crypto_module(err);
    size_t head = (sizeof(CryptoBlock) + 63) & ~(size_t)63;
    CipherAlg essiv_alg = spec->cipher;
    g_autoptr(CryptoBlock) b = NULL;
    size_t room, size;
    void *memory;

    if (!m || !crypto_spec_check(spec, err))
        return NULL;
    if (key_len != cipher_key_len(spec->cipher, spec->mode)) {
        err_set(err, EINVAL, "Cipher '%s' in mode %s needs a key of %zu bytes, not %zu",
                cipher_name(spec->cipher), cipher_mode_name(spec->mode),
                cipher_key_len(spec->cipher, spec->mode), key_len);
        return NULL;
    }
    if (spec->ivgen == IVGEN_ESSIV)
        cipher_find_essiv(spec, &essiv_alg);
    room = state_room(m, spec->cipher);
    size = head + 3 * room + state_room(m, essiv_alg);
    if (posix_memalign(&memory, 64, size)) {
        err_set(err, ENOMEM, "No memory for a cipher");
        return NULL;
    }
    b = memory;
    *b = (CryptoBlock){ .m = m, .spec = *spec, .essiv_alg = essiv_alg, .size = size,
                        .block_len = cipher_block_len(spec->cipher) };
    b->encrypt = (uint8_t *)memory + head;
    b->decrypt = (uint8_t *)b->encrypt + room;
    m->cipher_set_encrypt_key(spec->cipher, b->encrypt, key);
    m->cipher_set_decrypt_key(spec->cipher, b->decrypt, key);
    if (spec->mode == MODE_XTS) {
        b->tweak = (uint8_t *)b->decrypt + room;
        m->cipher_set_encrypt_key(spec->cipher, b->tweak, key + key_len / 2);
    }
    if (spec->ivgen == IVGEN_ESSIV) {
        b->essiv = (uint8_t *)b->decrypt + 2 * room;
        if (!block_key_essiv(b, key, key_len, err))
            return NULL;
    }
    return g_steal_pointer(&b);
}

CryptoBlock *crypto_block_new_qcow(const void *pass, size_t pass_len, GError **err)
{
    static const CryptoSpec spec = { CIPHER_AES_128, MODE_CBC, IVGEN_PLAIN64, 0 };
    uint8_t key[16] = { 0 };
    CryptoBlock *b;

    if (pass_len)
        memcpy(key, pass, MIN(pass_len, sizeof(key)));
    b = crypto_block_new(&spec, key, sizeof(key), err);
    explicit_bzero(key, sizeof(key));
    return b;
}

void crypto_block_free(CryptoBlock *b)
{
    if (b)
        explicit_bzero(b, b->size);
    free(b);
}

bool crypto_cbc_decrypt(CipherAlg alg, const uint8_t *key, const uint8_t *iv, const uint8_t *src,
                        uint8_t *dst, size_t len, GError **err)
{
    const CryptoModule *m = crypto_module(err);
    size_t block = cipher_block_len(alg);
    uint8_t chain[BLOCK], next[BLOCK];
    g_autofree void *state = NULL;

    if (!m)
        return false;
    if (len % block)
        return err_set(err, EINVAL, "Encrypted data of %zu bytes is not a multiple of %zu bytes",
                       len, block);
    state = g_malloc(m->cipher_state_size(alg));
    m->cipher_set_decrypt_key(alg, state, key);
    memcpy(chain, iv, block);
    for (size_t at = 0; at < len; at += block) {
        memcpy(next, src + at, block);
        m->cipher_decrypt(alg, state, dst + at, next, block);
        xor_words(dst + at, dst + at, chain, block);
        memcpy(chain, next, block);
    }
    explicit_bzero(state, m->cipher_state_size(alg));
    return true;
}
