/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is counted of a handle; for the handle and for the command that tells it. */
#ifndef BLOCK_ACCOUNT_INTERNAL_H
#define BLOCK_ACCOUNT_INTERNAL_H

#include "block/account.h"

typedef struct {
    size_t count;           /* of @bounds; there is one bin more */
    uint64_t *bounds;       /* ns, rising */
    uint64_t *bins;         /* NULL: there is no histogram */
} Histogram;

/* Times that requests took, in ns. */
typedef struct {
    uint64_t count, sum, min, max;
} Window;

/*
 * A time up to now of between half of @length_ns and all of it: what has been counted since the
 * last half of it began, and in the half before. So no list of requests is needed.
 */
typedef struct {
    int64_t length_ns;
    int64_t since, before_since; /* monotonic: when @current and @before began */
    Window current[ACCOUNT_KINDS], before[ACCOUNT_KINDS];
} Interval;

/* Loop of the handle only. */
typedef struct Account {
    char *drive, *device;   /* see account_open; @device NULL: no device uses it */
    uint64_t operations[ACCOUNT_KINDS], bytes[ACCOUNT_KINDS], total_ns[ACCOUNT_KINDS];
    uint64_t failed[ACCOUNT_KINDS], invalid[ACCOUNT_KINDS], merged[ACCOUNT_KINDS];
    int64_t last_ns;        /* monotonic, of the last request; 0: there was none */
    Histogram histograms[ACCOUNT_KINDS];
    Interval intervals[ACCOUNT_INTERVALS_MAX];
    unsigned interval_count;
} Account;

/* Forgets what is too old at @now. */
void interval_advance(Interval *v, int64_t now);

/* Of Handle that have an account. */
const GPtrArray *accounts_all(void);

#endif
