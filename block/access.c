/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who does what to a node, and what others may do meanwhile.
 *
 * Every edge needs some kinds of access and shares some. What the parents of a node ask in sum is
 * mapped to what it asks of its children. No two edges may conflict inside this process; the file
 * driver's locks say the same to other processes.
 *
 * When the graph or the mode of a node changes, access_change works out the new needs of all nodes
 * below, on the graph as it will be, and fails without any effect where they conflict. Then locks
 * are taken for the old and the new needs together, which may fail, and in the end those of the old
 * needs are given up, which cannot.
 */
#include "block/internal.h"
#include <inttypes.h>

static const char *const access_names[] = { "consistent read", "write", "write unchanged",
                                            "resize" };

static bool is_inactive(const Node *n)
{
    return n->state == NODE_INACTIVE || n->starts_inactive;
}

/*
 * What all parents of @n need together, and what all of them share. They do nothing while it is
 * inactive.
 */
static void access_sum(const Node *n, unsigned *needs, unsigned *shares)
{
    *needs = 0;
    *shares = ACCESS_ALL;
    for (guint i = 0; !is_inactive(n) && i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        *needs |= e->needs;
        *shares &= e->shares;
    }
}

static char *edge_user(const Edge *e)
{
    if (e->handle)
        return g_strdup("another user");
    return g_strdup_printf("'%s' as its '%s'", node_filename(e->parent), e->key);
}

static bool edge_is_guard(const Edge *e)
{
    return e->handle && e->handle->kind == HANDLE_GUARD;
}

/*
 * A job knows what it does to the layers that lead to what it works on: they are its own to lead,
 * and what it does not share is kept from others only.
 */
static bool edge_is_of_job(const Edge *e, const Edge *other)
{
    return other->handle && other->handle->kind == HANDLE_JOB && e->parent &&
           (e->role == ROLE_BACKING || e->role == ROLE_FILTERED) && hold_denied(&e->parent->busy);
}

/* True if no parent of @n needs what another one does not share. */
static bool access_check(const Node *n, GError **err)
{
    if (is_inactive(n))
        return true;
    for (guint i = 0; i < n->parents->len; i++)
        for (guint j = 0; j < n->parents->len; j++) {
            const Edge *a = n->parents->pdata[i], *b = n->parents->pdata[j];
            unsigned clash = i == j || edge_is_guard(b) ? 0 : a->needs & ~b->shares;

            if (clash == ACCESS_READ && edge_is_of_job(a, b))
                clash = 0;

            if (clash) {
                g_autofree char *user = edge_user(b);

                return err_set(err, EBUSY, "'%s' is in use by %s, which does not allow %s access",
                               node_filename(n), user, access_names[__builtin_ctz(clash)]);
            }
        }
    return true;
}

/* Filters pass on what is asked of them. */
static void access_pass(unsigned parent_needs, unsigned parent_shares, unsigned *needs,
                        unsigned *shares)
{
    *needs = parent_needs;
    *shares = parent_shares;
}

/*
 * Formats read their metadata, and write it when they may; nobody else may write or resize. Of what
 * holds only data the format has no view of its own: who may write there is for its parents to say.
 */
static void access_format(const Node *n, Role role, unsigned parent_needs, unsigned parent_shares,
                          unsigned *needs, unsigned *shares)
{
    bool io = !(n->flags & OPEN_NO_IO);

    *shares = ACCESS_READ | ACCESS_UNCHANGED;
    switch (role) {
    case ROLE_BACKING:
        *needs = parent_needs & ACCESS_READ;
        if (parent_shares & ACCESS_WRITE)
            *shares |= ACCESS_WRITE | ACCESS_RESIZE;
        break;
    case ROLE_DATA:
        *needs = parent_needs;
        if (parent_needs & ACCESS_WRITE)
            *needs |= ACCESS_RESIZE;
        *shares |= parent_shares & ACCESS_WRITE;
        break;
    default:
        *needs = (io ? ACCESS_READ : 0) | (parent_needs & ACCESS_UNCHANGED);
        *shares &= parent_shares | ~(unsigned)ACCESS_READ;
        if (n->flags & OPEN_RDWR)
            *needs |= ACCESS_READ | ACCESS_WRITE | ACCESS_RESIZE;
        break;
    }
}

static void access_of_child(Node *n, const Edge *e, unsigned parent_needs, unsigned parent_shares,
                            unsigned *needs, unsigned *shares)
{
    if (n->drv->child_access)
        n->drv->child_access(n, e->role, parent_needs, parent_shares, needs, shares);
    else if (n->drv->kind == BLK_FILTER)
        access_pass(parent_needs, parent_shares, needs, shares);
    else
        access_format(n, e->role, parent_needs, parent_shares, needs, shares);
    if (is_inactive(n))
        *needs = 0;
    if (n->flags & OPEN_FORCE_SHARE || is_inactive(n))
        *shares = ACCESS_ALL;
}

/* True if @n is able to give its parents what they need. */
static bool access_is_possible(const Node *n, unsigned needs, GError **err)
{
    if (needs & (ACCESS_WRITE | ACCESS_UNCHANGED | ACCESS_RESIZE) && node_is_read_only(n))
        return err_set(err, EACCES, "'%s' is read-only", node_filename(n));
    if (needs & ACCESS_WRITE && !(needs & ACCESS_RESIZE) &&
        !is_aligned(n->size, n->limits.request_alignment))
        return err_set(err, EINVAL, "'%s' ends inside a block of %" PRIu32
                       " bytes, so writing its last block needs permission to resize it",
                       node_filename(n), n->limits.request_alignment);
    return true;
}

/* ---- a change of access --------------------------------------------------------------------- */

typedef struct {
    Edge *edge;
    unsigned needs, shares; /* before the change */
} EdgeBefore;

typedef struct {
    Node *node;
    unsigned needs, shares;         /* of all its users, after the change */
} NodeLock;

struct AccessChange {
    GArray *edges;  /* of EdgeBefore */
    GArray *locks;  /* of NodeLock, for nodes whose driver has locks */
    guint locked;   /* how many of them hold the old and the new locks */
};

static void change_set(AccessChange *c, Edge *e, unsigned needs, unsigned shares)
{
    EdgeBefore before = { .edge = e, .needs = e->needs, .shares = e->shares };

    g_array_append_val(c->edges, before);
    e->needs = needs;
    e->shares = shares;
}

/* Works out what @n, all of whose parents have been seen to, asks of its children. */
static bool change_visit(AccessChange *c, Node *n, bool is_release, GError **err)
{
    unsigned needs, shares;

    access_sum(n, &needs, &shares);
    if (n->flags & OPEN_FORCE_SHARE)
        shares = ACCESS_ALL;
    if (!is_release && (!access_check(n, err) || !access_is_possible(n, needs, err)))
        return false;
    if (n->drv->lock) {
        NodeLock lock = { .node = n, .needs = needs, .shares = shares };

        g_array_append_val(c->locks, lock);
    }
    for (guint i = 0; i < n->children->len; i++) {
        Edge *e = n->children->pdata[i];
        unsigned child_needs, child_shares;

        access_of_child(n, e, needs, shares, &child_needs, &child_shares);
        change_set(c, e, child_needs, child_shares);
    }
    return true;
}

AccessChange *access_change(const GPtrArray *nodes, bool is_release, GError **err)
{
    g_autoptr(GPtrArray) sorted = nodes_from_the_top((Node *const *)nodes->pdata, nodes->len);
    AccessChange *c = g_new0(AccessChange, 1);

    c->edges = g_array_new(false, false, sizeof(EdgeBefore));
    c->locks = g_array_new(false, false, sizeof(NodeLock));
    for (guint i = 0; i < sorted->len; i++)
        if (!change_visit(c, sorted->pdata[i], is_release, err)) {
            access_change_undo(c);
            return NULL;
        }
    return c;
}

static void change_free(AccessChange *c)
{
    g_array_free(c->edges, true);
    g_array_free(c->locks, true);
    g_free(c);
}

bool access_change_lock(AccessChange *c, GError **err)
{
    for (; c->locked < c->locks->len; c->locked++) {
        const NodeLock *l = &g_array_index(c->locks, NodeLock, c->locked);
        Node *n = l->node;

        if (!n->drv->lock(n, n->locked_needs | l->needs, n->locked_shares & l->shares, err))
            return false;
    }
    return true;
}

void access_change_undo(AccessChange *c)
{
    while (c->locked-- > 0) {
        Node *n = g_array_index(c->locks, NodeLock, c->locked).node;

        n->drv->lock(n, n->locked_needs, n->locked_shares, NULL);
    }
    for (guint i = c->edges->len; i-- > 0;) {
        const EdgeBefore *before = &g_array_index(c->edges, EdgeBefore, i);

        before->edge->needs = before->needs;
        before->edge->shares = before->shares;
    }
    change_free(c);
}

void access_change_settle(AccessChange *c)
{
    for (guint i = 0; i < c->locks->len; i++) {
        const NodeLock *l = &g_array_index(c->locks, NodeLock, i);
        Node *n = l->node;

        n->locked_needs = l->needs;
        n->locked_shares = l->shares;
        n->drv->lock(n, l->needs, l->shares, NULL);
    }
    change_free(c);
}
