/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A counted exclusion of two sides, with reasons. */
#include "util/hold.h"
#include "util/err.h"

HoldPoint hold_migration = HOLD_POINT_INIT("Migration");

static GQueue *hold_queue(HoldPoint *point, HoldSide side)
{
    return side == HOLD_USE ? &point->use : &point->deny;
}

Hold *hold_take(HoldPoint *point, HoldSide side, const char *owner, const char *reason,
                GError **err)
{
    const Hold *other = g_queue_peek_head(hold_queue(point, side == HOLD_USE ? HOLD_DENY
                                                                             : HOLD_USE));
    Hold *h;

    if (side == HOLD_DENY && point->refusal) {
        err_set(err, ENOTSUP, "%s: %s", point->refusal, reason);
        return NULL;
    }
    if (other) {
        err_set(err, EBUSY, "%s: %s", point->what, other->reason);
        return NULL;
    }
    h = g_new0(Hold, 1);
    h->point = point;
    h->side = side;
    h->owner = g_strdup(owner);
    h->reason = g_strdup(reason);
    h->since_us = g_get_real_time();
    h->link.data = h;
    g_queue_push_tail_link(hold_queue(point, side), &h->link);
    if (side == HOLD_DENY && point->deny.length == 1 && point->changed)
        point->changed(h, true);
    return h;
}

void hold_release(Hold *h)
{
    if (!h)
        return;
    g_queue_unlink(hold_queue(h->point, h->side), &h->link);
    if (h->side == HOLD_DENY && !h->point->deny.length && h->point->changed)
        h->point->changed(h, false);
    g_free(h->owner);
    g_free(h->reason);
    g_free(h);
}

const char *hold_denied(const HoldPoint *point)
{
    const Hold *h = g_queue_peek_head((GQueue *)&point->deny);

    return h ? h->reason : NULL;
}
