/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest that runs at the target before its memory is there. Main loop only. */
#ifndef SYSTEM_MIGRATION_POSTCOPY_H
#define SYSTEM_MIGRATION_POSTCOPY_H

#include "system/migration-outgoing.h"
#include "system/run-state.h"

/*
 * Sends a guest that has stopped, and was in state @before, then the rest of its memory. False with
 * @err: the guest is still ours, unless Outgoing.is_handed_over.
 */
CO bool postcopy(Outgoing *o, MachineState before, GError **err);

#endif
