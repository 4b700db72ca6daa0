/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The names of block events. */
#include "block/event.h"
#include <string.h>

static const char *const names[] = {
#define X(id, name) name,
    BLOCK_EVENTS(X)
#undef X
};

int block_event_parse(const char *name)
{
    for (int i = 0; i < EV_MAX; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}
