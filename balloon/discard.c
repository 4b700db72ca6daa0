/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "balloon/discard.h"
#include "gen/qmp.h"
#include "system/base/lock.h"

static bool is_denied; /* machine's lock */
static void (*listener)(void *opaque, bool denied);
static void *listener_opaque;

static void denial_changed(const Hold *h, bool denied)
{
    machine_lock();
    is_denied = denied;
    machine_unlock();
    if (denied)
        event_x_memory_held(h->owner, h->reason);
    else
        event_x_memory_released(h->owner);
    if (listener)
        listener(listener_opaque, denied);
}

static HoldPoint point = {
    .what = "Discarding memory", .use = G_QUEUE_INIT, .deny = G_QUEUE_INIT,
    .changed = denial_changed,
};

Hold *discard_deny(const char *owner, const char *reason)
{
    return hold_take(&point, HOLD_DENY, owner, reason, NULL);
}

void discard_allow(Hold *h)
{
    hold_release(h);
}

bool discard_is_denied(void)
{
    return is_denied;
}

const GQueue *discard_denials(void)
{
    return &point.deny;
}

void discard_hear(void (*fn)(void *opaque, bool denied), void *opaque)
{
    listener = fn;
    listener_opaque = opaque;
}
