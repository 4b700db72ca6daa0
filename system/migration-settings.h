/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What users set about migrations: capabilities and parameters. Main loop only. */
#ifndef SYSTEM_MIGRATION_SETTINGS_H
#define SYSTEM_MIGRATION_SETTINGS_H

#include "gen/qmp.h"
#include "gen/schema.h"

bool migration_has(MigrationCapability c);
/* Changes those of @list, of MigrationCapabilityStatus, or none of them, with @err. */
bool migration_set_capabilities(const GPtrArray *list, GError **err);

/* By its name in the schema: the number of one, its text ("" is none), or a bool. */
int64_t migration_number(const char *name);
const char *migration_text(const char *name);
bool migration_flag(const char *name);
/* How network devices tell where they are after a migration; nothing in it is the caller's. */
AnnounceParameters migration_announcement(void);
/* Changes those of @changes, a MigrateSetParameters, or none of them, with @err. */
bool migration_set_parameters(const json_t *changes, GError **err);
/* A MigrationParameters. New reference. */
json_t *migration_parameters(void);
void migration_settings_clear(void);

#endif
