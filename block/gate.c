/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gates: how the graph below users is kept still while it changes.
 *
 * Each handle counts its requests in flight. Closing the gates above a node makes new requests wait
 * at their handle and lets those under way finish; then nobody follows an edge there.
 *
 * Users' gates are closed first, then those of jobs from top to bottom: a user's write may wait for
 * what a job below it copies, so the job has to go on until users are still. Requests that wait for
 * their turn in a throttle node pass it at once, lest an edit take as long as they would.
 */
#include "block/internal.h"

struct Gates {
    GPtrArray *handles; /* of Handle, in the order of closing */
    GPtrArray *special; /* of Node with .rush or .drain, a reference each */
};

/* Adds to @handles, once each, the handles from which one of @nodes can be reached. */
static void handles_above(const GPtrArray *nodes, GPtrArray *handles)
{
    g_autoptr(GPtrArray) above = g_ptr_array_new();
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);

    for (guint i = 0; i < nodes->len; i++)
        if (g_hash_table_add(seen, nodes->pdata[i]))
            g_ptr_array_add(above, nodes->pdata[i]);
    for (guint i = 0; i < above->len; i++) {
        const Node *n = above->pdata[i];

        for (guint j = 0; j < n->parents->len; j++) {
            const Edge *e = n->parents->pdata[j];

            if (e->handle)
                g_ptr_array_add(handles, e->handle);
            else if (g_hash_table_add(seen, e->parent))
                g_ptr_array_add(above, e->parent);
        }
    }
}

/* Users before jobs; of two jobs the one whose requests reach the other's node. */
static gint handle_compare(gconstpointer pa, gconstpointer pb)
{
    const Handle *a = *(Handle *const *)pa, *b = *(Handle *const *)pb;

    if (a->kind != b->kind)
        return (int)a->kind - (int)b->kind;
    return a->kind == HANDLE_JOB ? (int)a->rank - (int)b->rank : 0;
}

/* Gives each job in @handles the number of those above it. */
static void handles_rank(const GPtrArray *handles)
{
    for (guint i = 0; i < handles->len; i++) {
        Handle *h = handles->pdata[i];

        h->rank = 0;
        for (guint j = 0; h->kind == HANDLE_JOB && j < handles->len; j++) {
            const Handle *other = handles->pdata[j];

            if (other != h && other->kind == HANDLE_JOB &&
                node_reaches(other->root->node, h->root->node))
                h->rank++;
        }
    }
}

/*
 * The nodes below @handles at which requests wait for something else than I/O, or that go on when
 * requests have ended.
 */
static void special_below(const GPtrArray *handles, GPtrArray *special)
{
    g_autofree Node **roots = g_new(Node *, handles->len);
    g_autoptr(GPtrArray) below = NULL;

    for (guint i = 0; i < handles->len; i++)
        roots[i] = ((const Handle *)handles->pdata[i])->root->node;
    below = nodes_and_below(roots, handles->len);
    for (guint i = 0; i < below->len; i++) {
        Node *n = below->pdata[i];

        if (n->drv->rush || n->drv->drain)
            g_ptr_array_add(special, node_ref(n));
    }
}

void nodes_rush(const GPtrArray *nodes, bool on)
{
    for (guint i = 0; i < nodes->len; i++) {
        Node *n = nodes->pdata[i];

        if (n->drv->rush)
            n->drv->rush(n, on);
    }
}

CO Gates *gates_close(const GPtrArray *nodes)
{
    Gates *g = g_new0(Gates, 1);
    guint next = 0;

    g->handles = g_ptr_array_new();
    g->special = g_ptr_array_new();
    handles_above(nodes, g->handles);
    handles_rank(g->handles);
    g_ptr_array_sort(g->handles, handle_compare);
    special_below(g->handles, g->special);
    nodes_rush(g->special, true);
    for (guint i = 0; i < g->handles->len; i = next) {
        const Handle *first = g->handles->pdata[i];

        /* All of one rank close together, then all of them empty. */
        for (next = i; next < g->handles->len &&
                       !handle_compare(&first, &g->handles->pdata[next]); next++)
            ((Handle *)g->handles->pdata[next])->closed++;
        for (guint j = i; j < next; j++)
            handle_drain(g->handles->pdata[j]);
    }
    for (guint i = 0; i < g->special->len; i++) {
        Node *n = g->special->pdata[i];

        if (n->drv->drain)
            n->drv->drain(n);
    }
    return g;
}

void gates_open(Gates *g)
{
    nodes_rush(g->special, false);
    for (guint i = 0; i < g->handles->len; i++)
        handle_open_gate(g->handles->pdata[i]);
}

CO void gates_free(Gates *g)
{
    for (guint i = 0; i < g->special->len; i++)
        node_unref(g->special->pdata[i]);
    g_ptr_array_free(g->handles, true);
    g_ptr_array_free(g->special, true);
    g_free(g);
}
