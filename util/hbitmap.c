/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bitmaps of leaves:
 *
 *     leaves   [ NULL | FULL | ---> Leaf: 512 words, and how many of their bits are set | ... ]
 *
 * FULL is one constant leaf that all share; it is told by its address and never written. The last
 * leaf may reach behind the end of the bitmap: what a shared FULL says about those bits does not
 * count, in a leaf of its own they are clear.
 */
#include "util/hbitmap.h"
#include "util/endian.h"
#include "util/size.h"
#include <string.h>

enum { LEAF_BITS = 32768, LEAF_WORDS = LEAF_BITS / 64 };

typedef struct {
    uint64_t words[LEAF_WORDS];
    uint32_t set;
} Leaf;

struct HBitmap {
    uint64_t bits, set;
    uint64_t leaf_count;
    Leaf **leaves;
};

static Leaf full_leaf;
#define FULL (&full_leaf)

static uint64_t leaves_for(uint64_t bits)
{
    return div_round_up(bits, LEAF_BITS);
}

/* Bits of leaf @i that lie within the bitmap. */
static uint32_t leaf_len(const HBitmap *b, uint64_t i)
{
    return (uint32_t)MIN(b->bits - i * LEAF_BITS, LEAF_BITS);
}

static uint32_t leaf_set(const HBitmap *b, uint64_t i)
{
    const Leaf *l = b->leaves[i];

    return !l ? 0 : l == FULL ? leaf_len(b, i) : l->set;
}

static void leaf_drop(Leaf *l)
{
    if (l != FULL)
        g_free(l);
}

HBitmap *hbitmap_try_new(uint64_t bits)
{
    HBitmap *b;

    if (bits > HBITMAP_BITS_MAX)
        return NULL;
    b = g_new0(HBitmap, 1);
    b->bits = bits;
    b->leaf_count = leaves_for(bits);
    b->leaves = g_try_new0(Leaf *, MAX(b->leaf_count, 1));
    if (!b->leaves) {
        g_free(b);
        return NULL;
    }
    return b;
}

void hbitmap_free(HBitmap *b)
{
    if (!b)
        return;
    for (uint64_t i = 0; i < b->leaf_count; i++)
        leaf_drop(b->leaves[i]);
    g_free(b->leaves);
    g_free(b);
}

uint64_t hbitmap_bits(const HBitmap *b)
{
    return b->bits;
}

uint64_t hbitmap_count(const HBitmap *b)
{
    return b->set;
}

/* ---- one leaf ------------------------------------------------------------------------------- */

/* Bits [@from, @to) of one word, @from < @to <= 64. */
static uint64_t word_mask(uint32_t from, uint32_t to)
{
    return (UINT64_MAX << from) & (UINT64_MAX >> (64 - to));
}

/* Sets or clears [@from, @to) of @l. */
static void leaf_fill(Leaf *l, uint32_t from, uint32_t to, bool value)
{
    while (from < to) {
        uint32_t w = from / 64, end = MIN(to, (w + 1) * 64);
        uint64_t mask = word_mask(from % 64, end - w * 64), old = l->words[w];

        l->words[w] = value ? old | mask : old & ~mask;
        l->set += (uint32_t)__builtin_popcountll(l->words[w]);
        l->set -= (uint32_t)__builtin_popcountll(old);
        from = end;
    }
}

/* A leaf of its own in place of leaf @i, with the same bits; NULL without memory. */
static Leaf *leaf_own(HBitmap *b, uint64_t i)
{
    Leaf *l = b->leaves[i];

    if (l && l != FULL)
        return l;
    l = g_try_new0(Leaf, 1);
    if (!l)
        return NULL;
    if (b->leaves[i] == FULL)
        leaf_fill(l, 0, leaf_len(b, i), true);
    b->leaves[i] = l;
    return l;
}

static void leaf_put(HBitmap *b, uint64_t i, Leaf *l)
{
    b->set -= leaf_set(b, i);
    leaf_drop(b->leaves[i]);
    b->leaves[i] = l;
    b->set += leaf_set(b, i);
}

/* A leaf whose bits became alike needs no memory. */
static void leaf_simplify(HBitmap *b, uint64_t i)
{
    Leaf *l = b->leaves[i];

    if (l && l != FULL && !l->set)
        leaf_put(b, i, NULL);
    else if (l && l != FULL && l->set == leaf_len(b, i))
        leaf_put(b, i, FULL);
}

static void leaf_change(HBitmap *b, uint64_t i, uint32_t from, uint32_t to, bool value)
{
    Leaf *l = b->leaves[i], *same = value ? FULL : NULL;

    if (l == same)
        return;
    if (!from && to == leaf_len(b, i)) {
        leaf_put(b, i, same);
        return;
    }
    l = leaf_own(b, i);
    if (!l) {
        if (value)
            leaf_put(b, i, FULL);
        return;
    }
    b->set -= l->set;
    leaf_fill(l, from, to, value);
    b->set += l->set;
    leaf_simplify(b, i);
}

/* The first bit in [@from, @to) of @l that is @value; @to if there is none. */
static uint32_t leaf_find(const Leaf *l, uint32_t from, uint32_t to, bool value)
{
    if (!l || l == FULL)
        return (l == FULL) == value ? from : to;
    while (from < to) {
        uint64_t w = l->words[from / 64];

        w = (value ? w : ~w) & (UINT64_MAX << from % 64);
        if (w)
            return MIN(to, from / 64 * 64 + (uint32_t)__builtin_ctzll(w));
        from = (from / 64 + 1) * 64;
    }
    return to;
}

/* ---- ranges --------------------------------------------------------------------------------- */

static void change(HBitmap *b, uint64_t first, uint64_t count, bool value)
{
    uint64_t end = MIN(first + count, b->bits);

    while (first < end) {
        uint64_t i = first / LEAF_BITS, start = i * LEAF_BITS, to = MIN(end, start + LEAF_BITS);

        leaf_change(b, i, (uint32_t)(first - start), (uint32_t)(to - start), value);
        first = to;
    }
}

void hbitmap_set(HBitmap *b, uint64_t first, uint64_t count)
{
    change(b, first, count, true);
}

void hbitmap_clear(HBitmap *b, uint64_t first, uint64_t count)
{
    change(b, first, count, false);
}

bool hbitmap_get(const HBitmap *b, uint64_t bit)
{
    const Leaf *l = b->leaves[bit / LEAF_BITS];

    return l == FULL || (l && l->words[bit % LEAF_BITS / 64] >> bit % 64 & 1);
}

static uint64_t next(const HBitmap *b, uint64_t from, uint64_t end, bool value)
{
    uint64_t stop = MIN(end, b->bits);

    while (from < stop) {
        uint64_t i = from / LEAF_BITS, start = i * LEAF_BITS, to = MIN(stop, start + LEAF_BITS);
        uint32_t found = leaf_find(b->leaves[i], (uint32_t)(from - start), (uint32_t)(to - start),
                                   value);

        from = start + found;
        if (from < to)
            return from;
    }
    return end;
}

uint64_t hbitmap_next_set(const HBitmap *b, uint64_t from, uint64_t end)
{
    return next(b, from, end, true);
}

uint64_t hbitmap_next_clear(const HBitmap *b, uint64_t from, uint64_t end)
{
    return next(b, from, end, false);
}

void hbitmap_merge(HBitmap *b, const HBitmap *other)
{
    for (uint64_t i = 0; i < b->leaf_count; i++) {
        const Leaf *from = other->leaves[i];
        Leaf *l;

        if (!from || b->leaves[i] == FULL)
            continue;
        l = from == FULL ? NULL : leaf_own(b, i);
        if (!l) {
            leaf_put(b, i, FULL);
            continue;
        }
        b->set -= l->set;
        l->set = 0;
        for (int w = 0; w < LEAF_WORDS; w++) {
            l->words[w] |= from->words[w];
            l->set += (uint32_t)__builtin_popcountll(l->words[w]);
        }
        b->set += l->set;
        leaf_simplify(b, i);
    }
}

bool hbitmap_resize(HBitmap *b, uint64_t bits)
{
    uint64_t count = leaves_for(bits), tail = b->bits % LEAF_BITS;
    Leaf **leaves;

    if (bits > HBITMAP_BITS_MAX)
        return false;
    if (bits > b->bits && tail && b->leaves[b->leaf_count - 1] == FULL &&
        !leaf_own(b, b->leaf_count - 1))
        return false;
    if (bits < b->bits) {
        hbitmap_clear(b, bits, b->bits - bits);
        for (uint64_t i = count; i < b->leaf_count; i++)
            leaf_put(b, i, NULL);
    }
    if (count > b->leaf_count) {
        leaves = g_try_renew(Leaf *, b->leaves, count);
        if (!leaves)
            return false;
        memset(leaves + b->leaf_count, 0, (count - b->leaf_count) * sizeof(*leaves));
        b->leaves = leaves;
    }
    b->leaf_count = count;
    b->bits = bits;
    if (count)
        leaf_simplify(b, count - 1);
    return true;
}

/* ---- as bytes ------------------------------------------------------------------------------- */

/* Eight bits at @bit, a multiple of 8; those behind the end are 0. */
static uint8_t byte_get(const HBitmap *b, uint64_t bit)
{
    const Leaf *l;
    uint8_t byte;

    if (bit >= b->bits)
        return 0;
    l = b->leaves[bit / LEAF_BITS];
    byte = !l ? 0 : l == FULL ? 0xff : (uint8_t)(l->words[bit % LEAF_BITS / 64] >> bit % 64);
    return b->bits - bit < 8 ? byte & (uint8_t)((1u << (b->bits - bit)) - 1) : byte;
}

void hbitmap_store(const HBitmap *b, uint64_t first, uint8_t *bytes, uint64_t len)
{
    for (uint64_t i = 0; i < len;) {
        uint64_t bit = first + i * 8;
        const Leaf *l = bit < b->bits ? b->leaves[bit / LEAF_BITS] : NULL;

        if (bit % 64 == 0 && len - i >= 8 && l && l != FULL) {
            le64_put(bytes + i, l->words[bit % LEAF_BITS / 64]);
            i += 8;
        } else {
            bytes[i++] = byte_get(b, bit);
        }
    }
}

static void load_byte(HBitmap *b, uint64_t bit, uint8_t byte)
{
    for (unsigned k = 0; k < 8 && bit + k < b->bits; k++)
        change(b, bit + k, 1, byte >> k & 1);
}

/* Sixty-four bits of leaf @i. */
static void load_word(HBitmap *b, uint64_t i, uint32_t w, uint64_t word)
{
    Leaf *l = b->leaves[i];

    if ((!l && !word) || (l == FULL && word == UINT64_MAX))
        return;
    l = leaf_own(b, i);
    if (!l) {
        leaf_put(b, i, FULL);
        return;
    }
    b->set -= l->set;
    l->set -= (uint32_t)__builtin_popcountll(l->words[w]);
    l->words[w] = word;
    l->set += (uint32_t)__builtin_popcountll(word);
    b->set += l->set;
}

void hbitmap_load(HBitmap *b, uint64_t first, const uint8_t *bytes, uint64_t len)
{
    uint64_t i = 0;

    while (i < len && first + i * 8 < b->bits) {
        uint64_t bit = first + i * 8, leaf = bit / LEAF_BITS;

        if (bit % 64 == 0 && len - i >= 8 && b->bits - bit >= 64) {
            load_word(b, leaf, bit % LEAF_BITS / 64, le64_at(bytes + i));
            i += 8;
        } else {
            load_byte(b, bit, bytes[i++]);
        }
        if (i == len || first + i * 8 >= b->bits || (first + i * 8) % LEAF_BITS == 0)
            leaf_simplify(b, leaf);
    }
}
