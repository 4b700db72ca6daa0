/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known about an image, as an object of the schema's type ImageInfo. */
#ifndef BLOCK_DESCRIBE_H
#define BLOCK_DESCRIBE_H

#include "block/block.h"
#include "block/snapshot.h"
#include "util/json.h"

enum { DESCRIBE_LIMITS = 1, DESCRIBE_CHILDREN = 2 };

/*
 * Snapshots of images that are described: there may be so many that objects for all would take
 * hundreds of megabytes. The member "snapshots" of a description is a number in this array. Their
 * texts belong to the nodes, which must stay open as long.
 */
typedef struct {
    Snapshot *list;
    size_t count;
} SnapshotList;

GArray *snapshot_lists_new(void);

/*
 * New reference; NULL with @err. @what: DESCRIBE_* bits for what is not told by default. Snapshots
 * are added to @lists.
 */
CO json_t *describe_image(Node *n, unsigned what, GArray *lists, GError **err);

/* @s as an object of the schema's type SnapshotInfo. New reference. */
json_t *describe_snapshot(const Snapshot *s);

#endif
