/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Internal snapshots: what a format driver offers, and how users reach it. */
#ifndef BLOCK_SNAPSHOT_H
#define BLOCK_SNAPSHOT_H

#include "block/block.h"

typedef struct {
    char *id;                 /* unique text, usually a number */
    char *name;
    uint64_t vm_state_size;   /* bytes, 0: disk only */
    int64_t date_sec;         /* since 1970 */
    uint32_t date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t icount;          /* UINT64_MAX: not recorded */
} Snapshot;

typedef struct {
    /*
     * All snapshots in the image's order: an array that the caller frees. The texts are the node's
     * and last until its snapshots change: names of many snapshots are a lot of memory.
     */
    CO int (*list)(Node *n, Snapshot **list, size_t *count);
    /* @s->id is chosen by the driver when empty. */
    CO int (*create)(Node *n, Snapshot *s, GError **err);
    /*
     * Applying one. .apply_begin writes whatever needs space, in unused parts of the image, and
     * returns a state for the other two, or NULL with @err. There are no requests until .apply_end,
     * which frees the state and, if the snapshot was not applied, the space. .apply may be called
     * once; *@done: the image shows the snapshot, though perhaps not durably if .apply fails.
     */
    CO void *(*apply_begin)(Node *n, const char *id, GError **err);
    CO bool (*apply)(Node *n, void *state, bool *done, GError **err);
    CO void (*apply_end)(Node *n, void *state);
    CO int (*remove)(Node *n, const char *id, GError **err);
    /* Shows the content of a snapshot in @n, which is read-only, until it is closed. */
    CO int (*load)(Node *n, const char *id, GError **err);
    /* Removes the VM state from the active disk. 0 or a negative errno. */
    CO int (*drop_vmstate)(Node *n);
} SnapshotOps;

/* The node that has the snapshots which @n shows: below filters and raw images. Never NULL. */
Node *snapshot_keeper(Node *n);

/* Makes snapshot @id of @n its active disk, by @ops. False with @err. */
CO bool snapshot_apply(const SnapshotOps *ops, Node *n, const char *id, GError **err);

/* The first with that @id, else with that @name; either may be NULL. NULL if none. */
const Snapshot *snapshot_find(const Snapshot *list, size_t count, const char *id, const char *name);

/*
 * Appends a line of a table for people to @out: the headings (@s NULL), or snapshot @s with @id in
 * place of its own (NULL: its own).
 */
void snapshot_put_row(GString *out, const Snapshot *s, const char *id);

#endif
