/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A handle that wants nothing keeps each of these nodes open. */
#include "block/monitor-nodes.h"
#include "block/internal.h"
#include <string.h>

enum { NODE_NAME_MAX = 31 };

static GPtrArray *owned; /* of Handle, in the order they were made */

static Handle *owner_of(const Node *n)
{
    for (guint i = 0; owned && i < owned->len; i++)
        if (handle_node(owned->pdata[i]) == n)
            return owned->pdata[i];
    return NULL;
}

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
    g_autoptr(Node) n = NULL;
    Handle *h;

    if (!name_is_free(json_get_str(options, "node-name", NULL), err)) {
        json_decref(options);
        return false;
    }
    n = node_open(NULL, options, OPEN_RDWR, 0, err);
    h = n ? handle_new(n, HANDLE_USER, 0, ACCESS_ALL, err) : NULL;
    if (!h)
        return false;
    if (!owned)
        owned = g_ptr_array_new();
    g_ptr_array_add(owned, h);
    return true;
}

/* ---- removing -------------------------------------------------------------------------------- */

/*
 * True if no handle but @owner uses @n, and no image has it as its backing file. False with @err.
 */
static bool check_no_users(const Node *n, const Handle *owner, GError **err)
{
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (e->handle && e->handle != owner)
            return err_set(err, EBUSY, "Node %s is in use", n->name);
    }
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (e->parent && e->role == ROLE_BACKING)
            return err_set(err, EBUSY, "Node '%s' is busy: node is used as backing hd of '%s'",
                           n->name, e->parent->name);
    }
    return true;
}

/* True if nothing but its owner uses @n. False with @err. */
static bool check_unused(const Node *n, GError **err)
{
    for (const DirtyBitmap *b = n->bitmaps; b; b = b->next)
        if (b->busy)
            return err_set(err, EBUSY, "Node %s is in use: its bitmap '%s' is", n->name, b->name);
    return n->parents->len == 1 || err_set(err, EBUSY, "Block device %s is in use", n->name);
}

CO bool monitor_node_remove(const char *name, GError **err)
{
    Node *n = node_find(name);
    Handle *h = n ? owner_of(n) : NULL;

    if (!n)
        return err_set(err, ENOENT, "Failed to find node with node-name='%s'", name);
    if (!check_no_users(n, h, err))
        return false;
    if (!h)
        return err_set(err, EINVAL, "Node %s is not owned by the monitor", name);
    if (!check_unused(n, err))
        return false;
    g_ptr_array_remove(owned, h);
    return handle_close_err(h, err);
}

CO bool monitor_nodes_close(void)
{
    bool ok = true;

    while (owned && owned->len) {
        g_autoptr(GError) err = NULL;

        if (!handle_close_err(g_ptr_array_steal_index(owned, owned->len - 1), &err)) {
            block_warn("%s", err->message);
            ok = false;
        }
    }
    g_clear_pointer(&owned, g_ptr_array_unref);
    return ok;
}

/* ---- looking --------------------------------------------------------------------------------- */

/* Adds @n and what is below to @list. Chains are deep: that costs no stack. */
static void collect(Node *n, GPtrArray *list, GHashTable *seen)
{
    for (; n && g_hash_table_add(seen, n); n = node_backing(n)) {
        for (guint i = 0; i < n->children->len; i++) {
            const Edge *e = n->children->pdata[i];

            if (e->role != ROLE_BACKING)
                collect(e->node, list, seen);
        }
        g_ptr_array_add(list, n);
    }
}

GPtrArray *monitor_nodes_all(void)
{
    GPtrArray *list = g_ptr_array_new();
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);

    for (guint i = 0; owned && i < owned->len; i++)
        collect(handle_node(owned->pdata[i]), list, seen);
    return list;
}
