/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of internal snapshots in the file. */
#ifndef BLOCK_FORMATS_QCOW2_SNAPSHOT_TABLE_H
#define BLOCK_FORMATS_QCOW2_SNAPSHOT_TABLE_H

#include "block/formats/qcow2/qcow2.h"

void snapshot_clear(Qcow2Snapshot *s);
/* Reads the table that the header tells of to q->snapshots. */
CO bool snapshot_table_read(Qcow2 *q, GError **err);
/* Writes q->snapshots to a new place, not durably; *@len 0: there are none, nothing was taken. */
CO int snapshot_table_put(Qcow2 *q, uint64_t *off, uint64_t *len);
/*
 * Writes q->snapshots to a new place and switches the header to it, durably; the old table is freed
 * later. What it refers to must be durable. After a failure the file has the old table.
 */
CO int snapshot_table_write(Qcow2 *q);

#endif
