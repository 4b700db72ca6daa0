/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the time of a pause goes: stages that follow each other without a gap. */
#ifndef MIGRATION_STAGES_H
#define MIGRATION_STAGES_H

#include "util/json.h"

/* Zeroed: nothing has begun. */
typedef struct {
    int64_t began, last; /* monotonic nanoseconds; .last: the end of the last stage */
    json_t *stages;
} Stages;

void stages_clear(Stages *s);
/* Starts anew, at the monotonic time @ns. */
void stages_begin(Stages *s, int64_t ns);
/* What went on since the last stage ended was @stage; @device, unless NULL, says of what. */
void stages_mark(Stages *s, const char *stage, const char *device);
/* A MigrationDowntime. New reference; NULL if nothing has begun. */
json_t *stages_json(const Stages *s);

#endif
