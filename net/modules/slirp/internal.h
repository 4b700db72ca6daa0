/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NET_MODULES_SLIRP_INTERNAL_H
#define NET_MODULES_SLIRP_INTERNAL_H

#include "util/json.h"
#include <libslirp.h>

/* What options say; strings belong to the options. */
typedef struct {
    SlirpConfig config;
    const char **search; /* domains, NULL-ended */
} UserConfig;

bool user_config_read(UserConfig *c, const json_t *options, GError **err);
void user_config_clear(UserConfig *c);

/* The forwards that options ask for. */
bool user_forwards_add(Slirp *slirp, const json_t *options, GError **err);

#endif
