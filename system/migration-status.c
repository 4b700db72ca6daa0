/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-status.h"
#include "system/migration-settings.h"

static MigrationStatus current = MIGRATION_STATUS_NONE;

MigrationStatus migration_status(void)
{
    return current;
}

void migration_set_status(MigrationStatus status)
{
    current = status;
    if (migration_has(MIGRATION_CAPABILITY_EVENTS))
        event_migration(status);
}

bool migration_is_postcopy(void)
{
    return current == MIGRATION_STATUS_POSTCOPY_ACTIVE ||
           current == MIGRATION_STATUS_POSTCOPY_PAUSED ||
           current == MIGRATION_STATUS_POSTCOPY_RECOVER;
}

bool migration_is_active(void)
{
    switch (current) {
    case MIGRATION_STATUS_SETUP:
    case MIGRATION_STATUS_ACTIVE:
    case MIGRATION_STATUS_POSTCOPY_ACTIVE:
    case MIGRATION_STATUS_POSTCOPY_PAUSED:
    case MIGRATION_STATUS_POSTCOPY_RECOVER:
    case MIGRATION_STATUS_PRE_SWITCHOVER:
    case MIGRATION_STATUS_DEVICE:
    case MIGRATION_STATUS_CANCELLING:
        return true;
    default:
        return false;
    }
}
