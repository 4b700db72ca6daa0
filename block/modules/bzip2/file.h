/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of bzip2 for the module. */
#ifndef BLOCK_MODULES_BZIP2_FILE_H
#define BLOCK_MODULES_BZIP2_FILE_H

#include "block/codec.h"

extern const Codec bzip2_codec;

#endif
