/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each guest sector may read as after a power cut.
 *
 * Every write has a number, its stamp, which fills the sectors it writes; 0 stands for zeroes. A
 * timeline remembers what was done and when (as a position in the log of the disks); a model walks
 * along it and knows, for the position it has come to, all stamps that a sector may show.
 */
#ifndef TESTS_LIB_POWER_CUT_MODEL_H
#define TESTS_LIB_POWER_CUT_MODEL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { SECTOR = 512 };

/* What a sector is now: @stamp, or zero as well. */
typedef struct {
    uint64_t stamp;
    bool or_zero;
} SectorState;

typedef struct Timeline Timeline;
typedef struct Model Model;

/* For a disk of up to @size bytes whose sectors are @initial (NULL: all zero). */
Timeline *timeline_new(uint64_t size, const SectorState *initial);
void timeline_free(Timeline *t);

/* At log position @at, [@off, @off + @len) begins to become @stamp. */
void timeline_write(Timeline *t, size_t at, uint64_t off, uint64_t len, uint64_t stamp);
/* The same, but it may also become zero or stay what it was. */
void timeline_forget(Timeline *t, size_t at, uint64_t off, uint64_t len);
/* All that was done before is durable. */
void timeline_flushed(Timeline *t, size_t at);
/* The whole disk begins to become @to, an array that timeline_now returned. */
void timeline_restore(Timeline *t, size_t at, const SectorState *to);
/* What the disk is after all that was done; the caller frees. */
SectorState *timeline_now(const Timeline *t);

Model *model_new(const Timeline *t);
void model_free(Model *m);
/* Moves on to log position @at; only forward. */
void model_advance(Model *m, size_t at);
bool model_allows(const Model *m, uint64_t sector, uint64_t stamp);
/* The oldest stamp that @sector may show, for messages. */
uint64_t model_oldest(const Model *m, uint64_t sector);

#endif
