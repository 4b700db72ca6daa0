/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What query-migrate tells. */
#ifndef SYSTEM_MIGRATION_INFO_H
#define SYSTEM_MIGRATION_INFO_H

#include "util/json.h"

/* A MigrationInfo. New reference. */
json_t *migration_info(void);

#endif
