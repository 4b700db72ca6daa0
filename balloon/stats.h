/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest tells of its memory by way of its balloon: virtio 1.2, 5.5.6.4 "Memory
 * Statistics".
 */
#ifndef BALLOON_STATS_H
#define BALLOON_STATS_H

#include "util/json.h"
#include <stdbool.h>
#include <stdint.h>

enum { BALLOON_STATS = 10, BALLOON_STAT_SIZE = 10 };

typedef struct {
    uint64_t value[BALLOON_STATS]; /* by tag; UINT64_MAX: the guest has not told */
    int64_t updated;               /* seconds since 1970; 0: never */
} BalloonStats;

void balloon_stats_clear(BalloonStats *s);
/* Takes a record of BALLOON_STAT_SIZE bytes; tags that are not known are ignored. */
void balloon_stats_take(BalloonStats *s, const uint8_t *record);
/* As clients see them: "stats" by name, "last-update". New reference. */
json_t *balloon_stats_show(const BalloonStats *s);

#endif
