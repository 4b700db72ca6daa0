/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counts of clusters in memory, beside a plain array. */
#include "block/formats/qcow2/counts.h"
#include "tests/lib/harness.h"
#include <string.h>

/* The last chunk has 5 clusters. */
enum { CLUSTERS = 4 * COUNTS_CHUNK + 5, ROUNDS = 3000 };

typedef struct {
    Counts counts;
    uint64_t *plain;
} Pair;

static void pair_init(Pair *p)
{
    g_assert_true(counts_init(&p->counts, CLUSTERS));
    p->plain = g_new0(uint64_t, CLUSTERS);
}

static void pair_clear(Pair *p)
{
    counts_clear(&p->counts);
    g_free(p->plain);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pair, pair_clear)

static void pair_add(Pair *p, uint64_t i, uint64_t by)
{
    p->plain[i] = by > UINT64_MAX - p->plain[i] ? UINT64_MAX : p->plain[i] + by;
    counts_add(&p->counts, i, by);
}

/* Changes a cluster of the first two chunks or of the last, by what makes each width likely. */
static void pair_change(Pair *p, GRand *rand, unsigned bits_max)
{
    uint64_t i = g_rand_boolean(rand) ? (uint32_t)g_rand_int_range(rand, 0, 2 * COUNTS_CHUNK)
                                      : CLUSTERS - 1 - (uint32_t)g_rand_int_range(rand, 0, 5);
    uint64_t by = ((uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand)) >>
                  (64 - g_rand_int_range(rand, 1, (int)bits_max + 1));

    if (g_rand_int_range(rand, 0, 4)) {
        pair_add(p, i, by);
        return;
    }
    p->plain[i] = by >> 1;
    counts_set(&p->counts, i, by >> 1);
}

static void pair_check(const Pair *p)
{
    uint64_t end = 0, next = counts_next(&p->counts, 0, CLUSTERS);

    for (uint64_t i = 0; i < CLUSTERS; i++) {
        g_assert_cmpuint(counts_get(&p->counts, i), ==, p->plain[i]);
        g_assert_cmpint(counts_is_zero(&p->counts, i, 1), ==, !p->plain[i]);
        if (!p->plain[i])
            continue;
        g_assert_cmpuint(next, ==, i);
        next = counts_next(&p->counts, i + 1, CLUSTERS);
        end = i + 1;
    }
    g_assert_cmpuint(next, ==, CLUSTERS);
    g_assert_cmpuint(counts_end(&p->counts), ==, end);
    for (uint64_t chunk = 0; chunk < CLUSTERS; chunk += COUNTS_CHUNK) {
        uint64_t max = 0;

        for (uint64_t i = chunk; i < MIN(chunk + COUNTS_CHUNK, CLUSTERS); i++)
            max = MAX(max, p->plain[i]);
        g_assert_cmpuint(counts_max(&p->counts, chunk), ==, max);
    }
    g_assert_false(p->counts.failed);
}

static void test_widths_keep_every_count(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    for (unsigned bits = 4; bits <= 64; bits += 10) {
        g_auto(Pair) p = {};

        pair_init(&p);
        for (int i = 0; i < ROUNDS; i++)
            pair_change(&p, rand, bits);
        pair_check(&p);
        g_assert_true(counts_is_zero(&p.counts, 2 * COUNTS_CHUNK, 2 * COUNTS_CHUNK));
        g_assert_null(p.counts.chunks[2].at);
    }
}

/* No more bytes than the largest count of a chunk needs. */
static void test_width_follows_largest_count(void)
{
    static const struct { uint64_t count; unsigned bytes; } steps[] = {
        { 1, 1 }, { UINT8_MAX, 1 }, { UINT8_MAX + 1, 2 }, { UINT16_MAX, 2 }, { UINT16_MAX + 1, 4 },
        { UINT32_MAX, 4 }, { UINT64_C(1) << 32, 8 }, { UINT64_MAX, 8 },
    };
    g_auto(Counts) c = {};

    g_assert_true(counts_init(&c, CLUSTERS));
    counts_set(&c, 3, 0);
    g_assert_null(c.chunks[0].at);
    counts_set(&c, 4, 7);
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        counts_set(&c, 3, steps[i].count);
        g_assert_cmpuint(c.chunks[0].bytes, ==, steps[i].bytes);
        g_assert_cmpuint(counts_get(&c, 3), ==, steps[i].count);
        g_assert_cmpuint(counts_get(&c, 4), ==, 7);
    }
    counts_add(&c, 3, 1);
    g_assert_cmpuint(counts_get(&c, 3), ==, UINT64_MAX);
}

static void test_next_stays_below_end(void)
{
    g_auto(Counts) c = {};

    g_assert_true(counts_init(&c, CLUSTERS));
    g_assert_cmpuint(counts_next(&c, 0, CLUSTERS), ==, CLUSTERS);
    counts_set(&c, 3 * COUNTS_CHUNK + 9, 1);
    g_assert_cmpuint(counts_next(&c, 0, 77), ==, 77);
    g_assert_cmpuint(counts_next(&c, 0, 3 * COUNTS_CHUNK + 9), ==, 3 * COUNTS_CHUNK + 9);
    g_assert_cmpuint(counts_next(&c, 5, CLUSTERS), ==, 3 * COUNTS_CHUNK + 9);
    g_assert_cmpuint(counts_next(&c, 3 * COUNTS_CHUNK + 10, CLUSTERS), ==, CLUSTERS);
    g_assert_cmpuint(counts_next(&c, 9, 9), ==, 9);
}

static void test_differences_are_found(void)
{
    static const uint64_t at[] = { 0, 77, COUNTS_CHUNK + 1, 3 * COUNTS_CHUNK, CLUSTERS - 1 };
    g_auto(Counts) a = {}, b = {};
    uint64_t from = 0;

    g_assert_true(counts_init(&a, CLUSTERS) && counts_init(&b, CLUSTERS));
    for (uint64_t i = 0; i < 2 * COUNTS_CHUNK; i += 3) {
        counts_set(&a, i + 2, 300);
        counts_set(&b, i + 2, 300);
    }
    g_assert_cmpuint(counts_next_difference(&a, &b, 0), ==, CLUSTERS);
    for (size_t i = 0; i < G_N_ELEMENTS(at); i++)
        counts_add(i & 1 ? &a : &b, at[i], 1);
    for (size_t i = 0; i < G_N_ELEMENTS(at); i++, from++) {
        from = counts_next_difference(&a, &b, from);
        g_assert_cmpuint(from, ==, at[i]);
    }
    g_assert_cmpuint(counts_next_difference(&a, &b, from), ==, CLUSTERS);
}

/* Of two counts the low bytes are alike, then of two chunks the first bytes. */
static void test_differences_of_widths_are_found(void)
{
    for (int round = 0; round < 2; round++) {
        g_auto(Counts) narrow = {}, wide = {};
        const Counts *a = round ? &wide : &narrow, *b = round ? &narrow : &wide;

        g_assert_true(counts_init(&narrow, CLUSTERS) && counts_init(&wide, CLUSTERS));
        counts_set(&narrow, 4, 300 & UINT8_MAX);
        counts_set(&wide, 4, 300);
        g_assert_cmpuint(narrow.chunks[0].bytes, <, wide.chunks[0].bytes);
        g_assert_cmpuint(counts_next_difference(a, b, 0), ==, 4);
        g_assert_cmpuint(counts_next_difference(a, b, 5), ==, CLUSTERS);
        counts_set(&wide, 4, 300 & UINT8_MAX);
        g_assert_cmpuint(counts_next_difference(a, b, 0), ==, CLUSTERS);

        counts_set(&narrow, COUNTS_CHUNK, 2);
        counts_set(&narrow, COUNTS_CHUNK + 1, 1);
        counts_set(&wide, COUNTS_CHUNK, 0x102);
        g_assert_cmpuint(counts_next_difference(a, b, 0), ==, COUNTS_CHUNK);
        g_assert_cmpuint(counts_next_difference(a, b, COUNTS_CHUNK + 1), ==, COUNTS_CHUNK + 1);
    }
}

/* Numbers of an image are taken eight at once where all are small, which it says. */
static void test_eight_are_loaded(void)
{
    static const uint8_t small[16] = { 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 255 };
    uint8_t large[16];
    g_auto(Counts) c = {};

    g_assert_true(counts_init(&c, CLUSTERS));
    g_assert_false(counts_load8(&c, 8, small));     /* there is no chunk */
    counts_set(&c, 0, 1);
    g_assert_true(counts_load8(&c, 8, small));
    for (unsigned i = 0; i < 8; i++)
        g_assert_cmpuint(counts_get(&c, 8 + i), ==, small[2 * i + 1]);
    memcpy(large, small, sizeof(large));
    large[6] = 1;
    g_assert_false(counts_load8(&c, 16, large));
}

const Test tests[] = {
    { "/counts/widths-keep-every-count", test_widths_keep_every_count },
    { "/counts/width-follows-largest-count", test_width_follows_largest_count },
    { "/counts/next-stays-below-end", test_next_stays_below_end },
    { "/counts/differences-are-found", test_differences_are_found },
    { "/counts/differences-of-widths-are-found", test_differences_of_widths_are_found },
    { "/counts/eight-are-loaded", test_eight_are_loaded },
    {}
};
