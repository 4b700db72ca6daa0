/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of xz for the module. */
#ifndef BLOCK_MODULES_LZMA_XZ_H
#define BLOCK_MODULES_LZMA_XZ_H

#include "block/inflate.h"

extern const Codec xz_codec;
extern const IndexReader xz_index;

#endif
