/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known about an image, as an object of the schema's type ImageInfo and as text. */
#ifndef QEMU_IMG_DESCRIBE_H
#define QEMU_IMG_DESCRIBE_H

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

/* The same as text on standard output. */
void describe_print(const json_t *image, const GArray *lists);
/* The same as JSON on standard output; @v may be an array of descriptions. */
void describe_print_json(const json_t *v, GArray *lists);

/* A table of snapshots on standard output, with its heading. */
void describe_snapshots(const Snapshot *list, size_t count);

#endif
