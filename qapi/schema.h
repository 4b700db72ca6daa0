/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checking of option trees. */
#ifndef QAPI_SCHEMA_H
#define QAPI_SCHEMA_H

#include "util/json.h"

bool schema_check(const char *type, json_t *value, GError **err);

#endif
