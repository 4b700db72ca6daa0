/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A backup from the arguments of its command. Messages are those of the reference. */
#include "block/jobs/backup-args.h"
#include "block/internal.h"
#include "block/monitor-nodes.h"
#include <inttypes.h>

static bool bitmap_modes(const BlockdevBackup *a, BackupArgs *how, GError **err)
{
    const char *sync = mirror_sync_mode_enum.names[a->sync];

    how->sync = a->sync;
    how->bitmap_mode = a->bitmap_mode;
    if (a->sync == MIRROR_SYNC_MODE_INCREMENTAL) {
        if (a->has_bitmap_mode && a->bitmap_mode != BITMAP_SYNC_MODE_ON_SUCCESS)
            return err_set(err, EINVAL, "Bitmap sync mode must be '%s' when using sync mode '%s'",
                           bitmap_sync_mode_enum.names[BITMAP_SYNC_MODE_ON_SUCCESS], sync);
        how->sync = MIRROR_SYNC_MODE_BITMAP;
        how->bitmap_mode = BITMAP_SYNC_MODE_ON_SUCCESS;
    }
    if (how->sync == MIRROR_SYNC_MODE_BITMAP && !a->bitmap)
        return err_set(err, EINVAL, "must provide a valid bitmap name for '%s' sync mode", sync);
    if (!a->bitmap)
        return !a->has_bitmap_mode ||
               err_set(err, EINVAL, "Cannot specify bitmap sync mode without a bitmap");
    return true;
}

static bool bitmap_check(const BlockdevBackup *a, BackupArgs *how, GError **err)
{
    const char *sync = mirror_sync_mode_enum.names[a->sync];
    DirtyBitmap *b = dirty_find(how->source, a->bitmap);

    if (!b)
        return err_set(err, ENOENT, "Bitmap '%s' could not be found", a->bitmap);
    if (!a->has_bitmap_mode && a->sync != MIRROR_SYNC_MODE_INCREMENTAL)
        return err_set(err, EINVAL, "Bitmap sync mode must be given when providing a bitmap");
    if (b->busy)
        return err_set(err, EBUSY,
                       "Bitmap '%s' is currently in use by another operation and cannot "
                       "be used",
                       a->bitmap);
    if (!dirty_check_known(b, err))
        return false;
    if (a->sync == MIRROR_SYNC_MODE_NONE)
        return err_set(err, EINVAL, "sync mode '%s' does not produce meaningful bitmap outputs",
                       sync);
    if (how->sync != MIRROR_SYNC_MODE_BITMAP && how->bitmap_mode == BITMAP_SYNC_MODE_NEVER)
        return err_set(err, EINVAL, "Bitmap sync mode '%s' has no meaningful effect when combined "
                       "with sync mode '%s'",
                       bitmap_sync_mode_enum.names[how->bitmap_mode], sync);
    if (how->bitmap_mode != BITMAP_SYNC_MODE_NEVER && b->persistent &&
        node_is_read_only(how->source))
        return err_set(err, EACCES, "Bitmap '%s' is readonly and cannot be modified", a->bitmap);
    how->bitmap = b;
    return true;
}

static bool perf_check(const BackupPerf *p, BackupArgs *how, GError **err)
{
    if (!p)
        return true;
    if (p->has_max_workers && (p->max_workers < 1 || p->max_workers > INT32_MAX))
        return err_set(err, EINVAL, "max-workers must be between 1 and %d", INT32_MAX);
    if (p->has_max_chunk && p->max_chunk < 0)
        return err_set(err, EINVAL, "max-chunk must be zero (which means no limit) or positive");
    how->offload = p->use_copy_range;
    how->workers = p->has_max_workers ? (unsigned)MIN(p->max_workers, 1024) : 0;
    how->chunk = p->has_max_chunk ? (uint64_t)p->max_chunk : 0;
    return true;
}

CO Job *backup_from_args(const BlockdevBackup *a, JobGroup *group, Edit *edit, bool *ok,
                         GError **err)
{
    BackupArgs how = {
        .job = {
            .id = a->job_id,
            .has_speed = a->has_speed,
            .speed = a->speed,
            .auto_finalize = !a->has_auto_finalize || a->auto_finalize,
            .auto_dismiss = !a->has_auto_dismiss || a->auto_dismiss,
            .group = group,
        },
        .compress = a->compress,
        .filter_name = a->filter_node_name,
        .on_read = a->on_source_error,
        .on_write = a->on_target_error,
    };

    *ok = false;
    how.source = monitor_node_or_device(a->device, a->device, err);
    how.target = how.source ? monitor_node_or_device(a->target, a->target, err) : NULL;
    if (!how.target || !bitmap_modes(a, &how, err) || (a->bitmap && !bitmap_check(a, &how, err)))
        return NULL;
    if (how.source == how.target)
        err_set(err, EINVAL, "Source and target cannot be the same");
    else if (node_size(how.source) != node_size(how.target))
        err_set(err, EINVAL, "Source and target image have different sizes");
    else if (perf_check(a->x_perf, &how, err) && job_id_check(a->job_id, err))
        return backup_new(&how, edit, ok, err);
    return NULL;
}
