/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about migration. */
#include "system/migration-incoming.h"
#include "system/migration-info.h"
#include "system/migration-settings.h"
#include "system/migration.h"
#include "util/err.h"

CO bool qmp_query_migrate(json_t **ret, GError **err)
{
    *ret = migration_info();
    return true;
}

CO bool qmp_migrate(const QmpMigrateArgs *args, GError **err)
{
    if (args->blk || args->inc)
        return err_set(err, ENOTSUP, "Parameter '%s' is not there yet", args->blk ? "blk" : "inc");
    return args->resume ? migration_resume(args->uri, err) : migration_start(args->uri, err);
}

CO bool qmp_migrate_pause(GError **err)
{
    return migration_pause(err);
}

CO bool qmp_migrate_recover(const QmpMigrateRecoverArgs *args, GError **err)
{
    return incoming_recover(args->uri, err);
}

CO bool qmp_migrate_cancel(GError **err)
{
    migration_cancel();
    return true;
}

CO bool qmp_migrate_continue(const QmpMigrateContinueArgs *args, GError **err)
{
    return migration_continue(args->state, err);
}

CO bool qmp_migrate_start_postcopy(GError **err)
{
    return migration_start_postcopy(err);
}

CO bool qmp_migrate_incoming(const QmpMigrateIncomingArgs *args, GError **err)
{
    return incoming_receive(args->uri, err);
}

/* ---- settings -------------------------------------------------------------------------------- */

CO bool qmp_migrate_set_capabilities(const QmpMigrateSetCapabilitiesArgs *args, GError **err)
{
    if (migration_is_active())
        return err_set(err, EBUSY, "There's a migration process in progress");
    return migration_set_capabilities(args->capabilities, err);
}

CO bool qmp_query_migrate_capabilities(GPtrArray **ret, GError **err)
{
    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)migration_capability_status_free);
    for (unsigned i = 0; i <= MIGRATION_CAPABILITY_POSTCOPY_PREEMPT; i++) {
        MigrationCapabilityStatus *s = g_new0(MigrationCapabilityStatus, 1);

        s->capability = i;
        s->state = migration_has(i);
        g_ptr_array_add(*ret, s);
    }
    return true;
}

CO bool qmp_migrate_set_parameters(json_t *args, GError **err)
{
    return migration_set_parameters(args, err);
}

CO bool qmp_query_migrate_parameters(json_t **ret, GError **err)
{
    *ret = migration_parameters();
    return true;
}
