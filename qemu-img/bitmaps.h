/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Persistent dirty bitmaps: what convert and bitmap do with them. */
#ifndef QEMU_IMG_BITMAPS_H
#define QEMU_IMG_BITMAPS_H

#include "block/block.h"
#include "block/dirty.h"
#include <stdbool.h>

/*
 * True if the persistent bitmaps of @n can be copied: there is such a thing in its format, and none
 * is inconsistent, or those are to be left out. False: complained.
 */
bool bitmaps_can_copy(Node *n, bool skip_broken);
/* True if the format of @n can store bitmaps. False: complained. */
CO bool bitmaps_supported(Node *n);
/* Marks in @to what is marked in @from; as far as both reach. */
void bitmaps_merge(DirtyBitmap *to, const DirtyBitmap *from);
/* Copies all persistent bitmaps of @from to @to. False: complained. */
CO bool bitmaps_copy(Node *from, Node *to, bool skip_broken);

#endif
