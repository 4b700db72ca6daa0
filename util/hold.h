/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A counted exclusion of two sides, with reasons.
 *
 * A HoldPoint guards an activity (migrating, discarding guest memory). Those who do it hold USE;
 * those who cannot bear it hold DENY with the reason. Any number of either, never both at once.
 * Main loop only.
 */
#ifndef UTIL_HOLD_H
#define UTIL_HOLD_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum { HOLD_USE, HOLD_DENY } HoldSide;

typedef struct HoldPoint HoldPoint;

/* Read-only outside of hold.c. */
typedef struct {
    HoldPoint *point;
    HoldSide side;
    char *owner;      /* who holds: a device, a node, a job */
    char *reason;     /* a sentence for people, without a full stop */
    int64_t since_us; /* wall-clock time, microseconds since 1970 */
    GList link;       /* in one of the queues of .point */
} Hold;

struct HoldPoint {
    const char *what; /* "Migration": names the activity in messages */
    const char *refusal; /* no denial is taken, for this reason; NULL: they are */
    GQueue use;       /* of Hold, the oldest first */
    GQueue deny;      /* of Hold, the oldest first */
    /* Called when the first denial, @h, was taken, and when the last has gone. NULL: nobody. */
    void (*changed)(const Hold *h, bool denied);
};

#define HOLD_POINT_INIT(name) { .what = name, .use = G_QUEUE_INIT, .deny = G_QUEUE_INIT }

/*
 * What keeps the guest of this program on this host: devices and images. Programs without a guest
 * never look at it.
 */
extern HoldPoint hold_migration;

/*
 * Takes a hold on @point. @owner and @reason are copied. NULL with @err set to the oldest reason of
 * the other side when that side is held (code EBUSY), or when @point accepts no denials. It must
 * outlive the hold.
 */
Hold *hold_take(HoldPoint *point, HoldSide side, const char *owner, const char *reason,
                GError **err);

/* Lets go. NULL is fine. */
void hold_release(Hold *h);

/* The oldest reason why the activity is denied, or NULL if it is not. Owned by the hold. */
const char *hold_denied(const HoldPoint *point);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Hold, hold_release)

#endif
