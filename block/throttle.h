/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits on bytes and requests a second, shared by the members of a group (object throttle-group).
 *
 * Each limit is a bucket that leaks at the allowed rate and into which requests are poured; a
 * request waits while the bucket is over its brim. The brim is a tenth of a second of the rate or,
 * with a burst rate, as much as a burst of full length pours. Members take turns. Each may live on
 * another loop, and is used there only; all else is for the main loop.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "io/co.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct ThrottleGroup ThrottleGroup;

typedef struct ThrottleWait ThrottleWait;

/* Somebody whose requests count in a group. All zeroes before throttle_join. */
typedef struct {
    ThrottleGroup *group;
    /* With the group's lock: */
    GQueue waiting[2];  /* of ThrottleWait: requests that wait for their turn: reads, writes */
    ThrottleWait *sleeping[2]; /* the one that has the turn and waits for its bucket to leak */
    bool is_rushed;     /* nobody waits */
} ThrottleMember;

/* The group with object id @id; NULL with @err. */
ThrottleGroup *throttle_group_find(const char *id, GError **err);

/* @m must not have requests waiting. Main loop only. */
void throttle_join(ThrottleMember *m, ThrottleGroup *group);
void throttle_leave(ThrottleMember *m);

/* Waits until a request of @len bytes may go on. */
CO void throttle_wait(ThrottleMember *m, bool is_write, uint64_t len);

/* Do requests of @m wait, or would one that came now? */
bool throttle_is_over(ThrottleMember *m);

/* With @on, requests of @m go on without waiting, those that wait already included. They still count. */
void throttle_rush(ThrottleMember *m, bool on);

#endif
