/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bitmaps against a plain array of bools. */
#include "tests/lib/harness.h"
#include "util/hbitmap.h"
#include <string.h>

enum { MODEL_BITS = 200000, ROUNDS = 3000 };

typedef struct {
    HBitmap *b;
    uint64_t bits;
    bool *model;
    GRand *rand;
} Pair;

static uint64_t any(Pair *p, uint64_t below)
{
    return below ? (uint64_t)g_rand_int(p->rand) % below : 0;
}

/* Lengths from single bits to several leaves. */
static uint64_t any_len(Pair *p, uint64_t max)
{
    static const uint64_t scales[] = { 2, 100, 5000, 40000, MODEL_BITS };

    uint64_t len = any(p, scales[any(p, G_N_ELEMENTS(scales))]) + 1;

    return MIN(max, len);
}

static void expect_same(Pair *p)
{
    uint64_t count = 0, at = 0;

    for (uint64_t i = 0; i < p->bits; i++) {
        g_assert_cmpint(hbitmap_get(p->b, i), ==, p->model[i]);
        count += p->model[i];
    }
    g_assert_cmpuint(hbitmap_count(p->b), ==, count);
    g_assert_cmpuint(hbitmap_bits(p->b), ==, p->bits);
    while (at < p->bits) {
        bool value = p->model[at];
        uint64_t end = at;

        while (end < p->bits && p->model[end] == value)
            end++;
        g_assert_cmpuint(hbitmap_next_set(p->b, at, p->bits), ==, value ? at : end);
        g_assert_cmpuint(hbitmap_next_clear(p->b, at, p->bits), ==, value ? end : at);
        g_assert_cmpuint(hbitmap_next_set(p->b, at, at + 1), ==, value ? at : at + 1);
        at = end;
    }
}

static void do_fill(Pair *p, bool value)
{
    uint64_t first = any(p, p->bits), len = any_len(p, p->bits - first);

    (value ? hbitmap_set : hbitmap_clear)(p->b, first, len);
    memset(p->model + first, value, len);
}

static void do_merge(Pair *p)
{
    g_autoptr(HBitmap) other = hbitmap_try_new(p->bits);

    for (int i = 0; i < 3; i++) {
        uint64_t first = any(p, p->bits), len = any_len(p, p->bits - first);

        hbitmap_set(other, first, len);
        memset(p->model + first, true, len);
    }
    hbitmap_merge(p->b, other);
}

static void do_resize(Pair *p)
{
    uint64_t bits = 1 + any(p, MODEL_BITS);

    g_assert_true(hbitmap_resize(p->b, bits));
    if (bits < p->bits)
        memset(p->model + bits, false, p->bits - bits);
    p->bits = bits;
}

static void do_bytes(Pair *p)
{
    uint64_t first = any(p, p->bits) / 8 * 8, len = any_len(p, MODEL_BITS / 8);
    g_autofree uint8_t *bytes = g_malloc(len), *again = g_malloc(len);
    int kind = (int)any(p, 3);

    for (uint64_t i = 0; i < len; i++)
        bytes[i] = kind == 0 ? 0 : kind == 1 ? 0xff : (uint8_t)g_rand_int(p->rand);
    hbitmap_load(p->b, first, bytes, len);
    for (uint64_t i = 0; i < len * 8 && first + i < p->bits; i++)
        p->model[first + i] = bytes[i / 8] >> i % 8 & 1;
    hbitmap_store(p->b, first, again, len);
    for (uint64_t i = 0; i < len * 8; i++)
        g_assert_cmpint(again[i / 8] >> i % 8 & 1, ==,
                        first + i < p->bits ? p->model[first + i] : 0);
}

static void test_model(void)
{
    Pair p = { .bits = MODEL_BITS, .rand = g_rand_new_with_seed(7) };
    int rounds = test_is_slowed() ? ROUNDS / 10 : ROUNDS;

    p.b = hbitmap_try_new(p.bits);
    p.model = g_new0(bool, MODEL_BITS);
    for (int i = 0; i < rounds; i++) {
        switch (any(&p, 10)) {
        case 0:
            do_merge(&p);
            break;
        case 1:
            do_resize(&p);
            break;
        case 2:
            do_bytes(&p);
            break;
        default:
            do_fill(&p, any(&p, 2));
        }
        if (i % 10 == 0)
            expect_same(&p);
    }
    expect_same(&p);
    g_rand_free(p.rand);
    hbitmap_free(p.b);
    g_free(p.model);
}

/* What was behind the end of a full bitmap is clear after it grows. */
static void test_grow_full(void)
{
    g_autoptr(HBitmap) b = hbitmap_try_new(100);

    hbitmap_set(b, 0, 100);
    g_assert_true(hbitmap_resize(b, 1000));
    g_assert_cmpuint(hbitmap_count(b), ==, 100);
    g_assert_cmpuint(hbitmap_next_clear(b, 0, 1000), ==, 100);
    g_assert_cmpuint(hbitmap_next_set(b, 100, 1000), ==, 1000);
}

static void test_huge(void)
{
    g_autoptr(HBitmap) b = hbitmap_try_new(UINT64_C(1) << 32);

    g_assert_nonnull(b);
    hbitmap_set(b, 0, UINT64_C(1) << 32);
    hbitmap_clear(b, 12345678901 % (UINT64_C(1) << 32), 1);
    g_assert_cmpuint(hbitmap_count(b), ==, (UINT64_C(1) << 32) - 1);
    g_assert_null(hbitmap_try_new(HBITMAP_BITS_MAX + 1));
    g_assert_false(hbitmap_resize(b, UINT64_MAX));
}

static void test_empty(void)
{
    g_autoptr(HBitmap) b = hbitmap_try_new(0);

    g_assert_cmpuint(hbitmap_next_set(b, 0, 0), ==, 0);
    g_assert_true(hbitmap_resize(b, 5));
    hbitmap_set(b, 4, 1);
    g_assert_true(hbitmap_resize(b, 0));
    g_assert_cmpuint(hbitmap_count(b), ==, 0);
}

const Test tests[] = {
    { "/hbitmap/same-as-array", test_model },
    { "/hbitmap/full-grows-clear", test_grow_full },
    { "/hbitmap/huge-is-cheap", test_huge },
    { "/hbitmap/empty", test_empty },
    {}
};
