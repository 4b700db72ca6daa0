/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Discs, sizes of disks, cables. */
#include "gen/qmp.h"
#include "gen/schema.h"
#include "system/hmp/commands.h"
#include "system/migration-settings.h"
#include "util/err.h"

HMP_COMMAND(hmp_eject)
{
    QmpEjectArgs args = {
        .device = (char *)a->text[1], .has_force = true, .force = a->is_given[0],
    };
    GError *err = NULL;

    qmp_eject(&args, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_change)
{
    QmpBlockdevChangeMediumArgs args = {
        .device = (char *)a->text[0], .has_force = true, .force = a->is_given[1],
        .filename = (char *)a->text[2], .format = (char *)a->text[3],
    };
    GError *err = NULL;

    if (a->text[4]) {
        int mode = schema_enum_parse(&blockdev_change_read_only_mode_enum, a->text[4]);

        if (mode < 0)
            err_set(&err, EINVAL, "invalid parameter value: %s", a->text[4]);
        args.has_read_only_mode = true;
        args.read_only_mode = mode;
    }
    if (!err)
        qmp_blockdev_change_medium(&args, &err);
    hmp_error(h, err);
}

/* Interfaces are separated by commas. */
HMP_COMMAND(hmp_announce_self)
{
    AnnounceParameters how = migration_announcement();
    g_auto(GStrv) interfaces = a->is_given[0] ? g_strsplit(a->text[0], ",", -1) : NULL;
    GError *err = NULL;

    how.interfaces = interfaces;
    how.id = a->is_given[1] ? (char *)a->text[1] : NULL;
    qmp_announce_self(&how, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_set_link)
{
    GError *err = NULL;

    qmp_set_link(&(QmpSetLinkArgs){ .name = (char *)a->text[0], .up = a->number[1] }, &err);
    hmp_error(h, err);
}
