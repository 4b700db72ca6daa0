/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this program is as an end of a migration, and why it cannot be one. migration/check.h
 * compares two of them. Main loop only.
 */
#ifndef SYSTEM_MIGRATION_SELF_H
#define SYSTEM_MIGRATION_SELF_H

#include "util/json.h"
#include "io/co.h"

/*
 * A MigrationEnd: of the target if the program waits for a guest, else of the source. With @uri
 * (NULL: none is known yet) its reasons say, too, why that cannot be used. New reference; NULL with
 * @err.
 */
CO json_t *migration_describe(const char *uri, GError **err);

#endif
