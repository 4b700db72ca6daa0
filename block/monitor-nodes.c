/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A reference keeps each of these nodes open; an edit that moves its users does not move that. */
#include "block/monitor-nodes.h"
#include "block/account-internal.h"
#include "block/internal.h"
#include "block/jobs/job.h"
#include <string.h>

enum { NODE_NAME_MAX = 31 };

static GPtrArray *owned; /* of Node, a reference each, in the order they were made */
static GPtrArray *shown; /* of Node: those of jobs */

/* ---- adding ---------------------------------------------------------------------------------- */

static bool name_is_free(const char *name, GError **err)
{
    if (!name)
        return err_set(err, EINVAL, "'node-name' must be specified for the root node");
    if (!g_ascii_isalpha(*name) ||
        strspn(name, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "-._") != strlen(name))
        return err_set(err, EINVAL, "Invalid node-name: '%s'", name);
    if (node_find(name))
        return err_set(err, EEXIST, "Duplicate nodes with node-name='%s'", name);
    return strlen(name) <= NODE_NAME_MAX || err_set(err, EINVAL, "Node name too long");
}

CO bool monitor_node_add(json_t *options, GError **err)
{
    Node *n;

    if (!name_is_free(json_get_str(options, "node-name", NULL), err)) {
        json_decref(options);
        return false;
    }
    n = node_open(NULL, options, OPEN_RDWR, 0, err);
    if (!n)
        return false;
    if (!owned)
        owned = g_ptr_array_new();
    g_ptr_array_add(owned, n);
    return true;
}

/* ---- removing -------------------------------------------------------------------------------- */

/* Nobody uses @n. False with @err. */
static bool check_unused(const Node *n, GError **err)
{
    for (const DirtyBitmap *b = n->bitmaps; b; b = b->next)
        if (b->busy)
            return err_set(err, EBUSY, "Node %s is in use: its bitmap '%s' is", n->name, b->name);
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (e->handle && e->handle->kind != HANDLE_JOB)
            return err_set(err, EBUSY, "Node %s is in use", n->name);
    }
    if (!node_check_idle(n, err))
        return false;
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (e->handle)
            return err_set(err, EBUSY, "Node %s is in use", n->name);
        if (e->role == ROLE_BACKING)
            return err_set(err, EBUSY, "Node '%s' is busy: node is used as backing hd of '%s'",
                           n->name, e->parent->name);
    }
    return true;
}

CO bool node_give_up(Node *n, GError **err)
{
    Edit *edit = edit_begin(); /* nobody else writes, or becomes a user, meanwhile */
    bool is_last = n->refs == 1;
    bool is_written = is_last && n->flags & OPEN_RDWR && n->state == NODE_ACTIVE;
    bool ok = !is_last || node_finish(n, err);
    int r = is_written ? node_flush(n) : 0;

    if (ok && r < 0)
        ok = err_set_errno(err, r, "Could not write back what is cached of '%s'", node_filename(n));
    edit_free(edit);
    node_unref(n);
    return ok;
}

CO bool monitor_node_remove(const char *name, GError **err)
{
    Node *n = node_find(name);

    if (!n)
        return err_set(err, ENOENT, "Failed to find node with node-name='%s'", name);
    if (!check_unused(n, err))
        return false;
    if (!owned || !g_ptr_array_find(owned, n, NULL))
        return err_set(err, EINVAL, "Node %s is not owned by the monitor", name);
    if (n->parents->len)
        return err_set(err, EBUSY, "Block device %s is in use", n->name);
    g_ptr_array_remove(owned, n);
    return node_give_up(n, err);
}

CO bool monitor_nodes_close(void)
{
    bool ok = true;

    while (owned && owned->len) {
        g_autoptr(GError) err = NULL;

        if (!node_give_up(g_ptr_array_steal_index(owned, owned->len - 1), &err)) {
            block_warn("%s", err->message);
            ok = false;
        }
    }
    g_clear_pointer(&owned, g_ptr_array_unref);
    return ok;
}

/* ---- using ----------------------------------------------------------------------------------- */

Node *monitor_node_or_device(const char *device, const char *name, GError **err)
{
    Handle *drive = device ? account_find_drive(device) : NULL;
    Node *n = drive ? handle_node(drive) : name ? node_find(name) : NULL;

    if (!n)
        err_set(err, ENOENT, "Cannot find device='%s' nor node-name='%s'", device ? device : "",
                name ? name : "");
    return n;
}

void monitor_nodes_add(GPtrArray *list)
{
    for (guint i = 0; owned && i < owned->len; i++)
        g_ptr_array_add(list, owned->pdata[i]);
}

/* ---- looking --------------------------------------------------------------------------------- */

static void collect(Node *n, GPtrArray *list, GHashTable *seen);

/* The child "file" of @n, or all others but backing files. */
static void collect_children(Node *n, bool file, GPtrArray *list, GHashTable *seen)
{
    for (guint i = 0; i < n->children->len; i++) {
        const Edge *e = n->children->pdata[i];

        if (e->role != ROLE_BACKING && !strcmp(e->key, "file") == file)
            collect(e->node, list, seen);
    }
}

/*
 * Adds @n and what is below to @list, in the reference's order of opening: a child called "file"
 * comes before its parent, all others come after it. Chains are deep: that costs no stack.
 */
static void collect(Node *n, GPtrArray *list, GHashTable *seen)
{
    for (; n && g_hash_table_add(seen, n); n = node_backing(n)) {
        collect_children(n, true, list, seen);
        g_ptr_array_add(list, n);
        collect_children(n, false, list, seen);
    }
}

void monitor_node_show(Node *n, bool on)
{
    if (!shown)
        shown = g_ptr_array_new();
    if (on)
        g_ptr_array_add(shown, n);
    else
        g_ptr_array_remove(shown, n);
}

GPtrArray *monitor_nodes_all(void)
{
    GPtrArray *list = g_ptr_array_new();
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    const GPtrArray *handles = accounts_all();

    for (guint i = 0; owned && i < owned->len; i++)
        collect(owned->pdata[i], list, seen);
    for (guint i = 0; shown && i < shown->len; i++)
        collect(shown->pdata[i], list, seen);
    for (guint i = 0; i < handles->len; i++)
        collect(((Handle *)handles->pdata[i])->root->node, list, seen);
    return list;
}

static void add_once(GPtrArray *list, Node *n)
{
    if (n && !g_ptr_array_find(list, n, NULL))
        g_ptr_array_add(list, node_ref(n));
}

static bool is_part(const Node *n)
{
    for (guint i = 0; i < n->parents->len; i++)
        if (((const Edge *)n->parents->pdata[i])->parent)
            return true;
    return false;
}

GPtrArray *monitor_nodes_tops(void)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)node_unref);
    const GPtrArray *handles = accounts_all();

    for (guint i = 0; i < handles->len; i++)
        add_once(list, handle_node(handles->pdata[i]));
    for (guint i = 0; owned && i < owned->len; i++)
        if (!is_part(owned->pdata[i]))
            add_once(list, owned->pdata[i]);
    return list;
}
