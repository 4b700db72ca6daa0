/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Home loops: all nodes that are connected (a tree) live on one loop, and their drivers are called
 * only there; a job connects the nodes on which it works. A tree that is assigned to an iothread
 * lives on it while it only serves requests of handles and works of jobs, and comes to the main
 * loop for everything else, so that commands and edits find all nodes on their own loop. Handles
 * pass requests on to wherever the tree is. Jobs run on the main loop and pass on what they do with
 * nodes.
 *
 * To move a tree, the work of its jobs (home_work) is asked to return, the gates of its handles are
 * closed, and requests in flight are waited for; then it belongs to the other loop and the gates
 * open. Requests and work that waited go on there. The shape of a tree on an iothread does not
 * change: edits hold it on the main loop.
 */
#include "block/home.h"
#include "block/internal.h"
#include "util/trace.h"

typedef struct {
    Loop *loop;           /* on which it lives */
    GPtrArray *nodes;     /* of Node, from the top */
    GPtrArray *handles;   /* of Handle */
} Tree;

/* All of it belongs to the main loop. */
static Loop *main_loop;   /* that of the last home_hold() */
static unsigned holds;
static CoMutex moving;    /* one tree moves at a time */
static GPtrArray *away;   /* of Tree: those that are on other loops */
static GPtrArray *bound;  /* of Node: those with .iothread */
static bool is_sending;   /* send_away was started, or runs */

/* ---- trees ---------------------------------------------------------------------------------- */

static void tree_free(Tree *t)
{
    g_ptr_array_free(t->nodes, true);
    g_ptr_array_free(t->handles, true);
    g_free(t);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Tree, tree_free)

/* Adds the nodes to which other handles of @h's job lead. */
static void companions(const Handle *h, GHashTable *seen, GPtrArray *nodes)
{
    for (guint i = 0; h->companions && i < h->companions->len; i++) {
        const Handle *other = h->companions->pdata[i];

        if (other->root && g_hash_table_add(seen, other->root->node))
            g_ptr_array_add(nodes, other->root->node);
    }
}

/* Adds the node or handle at the other end of each edge of @n to @nodes or @handles. */
static void neighbours(const Node *n, bool with_jobs, GHashTable *seen, GPtrArray *nodes,
                       GPtrArray *handles)
{
    for (guint i = 0; i < n->children->len; i++) {
        const Edge *e = n->children->pdata[i];

        if (g_hash_table_add(seen, e->node))
            g_ptr_array_add(nodes, e->node);
    }
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (e->handle) {
            g_ptr_array_add(handles, e->handle);
            if (with_jobs)
                companions(e->handle, seen, nodes);
        } else if (g_hash_table_add(seen, e->parent)) {
            g_ptr_array_add(nodes, e->parent);
        }
    }
}

/* @with_jobs: also what jobs join it to. */
static Tree *tree_of(Node *n, bool with_jobs)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    Tree *t = g_new(Tree, 1);

    *t = (Tree){ .loop = n->home, .handles = g_ptr_array_new() };
    g_hash_table_add(seen, n);
    g_ptr_array_add(nodes, n);
    for (guint i = 0; i < nodes->len; i++)
        neighbours(nodes->pdata[i], with_jobs, seen, nodes, t->handles);
    t->nodes = nodes_from_the_top((Node *const *)nodes->pdata, nodes->len);
    return t;
}

/* False with @err: one of its drivers knows the main loop only. */
static bool tree_can_move(const Tree *t, GError **err)
{
    for (guint i = 0; i < t->nodes->len; i++) {
        const Node *n = t->nodes->pdata[i];

        if (!n->drv->any_loop)
            return err_set(err, ENOTSUP, "Node '%s' of driver '%s' works on the main loop only",
                           n->name, n->drv->name);
    }
    return true;
}

/* Does at least one user make requests, and does nobody need the nodes themselves? */
static bool tree_is_only_served(const Tree *t)
{
    bool is_used = false;

    for (guint i = 0; i < t->nodes->len; i++) {
        const Node *n = t->nodes->pdata[i];

        if (n->state == NODE_OPENING || (n->drv->needs_main_loop && n->drv->needs_main_loop(n)))
            return false;
    }
    for (guint i = 0; i < t->handles->len; i++) {
        const Handle *h = t->handles->pdata[i];

        if ((h->kind == HANDLE_JOB && !h->companions) || h->looks_at_nodes)
            return false;
        is_used |= h->root->needs != 0;
    }
    return is_used;
}

/* ---- moving --------------------------------------------------------------------------------- */

typedef struct {
    Tree *tree;
    Loop *to;
    bool has_moved;
} Move;

/* On their new loop. */
static CO void nodes_enter(void *arg)
{
    const Tree *t = arg;

    for (guint i = 0; i < t->nodes->len; i++) {
        Node *n = t->nodes->pdata[i];

        if (n->drv->enter_loop)
            n->drv->enter_loop(n);
    }
}

static CO void nodes_move(const Move *m)
{
    bool has_more = false;

    for (guint i = 0; i < m->tree->nodes->len; i++) {
        Node *n = m->tree->nodes->pdata[i];

        if (n->drv->leave_loop)
            n->drv->leave_loop(n);
        has_more |= n->drv->enter_loop != NULL;
    }
    for (guint i = 0; i < m->tree->nodes->len; i++)
        ((Node *)m->tree->nodes->pdata[i])->home = m->to;
    if (has_more)
        loop_call_wait(m->to, nodes_enter, m->tree);
}

/* Until then requests go on, for which the works may wait, and which may wait for them. */
static CO void works_end(const GPtrArray *handles)
{
    for (guint i = 0; i < handles->len; i++) {
        Handle *h = handles->pdata[i];

        h->must_leave = true;
        if (h->work_sleeper)
            co_wake(h->work_sleeper);
    }
    for (guint i = 0; i < handles->len; i++) {
        Handle *h = handles->pdata[i];

        while (h->working)
            co_queue_wait(&h->idle);
    }
}

/* On the tree's loop. It does not leave the main loop if there was a home_hold() meanwhile. */
static CO void tree_move_run(void *arg)
{
    Move *m = arg;
    const GPtrArray *handles = m->tree->handles;
    Gates *gates;

    nodes_rush(m->tree->nodes, true);
    works_end(handles);
    gates = gates_close(m->tree->nodes);
    m->has_moved = m->to == main_loop || !holds;
    if (m->has_moved)
        nodes_move(m);
    nodes_rush(m->tree->nodes, false);
    gates_open(gates);
    for (guint i = 0; i < handles->len; i++) {
        Handle *h = handles->pdata[i];

        h->must_leave = false;
        co_queue_wake_all(&h->gate); /* works that wait are no requests */
        if (m->has_moved)
            atomic_store_explicit(&h->home, m->to, memory_order_release);
    }
    gates_free(gates);
}

static CO bool tree_move(Tree *t, Loop *to)
{
    Move m = { .tree = t, .to = to };

    loop_call_wait(t->loop, tree_move_run, &m);
    if (m.has_moved)
        t->loop = to;
    TRACE(home_move, "nodes=%u handles=%u there=%d", t->nodes->len, t->handles->len,
          m.has_moved && to != main_loop);
    return m.has_moved;
}

static void node_bind(Node *n, IoThread *thread)
{
    if (n->iothread == thread)
        return;
    if (thread)
        iothread_use(thread);
    if (n->iothread)
        iothread_drop(n->iothread);
    if (!bound)
        bound = g_ptr_array_new();
    if (!n->iothread)
        g_ptr_array_add(bound, n);
    n->iothread = thread;
    if (!thread)
        g_ptr_array_remove_fast(bound, n);
}

void home_forget(Node *n)
{
    node_bind(n, NULL);
}

/* Trees that were joined go to the iothread of the uppermost node that has one. */
static IoThread *tree_bind(const Tree *t)
{
    IoThread *thread = NULL;

    for (guint i = 0; i < t->nodes->len && !thread; i++)
        thread = ((const Node *)t->nodes->pdata[i])->iothread;
    for (guint i = 0; i < t->nodes->len; i++)
        node_bind(t->nodes->pdata[i], thread);
    return thread;
}

/* Tells the owners of handles that their nodes are on @thread; NULL: on the main loop. */
static void tree_tell_home(const Tree *t, IoThread *thread)
{
    for (guint i = 0; i < t->handles->len; i++) {
        const Handle *h = t->handles->pdata[i];

        if (h->ops && h->ops->home_changed)
            h->ops->home_changed(h->owner, thread);
    }
}

static void nodes_add(GHashTable *seen, const GPtrArray *nodes)
{
    for (guint i = 0; i < nodes->len; i++)
        g_hash_table_add(seen, nodes->pdata[i]);
}

/* Sends the tree of @n to its iothread, if it may leave. Adds its nodes to @seen in any case. */
static CO void tree_send(Node *n, GHashTable *seen)
{
    g_autoptr(Tree) t = tree_of(n, true);
    IoThread *thread = tree_bind(t);

    nodes_add(seen, t->nodes);
    if (!tree_can_move(t, NULL) || !tree_is_only_served(t)) {
        tree_tell_home(t, NULL);
    } else if (tree_move(t, iothread_loop(thread))) {
        tree_tell_home(t, thread);
        g_ptr_array_add(away, g_steal_pointer(&t));
    }
}

static CO void send_away(void *arg)
{
    CO_LOCKED(&moving);
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);

    is_sending = false;
    if (!away)
        away = g_ptr_array_new();
    for (guint i = 0; i < away->len; i++)
        nodes_add(seen, ((const Tree *)away->pdata[i])->nodes);
    for (guint i = 0; i < bound->len && !holds; i++)
        if (!g_hash_table_contains(seen, bound->pdata[i]))
            tree_send(bound->pdata[i], seen);
}

CO void home_hold(void)
{
    holds++;
    co_mutex_lock(&moving);
    if (!away || !away->len)
        main_loop = loop_self();
    g_assert(loop_self() == main_loop);
    while (away && away->len) {
        g_autoptr(Tree) t = g_ptr_array_steal_index_fast(away, away->len - 1);

        tree_move(t, main_loop);
    }
    co_mutex_unlock(&moving);
}

void home_release(void)
{
    if (--holds || !bound || !bound->len || is_sending)
        return;
    is_sending = true;
    co_start(send_away, NULL);
}

/* ---- work where nodes are ------------------------------------------------------------------- */

typedef struct {
    Handle *h;
    CoFn *fn;
    void *arg;
    bool is_done;
} HomeWork;

/* Not done: the nodes live on another loop. */
static CO void work_try(void *arg)
{
    HomeWork *w = arg;
    Handle *h = w->h;

    while (handle_home(h) == loop_self() && h->must_leave)
        co_queue_wait(&h->gate);
    if (handle_home(h) != loop_self())
        return;
    h->working++;
    w->fn(w->arg);
    w->is_done = true;
    if (!--h->working)
        co_queue_wake_all(&h->idle);
}

CO void home_work(Handle *h, CoFn *fn, void *arg)
{
    HomeWork w = { .h = h, .fn = fn, .arg = arg };

    do {
        loop_call_wait(handle_home(h), work_try, &w);
    } while (!w.is_done);
}

bool home_must_leave(const Handle *h)
{
    return h->must_leave;
}

void home_work_sleeper(Handle *h, Co *co)
{
    h->work_sleeper = co;
}

/* ---- where nodes are to live ---------------------------------------------------------------- */

typedef struct {
    Node *node;
    IoThread *to;
    Tree *tree;           /* while applied */
    IoThread **before;    /* of each of its nodes */
} Binding;

static bool binding_apply(void *step, GError **err)
{
    Binding *s = step;
    g_autoptr(Tree) t = tree_of(s->node, true), alone = tree_of(s->node, false);

    /* If it is joined to one that cannot move it moves when the job is over. */
    if (s->to && !tree_can_move(alone, err))
        return false;
    for (guint i = 0; i < t->handles->len; i++)
        if (((const Handle *)t->handles->pdata[i])->fixed_home && s->node->iothread != s->to)
            return err_set(err, EBUSY, "Cannot change iothread of active block backend");
    s->before = g_new(IoThread *, t->nodes->len);
    for (guint i = 0; i < t->nodes->len; i++) {
        Node *n = t->nodes->pdata[i];

        s->before[i] = n->iothread;
        node_bind(n, s->to);
    }
    s->tree = g_steal_pointer(&t);
    return true;
}

/* Those that are to live on an iothread are told when they do, in tree_send(). */
static CO void binding_settle(void *step)
{
    const Binding *s = step;

    if (!s->to)
        tree_tell_home(s->tree, NULL);
}

static CO void binding_undo(void *step)
{
    const Binding *s = step;

    for (guint i = 0; i < s->tree->nodes->len; i++)
        node_bind(s->tree->nodes->pdata[i], s->before[i]);
}

static CO void binding_free(void *step)
{
    Binding *s = step;

    if (s->tree)
        tree_free(s->tree);
    g_free(s->before);
    g_free(s);
}

static const EditOps binding_ops = {
    .apply = binding_apply,
    .undo = binding_undo,
    .settle = binding_settle,
    .free = binding_free,
};

void edit_set_iothread(Edit *edit, Node *n, IoThread *thread)
{
    Binding *s = g_new0(Binding, 1);

    *s = (Binding){ .node = n, .to = thread };
    edit_add(edit, &binding_ops, s);
}

/* ---- sizes ---------------------------------------------------------------------------------- */

void handle_refresh_size(Handle *h)
{
    atomic_store_explicit(&h->size, h->root ? h->root->node->size : 0, memory_order_relaxed);
}

/* @arg, which is freed, names a node that has grown on another loop. */
static CO void tell_size(void *arg)
{
    g_autofree char *name = arg;
    Node *n;

    home_hold();
    n = node_find(name);
    if (n)
        node_tell_size(n);
    home_release();
}

void node_tell_size(Node *n)
{
    bool is_main = !main_loop || loop_self() == main_loop;
    bool has_listeners = false;

    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (!e->handle)
            continue;
        handle_refresh_size(e->handle);
        if (is_main)
            handle_tell_size(e->handle);
        else
            has_listeners |= e->handle->ops && e->handle->ops->resized;
    }
    if (has_listeners)
        loop_call(main_loop, tell_size, g_strdup(n->name));
}
