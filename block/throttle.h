/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits on bytes and requests a second, shared by the members of a group (object throttle-group).
 *
 * Each limit is a bucket that leaks at the allowed rate and into which requests are poured; a
 * request waits while the bucket is over its brim. The brim is a tenth of a second of the rate or,
 * with a burst rate, as much as a burst of full length pours. Members take turns. Each may live on
 * another loop, and is used there only; all else is for the main loop.
 *
 * Members are nodes (filters/throttle.c) and handles of drives (handle-throttle.c). A group that
 * only limits of drives name is no object: it begins with its first member, ends with its last one.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "block/block.h"
#include "gen/qmp.h"
#include "util/json.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct ThrottleGroup ThrottleGroup;
typedef struct HandleThrottle HandleThrottle;

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

/*
 * The group called @name, which has @limits (ThrottleLimits; what is missing is no limit) from now
 * on, for all members. It is made if it is not there; the caller then joins it. NULL with @err.
 */
ThrottleGroup *throttle_group_set(const char *name, const json_t *limits, GError **err);
/* True if @limits limits something. False without @err: it does not; with @err: it is invalid. */
bool throttle_limits_any(const json_t *limits, GError **err);
const char *throttle_group_name(const ThrottleGroup *group);
/* Fills in the limits and the name of @group. */
void throttle_group_info(const ThrottleGroup *group, BlockDeviceInfo *info);

/*
 * Older interfaces have other names: bps_rd_max for bps-read-max. Moves such members from @o to
 * @limits. False with @err, in which names of @limits follow @prefix: one is there by both names.
 */
bool throttle_limits_take(json_t *o, json_t *limits, const char *prefix, GError **err);

/* ---- limits of a handle ---------------------------------------------------------------------- */

/*
 * From now on requests of @h wait as @limits say. All of them 0: they do not wait any more.
 * @group NULL: the group that @h is in or, if it is in none, one called @name. False with @err, and
 * nothing has changed.
 */
CO bool handle_throttle(Handle *h, const char *name, const char *group, const json_t *limits,
                        GError **err);
/*
 * Requests of @h go on without waiting, also those that wait already, until what this returns is
 * given to handle_hurry_end(). Any thread, any number of times. NULL, which that takes: @h never
 * had limits.
 */
HandleThrottle *handle_hurry_begin(Handle *h);
void handle_hurry_end(HandleThrottle *t);
/* Fills in the limits of @h; none: leaves @info alone. */
void handle_throttle_info(const Handle *h, BlockDeviceInfo *info);

/* Waits until a request of @len bytes may go on. */
CO void throttle_wait(ThrottleMember *m, bool is_write, uint64_t len);

/* Do requests of @m wait, or would one that came now? */
bool throttle_is_over(ThrottleMember *m);

/*
 * With @on, requests of @m, in a group or in none, go on without waiting, those that wait already
 * included. They still count.
 */
void throttle_rush(ThrottleMember *m, bool on);

#endif
