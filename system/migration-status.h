/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far the migration of this program's guest is: one at a time. Main loop only. */
#ifndef SYSTEM_MIGRATION_STATUS_H
#define SYSTEM_MIGRATION_STATUS_H

#include "gen/qmp.h"

/* MIGRATION_STATUS_NONE: no migration has been asked for. */
MigrationStatus migration_status(void);
/* Sends an event, if the capability for that is on. */
void migration_set_status(MigrationStatus status);
/* A migration is under way, in either direction. */
bool migration_is_active(void);
/* The same, and the guest runs at the target before its memory is there. */
bool migration_is_postcopy(void);

#endif
