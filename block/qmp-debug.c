/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that look into the graph, for debugging and tests. Messages as in qmp.c. */
#include "block/internal.h"
#include "block/monitor-nodes.h"
#include "crypto/crypto.h"
#include "gen/qmp.h"
#include <string.h>

/* ---- the graph ------------------------------------------------------------------------------- */

/* Numbers for what has none of its own, from 1 on in the order of asking. */
typedef struct {
    GHashTable *ids;
    XDbgBlockGraph *graph;
} GraphView;

static uint64_t view_id(GraphView *v, const void *thing)
{
    gpointer id = g_hash_table_lookup(v->ids, thing);

    if (!id) {
        id = GUINT_TO_POINTER(g_hash_table_size(v->ids) + 1);
        g_hash_table_insert(v->ids, (gpointer)thing, id);
    }
    return GPOINTER_TO_UINT(id);
}

static void view_add_node(GraphView *v, const void *thing, XDbgBlockGraphNodeType type,
                          const char *name)
{
    XDbgBlockGraphNode *node = g_new0(XDbgBlockGraphNode, 1);

    node->id = view_id(v, thing);
    node->type = type;
    node->name = g_strdup(name);
    g_ptr_array_add(v->graph->nodes, node);
}

/* A list of BlockPermission, as the schema's C structs hold enums. */
static GArray *permissions(unsigned access)
{
    static const struct {
        Access bit;
        BlockPermission name;
    } all[] = {
        { ACCESS_RESIZE, BLOCK_PERMISSION_RESIZE },
        { ACCESS_UNCHANGED, BLOCK_PERMISSION_WRITE_UNCHANGED },
        { ACCESS_WRITE, BLOCK_PERMISSION_WRITE },
        { ACCESS_READ, BLOCK_PERMISSION_CONSISTENT_READ },
    };
    GArray *list = g_array_new(FALSE, FALSE, sizeof(BlockPermission));

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        if (access & all[i].bit)
            g_array_append_val(list, all[i].name);
    return list;
}

static void view_add_edge(GraphView *v, const Edge *e)
{
    XDbgBlockGraphEdge *edge = g_new0(XDbgBlockGraphEdge, 1);

    edge->parent = view_id(v, e->parent ? (const void *)e->parent : e->handle);
    edge->child = view_id(v, e->node);
    edge->name = g_strdup(e->key);
    edge->perm = permissions(e->needs);
    edge->shared_perm = permissions(e->shares);
    g_ptr_array_add(v->graph->edges, edge);
}

/* Users of @n from outside of the graph; not those that only keep it open. */
static void view_add_users(GraphView *v, const Node *n)
{
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (!e->handle || (!e->needs && e->shares == ACCESS_ALL))
            continue;
        view_add_node(v, e->handle,
                      e->handle->kind == HANDLE_JOB ? X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_JOB
                                                    : X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_BACKEND,
                      "");
        view_add_edge(v, e);
    }
}

CO bool qmp_x_debug_query_block_graph(XDbgBlockGraph **ret, GError **err)
{
    g_autoptr(GPtrArray) nodes = monitor_nodes_all();
    g_autoptr(GHashTable) ids = g_hash_table_new(NULL, NULL);
    GraphView v = { .ids = ids, .graph = g_new0(XDbgBlockGraph, 1) };

    v.graph->nodes = g_ptr_array_new_with_free_func((GDestroyNotify)x_dbg_block_graph_node_free);
    v.graph->edges = g_ptr_array_new_with_free_func((GDestroyNotify)x_dbg_block_graph_edge_free);
    for (guint i = nodes->len; i-- > 0;) {
        const Node *n = nodes->pdata[i];

        view_add_node(&v, n, X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_DRIVER, node_shown_name(n));
        for (guint j = 0; j < n->children->len; j++)
            view_add_edge(&v, n->children->pdata[j]);
        view_add_users(&v, n);
    }
    *ret = v.graph;
    return true;
}

/* ---- bitmaps --------------------------------------------------------------------------------- */

/* Hashes the bits as 64-bit words in the byte order of x86. */
static void bitmap_hash(const DirtyBitmap *b, Hash *h)
{
    enum { PIECE = 4096 };
    uint64_t len = round_up(div_round_up(hbitmap_bits(b->bits), 8), 8);
    uint8_t bytes[PIECE];

    for (uint64_t at = 0; at < len; at += PIECE) {
        uint64_t now = MIN(PIECE, len - at);

        hbitmap_store(b->bits, at * 8, bytes, now);
        hash_update(h, bytes, now);
    }
}

CO bool qmp_x_debug_block_dirty_bitmap_sha256(const BlockDirtyBitmap *args,
                                              BlockDirtyBitmapSha256 **ret, GError **err)
{
    Node *n = node_find(args->node);
    const DirtyBitmap *b = n ? dirty_find(n, args->name) : NULL;
    uint8_t digest[32];
    Hash h;

    if (!n)
        return err_set(err, ENOENT, "Node '%s' not found", args->node);
    if (!b)
        return err_set(err, ENOENT, "Dirty bitmap '%s' not found", args->name);
    if (!dirty_check_known(b, err) || !hash_init(&h, HASH_SHA256, err))
        return false;
    bitmap_hash(b, &h);
    hash_final(&h, digest);
    *ret = g_new0(BlockDirtyBitmapSha256, 1);
    (*ret)->sha256 = hash_hex(digest, sizeof(digest));
    return true;
}
