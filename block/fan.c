/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The same request to several children at once. */
#include "block/fan.h"

static CO void fan_request_run(void *arg)
{
    FanRequest *f = arg;

    switch (f->op) {
    case FAN_PREAD:
        f->r = edge_pread(f->to, f->off, f->buf, f->flags);
        break;
    case FAN_PWRITE:
        f->r = edge_pwrite(f->to, f->off, f->buf, f->flags);
        break;
    case FAN_ZERO:
        f->r = edge_zero(f->to, f->off, f->len, f->flags);
        break;
    case FAN_FLUSH:
        f->r = edge_flush(f->to);
        break;
    }
}

CO void fan_run(FanRequest *requests, unsigned count)
{
    CoGroup group = {};

    for (unsigned i = 0; i < count; i++)
        co_group_start(&group, fan_request_run, &requests[i]);
    co_group_wait(&group);
}
