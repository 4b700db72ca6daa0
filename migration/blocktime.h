/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How long processors waited for memory that was missing (postcopy). One thread at a time. */
#ifndef MIGRATION_BLOCKTIME_H
#define MIGRATION_BLOCKTIME_H

#include <glib.h>
#include <stdint.h>

typedef struct Blocktime Blocktime;

/* Of @n processors, each with the id of its thread, which several may share. */
Blocktime *blocktime_new(const int *threads, unsigned n);
void blocktime_free(Blocktime *b);
/* Thread @id waits for the page at @at. */
void blocktime_begin(Blocktime *b, int id, uint64_t at);
/* The page is there. */
void blocktime_end(Blocktime *b, uint64_t at);
unsigned blocktime_count(const Blocktime *b);
/* What processor @i has waited so far, waits that have not ended left out. Nanoseconds. */
int64_t blocktime_of(const Blocktime *b, unsigned i);
/* How long all of them waited at once. */
int64_t blocktime_of_all(const Blocktime *b);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Blocktime, blocktime_free)

#endif
