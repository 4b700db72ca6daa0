/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether a guest can move between two ends, from what these say of themselves. */
#ifndef MIGRATION_CHECK_H
#define MIGRATION_CHECK_H

#include "util/json.h"

/* Adds a MigrationReason to @list. @subject: a MigrationSubject. */
void migration_reason_add(json_t *list, const char *subject, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

/*
 * The section of @list with the name and instance of @like. Not the caller's; NULL: there is none.
 */
const json_t *migration_find_section(const json_t *list, const json_t *like);

/*
 * Compares the MigrationEnd @source with @target, as the schema checks them; NULL: the stream goes
 * to a file or a command. @uri: by what the source reaches the target; NULL: not known. Returns a
 * MigrationVerdict, a new reference, with every reason against it, not only the first.
 */
json_t *migration_check(const json_t *source, const json_t *target, const char *uri);

#endif
