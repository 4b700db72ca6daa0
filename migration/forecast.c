/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/forecast.h"

/* A migration that needs more passes than this counts as one that does not converge. */
enum { PASSES_MAX = 1000 };

static double written(const Measured *m, double seconds)
{
    double bytes = m->dirty_rate * seconds;

    return bytes < m->memory ? bytes : m->memory;
}

/* Each pass sends what was written during the one before, until that is little enough. */
Forecast forecast(const Measured *m)
{
    double took, left, total;

    if (m->bandwidth <= 0 || m->pass_rate <= 0)
        return (Forecast){ 0 };
    took = m->remaining / m->pass_rate;
    total = took;
    left = written(m, m->passed + took);
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        double next = left / m->bandwidth;

        if (next <= m->limit)
            return (Forecast){ true, total + next, next };
        total += next;
        if (written(m, next) >= left)
            break;
        left = written(m, next);
    }
    return (Forecast){ 0 };
}
