/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encryption of requests, spread over the CPUs. */
#include "block/crypt.h"
#include "io/loop.h"
#include "io/pool.h"

enum {
    CRYPT_INLINE = 32 << 10,  /* up to this many bytes a loop does itself: tens of microseconds */
    CRYPT_PIECE = 128 << 10,  /* a worker gets at least this much */
    CRYPT_PIECES = 16,
};

typedef struct {
    const CryptoBlock *block;
    bool encrypt;
    uint64_t off;
    const uint8_t *src;
    uint8_t *dst;
    size_t len;
} CryptJob;

static int crypt_job(void *arg)
{
    CryptJob *j = arg;

    if (j->encrypt)
        crypto_block_encrypt(j->block, j->off, j->src, j->dst, j->len);
    else
        crypto_block_decrypt(j->block, j->off, j->src, j->dst, j->len);
    return 0;
}

static CO void crypt_job_run(void *arg)
{
    pool_compute(crypt_job, arg);
}

/* Does @whole, contiguous memory of whole sectors, wherever that is quickest. */
static CO void crypt_run(CryptJob whole)
{
    size_t pieces = MIN(MIN(whole.len / CRYPT_PIECE, pool_cpus()), CRYPT_PIECES);
    CryptJob jobs[CRYPT_PIECES];
    CoGroup group = {};
    size_t each;

    if (whole.len <= CRYPT_INLINE || (pieces <= 1 && loop_is_alone())) {
        crypt_job(&whole);
        return;
    }
    if (pieces <= 1) {
        pool_compute(crypt_job, &whole);
        return;
    }
    each = round_up(whole.len / pieces, CRYPTO_SECTOR);
    for (size_t i = 0, at = 0; i < pieces; i++, at += each) {
        jobs[i] = whole;
        jobs[i].off += at;
        jobs[i].src += at;
        jobs[i].dst += at;
        jobs[i].len = MIN(each, whole.len - at);
        co_group_start(&group, crypt_job_run, &jobs[i]);
    }
    co_group_wait(&group);
}

/* True if every piece of contiguous memory of @s is made of whole sectors. */
static bool span_is_sectors(Span s)
{
    while (s.len) {
        size_t n;

        span_head(s, &n);
        if (n % CRYPTO_SECTOR)
            return false;
        s = span_slice(s, n, s.len - n);
    }
    return true;
}

CO void crypt_encrypt(const CryptoBlock *b, uint64_t off, Span src, void *dst)
{
    uint8_t *to = dst;

    if (!span_is_sectors(src)) {
        span_read(src, dst);
        src = span_of(dst, src.len);
    }
    while (src.len) {
        size_t n;
        const uint8_t *from = span_head(src, &n);

        crypt_run((CryptJob){ b, true, off, from, to, n });
        off += n;
        to += n;
        src = span_slice(src, n, src.len - n);
    }
}

CO int crypt_decrypt(const CryptoBlock *b, uint64_t off, Span buf)
{
    if (!span_is_sectors(buf)) {
        g_autoptr(Aligned) whole = aligned_try_alloc(buf.len);

        if (!whole)
            return -ENOMEM;
        span_read(buf, whole);
        crypt_run((CryptJob){ b, false, off, whole, whole, buf.len });
        span_write(buf, whole);
        return 0;
    }
    while (buf.len) {
        size_t n;
        uint8_t *p = span_head(buf, &n);

        crypt_run((CryptJob){ b, false, off, p, p, n });
        off += n;
        buf = span_slice(buf, n, buf.len - n);
    }
    return 0;
}

static int luks_edge_read(void *opaque, uint64_t off, void *buf, size_t len)
{
    return edge_pread_buf(opaque, off, buf, len);
}

static int luks_edge_write(void *opaque, uint64_t off, const void *buf, size_t len)
{
    return edge_pwrite_buf(opaque, off, buf, len);
}

static int luks_edge_flush(void *opaque)
{
    return edge_flush(opaque);
}

LuksIo crypt_luks_io(Edge *e)
{
    return (LuksIo){ .read = luks_edge_read, .write = luks_edge_write, .flush = luks_edge_flush,
                     .compute = pool_compute, .opaque = e };
}
