/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-images.h"
#include "block/block.h"
#include "block/edit.h"
#include "block/monitor-nodes.h"
#include "hw/virtio/drives.h"
#include "tools/complain.h"

static bool are_elsewhere;

bool migration_images_are_ours(void)
{
    return !are_elsewhere;
}

void migration_images_await(void)
{
    are_elsewhere = true;
    nodes_start_inactive(true);
}

static CO bool set_active(bool active, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    monitor_nodes_add(nodes);
    drives_add_nodes(nodes);
    edit_set_active(edit, (Node *const *)nodes->pdata, nodes->len, active);
    if (!edit_commit(edit, err))
        return false;
    are_elsewhere = !active;
    return true;
}

CO bool migration_images_leave(GError **err)
{
    return set_active(false, err);
}

CO bool migration_images_take(GError **err)
{
    if (!set_active(true, err))
        return false;
    nodes_start_inactive(false);
    return true;
}

static void tell_lost(const GError *why)
{
    complain("The last data of an image could not be written: %s", why->message);
}

CO void migration_images_store(void)
{
    g_autoptr(GError) why = NULL;
    g_autoptr(GPtrArray) tops = NULL;

    if (are_elsewhere || migration_images_leave(&why))
        return;
    tops = monitor_nodes_tops();
    nodes_store(tops, tell_lost);
}
