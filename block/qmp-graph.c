/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that change the graph, each one edit. Messages as in qmp.c. */
#include "block/internal.h"
#include "block/jobs/job.h"
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

/* True if @n is nobody's backing file. */
static bool is_no_backing(const Node *n, GError **err)
{
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (e->parent && e->role == ROLE_BACKING)
            return err_set(err, EBUSY, "Node '%s' is busy: node is used as backing hd of '%s'",
                           n->name, e->parent->name);
    }
    return true;
}

static bool may_be_overlay(const Node *overlay, const Node *n, GError **err)
{
    if (!overlay->drv->takes_backing)
        return err_set(err, ENOTSUP, "The overlay does not support backing images");
    for (guint i = 0; i < overlay->parents->len; i++)
        if (((const Edge *)overlay->parents->pdata[i])->handle)
            return err_set(err, EBUSY, "The overlay is already in use");
    if (node_backing(overlay))
        return err_set(err, EBUSY, "The overlay already has a backing image");
    if (node_reaches(n, overlay))
        return err_set(err, ELOOP, "Making '%s' a backing child of '%s' would create a cycle",
                       n->name, overlay->name);
    return !overlay->parents->len || err_set(err, EBUSY, "The overlay is already in use");
}

CO bool qmp_blockdev_snapshot(const BlockdevSnapshot *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();
    g_autoptr(json_t) read_only = json_object();
    Node *n = monitor_node_or_device(args->node, args->node, err), *overlay;

    if (!n || !node_check_idle(n, err) || !is_no_backing(n, err))
        return false;
    overlay = monitor_node_or_device(args->overlay, args->overlay, err);
    if (!overlay || !may_be_overlay(overlay, n, err))
        return false;
    json_put_bool(read_only, "read-only", true);
    edit_attach(edit, overlay, "backing", ROLE_BACKING, n);
    edit_replace(edit, n, overlay);
    edit_reopen(edit, n, read_only, node_flags(n));
    return edit_commit(edit, err);
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
