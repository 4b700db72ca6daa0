/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Can a migration from or to this program go by a URI? Nothing is sent, connected or created. */
#ifndef SYSTEM_MIGRATION_ROUTE_H
#define SYSTEM_MIGRATION_ROUTE_H

#include "io/co.h"
#include "util/json.h"

/* Adds to @reasons, of MigrationReason, why it cannot. Main loop. */
CO void migration_route_check(const char *uri, bool is_incoming, json_t *reasons);

#endif
