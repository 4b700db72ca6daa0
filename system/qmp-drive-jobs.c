/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * drive-mirror and drive-backup: jobs of blockdev-mirror and blockdev-backup whose target is a file
 * that the command makes or opens. It is closed when the job has ended, unless the guest's device
 * goes on with it.
 */
#include "block/account.h"
#include "block/internal.h"
#include "block/jobs/backup-args.h"
#include "block/monitor-nodes.h"
#include "hw/virtio/drives.h"
#include <string.h>

/* The file to be copied to. */
typedef struct {
    Node *source;
    const char *file, *format, *node_name;  /* NULL: not given */
    MirrorSyncMode sync;
    bool is_there;                          /* and not to be made */
    bool unmaps;
} Target;

/* The image of a drive or of a device, or a node. */
static Node *image_find(const char *name, GError **err)
{
    Handle *h = drive_find(name) ? drive_find(name) : account_find(name);

    return h && handle_node(h) ? handle_node(h) : monitor_node_or_device(name, name, err);
}

/* The image that the new one lies on; NULL: none. */
static Node *target_backing(const Target *t)
{
    switch (t->sync) {
    case MIRROR_SYNC_MODE_NONE:
        return t->source;
    case MIRROR_SYNC_MODE_TOP:
        return node_backing_chain_next(t->source);
    default:
        return NULL;
    }
}

static CO bool target_create(const Target *t, GError **err)
{
    const char *format = t->format ? t->format : node_format(t->source);
    Node *backing = target_backing(t);
    g_autoptr(json_t) opts = json_object();

    if (!driver_find(format))
        return err_set(err, EINVAL, "Unknown driver '%s'", format);
    json_put_int(opts, "size", (int64_t)node_size(t->source));
    if (backing) {
        json_put_str(opts, "backing_file", node_filename(backing));
        json_put_str(opts, "backing_fmt", node_format(backing));
    }
    return image_create(t->file, format, opts, err);
}

/* A reference is the caller's. */
static CO Node *target_open(const Target *t, GError **err)
{
    const char *format = t->format ? t->format : t->is_there ? NULL : node_format(t->source);
    Node *backing = t->is_there ? NULL : target_backing(t);
    json_t *o = json_object();

    if (format)
        json_put_str(o, "driver", format);
    if (t->node_name)
        json_put_str(o, "node-name", t->node_name);
    if (backing && t->sync == MIRROR_SYNC_MODE_TOP)
        json_put_str(o, "backing", backing->name);
    else if (backing)
        json_put(o, "backing", json_null());
    return node_open(t->file, o, OPEN_RDWR | (t->unmaps ? OPEN_UNMAP : 0), 0, err);
}

static CO Node *target_get(const Target *t, GError **err)
{
    if (t->node_name && node_find(t->node_name)) {
        err_set(err, EEXIST, "Duplicate nodes with node-name='%s'", t->node_name);
        return NULL;
    }
    return t->is_there || target_create(t, err) ? target_open(t, err) : NULL;
}

CO bool qmp_drive_mirror(const QmpDriveMirrorArgs *args, GError **err)
{
    MirrorArgs how = {
        .job = {
            .id = args->job_id ? args->job_id : args->device,
            .has_speed = args->has_speed,
            .speed = args->speed,
            .auto_finalize = !args->has_auto_finalize || args->auto_finalize,
            .auto_dismiss = !args->has_auto_dismiss || args->auto_dismiss,
        },
        .source = image_find(args->device, err),
        .replaces = args->replaces,
        .sync = args->sync,
        .copy_mode = args->copy_mode,
        .granularity = args->granularity,
        .memory = args->buf_size,
        .on_read = args->on_source_error,
        .on_write = args->on_target_error,
        .resume = args->x_resume,
    };
    Target target = {
        .source = how.source,
        .file = args->target,
        .format = args->format,
        .node_name = args->node_name,
        .sync = args->sync,
        .is_there = args->has_mode && args->mode == NEW_IMAGE_MODE_EXISTING,
        .unmaps = !args->has_unmap || args->unmap,
    };
    bool ok;

    if (!how.source || !job_id_check(how.job.id, err) || !node_check_idle(how.source, err))
        return false;
    if (args->replaces && !args->node_name)
        return err_set(err, EINVAL, "a node-name must be provided when replacing a named node of "
                       "the graph");
    if (args->x_resume && !target.is_there)
        return err_set(err, EINVAL, "With 'x-resume' the target must be there, with mode "
                       "'existing': a new one would lack what the bitmap leaves out");
    if (args->sync == MIRROR_SYNC_MODE_NONE && !target.is_there)
        return err_set(err, ENOTSUP, "With sync mode 'none' the target must be there, with mode "
                       "'existing': a new one would lie on the image that it replaces");
    how.target = target_get(&target, err);
    if (!how.target)
        return false;
    ok = mirror_start(&how, err);
    node_unref(how.target);
    return ok;
}

CO bool qmp_drive_backup(const QmpDriveBackupArgs *args, GError **err)
{
    Node *source = image_find(args->device, err);
    Target target = {
        .source = source,
        .file = args->target,
        .format = args->format,
        .sync = args->sync,
        .is_there = args->has_mode && args->mode == NEW_IMAGE_MODE_EXISTING,
        .unmaps = true,
    };
    BlockdevBackup how = {
        .job_id = args->job_id ? args->job_id : args->device,
        .sync = args->sync,
        .has_speed = args->has_speed,
        .speed = args->speed,
        .bitmap = args->bitmap,
        .has_bitmap_mode = args->has_bitmap_mode,
        .bitmap_mode = args->bitmap_mode,
        .compress = args->compress,
        .on_source_error = args->on_source_error,
        .on_target_error = args->on_target_error,
        .has_auto_finalize = args->has_auto_finalize,
        .auto_finalize = args->auto_finalize,
        .has_auto_dismiss = args->has_auto_dismiss,
        .auto_dismiss = args->auto_dismiss,
        .filter_node_name = args->filter_node_name,
        .x_perf = args->x_perf,
    };
    Node *n;
    Edit *edit;
    Job *j;
    bool ok;

    if (!source || !job_id_check(how.job_id, err) || !node_check_idle(source, err))
        return false;
    n = target_get(&target, err);
    if (!n)
        return false;
    how.device = source->name;
    how.target = n->name;
    edit = edit_begin();
    j = backup_from_args(&how, NULL, edit, &ok, err);
    ok = ok && edit_commit(edit, err);
    edit_free(edit);
    if (ok)
        job_start(j);
    else if (j)
        job_drop(j, false);
    node_unref(n);
    return ok;
}
