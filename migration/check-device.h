/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices of two ends of a migration, compared: part of check.c. */
#ifndef MIGRATION_CHECK_DEVICE_H
#define MIGRATION_CHECK_DEVICE_H

#include "migration/check.h"

typedef struct {
    const json_t *source, *target;   /* MigrationEnd; @target NULL: there is none */
    json_t *reasons, *warnings;      /* of MigrationReason */
} Check;

void check_devices(const Check *c);
/* Does section @name belong to a device of @end? */
bool check_device_has_section(const json_t *end, const char *name);

#endif
