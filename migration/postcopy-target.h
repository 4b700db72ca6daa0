/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The target's side of postcopy: the guest runs here while a thread places the rest of its memory
 * and asks the source for pages that are waited for. docs/spec/migration-stream.md. Main loop only.
 */
#ifndef MIGRATION_POSTCOPY_TARGET_H
#define MIGRATION_POSTCOPY_TARGET_H

#include "io/loop.h"
#include "migration/blocktime.h"
#include "migration/stream.h"

typedef struct PostcopyTarget PostcopyTarget;

/* NULL with @err: this host cannot do it. @ram, and @b unless it is NULL, have to live as long. */
PostcopyTarget *postcopy_target_new(RamBlocks *ram, Blocktime *b, GError **err);
/*
 * Waits for the end of the connection; then nobody waits for memory any more, what has not come is
 * zeroes. The guest must not run after that.
 */
CO void postcopy_target_give_up(PostcopyTarget *p);
/* Stops what is under way first; then the stream must have been interrupted. */
CO void postcopy_target_free(PostcopyTarget *p);

/* What command COMMAND_POSTCOPY_DISCARD brings. False: @in has failed. */
CO bool postcopy_target_discard(PostcopyTarget *p, Input *in, const uint8_t *data, unsigned len);

/* Whoever touches memory that is missing waits from now on. False: @in has failed. */
bool postcopy_target_listen(PostcopyTarget *p, Input *in);
/* The loop of the thread that will bring it; NULL: there was no postcopy_target_listen. */
Loop *postcopy_target_loop(const PostcopyTarget *p);
/*
 * The thread reads the rest of the stream of @r, and sends to the source by @reply; if reading
 * fails, it ends the connection by @interrupt. That belongs to its loop until postcopy_target_wait
 * has returned. @arrived is called on the main loop when some memory has come for which
 * postcopy_target_here was asked.
 */
void postcopy_target_start(PostcopyTarget *p, StreamReader *r,
                           CO int (*reply)(void *opaque, const void *buf, size_t len),
                           void (*interrupt)(void *opaque), void (*arrived)(void *opaque),
                           void *opaque);
/* A MemoryHereFn, @opaque being a PostcopyTarget, after postcopy_target_start. */
bool postcopy_target_here(void *opaque, const uint8_t *at, uint64_t len);
/* Until all memory is here. False: the input of the stream has failed. */
CO bool postcopy_target_wait(PostcopyTarget *p);
/*
 * After that: goes on with another connection, over which the input now reads. The source asks
 * first what has come; @resumed is called with the opaque value of .reply when it knows.
 */
void postcopy_target_resume(PostcopyTarget *p, void (*resumed)(void *opaque));
/* For commands of the stream, in the thread. False: @in has failed. */
CO bool postcopy_target_tell_received(PostcopyTarget *p, Input *in, const uint8_t *data,
                                      unsigned len);
/* The same: what is waited for is asked for again. */
CO bool postcopy_target_go_on(PostcopyTarget *p, Input *in);

#endif
