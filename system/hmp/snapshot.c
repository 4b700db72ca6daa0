/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots of the whole machine. */
#include "system/vm-snapshot.h"
#include "system/hmp/commands.h"

HMP_COMMAND(hmp_savevm)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *name = g_date_time_format(now, "vm-%Y%m%d%H%M%S");
    VmSnapshotArgs save = { .tag = a->text[0] ? a->text[0] : name, .replaces = true };
    GError *err = NULL;

    vm_snapshot_save(&save, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_loadvm)
{
    GError *err = NULL;

    vm_snapshot_load(&(VmSnapshotArgs){ .tag = a->text[0] }, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_delvm)
{
    GError *err = NULL;

    vm_snapshot_delete(&(VmSnapshotArgs){ .tag = a->text[0] }, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_info_snapshots)
{
    vm_snapshot_list(h->out);
}
