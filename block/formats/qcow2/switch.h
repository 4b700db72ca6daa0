/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another state of the image, written beside the one that the file has and switched to by one
 * write of the header: the active L1 table and the L2 tables whose COPIED flags change, the
 * refcount blocks whose counts change, the refcount table, the snapshot table. So counts and flags
 * agree at every moment; a cut before or after leaves at most clusters that nothing refers to.
 *
 *     switch_init; switch_count for each tree that gains or loses a user
 *     switch_plan                   what counts become
 *     switch_tables                 L2 tables with other flags; the L1 table in s->l1 follows
 *     switch_l1_write, switch_snapshots_write    as needed
 *     switch_prepare                the rest but the header
 *     switch_over                   the header
 *
 * No requests meanwhile, all metadata written before (qcow2_commit_all) with lazy_refcounts off.
 */
#ifndef BLOCK_FORMATS_QCOW2_SWITCH_H
#define BLOCK_FORMATS_QCOW2_SWITCH_H

#include "block/formats/qcow2/tree.h"

/* What the first sector of the header says of tables. */
typedef struct {
    uint64_t l1_off, size, reftable_off, snapshots_off, snapshots_len;
    uint32_t l1_len, reftable_clusters, header_snapshots;
} SwitchFields;

typedef struct {
    Qcow2 *q;
    SwitchFields next;
    uint64_t *l1;        /* the active table as it shall be, next.l1_len entries */
    Counts counts;       /* references that come; once planned: new counts + 1, 0: no change */
    Counts down;         /* before the plan: references that go */
    GArray *taken;       /* FreeRun: new space */
    GArray *left;        /* FreeRun: what the new state does not refer to any more */
    GArray *moved;       /* L2 tables, see switch.c */
    GArray *blocks;      /* refcount blocks, see switch.c */
} Switch;

/* Takes over @l1, a table of @len entries that shall be the active one of a disk of @size bytes. */
CO bool switch_init(Switch *s, Qcow2 *q, uint64_t *l1, uint32_t len, uint64_t size, GError **err);
/* The tree of @l1 is referred to once more, or (not @comes) once less. */
CO bool switch_count(Switch *s, const uint64_t *l1, uint32_t len, bool comes, GError **err);
/* -EOVERFLOW: refcounts are too narrow; -EIO: refcounts are wrong. */
CO int switch_plan(Switch *s);

typedef enum {
    SWITCH_SHARE,     /* the active disk, which a new snapshot shares from now on: flags off */
    SWITCH_BORROW,    /* s->l1 is a snapshot's: flags off */
    SWITCH_OWN,       /* the active disk: flags on for what only it refers to from now on */
} SwitchMode;

CO int switch_tables(Switch *s, SwitchMode mode);
/* Writes s->l1 without flags to a new place, for a snapshot. */
CO int switch_l1_copy(Switch *s, uint64_t *off);
/* q->snapshots is the new list. */
CO int switch_snapshots_write(Switch *s);
/* The old state's clusters [@off, @off + @len) are not referred to by the new one. */
void switch_leave(Switch *s, uint64_t off, uint64_t len);
/* Writes all but the header, and makes it durable: whatever needs space. */
CO int switch_prepare(Switch *s);
/*
 * After switch_prepare. *@done: the file, and @q, have the new state, even if a negative errno is
 * returned, which then means that it may not be durable or that not all that is free now could be
 * counted so.
 */
CO int switch_over(Switch *s, bool *done);
/* Gives back what was taken if it has not come to the switch. */
CO void switch_clear(Switch *s);

#endif
