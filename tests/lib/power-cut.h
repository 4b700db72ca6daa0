/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power cuts at any moment of a workload.
 *
 * A workload runs on a qcow2 image that lies on a memdisk. Then the disk is rebuilt as a cut after
 * each logged write could have left it: all writes so far in order, or everything flushed and a
 * random part, torn at 512 bytes, of what was not. Of each such image it must hold that it opens,
 * that repairing no more than leaks leaves it clean, and that each guest sector reads as what was
 * last flushed there or something written later.
 */
#ifndef TESTS_LIB_POWER_CUT_H
#define TESTS_LIB_POWER_CUT_H

#include "block/block.h"

typedef struct PowerCut PowerCut;

typedef struct {
    const char *name;
    const char *options;            /* create options, "cluster_size=512,..." */
    const char *open_options;       /* key=value options for opening, or NULL */
    uint64_t size;                  /* guest bytes */
    CO void (*run)(PowerCut *pc);
} PowerCutWorkload;

/* For workloads: operations on the image, remembered by the model. They assert success. */
Handle *power_cut_handle(PowerCut *pc);
uint32_t power_cut_random(PowerCut *pc, uint32_t below);
CO void power_cut_write(PowerCut *pc, uint64_t off, uint64_t len);
CO void power_cut_zero(PowerCut *pc, uint64_t off, uint64_t len, bool unmap);
CO void power_cut_discard(PowerCut *pc, uint64_t off, uint64_t len);
CO void power_cut_flush(PowerCut *pc);
/* Random writes, zeroes, discards and flushes, @ops of them, up to @max bytes each. */
CO void power_cut_mix(PowerCut *pc, unsigned ops, uint64_t max);
/* Tells the model that any sector may now also read as zero (after a shrink). */
void power_cut_forget(PowerCut *pc, uint64_t off, uint64_t len);

/* Runs @w and checks about @points moments. Asserts on the first loss. Returns moments checked. */
CO unsigned power_cut_run(const PowerCutWorkload *w, unsigned points, uint32_t seed);

#endif
