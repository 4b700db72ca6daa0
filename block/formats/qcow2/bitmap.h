/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Persistent dirty bitmaps of an open image: what bitmap.c and bitmap-store.c share. */
#ifndef BLOCK_FORMATS_QCOW2_BITMAP_H
#define BLOCK_FORMATS_QCOW2_BITMAP_H

#include "block/formats/qcow2/bitmap-directory.h"

struct Bitmaps {
    GArray *stored;      /* BitmapEntry: the directory as it is in the file */
};

/* Entries that the table of a bitmap of @bits bits has. */
static inline uint64_t bitmap_table_needed(const Qcow2 *q, uint64_t bits)
{
    return div_round_up(bits, q->cluster * 8);
}

/* Index of the stored bitmap @name; UINT_MAX if there is none. */
guint bitmap_stored_index(const Qcow2 *q, const char *name);
/* Sets BITMAP_IN_USE in every entry, in place and durably. */
CO bool bitmaps_mark_in_use(Qcow2 *q, GError **err);
/*
 * Writes the directory @entries to a new place and switches the header to it; takes @entries over.
 */
CO bool bitmap_directory_replace(Qcow2 *q, GArray *entries, GError **err);
/* BitmapOps.store_now. */
CO bool qcow2_bitmap_store_now(Node *n, const DirtyBitmap *b, const HBitmap *bits, GError **err);
/* What only the bitmap @e refers to is not needed any more; no directory refers to it. */
CO void bitmap_space_free(Qcow2 *q, const BitmapEntry *e);

#endif
