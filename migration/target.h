/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The receiving side of a migration. */
#ifndef MIGRATION_TARGET_H
#define MIGRATION_TARGET_H

#include "io/loop.h"
#include "migration/blocktime.h"
#include "migration/input.h"
#include "migration/section.h"
#include "migration/stages.h"

typedef struct {
    const char *machine;
    const uint8_t *uuid;       /* which the guest's has to be, if it comes; NULL: any */
    RamBlocks *ram;
    const GPtrArray *sections; /* of MigSection *, of a machine that stands still */
    Stages *stages;            /* takes the time that devices need; NULL: nobody asks */
    Blocktime *blocktime;      /* of postcopy's processors; NULL: likewise */
    /* Sends to the source. NULL: that does not listen. */
    CO int (*reply)(void *opaque, const void *buf, size_t len);
    /*
     * The rest of postcopy's stream is read on @loop, and .reply called there; NULL: on this one
     * again. NULL: postcopy is refused.
     */
    CO void (*lend)(void *opaque, Loop *loop);
    /*
     * Memory may be missing from here on, as @here(@postcopy, …) tells (a MemoryHereFn); NULL: no
     * more. With .lend.
     */
    void (*lack)(void *opaque, bool (*here)(void *postcopy, const uint8_t *at, uint64_t len),
                 void *postcopy);
    /* Some of it has come that was asked for. */
    void (*arrived)(void *opaque);
    /* Ends the connection: whatever waits for it fails. */
    void (*interrupt)(void *opaque);
    /* The guest runs from here on, while its memory comes. False with @err. */
    CO bool (*run)(void *opaque, GError **err);
    /*
     * The guest runs, and the connection has failed because of @why: waits for another one, from
     * which @in reads then. False: there will be none.
     */
    CO bool (*recover)(void *opaque, const GError *why);
    /* The source goes on over that. */
    void (*resumed)(void *opaque);
    void *opaque;              /* for these */
} TargetConfig;

/*
 * Reads a stream into .ram and .sections. False with @err: the guest must not run, whatever has
 * come; if it runs since .run, it can go no further than the memory that is here.
 */
CO bool target_read(Input *in, const TargetConfig *config, GError **err);

#endif
