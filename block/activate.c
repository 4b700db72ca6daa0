/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inactive nodes: an image that this program has open while another one writes it, as the two ends of
 * a migration do in turn. A step of an edit, for a node and all below it.
 */
#include "block/internal.h"
#include "util/trace.h"
#include <string.h>

typedef struct {
    Node *top;
    NodeState to;
    GPtrArray *nodes;    /* of Node that change their state, parents before children; while applied */
    bool is_lost;        /* they could not be made active again: they stay inactive */
} Activation;

/* False if some node that stays active uses one of those that become inactive. */
static bool nobody_else_uses(const Activation *s, GError **err)
{
    for (guint i = 0; i < s->nodes->len; i++) {
        const Node *n = s->nodes->pdata[i];

        for (guint j = 0; j < n->parents->len; j++) {
            Node *p = ((const Edge *)n->parents->pdata[j])->parent;

            if (p && p->state != NODE_INACTIVE && !g_ptr_array_find(s->nodes, p, NULL))
                return err_set(err, EBUSY, "'%s' cannot be made inactive: '%s' uses it",
                               node_filename(n), node_filename(p));
        }
    }
    return true;
}

static void states_set(const Activation *s, NodeState state)
{
    for (guint i = 0; i < s->nodes->len; i++)
        ((Node *)s->nodes->pdata[i])->state = state;
}

static bool activation_apply(void *step, GError **err)
{
    Activation *s = step;
    g_autoptr(GPtrArray) all = nodes_from_the_top(&s->top, 1);

    for (guint i = 0; i < all->len; i++)
        if (((Node *)all->pdata[i])->state != s->to)
            g_ptr_array_add(s->nodes, all->pdata[i]);
    if (s->to == NODE_INACTIVE && !nobody_else_uses(s, err))
        return false;
    states_set(s, s->to);
    return true;
}

static CO void activation_undo(void *step)
{
    Activation *s = step;

    if (!s->is_lost)
        states_set(s, s->to == NODE_ACTIVE ? NODE_INACTIVE : NODE_ACTIVE);
}

/* ---- one node ------------------------------------------------------------------------------- */

static void stored_bitmaps_drop(Node *n)
{
    DirtyBitmap *next;

    for (DirtyBitmap *b = dirty_first(n); b; b = next) {
        next = b->next;
        if (b->persistent)
            dirty_remove(n, b);
    }
}

static bool bitmaps_are_idle(Node *n, GError **err)
{
    for (const DirtyBitmap *b = dirty_first(n); b; b = b->next)
        if (b->busy)
            return err_set(err, EBUSY, "Bitmap '%s' of '%s' is in use", b->name, node_filename(n));
    return true;
}

static CO bool inactivate_one(Node *n, GError **err)
{
    int r = 0;

    if (!bitmaps_are_idle(n, err))
        return false;
    if (n->flags & OPEN_RDWR) {
        if (n->drv->inactivate && !n->drv->inactivate(n, err))
            return false;
        r = node_flush(n);
    }
    if (r < 0)
        return err_set_errno(err, r, "Could not write back what is cached of '%s'", node_filename(n));
    stored_bitmaps_drop(n);
    return true;
}

static CO bool activate_one(Node *n, GError **err)
{
    if (n->drv->activate)
        return n->drv->activate(n, err);
    if (n->drv->kind == BLK_FILTER && node_filtered(n))
        node_set_size(n, node_size(node_filtered(n)));
    return true;
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* Children before parents: those of the last @count nodes. */
static CO bool activate_last(Activation *s, guint count, guint *done, GError **err)
{
    for (*done = 0; *done < count; ++*done)
        if (!activate_one(s->nodes->pdata[s->nodes->len - 1 - *done], err))
            return false;
    return true;
}

/* Parents before children: those from node @from on. */
static CO bool inactivate_from(Activation *s, guint from, guint *next, GError **err)
{
    for (*next = from; *next < s->nodes->len; ++*next)
        if (!inactivate_one(s->nodes->pdata[*next], err))
            return false;
    return true;
}

/* After a failure to make nodes before @next inactive: back to where they were. */
static CO void activate_back(Activation *s, guint next)
{
    g_autoptr(GError) err = NULL;

    for (guint i = next; i-- > 0 && !s->is_lost;)
        if (!activate_one(s->nodes->pdata[i], &err)) {
            block_warn("'%s' stays inactive: %s", node_filename(s->top), err->message);
            s->is_lost = true;
        }
}

/* After a failure to make all nodes active: the last @count ones are, and are not to stay so. */
static CO void inactivate_back(Activation *s, guint count)
{
    for (guint i = s->nodes->len - count; i < s->nodes->len; i++) {
        Node *n = s->nodes->pdata[i];
        g_autoptr(GError) err = NULL;

        if (!inactivate_one(n, &err))
            block_warn("%s", err->message);
    }
}

static CO bool activation_prepare(void *step, GError **err)
{
    Activation *s = step;
    guint done;

    if (s->to == NODE_ACTIVE) {
        if (activate_last(s, s->nodes->len, &done, err))
            return true;
        inactivate_back(s, done);
    } else {
        if (inactivate_from(s, 0, &done, err))
            return true;
        activate_back(s, done);
    }
    return false;
}

static CO void activation_abort(void *step)
{
    Activation *s = step;

    if (s->to == NODE_ACTIVE)
        inactivate_back(s, s->nodes->len);
    else
        activate_back(s, s->nodes->len);
}

static CO void activation_settle(void *step)
{
    const Activation *s = step;

    for (guint i = s->nodes->len; i-- > 0;)
        node_children_changed(s->nodes->pdata[i]);
}

static CO void activation_free(void *step)
{
    Activation *s = step;

    g_ptr_array_free(s->nodes, true);
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

void edit_set_active(Edit *edit, Node *n, bool active)
{
    Activation *s = g_new0(Activation, 1);

    *s = (Activation){ .top = n, .to = active ? NODE_ACTIVE : NODE_INACTIVE };
    s->nodes = g_ptr_array_new();
    edit_still(edit, n);
    edit_access_below(edit, n);
    edit_add(edit, &activation_ops, s);
}

CO bool node_set_active(Node *n, bool active, GError **err)
{
    g_autoptr(Edit) edit = edit_new();

    TRACE(node_set_active, "%s %d", n->name, active);
    edit_set_active(edit, n, active);
    return edit_commit(edit, err);
}

bool node_is_active(const Node *n)
{
    return n->state == NODE_ACTIVE;
}
