/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that say beforehand whether a migration will work. */
#include "gen/qmp.h"
#include "migration/check.h"
#include "system/migration-self.h"

CO bool qmp_x_migrate_describe(const QmpXMigrateDescribeArgs *args, json_t **ret, GError **err)
{
    *ret = migration_describe(args->uri, err);
    return *ret;
}

CO bool qmp_x_migrate_check(const QmpXMigrateCheckArgs *args, json_t **ret, GError **err)
{
    g_autoptr(json_t) here = migration_describe(args->uri, err);

    if (!here)
        return false;
    *ret = migration_check(here, args->target, args->uri);
    return true;
}
