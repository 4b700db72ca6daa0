/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A window on memory, passed by value. The memory is one buffer or a list of iovecs; neither is
 * owned. Cutting a Span never allocates. Nothing keeps a Span after the call it was passed to.
 */
#ifndef UTIL_SPAN_H
#define UTIL_SPAN_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef struct {
    const struct iovec *iov; /* NULL: the window starts at @base */
    void *base;
    size_t skip; /* bytes of @iov[0] before the window, less than its length */
    size_t len;  /* bytes in the window */
} Span;

/* A window on @len bytes at @buf. */
static inline Span span_of(void *buf, size_t len)
{
    return (Span){ .base = buf, .len = len };
}

/* The same for memory that will only be read, such as the data of a write. */
static inline Span span_of_const(const void *buf, size_t len)
{
    return (Span){ .base = (void *)buf, .len = len };
}

/* A window on all of @niov vectors (empty ones allowed). */
Span span_of_iov(const struct iovec *iov, int niov);

Span span_slice_iov(Span s, size_t off, size_t len);

/* The window [@off, @off + @len) of @s; it must lie inside @s. */
static inline Span span_slice(Span s, size_t off, size_t len)
{
    g_assert(off <= s.len && len <= s.len - off);
    return s.iov ? span_slice_iov(s, off, len) : span_of((uint8_t *)s.base + off, len);
}

/*
 * The first piece of contiguous memory of @s, *@len bytes long (0 for an empty Span). Walk a Span
 * with: while (s.len) { p = span_head(s, &n); ...; s = span_slice(s, n, s.len - n); }
 */
void *span_head(Span s, size_t *len);

/*
 * Fills @iov with up to @max vectors that cover the start of @s. Returns how many were used;
 * *@covered, unless NULL, is how many bytes they cover.
 */
int span_to_iov(Span s, struct iovec *iov, int max, size_t *covered);

void span_read(Span from, void *to);              /* copies @from.len bytes out */
void span_write(Span to, const void *from);       /* copies @to.len bytes in */
void span_copy(Span to, Span from);               /* lengths must be equal */
void span_fill(Span s, int byte);
bool span_is_zero(Span s);

static inline void span_zero(Span s)
{
    span_fill(s, 0);
}

/* True if every piece starts at a multiple of @align and has a length that is one. */
bool span_is_aligned(Span s, size_t align);

/* Zeroes to write from, on a page boundary. */
enum { ZEROES_LEN = 64 << 10 };
extern const uint8_t zero_bytes[ZEROES_LEN];

/* True if all @len bytes at @buf are zero. @buf may be unaligned. */
bool buffer_is_zero(const void *buf, size_t len);

/* Page-aligned memory of @len bytes (at least one page), for O_DIRECT; NULL if there is none. */
void *aligned_try_alloc(size_t len);
void aligned_free(void *p);

/* Owner for such memory: g_autoptr(Aligned) b = aligned_try_alloc(n); */
typedef void Aligned;

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Aligned, aligned_free)

#endif
