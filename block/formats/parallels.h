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
 * Checks the extension of @n, whose size is set, at byte @off of its file. @load: gives @n the bitmaps
 * that it has, called by their UUIDs; those of an earlier time are read anew.
 */
CO bool parallels_extension_read(Node *n, const ParallelsDisk *disk, uint64_t off, bool load,
                                 GError **err);

#endif
