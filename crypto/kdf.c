/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys from passwords: PBKDF2, and how many rounds of it fit in a time. */
#include "crypto/crypto.h"
#include "crypto/module.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

/* Rounds between two looks at the cancel function: a few milliseconds. */
enum { KDF_SLICE = 1 << 14 };

/* Rounds of the first measurement, and the CPU time that makes one good enough. */
enum { KDF_PROBE = 1 << 12, KDF_PROBE_NS = 4 * 1000 * 1000 };

typedef struct {
    HashAlg alg;
    Hash inner, outer; /* HMAC keyed with the password */
    KdfCancelled *cancelled;
    void *arg;
} Kdf;

/* One block of output, hash_len bytes: the xor of all rounds. */
static bool kdf_block(const Kdf *k, const void *salt, size_t salt_len, uint32_t index,
                      uint64_t rounds, uint8_t *out, GError **err)
{
    size_t len = hash_len(k->alg);
    be32 number = be32_of(index);
    uint8_t u[HASH_LEN_MAX];
    Hash h = k->inner;

    hash_update(&h, salt, salt_len);
    hash_update(&h, number.b, sizeof(number));
    hash_final(&h, u);
    h = k->outer;
    hash_update(&h, u, len);
    hash_final(&h, u);
    memcpy(out, u, len);
    for (uint64_t left = rounds - 1; left;) {
        uint64_t n = MIN(left, KDF_SLICE);

        if (k->cancelled && k->cancelled(k->arg)) {
            explicit_bzero(u, sizeof(u));
            return err_set(err, ECANCELED, "Key derivation was interrupted");
        }
        crypto_module_loaded()->hmac_rounds(k->alg, k->inner.state, k->outer.state, u, out, n);
        left -= n;
    }
    explicit_bzero(u, sizeof(u));
    return true;
}

bool kdf_pbkdf2(HashAlg alg, const void *pass, size_t pass_len, const void *salt, size_t salt_len,
                uint64_t rounds, uint8_t *out, size_t out_len, KdfCancelled *cancelled, void *arg,
                GError **err)
{
    Kdf k = { .alg = alg, .cancelled = cancelled, .arg = arg };
    uint8_t block[HASH_LEN_MAX];
    bool ok;

    if (!rounds)
        return err_set(err, EINVAL, "Key derivation needs at least one round");
    ok = hmac_states(alg, pass, pass_len, &k.inner, &k.outer, err);
    for (uint32_t i = 1; ok && out_len; i++) {
        size_t n = MIN(out_len, hash_len(alg));

        ok = kdf_block(&k, salt, salt_len, i, rounds, block, err);
        memcpy(out, block, ok ? n : 0);
        out += n;
        out_len -= n;
    }
    explicit_bzero(block, sizeof(block));
    explicit_bzero(&k, sizeof(k));
    return ok;
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Rounds of one block of output in a second, measured now. 0 with @err. */
static uint64_t kdf_measure(HashAlg alg, GError **err)
{
    uint8_t out[HASH_LEN_MAX];

    for (uint64_t rounds = KDF_PROBE;; rounds *= 4) {
        uint64_t start = thread_cpu_ns(), ns;

        if (!kdf_pbkdf2(alg, "password", 8, "salt", 4, rounds, out, hash_len(alg), NULL, NULL, err))
            return 0;
        ns = thread_cpu_ns() - start;
        if (ns >= KDF_PROBE_NS || rounds > UINT32_MAX)
            return rounds * 1000000000 / MAX(ns, 1);
    }
}

/* Rounds of one block in a second; measured once. 0: failure. */
static uint64_t kdf_per_second(HashAlg alg, GError **err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint64_t known[HASH_COUNT]; /* under lock; 0: not measured */
    uint64_t per_second;

    pthread_mutex_lock(&lock);
    if (!known[alg])
        known[alg] = kdf_measure(alg, err);
    per_second = known[alg];
    pthread_mutex_unlock(&lock);
    return per_second;
}

bool kdf_rounds_for_ms(HashAlg alg, size_t out_len, uint64_t ms, uint64_t *rounds, GError **err)
{
    uint64_t blocks = MAX(div_round_up(out_len, hash_len(alg)), 1);
    uint64_t per_second = kdf_per_second(alg, err);

    if (!per_second)
        return false;
    if (!size_mul(per_second / blocks, ms, rounds))
        return err_set(err, ERANGE, "A key derivation of %" PRIu64 " ms is too long", ms);
    *rounds /= 1000;
    return true;
}
