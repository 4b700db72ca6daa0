/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Overlapping requests: a list of ranges in order of arrival. */
#include "block/range.h"

static bool range_overlaps(const RangeHold *a, uint64_t off, uint64_t len)
{
    return off < a->off + a->len && a->off < off + len;
}

/* Later holds that may go before one that waits. */
enum { OVERTAKEN_MAX = 32 };

static bool range_excludes(const RangeHold *h, const RangeHold *hold)
{
    return h != hold && (h->exclusive || hold->exclusive) &&
           range_overlaps(h, hold->off, hold->len);
}

/* A hold that keeps @hold out, or NULL: one in force, or an earlier one that has waited enough. */
static RangeHold *range_obstacle(const RangeHold *hold)
{
    bool earlier = true;

    for (RangeHold *h = hold->lock->first; h; h = h->next) {
        earlier &= h != hold;
        if (range_excludes(h, hold) &&
            (!h->waits || (earlier && h->overtaken >= OVERTAKEN_MAX)))
            return h;
    }
    return NULL;
}

/* @hold comes into force: those before it that wait on are a step nearer to their turn. */
static void range_overtake(RangeHold *hold)
{
    for (RangeHold *h = hold->prev; h; h = h->prev)
        h->overtaken += range_excludes(h, hold);
}

static CO void range_enter(RangeLock *l, RangeHold *hold, uint64_t off, uint64_t len,
                           bool exclusive)
{
    RangeHold *obstacle;

    *hold = (RangeHold){
        .off = off, .len = len, .exclusive = exclusive, .waits = true, .lock = l, .prev = l->last,
    };
    if (l->last)
        l->last->next = hold;
    else
        l->first = hold;
    l->last = hold;
    l->exclusive += exclusive;
    while (l->exclusive && (obstacle = range_obstacle(hold)))
        co_queue_wait(&obstacle->waiters);
    if (l->exclusive)
        range_overtake(hold);
    hold->waits = false;
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
