/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images: their sizes, snapshots, jobs, and drives that come and go. */
#include "block/account.h"
#include "block/internal.h"
#include "block/jobs/job.h"
#include "block/monitor-nodes.h"
#include "control/control.h"
#include "gen/qmp.h"
#include "hw/virtio/drives.h"
#include "system/drive.h"
#include "system/hmp/commands.h"
#include "util/err.h"

HMP_COMMAND(hmp_block_resize)
{
    GError *err = NULL;

    qmp_block_resize(&(QmpBlockResizeArgs){ .device = (char *)a->text[0],
                                            .size = (int64_t)a->number[1] }, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_block_set_io_throttle)
{
    static const char *const names[] = { "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr" };
    g_autoptr(json_t) args = json_object();
    GError *err = NULL;

    json_put_str(args, account_find_drive(a->text[0]) ? "device" : "id", a->text[0]);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        json_put_int(args, names[i], (int64_t)a->number[1 + i]);
    qmp_block_set_io_throttle(args, &err);
    hmp_error(h, err);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

HMP_COMMAND(hmp_job_set_speed)
{
    QmpBlockJobSetSpeedArgs args = {
        .device = (char *)a->text[0], .speed = (int64_t)a->number[1],
    };
    GError *err = NULL;

    qmp_block_job_set_speed(&args, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_block_stream)
{
    QmpBlockStreamArgs args = {
        .job_id = (char *)a->text[0], .device = (char *)a->text[0], .base = (char *)a->text[2],
        .has_speed = a->is_given[1], .speed = (int64_t)a->number[1],
    };
    GError *err = NULL;

    qmp_block_stream(&args, &err);
    hmp_error(h, err);
}

static NewImageMode mode_of(bool reuse)
{
    return reuse ? NEW_IMAGE_MODE_EXISTING : NEW_IMAGE_MODE_ABSOLUTE_PATHS;
}

HMP_COMMAND(hmp_drive_mirror)
{
    QmpDriveMirrorArgs args = {
        .device = (char *)a->text[2], .target = (char *)a->text[3], .format = (char *)a->text[4],
        .sync = a->is_given[1] ? MIRROR_SYNC_MODE_FULL : MIRROR_SYNC_MODE_TOP,
        .has_mode = true, .mode = mode_of(a->is_given[0]),
    };
    GError *err = NULL;

    qmp_drive_mirror(&args, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_drive_backup)
{
    QmpDriveBackupArgs args = {
        .device = (char *)a->text[3], .target = (char *)a->text[4], .format = (char *)a->text[5],
        .sync = a->is_given[1] ? MIRROR_SYNC_MODE_FULL : MIRROR_SYNC_MODE_TOP,
        .has_mode = true, .mode = mode_of(a->is_given[0]),
        .has_compress = true, .compress = a->is_given[2],
    };
    GError *err = NULL;

    qmp_drive_backup(&args, &err);
    hmp_error(h, err);
}

/* ---- snapshots ------------------------------------------------------------------------------- */

HMP_COMMAND(hmp_snapshot_blkdev)
{
    BlockdevSnapshotSync args = {
        .device = (char *)a->text[1], .snapshot_file = (char *)a->text[2],
        .format = (char *)a->text[3], .has_mode = true, .mode = mode_of(a->is_given[0]),
    };
    GError *err = NULL;

    if (args.snapshot_file)
        qmp_blockdev_snapshot_sync(&args, &err);
    else
        err_set(&err, EINVAL, "Parameter 'snapshot-file' is missing");
    hmp_error(h, err);
}

HMP_COMMAND(hmp_snapshot_blkdev_internal)
{
    BlockdevSnapshotInternal args = { .device = (char *)a->text[0], .name = (char *)a->text[1] };
    GError *err = NULL;

    qmp_blockdev_snapshot_internal_sync(&args, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_snapshot_delete_blkdev_internal)
{
    QmpBlockdevSnapshotDeleteInternalSyncArgs args = {
        .device = (char *)a->text[0], .name = (char *)a->text[1], .id = (char *)a->text[2],
    };
    g_autoptr(json_t) deleted = NULL;
    GError *err = NULL;

    qmp_blockdev_snapshot_delete_internal_sync(&args, &deleted, &err);
    hmp_error(h, err);
}

/* ---- drives ---------------------------------------------------------------------------------- */

/* The reference shows what goes wrong with drives without "Error: ". Frees @e. */
static void say_error(Hmp *h, GError *e)
{
    g_autoptr(GError) err = e;

    if (err)
        g_string_append_printf(h->out, "%s\n", err->message);
}

/*
 * -n: a node, as with -blockdev. Where a drive would be plugged in, which is the argument after it,
 * means nothing here: a -device is what plugs it in.
 */
HMP_COMMAND(hmp_drive_add)
{
    GError *err = NULL;

    if (a->is_given[0])
        setup_blockdev(a->text[2], &err);
    else if (drive_add(a->text[2], &err))
        g_string_append(h->out, "OK\n");
    say_error(h, err);
}

/* No job works on what is in @drive. */
static bool is_idle(Handle *drive, GError **err)
{
    Node *n = node_skip_implicit(handle_node(drive));

    return !n || node_check_idle(n, err);
}

HMP_COMMAND(hmp_drive_del)
{
    const char *name = a->text[0];
    GError *err = NULL;
    Handle *drive;

    if (!drive_find(name) && !node_find(name)) {
        err_set(&err, ENOENT, "Device '%s' not found", name);
    } else if (!drive_find(name)) {
        monitor_node_remove(name, &err);
    } else if (is_idle(drive_find(name), &err)) {
        drive = drive_take(name, &err);
        if (drive)
            handle_close_err(drive, &err);
    }
    say_error(h, err);
}
