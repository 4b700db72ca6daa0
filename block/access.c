/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who does what to a node, and what others may do meanwhile.
 *
 * Every edge needs some kinds of access and shares some. access_refresh walks from a node down:
 * what its parents ask in sum is mapped to what it asks of its children. No two edges may conflict
 * inside this process; the file driver's locks say the same to other processes.
 */
#include "block/internal.h"
#include <inttypes.h>

static const char *const access_names[] = { "consistent read", "write", "write unchanged",
                                            "resize" };

/* What all parents of @n need together, and what all of them share. */
static void access_sum(const Node *n, unsigned *needs, unsigned *shares)
{
    *needs = 0;
    *shares = ACCESS_ALL;
    for (guint i = 0; i < n->parents->len; i++) {
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

/* True if no parent of @n needs what another one does not share. */
static bool access_check(const Node *n, GError **err)
{
    for (guint i = 0; i < n->parents->len; i++)
        for (guint j = 0; j < n->parents->len; j++) {
            const Edge *a = n->parents->pdata[i], *b = n->parents->pdata[j];
            unsigned clash = i == j || b->is_guard ? 0 : a->needs & ~b->shares;

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
    if (n->flags & OPEN_FORCE_SHARE)
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
                       " bytes, so it cannot be written by who may not resize it",
                       node_filename(n), n->limits.request_alignment);
    return true;
}

CO bool access_refresh(Node *n, GError **err)
{
    unsigned needs, shares;

    access_sum(n, &needs, &shares);
    if (n->flags & OPEN_FORCE_SHARE)
        shares = ACCESS_ALL;
    if (!access_check(n, err) || !access_is_possible(n, needs, err))
        return false;
    if (n->drv->lock && !n->drv->lock(n, needs, shares, err))
        return false;
    for (guint i = 0; i < n->children->len; i++) {
        Edge *e = n->children->pdata[i];
        unsigned child_needs, child_shares;

        access_of_child(n, e, needs, shares, &child_needs, &child_shares);
        if (!edge_set_access(e, child_needs, child_shares, err))
            return false;
    }
    return true;
}

CO bool edge_set_access(Edge *e, unsigned needs, unsigned shares, GError **err)
{
    unsigned old_needs = e->needs, old_shares = e->shares;

    e->needs = needs;
    e->shares = shares;
    if (access_refresh(e->node, err))
        return true;
    e->needs = old_needs;
    e->shares = old_shares;
    access_refresh(e->node, NULL);
    return false;
}
