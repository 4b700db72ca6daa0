/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The moment at which a guest that leaves becomes the target's. Main loop only. */
#ifndef SYSTEM_MIGRATION_SWITCHOVER_H
#define SYSTEM_MIGRATION_SWITCHOVER_H

#include "system/migration-outgoing.h"
#include "system/run-state.h"

/*
 * Sends the rest of a guest that has stopped, and was in state @before. False with @err: the guest is
 * still ours, unless Outgoing.is_handed_over.
 */
CO bool switchover(Outgoing *o, MachineState before, GError **err);
/* After a failure: the guest goes on here, unless it may be running at the target. */
CO void switchover_take_back(Outgoing *o, MachineState before);

#endif
