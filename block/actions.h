/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What commands do to the graph, as steps of an edit: a command is an edit with one of them, a
 * transaction one with several. What they look up, each sees as the steps before it have left it.
 * Nodes are still meanwhile, so that all that an edit does is of one moment. False with @err. Main
 * loop only.
 */
#ifndef BLOCK_ACTIONS_H
#define BLOCK_ACTIONS_H

#include "block/edit.h"
#include "block/jobs/job.h"
#include "gen/qmp.h"

CO bool action_bitmap_add(Edit *edit, const BlockDirtyBitmapAdd *args, GError **err);
bool action_bitmap_remove(Edit *edit, const BlockDirtyBitmap *args, GError **err);
bool action_bitmap_clear(Edit *edit, const BlockDirtyBitmap *args, GError **err);
bool action_bitmap_set_enabled(Edit *edit, const BlockDirtyBitmap *args, bool on, GError **err);
bool action_bitmap_merge(Edit *edit, const BlockDirtyBitmapMerge *args, GError **err);
bool action_snapshot(Edit *edit, const BlockdevSnapshot *args, GError **err);
CO bool action_internal_snapshot(Edit *edit, const BlockdevSnapshotInternal *args, GError **err);

/* Creates @snapshot inside @n; the driver chooses its id. If @edit fails it is removed again. */
void action_internal_add(Edit *edit, Node *n, const Snapshot *snapshot);
/* Deletes it. Cannot be undone: it stays deleted even if a later step of @edit fails. */
void action_internal_remove(Edit *edit, Node *n, const char *id);
/* A snapshot inside @n. */
typedef struct {
    Node *n;
    const char *id;
} NodeSnapshot;
/*
 * Makes each of @images show its snapshot again. Cannot be undone either. Whatever can fail is done
 * before the first image changes, except the last write to each; if that fails, @err says which
 * images show the snapshot. *@changed is set if any does.
 */
void action_internal_apply(Edit *edit, const NodeSnapshot *images, unsigned count, bool *changed);

/* Before the edit: makes the overlay and opens it, a reference of the caller's. NULL with @err. */
CO Node *action_overlay_new(const BlockdevSnapshotSync *args, GError **err);
/* In it: puts it on top. */
bool action_overlay_add(Edit *edit, const BlockdevSnapshotSync *args, Node *overlay, GError **err);

#endif
