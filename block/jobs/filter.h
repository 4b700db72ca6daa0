/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Filters that jobs put on top of images for as long as they last. */
#ifndef BLOCK_JOBS_FILTER_H
#define BLOCK_JOBS_FILTER_H

#include "block/internal.h"

/* commit_top: only passes on. */
extern const BlockDriver commit_filter;

/*
 * Adds to @edit that a new node of driver @drv comes on top of @below: all that uses @below uses it
 * from then on. The caller calls filter_inserted when the edit was committed, and owns a reference.
 * NULL with @err.
 */
Node *filter_insert(Edit *edit, const BlockDriver *drv, const char *name, Node *below,
                    GError **err);
void filter_inserted(Node *filter);
/*
 * Removes the filter and gives up the reference: its parents then use the node below. If another
 * user of that node does not share what they need, a warning is printed, and the filter stays until
 * its parents are gone.
 */
CO void filter_remove(Node *filter);

/* Makes @n read-only, or writable, unless it is so. */
CO bool node_set_read_only(Node *n, bool read_only, GError **err);
/* The step of it. */
void edit_set_read_only(Edit *edit, Node *n, bool read_only);
/*
 * A step that stores @name and @format as those of the backing file in image @n, when all else is
 * prepared; NULL: it has none.
 */
void edit_store_backing(Edit *edit, Node *n, const char *name, const char *format);

#endif
