/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of a guest that runs before all of it has come: whoever touches a page that is missing
 * waits until it is placed (userfaultfd(2)).
 *
 * Everything up to missing_begin is for the main loop, everything after it for one loop at a time,
 * but for missing_is_here.
 */
#ifndef MIGRATION_MISSING_H
#define MIGRATION_MISSING_H

#include "io/co.h"
#include "migration/blocktime.h"
#include "migration/ram.h"

typedef struct Missing Missing;

/*
 * Nothing is missing of @r, which has to live as long. @b, unless NULL, is told who waits; it is
 * not owned. NULL with @err: the host does not allow it.
 */
Missing *missing_new(RamBlocks *r, Blocktime *b, GError **err);
/* Whoever waits for a page goes on with zeroes. */
void missing_free(Missing *m);

/* Forgets what is in [@off, @off + @len) of @b: it will come (again). False: @in has failed. */
bool missing_forget(Missing *m, Input *in, RamBlock *b, uint64_t off, uint64_t len);
/* From now on threads wait for what is missing. False: @in has failed. */
bool missing_begin(Missing *m, Input *in);

/* Puts a page, NULL for zeroes, where it is missing. False: @in has failed. */
bool missing_place(Missing *m, Input *in, RamBlock *b, uint64_t off, const uint8_t *page);
/* Pages that are missing still. */
uint64_t missing_pages(const Missing *m);
/*
 * Serves threads that touch memory until missing_stop: memory that was never missing becomes
 * zeroes, missing pages are noted for missing_next_wanted.
 */
CO void missing_watch(Missing *m);
void missing_stop(Missing *m);
/* The next missing page that is waited for and that was not told yet. False: missing_hush. */
CO bool missing_next_wanted(Missing *m, RamBlock **b, uint64_t *off);
/* Ends missing_next_wanted, until missing_tell_again. */
void missing_hush(Missing *m);
/* missing_next_wanted returns pages again that it has returned and that have not come. */
void missing_tell_again(Missing *m);

/*
 * Any thread, one at a time: true if nothing of the @len bytes at @at, which lie in one block, is
 * missing. Else @ask is called for each run of pages of which this was not asked before; it has to
 * see that the loop calls missing_ask. Never waits.
 */
typedef void MissingAskFn(void *opaque, uint64_t at, uint64_t len);
bool missing_is_here(Missing *m, const uint8_t *at, uint64_t len, MissingAskFn *ask, void *opaque);
/* Lets missing_next_wanted tell of these pages. */
void missing_ask(Missing *m, uint64_t at, uint64_t len);
/* True if pages that were asked for have come since the last call. */
bool missing_take_arrived(Missing *m);

/*
 * The pages of @b that are not missing: bit n of the words, little-endian, is page n. Caller frees.
 */
GByteArray *missing_received(const Missing *m, const RamBlock *b);
/* Nothing is missing any more: threads do not wait from now on. */
void missing_end(Missing *m);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Missing, missing_free)

#endif
