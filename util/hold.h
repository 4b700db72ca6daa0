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

typedef enum { HOLD_USE, HOLD_DENY } HoldSide;

typedef struct Hold Hold;

typedef struct {
    const char *what; /* "Migration": names the activity in messages */
    GQueue use;       /* of Hold */
    GQueue deny;      /* of Hold */
} HoldPoint;

#define HOLD_POINT_INIT(name) { .what = name, .use = G_QUEUE_INIT, .deny = G_QUEUE_INIT }

/*
 * Takes a hold on @point. @reason is copied. NULL with @err set to the oldest reason of the other
 * side when that side is held (code EBUSY). @point must outlive the hold.
 */
Hold *hold_take(HoldPoint *point, HoldSide side, const char *reason, GError **err);

/* Lets go. NULL is fine. */
void hold_release(Hold *h);

/* All reasons why it is denied, the oldest first: strings owned by the holds. */
GPtrArray *hold_reasons(const HoldPoint *point);

/* The oldest reason why the activity is denied, or NULL if it is not. Owned by the hold. */
const char *hold_denied(const HoldPoint *point);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Hold, hold_release)

#endif
