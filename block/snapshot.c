/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of internal snapshots. */
#include "block/snapshot.h"

const Snapshot *snapshot_find(const Snapshot *list, size_t count, const char *id, const char *name)
{
    for (size_t i = 0; id && i < count; i++)
        if (!g_strcmp0(list[i].id, id))
            return &list[i];
    for (size_t i = 0; name && i < count; i++)
        if (!g_strcmp0(list[i].name, name))
            return &list[i];
    return NULL;
}
