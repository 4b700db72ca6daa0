/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Overlapping requests. A hold on a range lives on the stack of the request. Shared holds may
 * overlap each other; an exclusive one overlaps nothing. A later hold does not wait for one that waits
 * itself, unless that has let many pass: so what keeps one request back keeps no others back that do
 * not overlap it, and nobody starves. Home loop of the owner only.
 */
#ifndef BLOCK_RANGE_H
#define BLOCK_RANGE_H

#include "io/co-lock.h"
#include <stdint.h>

typedef struct RangeHold RangeHold;

typedef struct {
    RangeHold *first, *last; /* in order of arrival, waiting ones too */
    unsigned exclusive;      /* how many of them */
} RangeLock;

struct RangeHold {
    uint64_t off, len;
    bool exclusive;
    bool waits;      /* not in force yet */
    unsigned overtaken; /* times that a later hold it overlaps came into force first */
    RangeLock *lock;
    RangeHold *next, *prev;
    CoQueue waiters; /* later holds that this one keeps out */
};

CO void range_take(RangeLock *l, RangeHold *hold, uint64_t off, uint64_t len);
CO void range_take_shared(RangeLock *l, RangeHold *hold, uint64_t off, uint64_t len);
/* Would range_take wait? */
bool range_is_busy(const RangeLock *l, uint64_t off, uint64_t len);
/* Lets go; the hold may be reused. A zeroed hold that was never taken is fine. */
void range_release(RangeHold *hold);

static inline void range_guard_cleanup(RangeHold *hold)
{
    range_release(hold);
}

/* Declares a hold that is released at the end of the block: RANGE_GUARD hold = {}; */
#define RANGE_GUARD __attribute__((cleanup(range_guard_cleanup))) RangeHold

#endif
