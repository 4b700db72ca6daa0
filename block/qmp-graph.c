/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that change the graph, each one edit. Messages as in qmp.c. */
#include "block/actions.h"
#include "block/internal.h"
#include "block/monitor-nodes.h"
#include "gen/qmp.h"

CO bool qmp_blockdev_reopen(const QmpBlockdevReopenArgs *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    json_t *options;
    size_t i;

    json_array_foreach(args->options, i, options) {
        const char *name = json_get_str(options, "node-name", NULL);
        Node *n = name ? node_find(name) : NULL;

        if (!name)
            return err_set(err, EINVAL, "node-name not specified");
        if (!n)
            return err_set(err, ENOENT, "Failed to find node with node-name='%s'", name);
        if (!g_hash_table_add(seen, n))
            return err_set(err, EINVAL, "Options for node '%s' are given twice", name);
        if (!edit_reconfigure(edit, n, options, err))
            return false;
    }
    return edit_commit(edit, err);
}

CO bool qmp_blockdev_snapshot(const BlockdevSnapshot *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    return action_snapshot(edit, args, err) && edit_commit(edit, err);
}

CO bool qmp_blockdev_snapshot_sync(const BlockdevSnapshotSync *args, GError **err)
{
    Node *overlay = action_overlay_new(args, err);
    Edit *edit;
    bool ok;

    if (!overlay)
        return false;
    edit = edit_begin();
    ok = action_overlay_add(edit, args, overlay, err) && edit_commit(edit, err);
    edit_free(edit);
    node_unref(overlay);
    return ok;
}

CO bool qmp_blockdev_set_active(const QmpBlockdevSetActiveArgs *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();
    Node *n = args->node_name ? node_find(args->node_name) : NULL;

    if (!args->node_name)
        monitor_nodes_set_active(edit, args->active);
    else if (!n)
        return err_set(err, ENOENT, "Failed to find node with node-name='%s'", args->node_name);
    else
        edit_set_active(edit, n, args->active);
    return edit_commit(edit, err);
}
