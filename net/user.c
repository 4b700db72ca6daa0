/* SPDX-License-Identifier: GPL-2.0-or-later */
/* User mode networks: the guest's connections become the host's, by libslirp in a module. */
#include "net/backend.h"
#include "util/module.h"

static CO bool user_open(Netdev *n, const json_t *options, GError **err)
{
    const NetdevDriver *module = module_load("slirp", err);

    if (!module)
        return false;
    n->drv = module;
    return module->open(n, options, err);
}

const NetdevDriver netdev_user = {
    .type = "user",
    .open = user_open,
};
