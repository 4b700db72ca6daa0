/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Differencing images of Microsoft's formats (VHD, VHDX): an image that has only the sectors that
 * differ from a parent, which it names by Windows paths and by an identity.
 */
#ifndef BLOCK_FORMATS_PARENT_H
#define BLOCK_FORMATS_PARENT_H

#include "block/driver.h"

enum { PARENT_NAME_MAX = 64 << 10 };    /* bytes of UTF-16: the longest Windows path */

/*
 * The name of the parent, relative to the image's folder, from a Windows path: @len bytes of
 * UTF-16, or up to a zero. Of an absolute path only the last part is used: such a parent is looked
 * for beside the image. NULL: not valid text, or empty. The caller frees.
 */
char *parent_name(const uint8_t *utf16, size_t len, bool big_endian);

/*
 * @bits has a bit for each sector: set if it is in the image, clear if it comes from the parent.
 * Returns how many bits from @from on, before @end, are equal; *@here: they are set.
 */
uint64_t parent_sectors(const uint8_t *bits, uint64_t from, uint64_t end, bool high_bit_first,
                        bool *here);

/* Sets @err: @backing, with identity @found, is not the parent of @n. Returns false. */
bool parent_mismatch(const Node *n, const Node *backing, const char *wanted, const char *found,
                     GError **err);

#endif
