/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The directory of persistent bitmaps in the file ("Bitmaps extension" in the specification). */
#ifndef BLOCK_FORMATS_QCOW2_BITMAP_DIRECTORY_H
#define BLOCK_FORMATS_QCOW2_BITMAP_DIRECTORY_H

#include "block/formats/qcow2/qcow2.h"

enum { BITMAP_IN_USE = 1 << 0, BITMAP_AUTO = 1 << 1, BITMAP_FLAGS_KNOWN = 3 };

/* What an entry of a bitmap table says; other bits are reserved. */
#define BITMAP_TABLE_OFFSET UINT64_C(0x00fffffffffffe00)
#define BITMAP_TABLE_ONES UINT64_C(1)

typedef struct {
    uint64_t table_off;
    uint32_t table_len;      /* entries */
    uint32_t flags;
    uint8_t granularity_bits;
    char *name;
} BitmapEntry;

/*
 * Reads and checks the directory that @q tells of: an array of BitmapEntry that owns its names.
 * NULL with the reason in @err.
 */
CO GArray *bitmap_directory_read(Qcow2 *q, GError **err);
GArray *bitmap_directory_new(void);
/* The table of @e in host byte order, checked; NULL with @err. Caller frees. */
CO uint64_t *bitmap_table_read(Qcow2 *q, const BitmapEntry *e, GError **err);
/* The bytes of @entries in a directory; caller frees. NULL if they are too many or too long. */
GByteArray *bitmap_directory_bytes(const GArray *entries);

#endif
