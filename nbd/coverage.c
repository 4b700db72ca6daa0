/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs in ascending order that never touch each other. */
#include "nbd/coverage.h"
#include <glib.h>
#include <string.h>

static CoverageRun *coverage_runs(Coverage *c)
{
    return c->more ? c->more : c->few;
}

/* Makes place for one more run. */
static bool coverage_grow(Coverage *c)
{
    unsigned room = c->more ? c->room : COVERAGE_FEW;

    if (c->n < room)
        return true;
    if (c->n >= COVERAGE_RUNS_MAX)
        return false;
    if (c->more) {
        c->more = g_renew(CoverageRun, c->more, room * 2);
    } else {
        c->more = g_new(CoverageRun, room * 2);
        memcpy(c->more, c->few, sizeof(c->few));
    }
    c->room = room * 2;
    return true;
}

/* How many runs start before @off. */
static unsigned coverage_find(const CoverageRun *runs, unsigned n, uint64_t off)
{
    unsigned low = 0, high = n;

    if (n && runs[n - 1].start < off)
        return n;
    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (runs[middle].start < off)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool coverage_add(Coverage *c, uint64_t off, uint64_t len)
{
    CoverageRun *runs = coverage_runs(c);
    unsigned i = coverage_find(runs, c->n, off);
    uint64_t end = off + len;
    bool before, after;

    if ((i > 0 && runs[i - 1].end > off) || (i < c->n && runs[i].start < end))
        return false;
    before = i > 0 && runs[i - 1].end == off;
    after = i < c->n && runs[i].start == end;
    if (before && after) {
        runs[i - 1].end = runs[i].end;
        memmove(runs + i, runs + i + 1, (c->n - i - 1) * sizeof(*runs));
        c->n--;
    } else if (before) {
        runs[i - 1].end = end;
    } else if (after) {
        runs[i].start = off;
    } else {
        if (!coverage_grow(c))
            return false;
        runs = coverage_runs(c);
        memmove(runs + i + 1, runs + i, (c->n - i) * sizeof(*runs));
        runs[i] = (CoverageRun){ off, end };
        c->n++;
    }
    return true;
}

bool coverage_is_whole(const Coverage *c, uint64_t len)
{
    const CoverageRun *runs = c->more ? c->more : c->few;

    return c->n == 1 && runs[0].start == 0 && runs[0].end == len;
}

void coverage_clear(Coverage *c)
{
    g_free(c->more);
    c->n = c->room = 0;
    c->more = NULL;
}
