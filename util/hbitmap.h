/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Large bitmaps with fast search. They are cut into leaves of 32768 bits; a leaf that is all clear
 * or all set takes no memory beyond a pointer, so memory grows with what is mixed.
 *
 * Changing bits may need a leaf. If there is no memory for it, whole leaves stay or become set:
 * these bitmaps say what must be copied, and more than needed is never wrong.
 */
#ifndef UTIL_HBITMAP_H
#define UTIL_HBITMAP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct HBitmap HBitmap;

/* No bitmap has more bits than this. */
#define HBITMAP_BITS_MAX (UINT64_C(1) << 40)

/* @bits bits, all clear; NULL if there is no memory or they are too many. */
HBitmap *hbitmap_try_new(uint64_t bits);
void hbitmap_free(HBitmap *b);
uint64_t hbitmap_bits(const HBitmap *b);
/* Ranges must lie within the bitmap. */
void hbitmap_set(HBitmap *b, uint64_t first, uint64_t count);
void hbitmap_clear(HBitmap *b, uint64_t first, uint64_t count);
bool hbitmap_get(const HBitmap *b, uint64_t bit);
uint64_t hbitmap_count(const HBitmap *b);   /* bits set; constant time */
/* The first set (clear) bit at or after @from and before @end; @end if there is none. */
uint64_t hbitmap_next_set(const HBitmap *b, uint64_t from, uint64_t end);
uint64_t hbitmap_next_clear(const HBitmap *b, uint64_t from, uint64_t end);
/* Sets in @b whatever is set in @other; same number of bits. */
void hbitmap_merge(HBitmap *b, const HBitmap *other);
/* Changes the number of bits; new ones are clear. False, with nothing changed, without memory. */
bool hbitmap_resize(HBitmap *b, uint64_t bits);
/*
 * The bits as little-endian bytes, bit 0 of byte 0 first: [@first, @first + 8 * @len), @first a
 * multiple of 8. Bits behind the end are stored as 0 and ignored when loaded.
 */
void hbitmap_store(const HBitmap *b, uint64_t first, uint8_t *bytes, uint64_t len);
void hbitmap_load(HBitmap *b, uint64_t first, const uint8_t *bytes, uint64_t len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(HBitmap, hbitmap_free)

#endif
