/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compressed clusters of a qcow2 image. */
#ifndef BLOCK_FORMATS_QCOW2_COMPRESS_H
#define BLOCK_FORMATS_QCOW2_COMPRESS_H

#include "block/formats/qcow2/qcow2.h"

/* Bytes [@within, @within + @buf.len) of the cluster that L2 entry @desc describes. */
CO int qcow2_compressed_read(Qcow2 *q, uint64_t desc, uint64_t within, Span buf);
/*
 * Stores whole clusters (the last one of the disk may be short) compressed, where nothing was
 * stored before. They lie in the file in the order of the calls, however long each takes.
 */
CO int qcow2_compressed_write(Qcow2 *q, uint64_t off, Span buf);
void qcow2_compress_close(Qcow2 *q);

/* How many bytes of the disk one byte of the file can hold, compressed as the image has it. */
uint64_t qcow2_expansion(const Qcow2 *q);

#endif
