/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands to jobs that exist, by either name. Messages are those of the reference. */
#include "block/jobs/job.h"
#include "util/size.h"

static Job *find(const char *id, GError **err)
{
    Job *j = job_find(id);

    if (!j)
        err_set(err, ENOENT, "Job not found");
    return j;
}

static Job *find_block_job(const char *id, GError **err)
{
    Job *j = job_find(id);

    if (j && j->drv->is_block)
        return j;
    err_set(err, ENOENT, "Block job '%s' not found", id);
    err_class(err, "DeviceNotActive");
    return NULL;
}

/* ---- any job --------------------------------------------------------------------------------- */

CO bool qmp_job_pause(const QmpJobPauseArgs *args, GError **err)
{
    Job *j = find(args->id, err);

    return j && job_pause(j, err);
}

CO bool qmp_job_resume(const QmpJobResumeArgs *args, GError **err)
{
    Job *j = find(args->id, err);

    return j && job_resume(j, err);
}

CO bool qmp_job_cancel(const QmpJobCancelArgs *args, GError **err)
{
    Job *j = find(args->id, err);

    return j && job_cancel(j, true, err);
}

CO bool qmp_job_complete(const QmpJobCompleteArgs *args, GError **err)
{
    Job *j = find(args->id, err);

    return j && job_complete(j, err);
}

CO bool qmp_job_finalize(const QmpJobFinalizeArgs *args, GError **err)
{
    Job *j = find(args->id, err);

    return j && job_finalize(j, err);
}

CO bool qmp_job_dismiss(const QmpJobDismissArgs *args, GError **err)
{
    Job *j = find(args->id, err);

    return j && job_dismiss(j, err);
}

/* What is left at the present rate; nothing if that is not known. */
static void forecast(JobInfo *info, const Job *j)
{
    uint64_t rate, left = j->total > j->done ? j->total - j->done : 0;

    if (!job_rate(j, &rate))
        return;
    info->has_x_rate = true;
    info->x_rate = (int64_t)MIN(rate, (uint64_t)INT64_MAX);
    info->has_x_seconds_left = rate > 0;
    info->x_seconds_left = rate ? (int64_t)div_round_up(left, rate) : 0;
}

CO bool qmp_query_jobs(const QmpQueryJobsArgs *args, GPtrArray **ret, GError **err)
{
    Job *j;

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)job_info_free);
    for (unsigned i = 0; (j = job_at(i)); i++) {
        JobInfo *info = g_new0(JobInfo, 1);

        job_refresh_progress(j);
        info->id = g_strdup(j->id);
        info->type = j->drv->type;
        info->status = j->status;
        info->current_progress = (int64_t)j->done;
        info->total_progress = (int64_t)j->total;
        info->error = j->error ? g_strdup(j->error->message) : NULL;
        if (args->x_forecast)
            forecast(info, j);
        g_ptr_array_add(*ret, info);
    }
    return true;
}

/* ---- block jobs ------------------------------------------------------------------------------ */

CO bool qmp_block_job_pause(const QmpBlockJobPauseArgs *args, GError **err)
{
    Job *j = find_block_job(args->device, err);

    return j && job_pause(j, err);
}

CO bool qmp_block_job_resume(const QmpBlockJobResumeArgs *args, GError **err)
{
    Job *j = find_block_job(args->device, err);

    return j && job_resume(j, err);
}

CO bool qmp_block_job_cancel(const QmpBlockJobCancelArgs *args, GError **err)
{
    Job *j = find_block_job(args->device, err);

    if (!j)
        return false;
    if (j->user_paused && !args->force)
        return err_set(err, EBUSY, "The block job for device '%s' is currently paused",
                       args->device);
    return job_cancel(j, args->force, err);
}

CO bool qmp_block_job_complete(const QmpBlockJobCompleteArgs *args, GError **err)
{
    Job *j = find_block_job(args->device, err);

    return j && job_complete(j, err);
}

CO bool qmp_block_job_finalize(const QmpBlockJobFinalizeArgs *args, GError **err)
{
    Job *j = find_block_job(args->id, err);

    return j && job_finalize(j, err);
}

CO bool qmp_block_job_dismiss(const QmpBlockJobDismissArgs *args, GError **err)
{
    Job *j = find_block_job(args->id, err);

    return j && job_dismiss(j, err);
}

CO bool qmp_block_job_set_speed(const QmpBlockJobSetSpeedArgs *args, GError **err)
{
    Job *j = find_block_job(args->device, err);

    return j && job_set_speed(j, args->speed, err);
}

CO bool qmp_query_block_jobs(GPtrArray **ret, GError **err)
{
    Job *j;

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)block_job_info_free);
    for (unsigned i = 0; (j = job_at(i)); i++) {
        BlockJobInfo *info;

        if (!j->drv->is_block)
            continue;
        job_refresh_progress(j);
        info = g_new0(BlockJobInfo, 1);
        *info = (BlockJobInfo){
            .type = g_strdup(job_type_enum.names[j->drv->type]),
            .device = g_strdup(j->id),
            .len = (int64_t)j->total,
            .offset = (int64_t)j->done,
            .busy = j->is_busy,
            .paused = j->user_paused,
            .speed = j->speed,
            .io_status = j->io_status,
            .ready = job_is_ready(j),
            .status = j->status,
            .auto_finalize = j->auto_finalize,
            .auto_dismiss = j->auto_dismiss,
            .error = j->error ? g_strdup(j->error->message) : NULL,
        };
        g_ptr_array_add(*ret, info);
    }
    return true;
}
