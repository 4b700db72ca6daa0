/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that change the graph, each one edit. Messages as in qmp.c. */
#include "block/actions.h"
#include "block/home.h"
#include "block/internal.h"
#include "block/jobs/job.h"
#include "block/monitor-nodes.h"
#include "gen/qmp.h"
#include <string.h>

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

static Edge *child_named(const Node *n, const char *key)
{
    for (unsigned i = 0; node_edge_at(n, i); i++)
        if (!strcmp(edge_key(node_edge_at(n, i)), key))
            return node_edge_at(n, i);
    return NULL;
}

static CO bool child_remove(Node *parent, const char *key, GError **err)
{
    Edit *edit = edit_begin();
    Edge *e = child_named(parent, key);
    Node *child = NULL;
    bool ok;

    if (!e)
        ok = err_set(err, ENOENT, "Node '%s' does not have child '%s'", parent->name, key);
    else if (!parent->drv->child_remove)
        ok = err_set(err, ENOTSUP, "The node %s does not support removing a child", parent->name);
    else
        ok = parent->drv->child_remove(parent, e, err);
    if (ok) {
        child = node_ref(e->node);
        edit_detach(edit, e);
        ok = edit_commit(edit, err);
    }
    edit_free(edit);
    /* It may have been the last to use the child: what that has cached is written now. */
    return child ? node_give_up(child, ok ? err : NULL) && ok : ok;
}

static CO bool child_add(Node *parent, Node *child, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();
    g_autofree char *key = NULL;

    if (!parent->drv->child_add)
        return err_set(err, ENOTSUP, "The node %s does not support adding a child", parent->name);
    if (child->parents->len)
        return err_set(err, EBUSY, "The node %s already has a parent", child->name);
    if (!node_check_idle(child, err))
        return false;
    key = parent->drv->child_add(parent, child, err);
    if (!key)
        return false;
    edit_attach(edit, parent, key, ROLE_IMAGE, child);
    return edit_commit(edit, err);
}

CO bool qmp_x_blockdev_change(const QmpXBlockdevChangeArgs *args, GError **err)
{
    Node *parent = monitor_node_or_device(args->parent, args->parent, err);
    Node *child;

    if (!parent)
        return false;
    if (!args->child == !args->node)
        return err_set(err, EINVAL, args->node ? "The parameters child and node are in conflict"
                       : "Either child or node must be specified");
    if (args->child)
        return child_remove(parent, args->child, err);
    child = node_find(args->node);
    return child ? child_add(parent, child, err)
                 : err_set(err, ENOENT, "Node '%s' not found", args->node);
}

/* Has @n a user that makes requests? */
static bool node_has_user(const Node *n)
{
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (e->handle && e->needs)
            return true;
    }
    return false;
}

CO bool qmp_x_blockdev_set_iothread(const QmpXBlockdevSetIothreadArgs *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();
    Node *n = node_find(args->node_name);
    const char *id = json_string_value(args->iothread);
    IoThread *thread = id ? iothread_find(id) : NULL;

    if (!n)
        return err_set(err, ENOENT, "Failed to find node with node-name='%s'", args->node_name);
    if (!args->force && node_has_user(n))
        return err_set(err, EBUSY, "Node %s is associated with a BlockBackend and could be in use "
                       "(use force=true to override this check)", n->name);
    if (id && !thread)
        return err_set(err, ENOENT, "Cannot find iothread %s", id);
    edit_set_iothread(edit, n, thread);
    return edit_commit(edit, err);
}

CO bool qmp_blockdev_set_active(const QmpBlockdevSetActiveArgs *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    Node *n = args->node_name ? node_find(args->node_name) : NULL;

    if (args->node_name && !n)
        return err_set(err, ENOENT, "Failed to find node with node-name='%s'", args->node_name);
    if (n)
        g_ptr_array_add(nodes, n);
    else
        monitor_nodes_add(nodes);
    edit_set_active(edit, (Node *const *)nodes->pdata, nodes->len, args->active);
    return edit_commit(edit, err);
}
