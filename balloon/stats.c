/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "balloon/stats.h"
#include "util/endian.h"

static const char *const names[BALLOON_STATS] = {
    "stat-swap-in", "stat-swap-out", "stat-major-faults", "stat-minor-faults", "stat-free-memory",
    "stat-total-memory", "stat-available-memory", "stat-disk-caches", "stat-htlb-pgalloc",
    "stat-htlb-pgfail",
};

void balloon_stats_clear(BalloonStats *s)
{
    for (unsigned i = 0; i < BALLOON_STATS; i++)
        s->value[i] = UINT64_MAX;
}

void balloon_stats_take(BalloonStats *s, const uint8_t *record)
{
    uint16_t tag = le16_at(record);

    if (tag < BALLOON_STATS)
        s->value[tag] = le64_at(record + 2);
}

json_t *balloon_stats_show(const BalloonStats *s)
{
    json_t *o = json_object(), *stats = json_object();

    for (unsigned i = 0; i < BALLOON_STATS; i++)
        json_put(stats, names[i], json_uint64(s->value[i]));
    json_put(o, "stats", stats);
    json_put_int(o, "last-update", s->updated);
    return o;
}
