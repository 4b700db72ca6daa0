/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration.h"
#include "system/migration-channels.h"
#include "system/migration-images.h"
#include "system/migration-incoming.h"
#include "system/migration-outgoing.h"
#include "system/migration-settings.h"
#include "system/sections.h"
#include "tools/complain.h"
#include "util/err.h"
#include "util/hold.h"

static Machine *machine;

CO bool migration_before_cont(GError **err)
{
    if (incoming_is_awaited())
        return true;
    if (migration_is_active() && run_state() == STATE_FINISH_MIGRATE)
        return err_set(err, EBUSY, "The guest is about to leave; cancel the migration first");
    if (!outgoing_memory_is_here(err))
        return false;
    return migration_images_are_ours() || migration_images_take(err);
}

/* ---- commands -------------------------------------------------------------------------------- */

/* What keeps the guest here. */
static bool check_holds(GError **err)
{
    g_autoptr(GString) all = g_string_new(NULL);

    for (const GList *l = hold_migration.deny.head; l; l = l->next)
        g_string_append_printf(all, "%s%s", all->len ? "; " : "", ((const Hold *)l->data)->reason);
    return !all->len || err_set(err, EBUSY, "The guest cannot be migrated: %s", all->str);
}

bool migration_start(const char *uri, GError **err)
{
    if (migration_is_active())
        return err_set(err, EBUSY, "There's a migration process in progress");
    if (incoming_is_awaited())
        return err_set(err, EBUSY, "Guest is waiting for an incoming migration");
    if (run_state() == STATE_POSTMIGRATE)
        return err_set(err, EBUSY,
                       "Can't migrate the vm that was paused due to previous migration");
    /* After an error of a disk, for example, requests wait that streams of ours do not carry. */
    if (!machine_state_travels(run_state()))
        return err_set(err, EBUSY,
                       "The guest has to go on, or be stopped, before it can be migrated");
    if (!migration_check_uri(uri, err) || !check_holds(err))
        return false;
    outgoing_start(machine, uri);
    return true;
}

void migration_cancel(void)
{
    if (migration_is_active() && !incoming_is_awaited() && !incoming_is_partial())
        outgoing_cancel();
}

bool migration_start_postcopy(GError **err)
{
    if (!migration_has(MIGRATION_CAPABILITY_POSTCOPY_RAM))
        return err_set(err, EINVAL,
                       "Enable postcopy with migrate_set_capability before the start of "
                       "migration");
    if (!migration_is_active() || incoming_is_awaited() || incoming_is_partial())
        return err_set(err, EINVAL,
                       "Postcopy must be started after migration has been started");
    outgoing_start_postcopy();
    return true;
}

bool migration_pause(GError **err)
{
    MigrationStatus has = migration_status();

    /* A silent peer must not hold up a recovery either. */
    if (has != MIGRATION_STATUS_POSTCOPY_ACTIVE && has != MIGRATION_STATUS_POSTCOPY_RECOVER &&
        !(has == MIGRATION_STATUS_SETUP && incoming_is_partial()))
        return err_set(err, EINVAL,
                       "migrate-pause is currently only supported during postcopy-active state");
    if (incoming_is_partial())
        incoming_pause();
    else
        outgoing_pause();
    return true;
}

bool migration_resume(const char *uri, GError **err)
{
    if (migration_status() != MIGRATION_STATUS_POSTCOPY_PAUSED || incoming_is_partial())
        return err_set(err, EINVAL, "Cannot resume if there is no paused migration");
    if (!migration_check_uri(uri, err))
        return false;
    outgoing_resume(uri);
    return true;
}

bool migration_continue(MigrationStatus state, GError **err)
{
    MigrationStatus has = migration_status();

    if (has != state || state != MIGRATION_STATUS_PRE_SWITCHOVER)
        return err_set(err, EINVAL, "Migration not in expected state: %s",
                       schema_enum_name(&migration_status_enum, has));
    outgoing_continue();
    return true;
}

/* ---- life ------------------------------------------------------------------------------------ */

CO void migration_begin(Machine *m, const char *incoming)
{
    g_autoptr(GError) err = NULL;

    machine = m;
    if (!incoming)
        return;
    incoming_begin(m);
    if (!strcmp(incoming, "defer") || incoming_receive(incoming, &err))
        return;
    complain("-incoming %s: %s", incoming, err->message);
    run_state_fail();
}

CO void migration_end(void)
{
    outgoing_end();
    incoming_end();
    migration_settings_clear();
}
