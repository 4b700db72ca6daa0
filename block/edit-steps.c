/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The steps of which edits of the graph's shape are made: edges that come, go and lead elsewhere.
 */
#include "block/edit.h"
#include "block/internal.h"

static void filter_follows(Node *n)
{
    g_autoptr(GError) err = NULL;

    node_set_size(n, node_size(node_filtered(n)));
    if (!node_size_changed(n, &err))
        block_warn("%s", err->message);
}

/* @n has another child with role @role than before, or none. */
static void child_changed(Node *n, Role role)
{
    if (n->state == NODE_OPENING)
        return;    /* a chain that is being opened has its names in the end */
    if (role == ROLE_BACKING)
        node_backing_changed(n);
    if (n->drv->kind == BLK_FILTER && role == ROLE_FILTERED && node_filtered(n) &&
        node_size(n) != node_size(node_filtered(n)))
        filter_follows(n);
    node_children_changed(n);
}

static bool circle_error(const Node *child, const char *key, const Node *parent, GError **err)
{
    return err_set(err, ELOOP, "'%s' cannot be child '%s' of '%s', which it uses itself",
                   node_filename(child), key, node_filename(parent));
}

/* ---- attach --------------------------------------------------------------------------------- */

typedef struct {
    Node *parent;          /* NULL: a handle's */
    Handle *handle;
    Node *child;           /* a reference of the step's own */
    char *key;
    Role role;
    unsigned needs, shares;
    Edge *edge;            /* while applied */
    Edge *old_root;        /* of the handle, before */
} Attach;

static bool attach_apply(void *step, GError **err)
{
    Attach *s = step;

    if (s->parent && s->child->state != NODE_ACTIVE && s->child->state != NODE_OPENING &&
        !(s->child->state == NODE_INACTIVE && s->parent->starts_inactive))
        return err_set(err, EBUSY, "Node '%s' is %s", s->child->name,
                       s->child->state == NODE_INACTIVE ? "inactive" : "being closed");
    if (s->parent && node_reaches(s->child, s->parent))
        return circle_error(s->child, s->key, s->parent, err);
    s->edge = edge_new(s->parent, s->handle, s->key, s->role, node_ref(s->child));
    s->edge->needs = s->needs;
    s->edge->shares = s->shares;
    if (s->handle) {
        s->old_root = s->handle->root;
        s->handle->root = s->edge;
        handle_refresh_size(s->handle);
    }
    return true;
}

static CO void attach_undo(void *step)
{
    Attach *s = step;

    edge_unlink(s->edge);
    edge_delete(s->edge);
    if (s->handle) {
        s->handle->root = s->old_root;
        handle_refresh_size(s->handle);
    }
    node_unref(s->child);  /* not the last reference: the step has one too */
}

static CO void attach_settle(void *step)
{
    const Attach *s = step;

    if (s->parent && s->parent->is_open)
        child_changed(s->parent, s->role);
}

static CO void attach_free(void *step)
{
    Attach *s = step;

    node_unref(s->child);
    g_free(s->key);
    g_free(s);
}

static const EditOps attach_ops = {
    .apply = attach_apply,
    .undo = attach_undo,
    .settle = attach_settle,
    .free = attach_free,
};

void edit_attach(Edit *edit, Node *parent, const char *key, Role role, Node *child)
{
    Attach *s = g_new0(Attach, 1);

    *s = (Attach){
        .parent = parent,
        .child = node_ref(child),
        .key = g_strdup(key),
        .role = role,
        .shares = ACCESS_ALL,
    };
    edit_still(edit, parent);
    edit_access_below(edit, parent);
    edit_add(edit, &attach_ops, s);
}

void edit_attach_handle(Edit *edit, Handle *h, Node *n, unsigned needs, unsigned shares)
{
    Attach *s = g_new0(Attach, 1);

    *s = (Attach){
        .handle = h,
        .child = node_ref(n),
        .key = g_strdup("root"),
        .role = ROLE_FILTERED,
        .needs = needs,
        .shares = shares,
    };
    edit_access_below(edit, n);
    edit_add(edit, &attach_ops, s);
}

/* ---- detach --------------------------------------------------------------------------------- */

typedef struct {
    Edge *edge;
    guint at;              /* its place among the children of its parent */
    bool is_applied;
} Detach;

static bool detach_apply(void *step, GError **err)
{
    Detach *s = step;

    s->at = edge_unlink(s->edge);
    s->is_applied = true;
    return true;
}

static CO void detach_undo(void *step)
{
    Detach *s = step;

    edge_link(s->edge, s->at);
    s->is_applied = false;
}

static CO void detach_settle(void *step)
{
    const Edge *e = ((Detach *)step)->edge;

    if (e->handle && e->handle->root == e) {
        e->handle->root = NULL;
        handle_refresh_size(e->handle);
    }
    if (e->parent && e->parent->state == NODE_ACTIVE)
        child_changed(e->parent, e->role);
}

static CO void detach_free(void *step)
{
    Detach *s = step;

    if (s->is_applied) {
        Node *n = s->edge->node;

        edge_delete(s->edge);
        node_unref(n);
    }
    g_free(s);
}

const EditOps edit_detach_ops = {
    .apply = detach_apply,
    .undo = detach_undo,
    .settle = detach_settle,
    .free = detach_free,
};

void edit_detach(Edit *edit, Edge *e)
{
    Detach *s = g_new0(Detach, 1);

    s->edge = e;
    if (e->parent && e->parent->state == NODE_ACTIVE)
        edit_still(edit, e->parent);
    /* Nobody will need anything of a node that closes too. */
    if (e->node->state == NODE_ACTIVE || e->node->state == NODE_INACTIVE)
        edit_access_below(edit, e->node);
    edit_add(edit, &edit_detach_ops, s);
}

/* ---- repoint -------------------------------------------------------------------------------- */

typedef struct {
    Edge *edge;            /* NULL: all that leads to @from, but for what @to is made of */
    Node *from, *to;       /* references of the step's own */
    GPtrArray *moved;      /* of Edge; while applied they lead to @to */
} Repoint;

static void edge_move(Edge *e, Node *to)
{
    node_ref(to);
    g_ptr_array_remove(e->node->parents, e);
    e->node->refs--;       /* not the last one: the step has one too */
    e->node = to;
    g_ptr_array_add(to->parents, e);
    if (e->handle)
        handle_refresh_size(e->handle);
}

static bool repoint_apply(void *step, GError **err)
{
    Repoint *s = step;

    if (s->edge && s->edge->parent && node_reaches(s->to, s->edge->parent))
        return circle_error(s->to, s->edge->key, s->edge->parent, err);
    if (s->edge)
        g_ptr_array_add(s->moved, s->edge);
    for (guint i = 0; !s->edge && i < s->from->parents->len; i++) {
        Edge *e = s->from->parents->pdata[i];

        if (!e->parent || !node_reaches(s->to, e->parent))
            g_ptr_array_add(s->moved, e);
    }
    for (guint i = 0; i < s->moved->len; i++)
        edge_move(s->moved->pdata[i], s->to);
    return true;
}

static CO void repoint_undo(void *step)
{
    Repoint *s = step;

    for (guint i = 0; i < s->moved->len; i++)
        edge_move(s->moved->pdata[i], s->from);
}

static CO void repoint_settle(void *step)
{
    const Repoint *s = step;

    for (guint i = 0; i < s->moved->len; i++) {
        const Edge *e = s->moved->pdata[i];

        if (e->parent)
            child_changed(e->parent, e->role);
        else
            handle_tell_replaced(e->handle);
    }
}

static CO void repoint_free(void *step)
{
    Repoint *s = step;

    g_ptr_array_free(s->moved, true);
    node_unref(s->from);
    node_unref(s->to);
    g_free(s);
}

static const EditOps repoint_ops = {
    .apply = repoint_apply,
    .undo = repoint_undo,
    .settle = repoint_settle,
    .free = repoint_free,
};

static void repoint_add(Edit *edit, Edge *e, Node *from, Node *to)
{
    Repoint *s = g_new0(Repoint, 1);

    *s = (Repoint){ .edge = e, .from = node_ref(from), .to = node_ref(to) };
    s->moved = g_ptr_array_new();
    edit_still(edit, e && e->parent ? e->parent : from);
    edit_access_below(edit, from);
    edit_access_below(edit, e && e->parent ? e->parent : to);
    edit_add(edit, &repoint_ops, s);
}

void edit_repoint(Edit *edit, Edge *e, Node *to)
{
    repoint_add(edit, e, e->node, to);
}

void edit_replace(Edit *edit, Node *from, Node *to)
{
    repoint_add(edit, NULL, from, to);
}

/* ---- access --------------------------------------------------------------------------------- */

typedef struct {
    Handle *handle;
    unsigned needs, shares; /* that are not in force: the new ones, then the old ones */
    OpenFlags flags;        /* of the handle, in force when it is settled */
} HandleAccess;

static void access_swap(HandleAccess *s)
{
    Edge *e = s->handle->root;
    unsigned needs = e->needs, shares = e->shares;

    e->needs = s->needs;
    e->shares = s->shares;
    s->needs = needs;
    s->shares = shares;
}

static bool access_apply(void *step, GError **err)
{
    access_swap(step);
    return true;
}

static CO void access_undo(void *step)
{
    access_swap(step);
}

static CO void access_settle(void *step)
{
    HandleAccess *s = step;

    s->handle->flags = s->flags;
}

static const EditOps access_ops = {
    .apply = access_apply,
    .undo = access_undo,
    .settle = access_settle,
    .free = g_free,
};

static void handle_access(Edit *edit, Handle *h, unsigned needs, unsigned shares, OpenFlags flags)
{
    HandleAccess *s = g_new0(HandleAccess, 1);

    *s = (HandleAccess){ .handle = h, .needs = needs, .shares = shares, .flags = flags };
    edit_access_below(edit, h->root->node);
    edit_add(edit, &access_ops, s);
}

void edit_handle_access(Edit *edit, Handle *h, unsigned needs, OpenFlags flags)
{
    handle_access(edit, h, needs, h->root->shares, flags);
}

void edit_handle_yield(Edit *edit, Handle *h)
{
    handle_access(edit, h, 0, ACCESS_ALL, h->flags);
}
