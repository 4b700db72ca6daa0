/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots of the whole machine: one inside each of its images, of the same name, and the state of
 * the machine in one of them. One command at a time; main loop only.
 */
#ifndef SYSTEM_VM_SNAPSHOT_H
#define SYSTEM_VM_SNAPSHOT_H

#include "block/jobs/job.h"
#include "block/snapshot.h"

typedef struct {
    const char *tag;
    const char *vmstate;   /* node that has the machine's state; NULL: ours to choose */
    char **nodes;          /* NULL: all images that the machine writes */
    Job *job;              /* that does the work; NULL: a command does */
    bool replaces;         /* save: snapshots of that name go, once the new ones are there */
} VmSnapshotArgs;

/*
 * Afterwards all images have the snapshot, or none: a failure leaves them as they were. A guest
 * that was running goes on in any case.
 */
CO bool vm_snapshot_save(const VmSnapshotArgs *a, GError **err);
/*
 * Goes back to the snapshot; a running guest goes on from there. If that fails half way the guest
 * stays stopped, in state STATE_RESTORE_VM.
 */
CO bool vm_snapshot_load(const VmSnapshotArgs *a, GError **err);
/* Images that have no such snapshot stay as they are. */
CO bool vm_snapshot_delete(const VmSnapshotArgs *a, GError **err);
/* Is a snapshot being made, loaded or deleted? */
bool vm_snapshot_is_busy(void);
/* For people: those that could be loaded, and, by image, the others. */
CO void vm_snapshot_list(GString *out);

/* Makes what is under way give up, and waits for it. Before the machine is freed. */
CO void vm_snapshot_end(void);

#endif
