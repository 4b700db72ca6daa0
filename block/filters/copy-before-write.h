/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the backup job and snapshot-access know of a copy-before-write node. */
#ifndef BLOCK_FILTERS_COPY_BEFORE_WRITE_H
#define BLOCK_FILTERS_COPY_BEFORE_WRITE_H

#include "block/jobs/copy.h"

extern const BlockDriver block_copy_before_write;

/*
 * NULL: @n is of another driver. The state of its copying: bits that are clear are in the target.
 */
Copy *cbw_copy(Node *n);
Node *cbw_source(Node *n);
Node *cbw_target(Node *n);
/* Bits of what the snapshot has at all; NULL: everything. */
const HBitmap *cbw_access(Node *n);
/* True if old content was overwritten without a copy: there is no snapshot any more. */
bool cbw_is_broken(Node *n);

/* Gives the new node @n its state; its children are still to come. */
bool cbw_set_up(Node *n, uint64_t size, uint32_t granularity, GError **err);
void cbw_compress(Node *n);
/* The node is only a filter from now on. */
void cbw_stop(Node *n);

#endif
