/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/virtio/disk-errors.h"
#include "gen/qmp.h"
#include "system/base/lock.h"
#include "util/err.h"
#include <errno.h>
#include <string.h>

static const char *const policies[] = { "report", "ignore", "stop", "enospc", "auto", NULL };

bool disk_errors_check(const DiskErrors *e, GError **err)
{
    if (e->on_write && !g_strv_contains(policies, e->on_write))
        return err_set(err, EINVAL, "Property 'werror' doesn't take value '%s'", e->on_write);
    if (e->on_read && (!g_strv_contains(policies, e->on_read) || !strcmp(e->on_read, "enospc")))
        return err_set(err, EINVAL, "Property 'rerror' doesn't take value '%s'", e->on_read);
    return true;
}

static BlockErrorAction action_of(const char *policy, int error)
{
    if (!strcmp(policy, "ignore"))
        return BLOCK_ERROR_ACTION_IGNORE;
    if (!strcmp(policy, "stop") || (!strcmp(policy, "enospc") && error == ENOSPC))
        return BLOCK_ERROR_ACTION_STOP;
    return BLOCK_ERROR_ACTION_REPORT;
}

BlockErrorAction disk_error(const DiskErrors *e, Device *d, Handle *h, bool is_read, int error)
{
    const char *policy = is_read ? e->on_read : e->on_write;
    BlockErrorAction action;

    if (!policy || !strcmp(policy, "auto"))
        policy = is_read ? "report" : "enospc";
    action = action_of(policy, error);
    event_block_io_error(d->id ? d->id : "", node_name(handle_node(h)),
                         is_read ? IO_OPERATION_TYPE_READ : IO_OPERATION_TYPE_WRITE, action, true,
                         error == ENOSPC, strerror(error));
    if (action == BLOCK_ERROR_ACTION_STOP) {
        machine_lock();
        d->board->io_error(d->board);
        machine_unlock();
    }
    return action;
}
