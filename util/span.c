/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Windows on memory. */
#include "util/span.h"
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Sixteen bytes at any address: what every machine we build for has registers for. */
typedef uint64_t Vec __attribute__((vector_size(16), aligned(1), may_alias));

_Alignas(4096) const uint8_t zero_bytes[ZEROES_LEN];

bool buffer_is_zero(const void *buf, size_t len)
{
    const uint8_t *p = buf;
    const uint8_t *end = p + len;

    /* Data is rarely zero at its first, middle and last byte: most buffers end here. */
    if (!len)
        return true;
    if (p[0] | p[len / 2] | p[len - 1])
        return false;
    for (; end - p >= 128; p += 128) {
        const Vec *v = (const Vec *)p;
        Vec any = (v[0] | v[1]) | (v[2] | v[3]) | (v[4] | v[5]) | (v[6] | v[7]);

        if (any[0] | any[1])
            return false;
    }
    for (; p < end; p++)
        if (*p)
            return false;
    return true;
}

Span span_of_iov(const struct iovec *iov, int niov)
{
    Span s = { .iov = iov };

    for (int i = 0; i < niov; i++)
        s.len += iov[i].iov_len;
    return span_slice(s, 0, s.len);
}

/* The part of span_slice for lists of vectors. */
Span span_slice_iov(Span s, size_t off, size_t len)
{
    if (!len)
        return span_of(NULL, 0);
    s.skip += off;
    while (s.skip >= s.iov->iov_len) {
        s.skip -= s.iov->iov_len;
        s.iov++;
    }
    s.len = len;
    return s;
}

void *span_head(Span s, size_t *len)
{
    size_t here;

    if (!s.iov) {
        *len = s.len;
        return s.base;
    }
    here = s.iov->iov_len - s.skip;
    *len = MIN(here, s.len);
    return (uint8_t *)s.iov->iov_base + s.skip;
}

int span_to_iov(Span s, struct iovec *iov, int max, size_t *covered)
{
    size_t total = 0;
    int n = 0;

    while (s.len && n < max) {
        size_t len;
        void *p = span_head(s, &len);

        iov[n++] = (struct iovec){ .iov_base = p, .iov_len = len };
        total += len;
        s = span_slice(s, len, s.len - len);
    }
    if (covered)
        *covered = total;
    return n;
}

void span_read(Span from, void *to)
{
    while (from.len) {
        size_t n;
        void *p = span_head(from, &n);

        memcpy(to, p, n);
        to = (uint8_t *)to + n;
        from = span_slice(from, n, from.len - n);
    }
}

void span_write(Span to, const void *from)
{
    while (to.len) {
        size_t n;
        void *p = span_head(to, &n);

        memcpy(p, from, n);
        from = (const uint8_t *)from + n;
        to = span_slice(to, n, to.len - n);
    }
}

void span_copy(Span to, Span from)
{
    g_assert(to.len == from.len);
    while (to.len) {
        size_t n, have;
        void *p = span_head(to, &n);
        void *q = span_head(from, &have);

        n = MIN(n, have);
        memcpy(p, q, n);
        to = span_slice(to, n, to.len - n);
        from = span_slice(from, n, from.len - n);
    }
}

void span_fill(Span s, int byte)
{
    while (s.len) {
        size_t n;
        void *p = span_head(s, &n);

        memset(p, byte, n);
        s = span_slice(s, n, s.len - n);
    }
}

bool span_is_zero(Span s)
{
    while (s.len) {
        size_t n;
        void *p = span_head(s, &n);

        if (!buffer_is_zero(p, n))
            return false;
        s = span_slice(s, n, s.len - n);
    }
    return true;
}

bool span_is_aligned(Span s, size_t align)
{
    while (s.len) {
        size_t n;
        void *p = span_head(s, &n);

        if (((uintptr_t)p | n) & (align - 1))
            return false;
        s = span_slice(s, n, s.len - n);
    }
    return true;
}

/* ---- memory for data ------------------------------------------------------------------------- */

/*
 * Large blocks that were freed, for the next to ask. The C library gives such memory back to the
 * kernel, and the page faults of getting it again cost more than copying the data.
 */
enum { KEPT_LEN_MIN = 64 << 10, KEPT_BYTES = 4 << 20, KEPT_BLOCKS = 32 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEEPS_BLOCKS false    /* they are to see each use of freed memory */
#else
#define KEEPS_BLOCKS true
#endif

static struct {
    pthread_mutex_t lock;
    unsigned n;
    size_t bytes;
    void *blocks[KEPT_BLOCKS];
} kept = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* A kept block for @len bytes that is not much larger, the warmest one; NULL: there is none. */
static void *kept_take(size_t len)
{
    void *found = NULL;

    pthread_mutex_lock(&kept.lock);
    for (unsigned i = kept.n; i-- > 0 && !found;) {
        size_t room = malloc_usable_size(kept.blocks[i]);

        if (room < len || room / 2 > len)
            continue;
        found = kept.blocks[i];
        kept.bytes -= room;
        kept.n--;
        memmove(kept.blocks + i, kept.blocks + i + 1, (kept.n - i) * sizeof(*kept.blocks));
    }
    pthread_mutex_unlock(&kept.lock);
    return found;
}

static bool kept_give(void *p, size_t room)
{
    bool is_kept;

    pthread_mutex_lock(&kept.lock);
    is_kept = kept.n < KEPT_BLOCKS && kept.bytes + room <= KEPT_BYTES;
    if (is_kept) {
        kept.blocks[kept.n++] = p;
        kept.bytes += room;
    }
    pthread_mutex_unlock(&kept.lock);
    return is_kept;
}

void *aligned_try_alloc(size_t len)
{
    void *p = KEEPS_BLOCKS && len >= KEPT_LEN_MIN && len <= KEPT_BYTES ? kept_take(len) : NULL;

    if (p)
        return p;
    if (posix_memalign(&p, (size_t)sysconf(_SC_PAGESIZE), MAX(len, 1)))
        return NULL;
    return p;
}

void aligned_free(void *p)
{
    size_t room = KEEPS_BLOCKS && p ? malloc_usable_size(p) : 0;

    if (room < KEPT_LEN_MIN || !kept_give(p, room))
        free(p);
}
