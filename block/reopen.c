/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reopening: other options and flags for a node that stays where it is.
 *
 * The node and what carries its bytes (storage, data file, what it filters; not the backing file)
 * change together or not at all: a step of an edit.
 */
#include "block/internal.h"
#include "block/jobs/job.h"
#include "util/keyval.h"
#include "util/trace.h"
#include <string.h>

typedef struct {
    Node *node;
    json_t *options, *given; /* what will hold, typed and as written; owned */
    OpenFlags flags, old_flags;
    DetectZeroes detect;
    void *change;            /* the driver's, once it has agreed */
    bool is_prepared;
    bool is_inactivated;     /* drv->inactivate was called, for a node that ceases to be writable */
} Reopen;

static void reopen_free(Reopen *r)
{
    json_decref(r->options);
    json_decref(r->given);
    g_free(r);
}

/* The child of @n that its option @key describes, NULL if there is none. */
static const Edge *child_of(const Node *n, const char *key)
{
    for (guint i = 0; i < n->children->len; i++) {
        const Edge *e = n->children->pdata[i];

        if (!strcmp(e->key, key))
            return e;
    }
    return NULL;
}

/* The options of @n with those of @changes in place of them; what concerns children is left out. */
static json_t *options_changed(Node *n, const json_t *changes)
{
    json_t *o = json_deep_copy(n->options), *v;
    const char *key;

    json_object_foreach((json_t *)changes, key, v) {
        json_t *old = json_get(o, key);

        if (child_of(n, key))
            continue;
        if (json_is_object(v) && json_is_object(old))
            json_object_update(old, v);
        else
            json_object_set_new(o, key, json_deep_copy(v));
    }
    for (const char *const (*pair)[2] = n->drv->superseded_options; pair && (*pair)[0]; pair++)
        if (json_has(changes, (*pair)[0]) && !json_has(changes, (*pair)[1]))
            json_object_del(o, (*pair)[1]);
    return o;
}

/* Did the user make the child of @e by itself and give it a name? Then it inherits nothing. */
static bool child_is_named(const Edge *e)
{
    const char *name = json_get_str(e->parent->options, e->key, NULL);

    return name && name[0] != '#';
}

static bool plan_has(const GPtrArray *plan, const Node *n)
{
    for (guint i = 0; i < plan->len; i++)
        if (((const Reopen *)plan->pdata[i])->node == n)
            return true;
    return false;
}

static bool reopen_keeps_driver(const Node *n, const json_t *changes, GError **err)
{
    const char *driver = json_get_str(changes, "driver", n->drv->name);

    if (strcmp(driver, n->drv->name))
        return err_set(err, EINVAL, "Driver '%s' of '%s' cannot become '%s'", n->drv->name,
                       node_filename(n), driver);
    if (strcmp(json_get_str(changes, "node-name", n->name), n->name))
        return err_set(err, EINVAL, "The node-name of '%s' cannot change", node_filename(n));
    return true;
}

/* True unless @changes want another node below @n. */
static bool reopen_keeps_children(const Node *n, const json_t *changes, GError **err)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)changes, key, v) {
        const Edge *e = child_of(n, key);
        const char *wanted = json_string_value(v);

        if (wanted && (e ? strcmp(wanted, node_name(e->node)) : !strcmp(key, "backing")))
            return err_set(err, EINVAL, "Child '%s' of '%s' cannot become node '%s'", key,
                           node_filename(n), wanted);
    }
    return true;
}

/*
 * Adds @n, changed by @changes (NULL: nothing), and the nodes below it, with the flags they inherit
 * and what @changes says of them. With @whole, @changes are all options there are, and which nodes
 * are below has been seen to.
 */
static bool reopen_plan(GPtrArray *plan, Node *n, const json_t *changes, bool whole,
                        OpenFlags flags, GError **err)
{
    Reopen *r;

    whole = whole && changes;
    if (!reopen_keeps_driver(n, changes, err) ||
        (!whole && !reopen_keeps_children(n, changes, err)))
        return false;
    r = g_new0(Reopen, 1);
    *r = (Reopen){
        .node = n,
        .options = whole ? json_deep_copy(changes) : options_changed(n, changes),
        .given = options_strong(n->drv, changes),
        .flags = flags,
        .old_flags = n->flags,
    };
    if (!whole)
        json_object_update_missing(r->given, n->given);
    g_ptr_array_add(plan, r);
    if (!options_check(n->drv, r->options, err) ||
        !flags_from_options(r->options, &r->flags, &r->detect, err))
        return false;
    for (guint i = 0; i < n->children->len; i++) {
        const Edge *e = n->children->pdata[i];
        const json_t *more = json_get(changes, e->key);
        Node shape = { .flags = r->flags };
        OpenFlags settable = OPEN_RDWR | OPEN_DIRECT | OPEN_NO_FLUSH | OPEN_UNMAP;
        OpenFlags child = e->node->flags;

        if (json_is_object(more) && child_is_named(e))
            return err_set(err, EINVAL,
                           "Child '%s' of '%s' is node '%s' and has options of its own", e->key,
                           node_filename(n), node_shown_name(e->node));
        if (e->role == ROLE_BACKING || plan_has(plan, e->node) || child_is_named(e) ||
            json_is_string(more))
            continue;
        child = (child & ~settable) | (node_child_flags(&shape, e->role) & settable);
        if (!reopen_plan(plan, e->node, json_is_object(more) ? more : NULL, whole, child, err))
            return false;
    }
    return true;
}

/* True if the options of @r differ from those in force in more than generic ones and children. */
static bool reopen_changes_driver(const Reopen *r)
{
    static const char *const generic[] = { "read-only", "auto-read-only", "force-share", "cache",
                                           "discard", "detect-zeroes", "node-name", "driver",
                                           "backing" };
    const Node *n = r->node;
    g_autoptr(json_t) a = json_copy(r->options), b = json_copy(r->node->options);

    for (size_t i = 0; i < G_N_ELEMENTS(generic); i++) {
        json_object_del(a, generic[i]);
        json_object_del(b, generic[i]);
    }
    for (guint i = 0; i < n->children->len; i++) {
        const char *key = ((const Edge *)n->children->pdata[i])->key;

        json_object_del(a, key);
        json_object_del(b, key);
    }
    return !json_equal(a, b);
}

static bool reopen_keeps_fixed(const Reopen *r, GError **err)
{
    const Node *n = r->node;

    for (const char *const *o = n->drv->fixed_options; o && *o; o++) {
        const json_t *old = json_get(n->options, *o), *new = json_get(r->options, *o);

        if (old != new && (!old || !new || !json_equal(old, new)))
            return err_set(err, EINVAL, "Option '%s' of '%s' cannot change while it is open", *o,
                           node_filename(n));
    }
    return true;
}

static CO bool reopen_prepare(Reopen *r, GError **err)
{
    Node *n = r->node;

    if (!reopen_keeps_fixed(r, err))
        return false;
    if (r->flags & OPEN_RDWR && n->read_only_why)
        return err_set(err, EACCES, "%s", n->read_only_why);
    if (r->flags & OPEN_RDWR && !(r->flags & OPEN_AUTO_RDONLY) && n->drv->kind != BLK_FILTER &&
        !n->drv->pwrite)
        return err_set(err, EACCES, "'%s' can only be read: driver '%s' does not write",
                       node_filename(n), n->drv->name);
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

static CO void reopen_abort(Reopen *r)
{
    if (r->is_prepared && r->node->drv->reconfigure_abort)
        r->node->drv->reconfigure_abort(r->node, r->change);
    r->is_prepared = false;
}

/* A node that ceases to be writable leaves its file as if it were closed. */
static CO bool reopen_write_back(Reopen *r, GError **err)
{
    Node *n = r->node;
    int ret;

    if (!(r->old_flags & OPEN_RDWR) || r->flags & OPEN_RDWR)
        return true;
    r->is_inactivated = true;
    if (n->drv->inactivate && !n->drv->inactivate(n, err))
        return false;
    ret = node_flush(n);
    return ret >= 0 || err_set_errno(err, ret, "Could not write back what is cached of '%s'",
                                     node_filename(n));
}

static CO void reopen_resume(Reopen *r)
{
    if (r->is_inactivated && r->node->drv->resume)
        r->node->drv->resume(r->node);
    r->is_inactivated = false;
}

static CO void reopen_settle(Reopen *r)
{
    Node *n = r->node;

    n->flags = r->flags;
    if (n->drv->reconfigure_commit)
        n->drv->reconfigure_commit(n, r->change);
    json_decref(n->options);
    n->options = json_incref(r->options);
    json_decref(n->given);
    n->given = json_incref(r->given);
    n->detect_zeroes = r->detect;
    node_children_changed(n);
}

/* ---- all of them ---------------------------------------------------------------------------- */

typedef struct {
    Node *top;
    json_t *changes;
    bool is_whole;           /* they are all options */
    OpenFlags flags;
    GPtrArray *nodes;        /* of Reopen, parents before children; while applied */
} ReopenStep;

/* The flags of all nodes, children first: the new ones and, of the old ones, those in @keep. */
static void flags_set(const ReopenStep *s, OpenFlags keep)
{
    for (guint i = s->nodes->len; i-- > 0;) {
        Reopen *r = s->nodes->pdata[i];

        r->node->flags = r->flags | (r->old_flags & keep);
        node_refresh_limits(r->node);
    }
}

static bool step_apply(void *data, GError **err)
{
    ReopenStep *s = data;

    if (!reopen_plan(s->nodes, s->top, s->changes, s->is_whole, s->flags, err)) {
        g_ptr_array_set_size(s->nodes, 0);
        return false;
    }
    flags_set(s, 0);
    return true;
}

static CO void step_undo(void *data)
{
    ReopenStep *s = data;

    for (guint i = s->nodes->len; i-- > 0;) {
        Reopen *r = s->nodes->pdata[i];

        r->node->flags = r->old_flags;
        node_refresh_limits(r->node);
    }
}

static CO void step_abort(void *data)
{
    ReopenStep *s = data;

    for (guint i = 0; i < s->nodes->len; i++)
        reopen_abort(s->nodes->pdata[i]);
    for (guint i = s->nodes->len; i-- > 0;)
        reopen_resume(s->nodes->pdata[i]);
}

/* Parents first: what they write may be recorded by an image below. */
static CO bool step_write_back(ReopenStep *s, GError **err)
{
    int r = node_is_read_only(s->top) ? 0 : node_flush(s->top);

    if (r < 0)
        return err_set_errno(err, r, "Could not write back what is cached of '%s'",
                             node_filename(s->top));
    for (guint i = 0; i < s->nodes->len; i++)
        if (!reopen_write_back(s->nodes->pdata[i], err))
            return false;
    return true;
}

/*
 * Children first, so that a parent finds them as they will be; but until all is settled a parent
 * can still write, and its requests fit descriptors opened either way.
 */
static CO bool step_prepare(void *data, GError **err)
{
    ReopenStep *s = data;
    bool ok;

    flags_set(s, OPEN_RDWR | OPEN_DIRECT);
    ok = step_write_back(s, err);
    for (guint i = s->nodes->len; ok && i-- > 0;)
        ok = reopen_prepare(s->nodes->pdata[i], err);
    if (!ok)
        step_abort(s);
    return ok;
}

static CO void step_settle(void *data)
{
    ReopenStep *s = data;

    for (guint i = s->nodes->len; i-- > 0;)
        reopen_settle(s->nodes->pdata[i]);
}

static CO void step_free(void *data)
{
    ReopenStep *s = data;

    json_decref(s->changes);
    g_ptr_array_free(s->nodes, true);
    g_free(s);
}

static const EditOps reopen_ops = {
    .apply = step_apply,
    .undo = step_undo,
    .prepare = step_prepare,
    .abort = step_abort,
    .settle = step_settle,
    .free = step_free,
};

static void reopen_add(Edit *edit, Node *n, json_t *changes, bool is_whole, OpenFlags flags)
{
    ReopenStep *s = g_new0(ReopenStep, 1);

    *s = (ReopenStep){ .top = n, .changes = json_incref(changes), .flags = flags };
    s->is_whole = is_whole;
    s->nodes = g_ptr_array_new_with_free_func((GDestroyNotify)reopen_free);
    edit_still(edit, n);
    edit_access_below(edit, n);
    edit_add(edit, &reopen_ops, s);
}

void edit_reopen(Edit *edit, Node *n, json_t *changes, OpenFlags flags)
{
    reopen_add(edit, n, changes, false, flags);
}

/*
 * Adds the steps that make the child of @n at @key what @v says: a node's name, or null for none.
 */
static bool child_change(Edit *edit, Node *n, const char *key, const json_t *v, GError **err)
{
    Edge *e = (Edge *)child_of(n, key);
    const char *name = json_string_value(v);
    Node *to = name ? node_find(name) : NULL;
    bool is_backing = !strcmp(key, "backing") && n->drv->takes_backing;

    if (name && !to)
        return err_set(err, ENOENT, "Cannot find device='' nor node-name='%s'", name);
    if (e ? e->node == to : !to)
        return true;
    if (!node_check_idle(n, err))
        return false;
    if (!is_backing && !(e && to && (e->role == ROLE_FILTERED || !strcmp(n->drv->name, "raw"))))
        return err_set(err, EINVAL, "Child '%s' of '%s' cannot change while it is open", key,
                       node_filename(n));
    if (e && to)
        edit_repoint(edit, e, to);
    else if (to)
        edit_attach(edit, n, key, ROLE_BACKING, to);
    else
        edit_detach(edit, e);
    return true;
}

bool edit_reconfigure(Edit *edit, Node *n, json_t *options, GError **err)
{
    const char *key;
    json_t *v;

    if (!reopen_keeps_driver(n, options, err))
        return false;
    if (node_backing(n) && !json_has(options, "backing"))
        return err_set(err, EINVAL, "backing is missing for '%s'", node_shown_name(n));
    json_object_foreach(options, key, v) {
        bool is_backing = !strcmp(key, "backing");

        if ((json_is_string(v) && (is_backing || child_of(n, key))) ||
            (json_is_null(v) && is_backing))
            if (!child_change(edit, n, key, v, err))
                return false;
    }
    reopen_add(edit, n, options, true, OPEN_RDWR);
    return true;
}

CO bool handle_reopen(Handle *h, json_t *options, OpenFlags flags, GError **err)
{
    g_autoptr(json_t) changes = options ? options : json_object();
    g_autoptr(Edit) edit = NULL;
    int r;

    TRACE(node_reopen, "%s flags=0x%x", h->root->node->name, flags);
    if (!keyval_nest(changes, err))
        return false;
    /* Most of it now, rather than while everybody waits. */
    r = handle_flush(h);
    if (r < 0)
        return err_set_errno(err, r, "Could not write back what is cached of '%s'",
                             node_filename(h->root->node));
    edit = edit_begin();
    edit_reopen(edit, h->root->node, changes, flags);
    edit_handle_access(edit, h, handle_needs(flags), flags);
    return edit_commit(edit, err);
}
