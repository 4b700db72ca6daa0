/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Overlapping requests: a list of ranges in order of arrival. */
#include "block/range.h"

static bool range_overlaps(const RangeHold *a, uint64_t off, uint64_t len)
{
    return off < a->off + a->len && a->off < off + len;
}

/* The first hold before @hold that keeps it out, or NULL. */
static RangeHold *range_obstacle(const RangeHold *hold)
{
    for (RangeHold *h = hold->lock->first; h != hold; h = h->next)
        if ((h->exclusive || hold->exclusive) && range_overlaps(h, hold->off, hold->len))
            return h;
    return NULL;
}

static CO void range_enter(RangeLock *l, RangeHold *hold, uint64_t off, uint64_t len,
                           bool exclusive)
{
    RangeHold *obstacle;

    *hold = (RangeHold){
        .off = off, .len = len, .exclusive = exclusive, .lock = l, .prev = l->last,
    };
    if (l->last)
        l->last->next = hold;
    else
        l->first = hold;
    l->last = hold;
    l->exclusive += exclusive;
    if (!l->exclusive)
        return;
    while ((obstacle = range_obstacle(hold)))
        co_queue_wait(&obstacle->waiters);
}

CO void range_take(RangeLock *l, RangeHold *hold, uint64_t off, uint64_t len)
{
    range_enter(l, hold, off, len, true);
}

CO void range_take_shared(RangeLock *l, RangeHold *hold, uint64_t off, uint64_t len)
{
    range_enter(l, hold, off, len, false);
}

bool range_is_busy(const RangeLock *l, uint64_t off, uint64_t len)
{
    for (const RangeHold *h = l->first; h; h = h->next)
        if (range_overlaps(h, off, len))
            return true;
    return false;
}

void range_release(RangeHold *hold)
{
    RangeLock *l = hold->lock;

    if (!l)
        return;
    if (hold->prev)
        hold->prev->next = hold->next;
    else
        l->first = hold->next;
    if (hold->next)
        hold->next->prev = hold->prev;
    else
        l->last = hold->prev;
    l->exclusive -= hold->exclusive;
    hold->lock = NULL;
    co_queue_wake_all(&hold->waiters);
}
