/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A counted exclusion of two sides, with reasons. */
#include "util/hold.h"
#include "util/err.h"

struct Hold {
    HoldPoint *point;
    HoldSide side;
    char *reason;
    GList link; /* in point->use or point->deny */
};

static GQueue *hold_queue(HoldPoint *point, HoldSide side)
{
    return side == HOLD_USE ? &point->use : &point->deny;
}

Hold *hold_take(HoldPoint *point, HoldSide side, const char *reason, GError **err)
{
    const Hold *other = g_queue_peek_head(hold_queue(point, side == HOLD_USE ? HOLD_DENY
                                                                             : HOLD_USE));
    Hold *h;

    if (other) {
        err_set(err, EBUSY, "%s: %s", point->what, other->reason);
        return NULL;
    }
    h = g_new0(Hold, 1);
    h->point = point;
    h->side = side;
    h->reason = g_strdup(reason);
    h->link.data = h;
    g_queue_push_tail_link(hold_queue(point, side), &h->link);
    return h;
}

void hold_release(Hold *h)
{
    if (!h)
        return;
    g_queue_unlink(hold_queue(h->point, h->side), &h->link);
    g_free(h->reason);
    g_free(h);
}

const char *hold_denied(const HoldPoint *point)
{
    const Hold *h = g_queue_peek_head((GQueue *)&point->deny);

    return h ? h->reason : NULL;
}

GPtrArray *hold_reasons(const HoldPoint *point)
{
    GPtrArray *list = g_ptr_array_new();

    for (const GList *l = point->deny.head; l; l = l->next)
        g_ptr_array_add(list, ((const Hold *)l->data)->reason);
    return list;
}
