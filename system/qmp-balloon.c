/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about the balloon, and about what denies discarding memory. */
#include "balloon/discard.h"
#include "gen/qmp.h"
#include "hw/virtio/balloon.h"
#include "system/base/lock.h"
#include "system/holds.h"
#include "system/run-state.h"
#include "util/err.h"
#include <string.h>

static bool refuse_missing(GError **err)
{
    err_set(err, ENODEV, "No balloon device has been activated");
    return err_class(err, "DeviceNotActive");
}

CO bool qmp_query_balloon(BalloonInfo **ret, GError **err)
{
    const Device *d = run_state_machine()->board.balloon;

    if (!d)
        return refuse_missing(err);
    *ret = g_new0(BalloonInfo, 1);
    machine_lock();
    (*ret)->actual = balloon_actual(d);
    if (discard_denials()->length) {
        (*ret)->x_holds = holds_shown(discard_denials());
        (*ret)->has_x_pending_target = (*ret)->has_x_kept = true;
        (*ret)->x_pending_target = balloon_target(d);
        (*ret)->x_kept = balloon_kept(d);
    }
    machine_unlock();
    return true;
}

CO bool qmp_balloon(const QmpBalloonArgs *args, GError **err)
{
    Device *d = run_state_machine()->board.balloon;

    if (!d)
        return refuse_missing(err);
    if (args->value <= 0)
        return err_set(err, ERANGE, "Parameter 'target' expects a size");
    machine_lock();
    balloon_set_target(d, args->value);
    machine_unlock();
    return true;
}

/* ---- holds by hand --------------------------------------------------------------------------- */

static GPtrArray *held_by_hand; /* of Hold */

static Hold *find(const char *id)
{
    for (guint i = 0; held_by_hand && i < held_by_hand->len; i++)
        if (!strcmp(((const Hold *)held_by_hand->pdata[i])->owner, id))
            return held_by_hand->pdata[i];
    return NULL;
}

CO bool qmp_x_memory_hold(const QmpXMemoryHoldArgs *args, GError **err)
{
    if (find(args->id))
        return err_set(err, EEXIST, "There is a hold '%s' already", args->id);
    if (!held_by_hand)
        held_by_hand = g_ptr_array_new();
    g_ptr_array_add(held_by_hand, discard_deny(args->id, args->reason));
    return true;
}

CO bool qmp_x_memory_release(const QmpXMemoryReleaseArgs *args, GError **err)
{
    Hold *h = find(args->id);

    if (!h)
        return err_set(err, ENOENT, "There is no hold '%s'", args->id);
    g_ptr_array_remove(held_by_hand, h);
    discard_allow(h);
    return true;
}
