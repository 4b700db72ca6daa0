/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the options of the driver say about where an export is and how to reach it. */
#ifndef NBD_OPTIONS_H
#define NBD_OPTIONS_H

#include "nbd/remote.h"
#include "util/json.h"

/*
 * Fills *@t, which is zeroed, from options of BlockdevOptionsNbd. False with @err, and nothing left
 * in *@t.
 */
bool nbd_target_read(const json_t *o, NbdTarget *t, GError **err);

/*
 * The options with "server" in place of the older host, port and path. New reference, or NULL with
 * @err.
 */
json_t *nbd_options_modern(const json_t *o, GError **err);

#endif
