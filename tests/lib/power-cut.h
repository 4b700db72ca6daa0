/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power cuts at any moment of a workload.
 *
 * A workload runs on an image that lies on a memdisk. Then the disk is rebuilt as a cut after
 * each logged write could have left it: all writes so far in order, or everything flushed and a
 * random part, torn at 512 bytes, of what was not. Of each such image it must hold that it opens,
 * that (where the format has a check) a check finds nothing but leaks and repairing these leaves it
 * clean, and that each guest sector reads as what was last flushed there or something written
 * later.
 *
 * An image may have a second disk, which the cut meets at the same moment: its data file, or the
 * overlay on top of it.
 */
#ifndef TESTS_LIB_POWER_CUT_H
#define TESTS_LIB_POWER_CUT_H

#include "block/block.h"

typedef struct PowerCut PowerCut;

typedef enum {
    POWER_CUT_WRITETHROUGH = 1 << 0, /* every write is durable when it returns */
    POWER_CUT_DATA_FILE = 1 << 1,    /* the second disk is the image's data file */
    POWER_CUT_OVERLAY = 1 << 2,      /* the second disk is a qcow2 overlay; requests enter there */
    POWER_CUT_BACKING = 1 << 3,      /* the image has "base-a" as its backing file */
    POWER_CUT_LUKS = 1 << 4,         /* encrypted */
    POWER_CUT_LEAKS = 1 << 6,        /* no repair finds what a cut has lost: leaks stay */
    /* .damage has spoilt it before .run; a cut is fully repaired */
    POWER_CUT_DAMAGED = 1 << 5,
} PowerCutKind;

/* Two disks that images may have as backing files; nothing is written to them. */
#define POWER_CUT_BASE_A "base-a"
#define POWER_CUT_BASE_B "base-b"

typedef struct {
    const char *name;
    const char *options;            /* create options, "cluster_size=512,..." */
    const char *open_options;       /* key=value options for opening, or NULL */
    uint64_t size;                  /* guest bytes */
    CO void (*run)(PowerCut *pc);
    unsigned kind;                  /* PowerCutKind */
    CO void (*prepare)(PowerCut *pc);           /* before the log begins; NULL: nothing */
    /* after that: spoils it, or lays it out otherwise */
    void (*damage)(uint8_t *image, size_t len);
    CO void (*verify)(Handle *h);   /* what must hold after a cut besides; NULL: nothing */
    uint64_t max_size;              /* largest size it grows to; 0: size */
    const char *format;             /* NULL: "qcow2"; of the overlay always that */
} PowerCutWorkload;

/* For workloads: operations on the image, remembered by the model. They assert success. */
Handle *power_cut_handle(PowerCut *pc);
Handle *power_cut_under(PowerCut *pc);      /* what an overlay lies on; not remembered */
const uint8_t *power_cut_base(const char *name);  /* the bytes of base-a or base-b */
uint32_t power_cut_random(PowerCut *pc, uint32_t below);
CO void power_cut_write(PowerCut *pc, uint64_t off, uint64_t len);
CO void power_cut_zero(PowerCut *pc, uint64_t off, uint64_t len, bool unmap);
CO void power_cut_discard(PowerCut *pc, uint64_t off, uint64_t len);
CO void power_cut_flush(PowerCut *pc);
CO void power_cut_resize(PowerCut *pc, uint64_t size);
/* Random writes, zeroes, discards and flushes, @ops of them, up to @max bytes each. */
CO void power_cut_mix(PowerCut *pc, unsigned ops, uint64_t max);

/* The handle wants only @needs (ACCESS_*) from now on, and lets others do everything. Its node. */
CO Node *power_cut_want(PowerCut *pc, unsigned needs);
/* Each sector of the image may become that of base-a or base-b from now on. */
void power_cut_becomes(PowerCut *pc, const char *base);
/* What somebody else has made of the image is durable. */
void power_cut_is_durable(PowerCut *pc);

/* A state of a machine, @len bytes of @fill, which the next snapshot gets. */
CO void power_cut_state(PowerCut *pc, uint8_t fill, uint64_t len);
/* Takes a snapshot; the returned one is for the next two, which free it. */
typedef struct PowerCutSnapshot PowerCutSnapshot;
CO PowerCutSnapshot *power_cut_snapshot(PowerCut *pc, const char *name);
CO void power_cut_snapshot_apply(PowerCut *pc, const PowerCutSnapshot *s);
CO void power_cut_snapshot_remove(PowerCut *pc, PowerCutSnapshot *s);

/* Runs @w and checks about @points moments. Asserts on the first loss. Returns moments checked. */
CO unsigned power_cut_run(const PowerCutWorkload *w, unsigned points, uint32_t seed);

#endif
