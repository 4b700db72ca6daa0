/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What reading and writing compressed clusters share. */
#ifndef BLOCK_FORMATS_QCOW2_COMPRESS_INTERNAL_H
#define BLOCK_FORMATS_QCOW2_COMPRESS_INTERNAL_H

#include "block/formats/qcow2/codec.h"
#include "block/formats/qcow2/compress.h"

struct Qcow2Compress {
    GPtrArray *codecs;       /* idle ones, for the next clusters */
    uint8_t *kept;           /* content of the last cluster read in part; NULL: none yet */
    uint64_t kept_desc;      /* its L2 entry; 0: none */
    uint64_t kept_generation; /* of q->compressed_generation when that was read */
    CoSemaphore busy;        /* bounds clusters in work: more than CPUs waste memory */
    uint64_t ticket, turn;
    CoQueue waiters;
};

/* Made when first needed. */
Qcow2Compress *compress_state(Qcow2 *q);
/* Takes a codec for a cluster; to be given back. */
Codec *compress_codec_take(Qcow2 *q);
void compress_codec_give(Qcow2 *q, Codec *c);

#endif
