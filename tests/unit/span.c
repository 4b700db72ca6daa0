/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Windows on memory: every operation gives the same on one buffer and on pieces of it. */
#include "tests/lib/harness.h"
#include "util/span.h"
#include <string.h>

enum { N = 1000, PIECES = 7 };

/* A buffer of N bytes, as one piece and cut into PIECES, some of them empty. */
typedef struct {
    unsigned char bytes[N];
    struct iovec iov[PIECES];
} Mem;

static void mem_init(Mem *m)
{
    static const size_t cut[PIECES + 1] = { 0, 0, 1, 300, 300, 301, 999, N };

    for (int i = 0; i < N; i++)
        m->bytes[i] = (unsigned char)(i * 7 + i / 251);
    for (int i = 0; i < PIECES; i++)
        m->iov[i] = (struct iovec){ m->bytes + cut[i], cut[i + 1] - cut[i] };
}

static Span mem_span(Mem *m, bool pieces)
{
    return pieces ? span_of_iov(m->iov, PIECES) : span_of(m->bytes, N);
}

static void test_slices_read_the_right_bytes(void)
{
    unsigned char out[N];
    Mem m;

    mem_init(&m);
    for (int pieces = 0; pieces < 2; pieces++) {
        for (size_t off = 0; off <= N; off += 37) {
            for (size_t len = 0; len <= N - off; len += 53) {
                Span s = span_slice(mem_span(&m, pieces), off, len);

                memset(out, 0, N);
                g_assert_cmpuint(s.len, ==, len);
                span_read(s, out);
                g_assert_cmpmem(out, len, m.bytes + off, len);
            }
        }
    }
}

static void test_slices_of_slices(void)
{
    unsigned char out[8];
    Mem m;

    mem_init(&m);
    Span s = span_slice(mem_span(&m, true), 290, 20);
    span_read(span_slice(span_slice(s, 5, 10), 4, 3), out);
    g_assert_cmpmem(out, 3, m.bytes + 299, 3);
    g_assert_cmpuint(span_slice(s, 20, 0).len, ==, 0);
}

static void test_write_touches_only_the_window(void)
{
    unsigned char in[400];
    Mem m, before;

    memset(in, 0xee, sizeof(in));
    mem_init(&m);
    mem_init(&before);
    span_write(span_slice(mem_span(&m, true), 100, 400), in);
    g_assert_cmpmem(m.bytes, 100, before.bytes, 100);
    g_assert_cmpmem(m.bytes + 100, 400, in, 400);
    g_assert_cmpmem(m.bytes + 500, N - 500, before.bytes + 500, N - 500);
}

static void test_copy_between_different_cuts(void)
{
    Mem from, to;

    mem_init(&from);
    mem_init(&to);
    memset(to.bytes, 0, N);
    span_copy(span_slice(mem_span(&to, true), 1, 900), span_slice(mem_span(&from, true), 100, 900));
    g_assert_cmpmem(to.bytes + 1, 900, from.bytes + 100, 900);
    g_assert_cmpuint(to.bytes[0], ==, 0);
    g_assert_cmpuint(to.bytes[901], ==, 0);
}

static void test_fill_and_zero(void)
{
    Mem m;

    mem_init(&m);
    g_assert_false(span_is_zero(mem_span(&m, true)));
    span_zero(span_slice(mem_span(&m, true), 250, 500));
    g_assert_true(span_is_zero(span_slice(mem_span(&m, true), 250, 500)));
    g_assert_true(span_is_zero(span_slice(mem_span(&m, false), 250, 500)));
    span_fill(mem_span(&m, true), 0);
    g_assert_true(span_is_zero(mem_span(&m, true)));
    m.bytes[N - 1] = 1;
    g_assert_false(span_is_zero(mem_span(&m, true)));
}

static void test_vectors_cover_the_start(void)
{
    struct iovec iov[PIECES];
    size_t covered;
    Mem m;

    mem_init(&m);
    Span s = span_slice(mem_span(&m, true), 200, 700);
    g_assert_cmpint(span_to_iov(s, iov, PIECES, &covered), ==, 3);
    g_assert_cmpuint(covered, ==, 700);
    g_assert_true(iov[0].iov_base == m.bytes + 200 && iov[0].iov_len == 100);
    g_assert_cmpint(span_to_iov(s, iov, 1, &covered), ==, 1);
    g_assert_cmpuint(covered, ==, 100);
    g_assert_cmpint(span_to_iov(span_of(NULL, 0), iov, PIECES, &covered), ==, 0);
}

/* One byte that is not zero is found wherever it is, at any length and alignment. */
static void test_zero_scan_finds_every_byte(void)
{
    static unsigned char buf[1100];

    for (size_t len = 0; len < 1024; len += len < 300 ? 1 : 61) {
        for (size_t start = 0; start < 3; start++) {
            g_assert_true(buffer_is_zero(buf + start, len));
            buf[start + len] = 1;
            g_assert_true(buffer_is_zero(buf + start, len));
            buf[start + len] = 0;
            for (size_t i = 0; i < len; i += len < 300 ? 1 : 3) {
                buf[start + i] = 0x80;
                g_assert_false(buffer_is_zero(buf + start, len));
                buf[start + i] = 0;
            }
        }
    }
}

static void test_alignment(void)
{
    g_autoptr(Aligned) p = aligned_try_alloc(8192);
    struct iovec odd[] = { { p, 512 }, { (char *)p + 1024, 100 } };

    g_assert_nonnull(p);
    g_assert_cmpuint((uintptr_t)p % 4096, ==, 0);
    g_assert_true(span_is_aligned(span_of(p, 8192), 4096));
    g_assert_false(span_is_aligned(span_of((char *)p + 512, 4096), 4096));
    g_assert_true(span_is_aligned(span_of((char *)p + 512, 4096), 512));
    g_assert_false(span_is_aligned(span_of(p, 100), 512));
    g_assert_false(span_is_aligned(span_of_iov(odd, 2), 512));
}

const Test tests[] = {
    { "/span/slices-read-the-right-bytes", test_slices_read_the_right_bytes },
    { "/span/slices-of-slices", test_slices_of_slices },
    { "/span/write-touches-only-the-window", test_write_touches_only_the_window },
    { "/span/copy-between-different-cuts", test_copy_between_different_cuts },
    { "/span/fill-and-zero", test_fill_and_zero },
    { "/span/vectors-cover-the-start", test_vectors_cover_the_start },
    { "/span/zero-scan-finds-every-byte", test_zero_scan_finds_every_byte },
    { "/span/alignment", test_alignment },
    {}
};
