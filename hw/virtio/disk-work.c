/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/virtio/disk-work.h"
#include "block/throttle.h"
#include "gen/qmp.h"
#include "util/err.h"
#include <errno.h>
#include <string.h>

static const char *const policies[] = { "report", "ignore", "stop", "enospc", "auto", NULL };

bool disk_work_init(DiskWork *w, GError **err)
{
    w->idle = machine_cond_new();
    if (w->on_write && !g_strv_contains(policies, w->on_write))
        return err_set(err, EINVAL, "Property 'werror' doesn't take value '%s'", w->on_write);
    if (w->on_read && (!g_strv_contains(policies, w->on_read) || !strcmp(w->on_read, "enospc")))
        return err_set(err, EINVAL, "Property 'rerror' doesn't take value '%s'", w->on_read);
    return true;
}

void disk_work_free(DiskWork *w)
{
    if (w->idle)
        machine_cond_free(w->idle);
}

void disk_work_leave(DiskWork *w)
{
    if (!--w->in_flight)
        machine_cond_wake(w->idle);
}

void disk_work_wait(DiskWork *w, Handle *h)
{
    HandleThrottle *hurry = w->in_flight ? handle_hurry_begin(h) : NULL;

    while (w->in_flight)
        machine_cond_wait(w->idle, INT64_MAX);
    handle_hurry_end(hurry);
}

static bool is_idle(DiskWork *w)
{
    bool idle;

    machine_lock();
    idle = !w->in_flight;
    machine_unlock();
    return idle;
}

CO void disk_work_drain(DiskWork *w, Handle *h)
{
    HandleThrottle *hurry = is_idle(w) ? NULL : handle_hurry_begin(h);

    while (!is_idle(w))
        co_sleep(100000);
    handle_hurry_end(hurry);
}

void disk_work_resume(DiskWork *w, Board *b)
{
    while (co_queue_wake_one(&w->resting)) {
        b->failed_io--;
        disk_work_enter(w);
    }
}

CO void disk_work_end(DiskWork *w, Board *b, Handle *h)
{
    w->ending = true;
    disk_work_drain(w, h);
    machine_lock();
    disk_work_resume(w, b);
    machine_unlock();
    disk_work_drain(w, h);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static BlockErrorAction action_of(const char *policy, int error)
{
    if (!strcmp(policy, "ignore"))
        return BLOCK_ERROR_ACTION_IGNORE;
    if (!strcmp(policy, "stop") || (!strcmp(policy, "enospc") && error == ENOSPC))
        return BLOCK_ERROR_ACTION_STOP;
    return BLOCK_ERROR_ACTION_REPORT;
}

static BlockErrorAction tell(const DiskWork *w, Device *d, Handle *h, bool is_read, int error)
{
    const char *policy = is_read ? w->on_read : w->on_write;
    BlockErrorAction action;

    if (!policy || !strcmp(policy, "auto"))
        policy = is_read ? "report" : "enospc";
    action = action_of(policy, error);
    event_block_io_error(d->id ? d->id : "", node_name(handle_node(h)),
                         is_read ? IO_OPERATION_TYPE_READ : IO_OPERATION_TYPE_WRITE, action, true,
                         error == ENOSPC, strerror(error));
    return action;
}

static CO void rest(DiskWork *w, Device *d)
{
    machine_lock();
    d->board->failed_io++;
    d->board->io_error(d->board);
    disk_work_leave(w);
    machine_unlock();
    co_queue_wait(&w->resting);
}

CO bool disk_work_retry(DiskWork *w, Device *d, Handle *h, bool is_read, int *r)
{
    BlockErrorAction action = tell(w, d, h, is_read, -*r);

    if (action == BLOCK_ERROR_ACTION_IGNORE)
        *r = 0;
    if (action != BLOCK_ERROR_ACTION_STOP)
        return false;
    rest(w, d);
    return !w->ending;
}
