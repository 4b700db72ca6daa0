/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known about an image, as text. */
#ifndef QEMU_IMG_DESCRIBE_H
#define QEMU_IMG_DESCRIBE_H

#include "block/describe.h"

/* A description of describe_image as text on standard output. */
void describe_print(const json_t *image, const GArray *lists);
/* The same as JSON on standard output; @v may be an array of descriptions. */
void describe_print_json(const json_t *v, GArray *lists);

/* A table of snapshots on standard output, with its heading. */
void describe_snapshots(const Snapshot *list, size_t count);

#endif
