/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots of the whole machine as jobs. A job does its work between two commands: what they
 * change, devices for example, must stay as it is meanwhile.
 */
#include "monitor/session.h"
#include "system/vm-snapshot.h"
#include "util/err.h"

typedef struct {
    char *tag, *vmstate;
    char **nodes;
    CO bool (*work)(const VmSnapshotArgs *a, GError **err);
    /* Of .run: */
    GError **err;
    Job *job;
    bool ok;
} SnapshotJob;

static CO void in_turn(void *opaque)
{
    SnapshotJob *s = opaque;
    VmSnapshotArgs a = { .tag = s->tag, .vmstate = s->vmstate, .nodes = s->nodes, .job = s->job };

    s->ok = !job_must_end(s->job) && s->work(&a, s->err);
}

static CO bool snapshot_run(Job *j, GError **err)
{
    SnapshotJob *s = job_state(j);

    s->job = j;
    s->err = err;
    if (!session_in_turn(in_turn, s))
        err_set(err, ECANCELED, "The program ends");
    j->done = 1;
    return s->ok;
}

static CO void snapshot_clean(Job *j)
{
    SnapshotJob *s = job_state(j);

    g_free(s->tag);
    g_free(s->vmstate);
    g_strfreev(s->nodes);
}

#define DRIVER(t) { .type = t, .state_size = sizeof(SnapshotJob), .run = snapshot_run,             \
                    .clean = snapshot_clean }
static const JobDriver job_save = DRIVER(JOB_TYPE_SNAPSHOT_SAVE);
static const JobDriver job_load = DRIVER(JOB_TYPE_SNAPSHOT_LOAD);
static const JobDriver job_delete = DRIVER(JOB_TYPE_SNAPSHOT_DELETE);

static CO bool start(const JobDriver *drv, const char *id,
                     CO bool (*work)(const VmSnapshotArgs *a, GError **err), const char *tag,
                     const char *vmstate, char **nodes, GError **err)
{
    JobArgs args = { .id = id, .auto_finalize = true };
    Job *j = job_new(drv, &args, err);

    if (!j)
        return false;
    *(SnapshotJob *)job_state(j) = (SnapshotJob){
        .tag = g_strdup(tag), .vmstate = g_strdup(vmstate), .nodes = g_strdupv(nodes), .work = work,
    };
    j->total = 1;
    job_start(j);
    return true;
}

CO bool qmp_snapshot_save(const QmpSnapshotSaveArgs *args, GError **err)
{
    return start(&job_save, args->job_id, vm_snapshot_save, args->tag, args->vmstate, args->devices,
                 err);
}

CO bool qmp_snapshot_load(const QmpSnapshotLoadArgs *args, GError **err)
{
    return start(&job_load, args->job_id, vm_snapshot_load, args->tag, args->vmstate, args->devices,
                 err);
}

CO bool qmp_snapshot_delete(const QmpSnapshotDeleteArgs *args, GError **err)
{
    return start(&job_delete, args->job_id, vm_snapshot_delete, args->tag, NULL, args->devices,
                 err);
}
