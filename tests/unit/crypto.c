/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hashes, key derivation and ciphers against the vectors of their public standards. */
#include "crypto/crypto.h"
#include "tests/lib/harness.h"
#include <string.h>

static void expect_hex(const uint8_t *data, size_t len, const char *hex)
{
    g_autoptr(GString) got = g_string_new(NULL);

    for (size_t i = 0; i < len; i++)
        g_string_append_printf(got, "%02x", data[i]);
    g_assert_cmpstr(got->str, ==, hex);
}

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++)
        out[i] = g_ascii_xdigit_value(hex[2 * i]) << 4 | g_ascii_xdigit_value(hex[2 * i + 1]);
    return n;
}

/* The digest of "abc", which RFC 1321, FIPS 180-4 and the RIPEMD-160 paper print. */
static void test_hash_known(void)
{
    static const char *const expected[HASH_COUNT] = {
        [HASH_MD5] = "900150983cd24fb0d6963f7d28e17f72",
        [HASH_SHA1] = "a9993e364706816aba3e25717850c26c9cd0d89d",
        [HASH_SHA224] = "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
        [HASH_SHA256] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        [HASH_SHA384] = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                        "8086072ba1e7cc2358baeca134c825a7",
        [HASH_SHA512] = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        [HASH_RIPEMD160] = "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc",
    };

    for (int i = 0; i < HASH_COUNT; i++) {
        uint8_t digest[HASH_LEN_MAX];
        HashAlg found;
        Hash h, copy;

        g_assert_true(hash_buffer(i, "abc", 3, digest, NULL));
        expect_hex(digest, hash_len(i), expected[i]);
        g_assert_true(hash_find(hash_name(i), &found) && found == i);
        /* In pieces, through a copy, and once more after the end. */
        g_assert_true(hash_init(&h, i, NULL));
        hash_update(&h, "a", 1);
        copy = h;
        hash_update(&h, "xyz", 3);
        hash_update(&copy, "bc", 2);
        hash_final(&copy, digest);
        expect_hex(digest, hash_len(i), expected[i]);
        hash_update(&copy, "abc", 3);
        hash_final(&copy, digest);
        expect_hex(digest, hash_len(i), expected[i]);
    }
}

/* RFC 2202 and RFC 4231, test case 2; a key longer than a block is hashed first (case 6). */
static void test_hmac_known(void)
{
    static const char text[] = "what do ya want for nothing?";
    static const char long_text[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    uint8_t mac[HASH_LEN_MAX], key[131];

    g_assert_true(hmac_buffer(HASH_MD5, "Jefe", 4, text, strlen(text), mac, NULL));
    expect_hex(mac, 16, "750c783e6ab0b503eaa86e310a5db738");
    g_assert_true(hmac_buffer(HASH_SHA1, "Jefe", 4, text, strlen(text), mac, NULL));
    expect_hex(mac, 20, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    g_assert_true(hmac_buffer(HASH_SHA256, "Jefe", 4, text, strlen(text), mac, NULL));
    expect_hex(mac, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    g_assert_true(hmac_buffer(HASH_SHA256, key, 131, long_text, strlen(long_text), mac, NULL));
    expect_hex(mac, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void pbkdf2_expect(HashAlg alg, const char *pass, const char *salt, uint64_t rounds,
                          size_t len, const char *hex)
{
    uint8_t out[64];

    g_assert_true(kdf_pbkdf2(alg, pass, strlen(pass), salt, strlen(salt), rounds, out, len, NULL,
                             NULL, NULL));
    expect_hex(out, len, hex);
}

/* RFC 6070; the last one is of RFC 7914. */
static void test_pbkdf2_known(void)
{
    pbkdf2_expect(HASH_SHA1, "password", "salt", 1, 20,
                  "0c60c80f961f0e71f3a9b524af6012062fe037a6");
    pbkdf2_expect(HASH_SHA1, "password", "salt", 2, 20,
                  "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
    pbkdf2_expect(HASH_SHA1, "password", "salt", 4096, 20,
                  "4b007901b765489abead49d926f721d065a429c1");
    pbkdf2_expect(HASH_SHA1, "passwordPASSWORDpassword", "saltSALTsaltSALTsaltSALTsaltSALTsalt",
                  4096, 25, "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038");
    pbkdf2_expect(HASH_SHA256, "passwd", "salt", 1, 64,
                  "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
                  "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783");
}

static bool cancel_at_once(void *arg)
{
    ++*(int *)arg;
    return true;
}

/* Derivation asks whether to go on, and stops with ECANCELED. */
static void test_pbkdf2_cancel(void)
{
    g_autoptr(GError) err = NULL;
    uint8_t out[32];
    int asked = 0;

    g_assert_false(kdf_pbkdf2(HASH_SHA256, "p", 1, "s", 1, UINT32_MAX, out, 32, cancel_at_once,
                              &asked, &err));
    g_assert_cmpint(asked, ==, 1);
    g_assert_cmpint(err->code, ==, ECANCELED);
}

/* Twice the output takes twice the work, so half the rounds fit in the same time. */
static void test_rounds_scale(void)
{
    uint64_t one, two, more;

    g_assert_true(kdf_rounds_for_ms(HASH_SHA256, 32, 100, &one, NULL));
    g_assert_true(kdf_rounds_for_ms(HASH_SHA256, 64, 100, &two, NULL));
    g_assert_true(kdf_rounds_for_ms(HASH_SHA256, 32, 200, &more, NULL));
    g_assert_cmpuint(one, >, 1000);
    g_assert_cmpuint(two, <=, one / 2 + 1);
    g_assert_cmpuint(two, >=, one / 2 - 1);
    g_assert_cmpuint(more / 2, ==, one);
    g_assert_false(kdf_rounds_for_ms(HASH_SHA256, 32, UINT64_MAX, &more, NULL));
}

static void ecb_expect(CipherAlg alg, const char *key_hex, const char *plain, const char *expected)
{
    CryptoSpec spec = { alg, MODE_ECB, IVGEN_PLAIN64, 0 };
    uint8_t key[64], sector[CRYPTO_SECTOR] = { 0 };
    size_t key_len = from_hex(key_hex, key), n = from_hex(plain, sector);
    g_autoptr(CryptoBlock) b = crypto_block_new(&spec, key, key_len, NULL);

    g_assert_nonnull(b);
    crypto_block_encrypt(b, 0, sector, sector, sizeof(sector));
    expect_hex(sector, n, expected);
    crypto_block_decrypt(b, 0, sector, sector, sizeof(sector));
    expect_hex(sector, n, plain);
}

/* One block each: FIPS 197, RFC 2144, the Twofish paper, the NESSIE vectors of Serpent. */
static void test_ciphers_known(void)
{
    static const char aes_plain[] = "00112233445566778899aabbccddeeff";
    static const char zero[] = "00000000000000000000000000000000";

    ecb_expect(CIPHER_AES_128, "000102030405060708090a0b0c0d0e0f", aes_plain,
               "69c4e0d86a7b0430d8cdb78070b4c55a");
    ecb_expect(CIPHER_AES_192, "000102030405060708090a0b0c0d0e0f1011121314151617", aes_plain,
               "dda97ca4864cdfe06eaf70a0ec0d7191");
    ecb_expect(CIPHER_AES_256, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
               aes_plain, "8ea2b7ca516745bfeafc49904b496089");
    ecb_expect(CIPHER_CAST5_128, "0123456712345678234567893456789a", "0123456789abcdef",
               "238b4fe5847e44b2");
    ecb_expect(CIPHER_SERPENT_128, "80000000000000000000000000000000", zero,
               "264e5481eff42a4606abda06c0bfda3d");
    ecb_expect(CIPHER_SERPENT_192, "800000000000000000000000000000000000000000000000", zero,
               "9e274ead9b737bb21efcfca548602689");
    ecb_expect(CIPHER_SERPENT_256,
               "8000000000000000000000000000000000000000000000000000000000000000", zero,
               "a223aa1288463c0e2be38ebd825616c0");
    ecb_expect(CIPHER_TWOFISH_128, zero, zero, "9f589f5cf6122c32b6bfec2f2ae8c35a");
    ecb_expect(CIPHER_TWOFISH_192, "0123456789abcdeffedcba98765432100011223344556677", zero,
               "cfd1d2e5a9be9cdf501f13b892bd2248");
    ecb_expect(CIPHER_TWOFISH_256,
               "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff", zero,
               "37527be0052334b89f0cfccae87cfa20");
}

static void xts_expect(CipherAlg alg, const char *key_hex, uint64_t sector_number,
                       const char *first, const char *last)
{
    CryptoSpec spec = { alg, MODE_XTS, IVGEN_PLAIN64, 0 };
    uint8_t key[64], sector[CRYPTO_SECTOR];
    g_autoptr(CryptoBlock) b = crypto_block_new(&spec, key, from_hex(key_hex, key), NULL);

    for (int i = 0; i < CRYPTO_SECTOR; i++)
        sector[i] = i;
    crypto_block_encrypt(b, sector_number * CRYPTO_SECTOR, sector, sector, sizeof(sector));
    expect_hex(sector, 32, first);
    expect_hex(sector + CRYPTO_SECTOR - 32, 32, last);
}

/* IEEE 1619-2007, vectors 4 and 10: data units of 512 bytes. */
static void test_xts_known(void)
{
    xts_expect(CIPHER_AES_128, "2718281828459045235360287471352631415926535897932384626433832795",
               0, "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c",
               "eb4a427d1923ce3ff262735779a418f20a282df920147beabe421ee5319d0568");
    xts_expect(CIPHER_AES_256, "2718281828459045235360287471352662497757247093699959574966967627"
                               "3141592653589793238462643383279502884197169399375105820974944592",
               0xff, "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
               "773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70b9c6e693e148c151");
}

/* NIST SP 800-38A, F.2.6. */
static void test_cbc_known(void)
{
    uint8_t key[32], iv[16], text[32];

    from_hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", key);
    from_hex("000102030405060708090a0b0c0d0e0f", iv);
    from_hex("f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d", text);
    g_assert_true(crypto_cbc_decrypt(CIPHER_AES_256, key, iv, text, text, 32, NULL));
    expect_hex(text, 32, "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    g_assert_false(crypto_cbc_decrypt(CIPHER_AES_256, key, iv, text, text, 17, NULL));
}

/*
 * What one cipher must do whatever its parts: undo itself, in place or not, give the same whether
 * sectors come one by one or together, and give equal sectors different looks (but for ECB).
 */
static void spec_check(const CryptoSpec *spec)
{
    enum { SECTORS = 21, LEN = SECTORS * CRYPTO_SECTOR };
    static const uint64_t start = (UINT64_C(1) << 41) - 8 * CRYPTO_SECTOR; /* past 32 bits */
    g_autofree uint8_t *plain = g_malloc(LEN), *whole = g_malloc(LEN + 1), *single = g_malloc(LEN);
    uint8_t key[CIPHER_KEY_MAX];
    uint8_t *odd = whole + 1;
    g_autoptr(CryptoBlock) b = NULL;

    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = i * 37 + 5;
    memset(plain, 0x5a, LEN);
    b = crypto_block_new(spec, key, cipher_key_len(spec->cipher, spec->mode), NULL);
    g_assert_nonnull(b);
    crypto_block_encrypt(b, start, plain, odd, LEN);
    memcpy(single, plain, LEN);
    for (size_t at = 0; at < LEN; at += CRYPTO_SECTOR)
        crypto_block_encrypt(b, start + at, single + at, single + at, CRYPTO_SECTOR);
    g_assert_cmpmem(odd, LEN, single, LEN);
    for (size_t at = 0; at + CRYPTO_SECTOR < LEN; at += CRYPTO_SECTOR)
        g_assert_cmpint(!memcmp(odd + at, odd + at + CRYPTO_SECTOR, CRYPTO_SECTOR), ==,
                        spec->mode == MODE_ECB);
    crypto_block_decrypt(b, start, single, single, LEN);
    g_assert_cmpmem(single, LEN, plain, LEN);
    crypto_block_decrypt(b, start + CRYPTO_SECTOR, odd + CRYPTO_SECTOR, single,
                         LEN - CRYPTO_SECTOR);
    g_assert_cmpmem(single, LEN - CRYPTO_SECTOR, plain, LEN - CRYPTO_SECTOR);
}

static void test_every_spec(void)
{
    int checked = 0;

    for (int c = 0; c < CIPHER_COUNT; c++) {
        for (int m = 0; m < MODE_COUNT; m++) {
            for (int iv = 0; iv < IVGEN_COUNT; iv++) {
                CryptoSpec spec = { c, m, iv, HASH_SHA256 };

                if (crypto_spec_check(&spec, NULL)) {
                    spec_check(&spec);
                    checked++;
                }
            }
        }
    }
    g_assert_cmpint(checked, ==, 9 * 4 * 3 + 3 * 2);
}

/* "plain" counts sectors in 32 bits: it repeats after 2 TiB, plain64 does not. */
static void test_plain_wraps(void)
{
    uint8_t key[64] = { 1 }, a[CRYPTO_SECTOR] = { 0 }, z[CRYPTO_SECTOR] = { 0 };
    uint8_t out[CRYPTO_SECTOR];

    key[40] = 2;
    for (int iv = IVGEN_PLAIN; iv <= IVGEN_PLAIN64; iv++) {
        CryptoSpec spec = { CIPHER_AES_256, MODE_XTS, iv, 0 };
        g_autoptr(CryptoBlock) b = crypto_block_new(&spec, key, 64, NULL);

        crypto_block_encrypt(b, 0, z, a, sizeof(a));
        crypto_block_encrypt(b, UINT64_C(1) << 41, z, out, sizeof(out));
        g_assert_cmpint(!memcmp(a, out, sizeof(a)), ==, iv == IVGEN_PLAIN);
    }
}

static void spec_refused(CipherAlg c, CipherMode m, IvGen iv, HashAlg h)
{
    g_autoptr(GError) err = NULL;
    CryptoSpec spec = { c, m, iv, h };

    g_assert_false(crypto_spec_check(&spec, &err));
    g_assert_cmpint(err->code, ==, ENOTSUP);
}

static void test_spec_refused(void)
{
    CryptoSpec xts = { CIPHER_AES_128, MODE_XTS, IVGEN_PLAIN64, 0 };
    uint8_t key[64] = { 0 };

    spec_refused(CIPHER_CAST5_128, MODE_XTS, IVGEN_PLAIN64, 0);
    spec_refused(CIPHER_CAST5_128, MODE_CBC, IVGEN_ESSIV, HASH_MD5);
    spec_refused(CIPHER_AES_256, MODE_CBC, IVGEN_ESSIV, HASH_SHA1);
    spec_refused(CIPHER_AES_256, MODE_CBC, IVGEN_ESSIV, HASH_SHA512);
    g_assert_null(crypto_block_new(&xts, key, 16, NULL));
}

typedef struct {
    const CryptoBlock *b;
    const uint8_t *plain, *expected;
    size_t len;
} ThreadJob;

static void *thread_encrypt(void *arg)
{
    ThreadJob *j = arg;
    g_autofree uint8_t *out = g_malloc(j->len);

    for (int i = 0; i < 50; i++) {
        crypto_block_encrypt(j->b, 0, j->plain, out, j->len);
        g_assert_cmpmem(out, j->len, j->expected, j->len);
        crypto_block_decrypt(j->b, 0, out, out, j->len);
        g_assert_cmpmem(out, j->len, j->plain, j->len);
    }
    return NULL;
}

/* Threads share one cipher without a lock. */
static void test_threads(void)
{
    enum { LEN = 64 * 1024, THREADS = 4 };
    CryptoSpec spec = { CIPHER_AES_128, MODE_CBC, IVGEN_ESSIV, HASH_SHA256 };
    uint8_t key[16] = "sixteen bytes ok";
    g_autoptr(CryptoBlock) b = crypto_block_new(&spec, key, 16, NULL);
    g_autofree uint8_t *plain = g_malloc(LEN), *expected = g_malloc(LEN);
    ThreadJob job = { b, plain, expected, LEN };
    GThread *threads[THREADS];

    g_assert_true(random_bytes(plain, LEN, NULL));
    crypto_block_encrypt(b, 0, plain, expected, LEN);
    for (int i = 0; i < THREADS; i++)
        threads[i] = g_thread_new("encrypt", thread_encrypt, &job);
    for (int i = 0; i < THREADS; i++)
        g_thread_join(threads[i]);
}

/* Passwords count to 16 bytes and are padded with zeroes. */
static void test_qcow_key(void)
{
    CryptoSpec spec = { CIPHER_AES_128, MODE_CBC, IVGEN_PLAIN64, 0 };
    uint8_t a[CRYPTO_SECTOR] = { 0 }, b[CRYPTO_SECTOR] = { 0 }, key[16] = "short";
    g_autoptr(CryptoBlock) direct = crypto_block_new(&spec, key, 16, NULL);
    g_autoptr(CryptoBlock) padded = crypto_block_new_qcow("short", 5, NULL);
    g_autoptr(CryptoBlock) cut = crypto_block_new_qcow("short\0\0\0\0\0\0\0\0\0\0\0more", 20, NULL);

    crypto_block_encrypt(direct, 0, a, a, sizeof(a));
    crypto_block_encrypt(padded, 0, b, b, sizeof(b));
    g_assert_cmpmem(a, sizeof(a), b, sizeof(b));
    memset(b, 0, sizeof(b));
    crypto_block_encrypt(cut, 0, b, b, sizeof(b));
    g_assert_cmpmem(a, sizeof(a), b, sizeof(b));
}

static void test_names(void)
{
    CipherAlg c;
    CipherMode m;
    IvGen iv;

    for (int i = 0; i < CIPHER_COUNT; i++) {
        g_assert_true(cipher_find(cipher_name(i), &c) && c == i);
        g_assert_true(cipher_find_family(cipher_family(i), cipher_key_len(i, MODE_CBC), &c));
        g_assert_cmpint(c, ==, i);
    }
    for (int i = 0; i < MODE_COUNT; i++)
        g_assert_true(cipher_mode_find(cipher_mode_name(i), &m) && m == i);
    for (int i = 0; i < IVGEN_COUNT; i++)
        g_assert_true(ivgen_find(ivgen_name(i), &iv) && iv == i);
    g_assert_false(cipher_find("aes", &c));
    g_assert_false(cipher_find_family("aes", 17, &c));
    g_assert_false(cipher_mode_find("gcm", &m));
    g_assert_false(ivgen_find("", &iv));
}

const Test tests[] = {
    { "/crypto/hash/known", test_hash_known },
    { "/crypto/hmac/known", test_hmac_known },
    { "/crypto/pbkdf2/known", test_pbkdf2_known },
    { "/crypto/pbkdf2/can-be-cancelled", test_pbkdf2_cancel },
    { "/crypto/pbkdf2/rounds-scale-with-time", test_rounds_scale },
    { "/crypto/cipher/known", test_ciphers_known },
    { "/crypto/cipher/names", test_names },
    { "/crypto/xts/known", test_xts_known },
    { "/crypto/cbc/known", test_cbc_known },
    { "/crypto/block/every-combination-undoes-itself", test_every_spec },
    { "/crypto/block/plain-repeats-after-2T", test_plain_wraps },
    { "/crypto/block/refuses-what-does-not-fit", test_spec_refused },
    { "/crypto/block/qcow-key", test_qcow_key },
    { "/crypto/block/threads-share-a-cipher", test_threads },
    {},
};
