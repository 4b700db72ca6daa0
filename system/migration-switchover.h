/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The moment at which a guest that leaves becomes the target's. Main loop only. */
#ifndef SYSTEM_MIGRATION_SWITCHOVER_H
#define SYSTEM_MIGRATION_SWITCHOVER_H

#include "system/migration-outgoing.h"
#include "system/run-state.h"

/*
 * Sends the rest of a guest that has stopped, and was in state @before. False with @err: the guest
 * is still ours, unless Outgoing.is_handed_over.
 */
CO bool switchover(Outgoing *o, MachineState before, GError **err);
/*
 * What both kinds of switch-over do: the pause before it, and the end of all jobs. False with @err.
 */
CO bool switchover_await(Outgoing *o, GError **err);
/*
 * Collects in @bytes what @put writes, with the machine's lock held, with which nobody may wait. 0
 * or a negative errno, also if what came before could not be written.
 */
CO int switchover_collect(Outgoing *o, CO int (*put)(MigSource *s, const GPtrArray *sections),
                          const GPtrArray *sections, GByteArray *bytes);

/* After a failure: the guest goes on here, unless it may be running at the target. */
CO void switchover_take_back(Outgoing *o, MachineState before);

#endif
