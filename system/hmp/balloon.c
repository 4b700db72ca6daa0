/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The balloon. */
#include "gen/qmp.h"
#include "system/hmp/commands.h"
#include "util/size.h"
#include <inttypes.h>

HMP_COMMAND(hmp_balloon)
{
    GError *err = NULL;
    uint64_t bytes;

    if (!size_mul(a->number[0], MiB, &bytes) || bytes > INT64_MAX)
        bytes = 0; /* refused as no size */
    qmp_balloon(&(QmpBalloonArgs){ .value = (int64_t)bytes }, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_info_balloon)
{
    g_autoptr(GError) err = NULL;
    BalloonInfo *info = NULL;

    if (!qmp_query_balloon(&info, &err)) {
        hmp_error(h, g_steal_pointer(&err));
        return;
    }
    g_string_append_printf(h->out, "balloon: actual=%" PRId64 "\n", info->actual >> 20);
    for (guint i = 0; info->x_holds && i < info->x_holds->len; i++) {
        const HoldInfo *hold = info->x_holds->pdata[i];

        g_string_append_printf(h->out, "held by %s: %s\n", hold->owner, hold->reason);
    }
    balloon_info_free(info);
}
