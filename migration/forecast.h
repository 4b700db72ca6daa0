/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What will become of a precopy, from what has been measured of it. */
#ifndef MIGRATION_FORECAST_H
#define MIGRATION_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    double bandwidth;    /* bytes of written pages that can be sent a second */
    double pass_rate;    /* bytes of memory that the pass under way gets through a second */
    double dirty_rate;   /* bytes of pages that the guest writes a second */
    double passed;       /* seconds since written pages were collected last */
    uint64_t remaining;  /* bytes of this pass */
    uint64_t memory;     /* bytes in all: no more can be written */
    double limit;        /* seconds of downtime that are allowed */
} Measured;

typedef struct {
    bool converges;
    double seconds;   /* until all is over, if it does */
    double downtime;  /* of that, while the guest stands still */
} Forecast;

Forecast forecast(const Measured *m);

#endif
