/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inactive nodes: an image that this program has open while another one writes it, as the two ends
 * of a migration do in turn. A step of an edit, for a node and all below it.
 */
#include "block/internal.h"
#include "block/jobs/job.h"
#include "util/trace.h"
#include <string.h>

typedef struct {
    GPtrArray *tops;     /* of Node, a reference each */
    NodeState to;
    bool spares_shared;  /* what others use below .tops stays as it is */
    const GPtrArray *lost; /* of Node that, with all below, are no such users; NULL: none */
    /* of Node that change their state, parents before children; while applied */
    GPtrArray *nodes;
} Activation;

static bool is_lost(const Activation *s, const Node *n)
{
    for (guint i = 0; s->lost && i < s->lost->len; i++)
        if (node_reaches(s->lost->pdata[i], n))
            return true;
    return false;
}

/* A node that stays active and uses @n; NULL: there is none. */
static const Node *other_user(const Activation *s, const Node *n)
{
    for (guint j = 0; j < n->parents->len; j++) {
        Node *p = ((const Edge *)n->parents->pdata[j])->parent;

        if (p && p->state != NODE_INACTIVE && !g_ptr_array_find(s->nodes, p, NULL) &&
            !is_lost(s, p))
            return p;
    }
    return NULL;
}

/* False if some node that stays active uses one of those that become inactive. */
static bool nobody_else_uses(const Activation *s, GError **err)
{
    for (guint i = 0; i < s->nodes->len; i++) {
        const Node *n = s->nodes->pdata[i], *user = other_user(s, n);

        if (user)
            return err_set(err, EBUSY, "'%s' cannot be made inactive: '%s' uses it",
                           node_filename(n), node_filename(user));
    }
    return true;
}

/* What stays active is a user of what is below it, which comes after it. */
static void spare_shared(Activation *s)
{
    for (guint i = 0; i < s->nodes->len;)
        if (!g_ptr_array_find(s->tops, s->nodes->pdata[i], NULL) &&
            other_user(s, s->nodes->pdata[i]))
            g_ptr_array_remove_index(s->nodes, i);
        else
            i++;
}

static void states_set(const Activation *s, NodeState state)
{
    for (guint i = 0; i < s->nodes->len; i++)
        ((Node *)s->nodes->pdata[i])->state = state;
}

static bool activation_apply(void *step, GError **err)
{
    Activation *s = step;
    g_autoptr(GPtrArray) all = nodes_from_the_top((Node *const *)s->tops->pdata, s->tops->len);

    for (guint i = 0; i < all->len; i++)
        if (((Node *)all->pdata[i])->state != s->to)
            g_ptr_array_add(s->nodes, all->pdata[i]);
    if (s->spares_shared)
        spare_shared(s);
    if (s->to == NODE_INACTIVE && !nobody_else_uses(s, err))
        return false;
    states_set(s, s->to);
    return true;
}

static CO void activation_undo(void *step)
{
    const Activation *s = step;

    states_set(s, s->to == NODE_ACTIVE ? NODE_INACTIVE : NODE_ACTIVE);
}

/* ---- going inactive ------------------------------------------------------------------------- */

/* An edit is under way, so nobody can begin to use one. */
static bool bitmaps_are_idle(Node *n, GError **err)
{
    if (!node_check_idle(n, err))
        return false;
    for (const DirtyBitmap *b = dirty_first(n); b; b = b->next)
        if (b->busy)
            return err_set(err, EBUSY, "Bitmap '%s' of '%s' is in use", b->name, node_filename(n));
    return true;
}

static CO bool inactivate_one(Node *n, GError **err)
{
    int r;

    if (!(n->flags & OPEN_RDWR))
        return true;
    if (n->drv->inactivate && !n->drv->inactivate(n, err))
        return false;
    r = node_flush(n);
    return r >= 0 || err_set_errno(err, r, "Could not write back what is cached of '%s'",
                                   node_filename(n));
}

/* Of nodes before @end, children first: they go on as if nothing had been. */
static CO void resume_before(const Activation *s, guint end)
{
    while (end-- > 0) {
        Node *n = s->nodes->pdata[end];

        if (n->flags & OPEN_RDWR && n->drv->resume)
            n->drv->resume(n);
    }
}

/* Parents before children, which take what those write. */
static CO bool inactivate_all(const Activation *s, GError **err)
{
    for (guint i = 0; i < s->nodes->len; i++)
        if (!bitmaps_are_idle(s->nodes->pdata[i], err))
            return false;
    for (guint i = 0; i < s->nodes->len; i++)
        if (!inactivate_one(s->nodes->pdata[i], err)) {
            resume_before(s, i + 1);
            return false;
        }
    return true;
}

/* ---- going active --------------------------------------------------------------------------- */

static CO bool activate_one(Node *n, GError **err)
{
    if (n->drv->activate)
        return n->drv->activate(n, err);
    if (n->drv->kind == BLK_FILTER && node_filtered(n))
        node_set_size(n, node_size(node_filtered(n)));
    return true;
}

/* Back to being inactive, of the last @count nodes, parents first. */
static CO void inactivate_last(const Activation *s, guint count)
{
    for (guint i = s->nodes->len - count; i < s->nodes->len; i++) {
        Node *n = s->nodes->pdata[i];
        g_autoptr(GError) err = NULL;

        if (!inactivate_one(n, &err))
            block_warn("%s", err->message);
        dirty_drop_stored(n);
    }
}

/* Children before parents, which look at their sizes and read their own metadata there. */
static CO bool activate_all(const Activation *s, GError **err)
{
    for (guint i = s->nodes->len; i-- > 0;) {
        Node *n = s->nodes->pdata[i];

        if (!activate_one(n, err)) {
            dirty_drop_stored(n);
            inactivate_last(s, s->nodes->len - 1 - i);
            return false;
        }
    }
    return true;
}

/* ---- the step ------------------------------------------------------------------------------- */

static CO bool activation_prepare(void *step, GError **err)
{
    const Activation *s = step;

    return s->to == NODE_ACTIVE ? activate_all(s, err) : inactivate_all(s, err);
}

static CO void activation_abort(void *step)
{
    const Activation *s = step;

    if (s->to == NODE_ACTIVE)
        inactivate_last(s, s->nodes->len);
    else
        resume_before(s, s->nodes->len);
}

static CO void activation_settle(void *step)
{
    const Activation *s = step;

    for (guint i = s->nodes->len; i-- > 0;) {
        Node *n = s->nodes->pdata[i];

        if (s->to == NODE_ACTIVE)
            dirty_fill(n);
        else
            dirty_drop_stored(n);
        node_children_changed(n);
        node_tell_size(n);
    }
}

static CO void activation_free(void *step)
{
    Activation *s = step;

    g_ptr_array_free(s->nodes, true);
    g_ptr_array_unref(s->tops);
    g_free(s);
}

static const EditOps activation_ops = {
    .apply = activation_apply,
    .undo = activation_undo,
    .prepare = activation_prepare,
    .abort = activation_abort,
    .settle = activation_settle,
    .free = activation_free,
};

static void add_step(Edit *edit, Node *const *tops, guint n, const Activation *as)
{
    Activation *s = g_memdup2(as, sizeof(*as));

    s->nodes = g_ptr_array_new();
    s->tops = g_ptr_array_new_with_free_func((GDestroyNotify)node_unref);
    for (guint i = 0; i < n; i++) {
        g_ptr_array_add(s->tops, node_ref(tops[i]));
        edit_still(edit, tops[i]);
        edit_access_below(edit, tops[i]);
    }
    edit_add(edit, &activation_ops, s);
}

void edit_set_active(Edit *edit, Node *const *nodes, guint n, bool active)
{
    add_step(edit, nodes, n, &(Activation){ .to = active ? NODE_ACTIVE : NODE_INACTIVE });
}

static CO bool store(Node *n, const GPtrArray *lost, void (*failed)(const GError *why))
{
    g_autoptr(GError) why = NULL;
    g_autoptr(Edit) edit = edit_begin();

    add_step(edit, &n, 1, &(Activation){
        .to = NODE_INACTIVE, .spares_shared = true, .lost = lost,
    });
    if (edit_commit(edit, &why))
        return true;
    failed(why);
    return false;
}

/* Of @lost and what is below, each after its parents. References. */
static GPtrArray *backing_files(const GPtrArray *lost)
{
    g_autoptr(GPtrArray) all = nodes_from_the_top((Node *const *)lost->pdata, lost->len);
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)node_unref);

    for (guint i = 0; i < all->len; i++)
        if (node_backing(all->pdata[i]))
            g_ptr_array_add(list, node_ref(node_backing(all->pdata[i])));
    return list;
}

CO void nodes_store(const GPtrArray *tops, void (*failed)(const GError *why))
{
    g_autoptr(GPtrArray) lost = g_ptr_array_new(), below = NULL;

    for (guint i = 0; i < tops->len; i++)
        if (!store(tops->pdata[i], NULL, failed))
            g_ptr_array_add(lost, tops->pdata[i]);
    /* They only read their backing files. */
    below = backing_files(lost);
    for (guint i = 0; i < below->len; i++)
        if (node_is_active(below->pdata[i]))
            store(below->pdata[i], lost, failed);
}

CO bool node_set_active(Node *n, bool active, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    TRACE(node_set_active, "%s %d", n->name, active);
    edit_set_active(edit, &n, 1, active);
    return edit_commit(edit, err);
}

bool node_is_active(const Node *n)
{
    return n->state == NODE_ACTIVE;
}
