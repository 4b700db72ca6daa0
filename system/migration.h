/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Migrating the guest of this program: docs/architecture.md. Main loop only. */
#ifndef SYSTEM_MIGRATION_H
#define SYSTEM_MIGRATION_H

#include "system/migration-status.h"
#include "system/run-state.h"

/* @incoming: the value of -incoming; NULL: the guest starts here. After run_state_begin. */
CO void migration_begin(Machine *m, const char *incoming);
/* Ends what is under way, before the program ends. */
CO void migration_end(void);

/* Before the guest is told to run, wherever it came from. False with @err: it must not. */
CO bool migration_before_cont(GError **err);

/* ---- for commands ---------------------------------------------------------------------------- */

bool migration_start(const char *uri, GError **err);
void migration_cancel(void);
/* The guest moves at once, and its memory follows. */
bool migration_start_postcopy(GError **err);
/* Breaks the connection of a postcopy. */
bool migration_pause(GError **err);
/* Goes on with a postcopy whose connection has broken. */
bool migration_resume(const char *uri, GError **err);
/* Lets one that pauses before the switch-over go on. */
bool migration_continue(MigrationStatus state, GError **err);

#endif
