/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits of a handle: its requests wait before they enter its gate, so no edit waits for them.
 * They wait on the main loop, whatever loop they come from: limits come and go there.
 */
#include "block/internal.h"
#include "block/throttle.h"
#include "io/loop.h"
#include <string.h>

struct HandleThrottle {
    _Atomic(unsigned) refs; /* the handle's, and one for each haste */
    _Atomic(bool) is_on;    /* read on any loop; what follows is main loop only */
    Loop *loop;             /* the main loop */
    ThrottleMember member;  /* in no group unless is_on or is_ending */
    bool is_ending;         /* waits for .waiting to be 0 */
    unsigned waiting;       /* requests at the member */
    unsigned hurried;       /* reasons to let them pass */
    CoQueue idle;           /* who waits for .waiting to be 0, or for an end to be over */
};

typedef struct {
    HandleThrottle *throttle;
    bool is_write;
    uint64_t len;
} Turn;

static CO void turn_wait(void *arg)
{
    const Turn *turn = arg;
    HandleThrottle *t = turn->throttle;

    if (!t->is_on) /* any more */
        return;
    t->waiting++;
    throttle_wait(&t->member, turn->is_write, turn->len);
    if (!--t->waiting)
        co_queue_wake_all(&t->idle);
}

CO void handle_throttle_wait(HandleThrottle *t, bool is_write, uint64_t len)
{
    Turn turn = { t, is_write, len };

    if (!t->is_on)
        return;
    if (loop_self() == t->loop)
        turn_wait(&turn);
    else
        loop_call_wait(t->loop, turn_wait, &turn);
}

static void throttle_hurry(HandleThrottle *t, bool on)
{
    t->hurried += on ? 1 : -1;
    throttle_rush(&t->member, t->hurried);
}

static void throttle_unref(HandleThrottle *t)
{
    if (!--t->refs)
        g_free(t);
}

/* Out of its group; those that waited there go on. */
static CO void throttle_end(HandleThrottle *t)
{
    while (t->is_ending)
        co_queue_wait(&t->idle);
    if (!t->is_on)
        return;
    t->is_on = false;
    t->is_ending = true;
    throttle_hurry(t, true);
    while (t->waiting)
        co_queue_wait(&t->idle);
    throttle_leave(&t->member);
    throttle_hurry(t, false);
    t->is_ending = false;
    co_queue_wake_all(&t->idle);
}

static HandleThrottle *throttle_of(Handle *h)
{
    HandleThrottle *t = h->throttle;

    if (!t) {
        t = g_new0(HandleThrottle, 1);
        t->refs = 1;
        t->loop = loop_self();
        h->throttle = t;
    }
    return t;
}

CO bool handle_throttle(Handle *h, const char *name, const char *group, const json_t *limits,
                        GError **err)
{
    HandleThrottle *t = throttle_of(h);
    GError *invalid = NULL;
    ThrottleGroup *g;

    if (!throttle_limits_any(limits, &invalid)) {
        if (invalid) {
            g_propagate_error(err, invalid);
            return false;
        }
        throttle_end(t);
        return true;
    }
    if (!group)
        group = t->is_on ? throttle_group_name(t->member.group) : name;
    if (!t->is_on || strcmp(group, throttle_group_name(t->member.group)))
        throttle_end(t);
    /* Nothing is suspended until the group has its member: without one it may end at any time. */
    g = throttle_group_set(group, limits, err);
    if (!g || t->is_on)
        return g;
    throttle_join(&t->member, g);
    t->is_on = true;
    return true;
}

CO void handle_throttle_free(Handle *h)
{
    HandleThrottle *t = h->throttle;

    if (!t)
        return;
    throttle_end(t);
    h->throttle = NULL;
    throttle_unref(t);
}

static CO void haste_begin(void *arg)
{
    throttle_hurry(arg, true);
}

static CO void haste_end(void *arg)
{
    throttle_hurry(arg, false);
    throttle_unref(arg);
}

HandleThrottle *handle_hurry_begin(Handle *h)
{
    HandleThrottle *t = h->throttle;

    if (t) {
        t->refs++;
        loop_call(t->loop, haste_begin, t);
    }
    return t;
}

void handle_hurry_end(HandleThrottle *t)
{
    if (t)
        loop_call(t->loop, haste_end, t);
}

void handle_throttle_info(const Handle *h, BlockDeviceInfo *info)
{
    const HandleThrottle *t = h->throttle;

    if (t && t->is_on)
        throttle_group_info(t->member.group, info);
}
