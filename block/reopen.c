/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reopening: other options and flags for a node that stays where it is.
 *
 * The node and what carries its bytes (storage, data file, what it filters; not the backing file)
 * change together or not at all: all agree (prepare), then all do it (commit), behind closed gates.
 */
#include "block/internal.h"
#include "util/keyval.h"
#include <string.h>

typedef struct {
    Node *node;
    json_t *options, *given; /* what will hold, typed and as written; owned */
    OpenFlags flags, old_flags;
    DetectZeroes detect;
    void *change;            /* the driver's, between prepare and commit or abort */
    bool is_prepared;
} Reopen;

static void reopen_free(Reopen *r)
{
    json_decref(r->options);
    json_decref(r->given);
    g_free(r);
}

/* Adds @n and the nodes below it, with the flags they inherit. */
static bool reopen_plan(GPtrArray *plan, Node *n, json_t *options, OpenFlags flags, GError **err)
{
    Reopen *r = g_new0(Reopen, 1);

    *r = (Reopen){ .node = n, .options = options, .flags = flags, .old_flags = n->flags };
    r->given = json_copy(options);
    g_ptr_array_add(plan, r);
    if (!options_check(n->drv, options, err) ||
        !flags_from_options(options, &r->flags, &r->detect, err))
        return false;
    for (guint i = 0; i < n->children->len; i++) {
        const Edge *e = n->children->pdata[i];
        Node shape = { .flags = r->flags };
        OpenFlags settable = OPEN_RDWR | OPEN_DIRECT | OPEN_NO_FLUSH | OPEN_UNMAP;
        OpenFlags child = e->node->flags;

        if (e->role == ROLE_BACKING)
            continue;
        child = (child & ~settable) | (node_child_flags(&shape, e->role) & settable);
        if (!reopen_plan(plan, e->node, json_copy(e->node->options), child, err))
            return false;
    }
    return true;
}

/* True if the options of @r differ from those in force in more than the generic ones. */
static bool reopen_changes_driver(const Reopen *r)
{
    static const char *const generic[] = { "read-only", "auto-read-only", "force-share", "cache",
                                           "discard", "detect-zeroes", "node-name", "driver" };
    g_autoptr(json_t) a = json_copy(r->options), b = json_copy(r->node->options);

    for (size_t i = 0; i < G_N_ELEMENTS(generic); i++) {
        json_object_del(a, generic[i]);
        json_object_del(b, generic[i]);
    }
    return !json_equal(a, b);
}

static CO bool reopen_prepare(Reopen *r, GError **err)
{
    Node *n = r->node;

    if (n->drv->reconfigure_prepare) {
        if (!n->drv->reconfigure_prepare(n, r->options, r->flags, &r->change, err))
            return false;
    } else if (reopen_changes_driver(r)) {
        return err_set(err, ENOTSUP, "Driver '%s' of '%s' cannot change these options while open",
                       n->drv->name, node_filename(n));
    }
    r->is_prepared = true;
    return true;
}

static void plan_set_flags(GPtrArray *plan, bool back)
{
    for (guint i = 0; i < plan->len; i++) {
        Reopen *r = plan->pdata[i];

        r->node->flags = back ? r->old_flags : r->flags;
    }
}

/* Children first, so that a parent finds them as they will be. */
static CO bool plan_prepare(GPtrArray *plan, GError **err)
{
    for (guint i = plan->len; i-- > 0;)
        if (!reopen_prepare(plan->pdata[i], err))
            return false;
    return true;
}

static CO void plan_abort(GPtrArray *plan)
{
    for (guint i = 0; i < plan->len; i++) {
        Reopen *r = plan->pdata[i];

        if (r->is_prepared && r->node->drv->reconfigure_abort)
            r->node->drv->reconfigure_abort(r->node, r->change);
    }
}

static CO void plan_commit(GPtrArray *plan)
{
    for (guint i = plan->len; i-- > 0;) {
        Reopen *r = plan->pdata[i];
        Node *n = r->node;

        if (n->drv->reconfigure_commit)
            n->drv->reconfigure_commit(n, r->change);
        json_decref(n->options);
        n->options = json_incref(r->options);
        json_decref(n->given);
        n->given = json_incref(r->given);
        n->detect_zeroes = r->detect;
        node_refresh_limits(n);
        node_refresh_filename(n);
    }
}

static Edge *edge_by_key(const Node *n, const char *key)
{
    for (guint i = 0; i < n->children->len; i++) {
        Edge *e = n->children->pdata[i];

        if (!strcmp(e->key, key))
            return e;
    }
    return NULL;
}

/* True if @want, options for the child @e or the name of a node, say what holds already. */
static bool child_stays(const Edge *e, const json_t *want, GError **err)
{
    const char *key;
    json_t *v;

    if (json_is_string(want)) {
        if (strcmp(json_string_value(want), node_name(e->node)))
            return err_set(err, EINVAL, "Child '%s' of '%s' cannot become node '%s'", e->key,
                           node_filename(e->parent), json_string_value(want));
        return true;
    }
    json_object_foreach((json_t *)want, key, v)
        if (!json_equal(v, json_get(e->node->options, key)))
            return err_set(err, EINVAL, "Option '%s.%s' of '%s' cannot change while it is open",
                           e->key, key, node_filename(e->parent));
    return true;
}

/* Puts the members of @changes over those of @n's options. New reference, or NULL with @err. */
static json_t *options_changed(Node *n, json_t *changes, GError **err)
{
    g_autoptr(json_t) o = json_deep_copy(n->options);
    g_autoptr(json_t) c = changes ? changes : json_object();
    const char *key;
    json_t *v;

    if (!keyval_nest(c, err))
        return NULL;
    json_object_foreach(c, key, v) {
        json_t *old = json_get(o, key);
        const Edge *child = edge_by_key(n, key);

        if (child) {
            if (!child_stays(child, v, err))
                return NULL;
            continue;
        }
        if (!strcmp(key, "driver") && g_strcmp0(json_string_value(v), n->drv->name)) {
            err_set(err, EINVAL, "The driver of '%s' cannot change while it is open",
                    node_filename(n));
            return NULL;
        }
        if (json_is_object(v) && json_is_object(old))
            json_object_update(old, v);
        else
            json_object_set(o, key, v);
    }
    return g_steal_pointer(&o);
}

CO bool handle_reopen(Handle *h, json_t *options, OpenFlags flags, GError **err)
{
    Node *n = h->root->node;
    g_autoptr(GPtrArray) plan = g_ptr_array_new_with_free_func((GDestroyNotify)reopen_free);
    json_t *o = options_changed(n, options, err);
    unsigned old_needs = h->root->needs;
    bool ok;

    if (!o || !reopen_plan(plan, n, o, flags, err))
        return false;
    if (handle_flush(h) < 0)
        return err_set(err, EIO, "Could not write back what is cached of '%s'", node_filename(n));
    gate_close_above(n);
    plan_set_flags(plan, false);
    ok = edge_set_access(h->root, handle_needs(flags), h->root->shares, err) &&
         plan_prepare(plan, err);
    if (ok) {
        plan_commit(plan);
        h->flags = flags;
    } else {
        plan_abort(plan);
        plan_set_flags(plan, true);
        edge_set_access(h->root, old_needs, h->root->shares, NULL);
    }
    gate_open_above(n);
    return ok;
}
