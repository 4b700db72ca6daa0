/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known about an image, as an object of the schema's type ImageInfo and as text. */
#ifndef QEMU_IMG_DESCRIBE_H
#define QEMU_IMG_DESCRIBE_H

#include "block/block.h"
#include "block/snapshot.h"
#include "util/json.h"

enum { DESCRIBE_LIMITS = 1, DESCRIBE_CHILDREN = 2 };

/* New reference; NULL with @err. @what: DESCRIBE_* bits for what is not told by default. */
CO json_t *describe_image(Node *n, unsigned what, GError **err);

/* The same as text on standard output. */
void describe_print(const json_t *image);

/* A table of snapshots on standard output, with its heading. */
void describe_snapshots(const Snapshot *list, size_t count);

#endif
