/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about migration. */
#include "system/migration.h"
#include "util/err.h"

CO bool qmp_query_migrate(json_t **ret, GError **err)
{
    *ret = migration_info();
    return true;
}

CO bool qmp_migrate(const QmpMigrateArgs *args, GError **err)
{
    if (args->blk || args->inc || args->resume)
        return err_set(err, ENOTSUP, "Parameter '%s' is not there yet",
                       args->blk ? "blk" : args->inc ? "inc" : "resume");
    return migration_start(args->uri, err);
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

CO bool qmp_migrate_incoming(const QmpMigrateIncomingArgs *args, GError **err)
{
    return migration_receive(args->uri, err);
}

/* ---- capabilities ---------------------------------------------------------------------------- */

static bool *capability(MigrationCapability c)
{
    MigrationCapabilities *all = migration_capabilities();

    return c == MIGRATION_CAPABILITY_EVENTS ? &all->events
           : c == MIGRATION_CAPABILITY_RETURN_PATH ? &all->return_path
                                                   : &all->pause_before_switchover;
}

CO bool qmp_migrate_set_capabilities(const QmpMigrateSetCapabilitiesArgs *args, GError **err)
{
    if (migration_is_active())
        return err_set(err, EBUSY, "There's a migration process in progress");
    for (guint i = 0; i < args->capabilities->len; i++) {
        const MigrationCapabilityStatus *s = args->capabilities->pdata[i];

        *capability(s->capability) = s->state;
    }
    return true;
}

CO bool qmp_query_migrate_capabilities(GPtrArray **ret, GError **err)
{
    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)migration_capability_status_free);
    for (unsigned i = 0; i <= MIGRATION_CAPABILITY_PAUSE_BEFORE_SWITCHOVER; i++) {
        MigrationCapabilityStatus *s = g_new0(MigrationCapabilityStatus, 1);

        s->capability = i;
        s->state = *capability(i);
        g_ptr_array_add(*ret, s);
    }
    return true;
}

/* ---- parameters ------------------------------------------------------------------------------ */

enum { DOWNTIME_MAX_MS = 2000 * 1000 };

CO bool qmp_migrate_set_parameters(const MigrateSetParameters *args, GError **err)
{
    MigrationLimits *l = migration_limits();

    if (args->has_downtime_limit && (uint64_t)args->downtime_limit > DOWNTIME_MAX_MS)
        return err_set(err, ERANGE, "Parameter 'downtime_limit' expects an integer in the range of 0 "
                       "to (2000 * 1000) ms");
    if (args->has_max_bandwidth)
        l->max_bandwidth = args->max_bandwidth;
    if (args->has_downtime_limit)
        l->downtime_limit = args->downtime_limit;
    return true;
}

CO bool qmp_query_migrate_parameters(MigrationParameters **ret, GError **err)
{
    *ret = g_new0(MigrationParameters, 1);
    **ret = (MigrationParameters){
        .has_max_bandwidth = true, .max_bandwidth = migration_limits()->max_bandwidth,
        .has_downtime_limit = true, .downtime_limit = migration_limits()->downtime_limit,
    };
    return true;
}
