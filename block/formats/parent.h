/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Differencing images of Microsoft's formats (VHD, VHDX): an image that has only the sectors that
 * differ from a parent, which it names by paths of Windows and by an identity.
 */
#ifndef BLOCK_FORMATS_PARENT_H
#define BLOCK_FORMATS_PARENT_H

#include "block/driver.h"

enum { PARENT_NAME_MAX = 64 << 10 };    /* bytes of UTF-16, as of the longest path of Windows */

/*
 * The name of the parent, relative to the image's folder, from a path of Windows: @len bytes of
 * UTF-16, ended by a zero if there is one. Of a path that is not relative only the last part means
 * something here: such a parent is looked for beside the image. NULL: not text, or empty. The caller
 * frees.
 */
char *parent_name(const uint8_t *utf16, size_t len, bool big_endian);

/*
 * A bitmap has a bit per sector, set for those that are in the image and not in its parent. How
 * many from bit @from on, before @end, are alike; *@here: in the image.
 */
uint64_t parent_sectors(const uint8_t *bits, uint64_t from, uint64_t end, bool high_bit_first,
                        bool *here);

/* Says that @backing is not the parent of @n, whose identities are these. False. */
bool parent_mismatch(const Node *n, const Node *backing, const char *wanted, const char *found,
                     GError **err);

#endif
