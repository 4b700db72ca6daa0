/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rbd:POOL[/NAMESPACE]/IMAGE[@SNAPSHOT][:NAME=VALUE]...; after a '\' a character means itself. */
#ifndef BLOCK_PROTOCOLS_RBD_NAME_H
#define BLOCK_PROTOCOLS_RBD_NAME_H

#include "util/json.h"
#include <glib.h>

/* Puts what @filename says into @o, the options of the driver. */
bool rbd_name_parse(const char *filename, json_t *o, GError **err);

/* NAME=VALUE[:NAME=VALUE]... as names and values in turn. Caller frees; NULL with @err. */
char **rbd_settings_parse(const char *text, GError **err);

#endif
