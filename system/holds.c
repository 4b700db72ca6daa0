/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/holds.h"
#include "gen/qmp.h"
#include "util/hold.h"

GPtrArray *holds_shown(const GQueue *holds)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)hold_info_free);

    for (const GList *l = holds->head; l; l = l->next) {
        const Hold *h = l->data;
        HoldInfo *shown = g_new0(HoldInfo, 1);

        shown->owner = g_strdup(h->owner);
        shown->reason = g_strdup(h->reason);
        shown->since = h->since_us / 1000000;
        g_ptr_array_add(list, shown);
    }
    return list;
}
