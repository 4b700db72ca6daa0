/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kind null: nothing comes, and what is sent is gone. */
#include "monitor/backend.h"

static CO bool null_open(Chardev *c, const json_t *data, GError **err)
{
    chardev_connected(c, NULL, NULL);
    return true;
}

const ChardevDriver backend_null = {
    .name = "null",
    .open = null_open,
};
