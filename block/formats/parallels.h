/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The format extension of Parallels images, which has dirty bitmaps. */
#ifndef BLOCK_FORMATS_PARALLELS_H
#define BLOCK_FORMATS_PARALLELS_H

#include "block/driver.h"

typedef struct {
    uint64_t sectors;
    uint64_t cluster;       /* bytes */
} ParallelsDisk;

/*
 * Checks the extension of @n, whose size is set, at byte @off of its file. @load: also adds its
 * bitmaps to @n, named by their UUIDs; those that @n already has are read again.
 */
CO bool parallels_extension_read(Node *n, const ParallelsDisk *disk, uint64_t off, bool load,
                                 GError **err);

#endif
