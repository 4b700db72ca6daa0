/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which bytes of a read have come, when they may come in pieces and in any order.
 *
 * Pieces that touch are one run, so data in order costs one comparison each. Bounded: a server that
 * scatters its answer into more than COVERAGE_RUNS_MAX runs at once is refused.
 */
#ifndef NBD_COVERAGE_H
#define NBD_COVERAGE_H

#include <stdbool.h>
#include <stdint.h>

enum { COVERAGE_FEW = 4, COVERAGE_RUNS_MAX = 4096 };

typedef struct {
    uint64_t start, end;
} CoverageRun;

/* Zeroed: nothing has come. */
typedef struct {
    unsigned n, room;            /* runs; how many @more has place for */
    CoverageRun few[COVERAGE_FEW];
    CoverageRun *more;           /* in place of @few once those do not suffice */
} Coverage;

/* False if [@off, @off + @len), not empty, overlaps what was there, or there are too many runs. */
bool coverage_add(Coverage *c, uint64_t off, uint64_t len);
/* True if all of [0, @len) has come. */
bool coverage_is_whole(const Coverage *c, uint64_t len);
void coverage_clear(Coverage *c);

#endif
