/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about discs that come and go. Messages are those of the reference, which clients see. */
#include "gen/qmp.h"
#include "hw/virtio/drives.h"
#include "hw/virtio/scsi.h"
#include "system/run-state.h"
#include "util/err.h"
#include <string.h>

/* ---- which drive ----------------------------------------------------------------------------- */

static bool is_called(const Device *d, const char *device, const char *id)
{
    const ScsiDisk *s = (const ScsiDisk *)d;

    if (id)
        return !g_strcmp0(d->id, id);
    return !g_strcmp0(d->cls->bus, SCSI_BUS) && !s->owns_handle && !g_strcmp0(s->drive, device);
}

static Device *device_find(const char *device, const char *id)
{
    GPtrArray *devices = run_state_machine()->devices;

    for (guint i = 0; i < devices->len; i++)
        if (is_called(devices->pdata[i], device, id))
            return devices->pdata[i];
    return NULL;
}

/* The drive for discs that has @id or uses the -drive @device. NULL with @err. */
static ScsiDisk *drive_named(const char *device, const char *id, GError **err)
{
    const char *name = id ? id : device;
    Device *d;

    if (!device == !id) {
        err_set(err, EINVAL, "Need exactly one of 'device' and 'id'");
        return NULL;
    }
    d = device_find(device, id);
    if (!d && !(device && drive_find(device))) {
        err_set(err, ENOENT, "Device '%s' not found", name);
        err_class(err, "DeviceNotFound");
        return NULL;
    }
    if (!d || g_strcmp0(d->cls->bus, SCSI_BUS) || !((ScsiDisk *)d)->is_cd) {
        err_set(err, EINVAL, "Device '%s' is not removable", name);
        return NULL;
    }
    return (ScsiDisk *)d;
}

/* ---- what is done with it -------------------------------------------------------------------- */

static bool tray_move(ScsiDisk *s, bool open, bool force, const char *name, GError **err)
{
    bool locked;

    machine_lock();
    locked = open && s->tray_locked && !s->tray_open && !force;
    if (locked)
        s->eject_asked = 1;
    else
        scsi_disk_move_tray(s, open, false);
    machine_unlock();
    return !locked || err_set(err, EBUSY, "Device '%s' is locked and force was not specified, wait "
                              "for tray to open and try again", name);
}

/* @n NULL: takes the disc out. The tray is open. */
static CO bool medium_put(ScsiDisk *s, Node *n, GError **err)
{
    return handle_change_medium(s->handle, n, n ? ACCESS_READ : 0,
                                ACCESS_READ | ACCESS_UNCHANGED | ACCESS_RESIZE, err);
}

CO bool qmp_blockdev_open_tray(const QmpBlockdevOpenTrayArgs *args, GError **err)
{
    ScsiDisk *s = drive_named(args->device, args->id, err);

    return s && tray_move(s, true, args->force, args->id ? args->id : args->device, err);
}

CO bool qmp_blockdev_close_tray(const QmpBlockdevCloseTrayArgs *args, GError **err)
{
    ScsiDisk *s = drive_named(args->device, args->id, err);

    return s && tray_move(s, false, false, NULL, err);
}

CO bool qmp_blockdev_remove_medium(const QmpBlockdevRemoveMediumArgs *args, GError **err)
{
    ScsiDisk *s = drive_named(NULL, args->id, err);

    if (!s)
        return false;
    if (!s->tray_open)
        return err_set(err, EBUSY, "Tray of device '%s' is not open", args->id);
    return !handle_node(s->handle) || medium_put(s, NULL, err);
}

/* True if a SCSI drive has @n already. */
static bool is_used(const Node *n)
{
    GPtrArray *devices = run_state_machine()->devices;

    for (guint i = 0; i < devices->len; i++) {
        const Device *d = devices->pdata[i];
        const ScsiDisk *s = devices->pdata[i];

        if (!g_strcmp0(d->cls->bus, SCSI_BUS) && s->handle && handle_node(s->handle) == n)
            return true;
    }
    return false;
}

CO bool qmp_blockdev_insert_medium(const QmpBlockdevInsertMediumArgs *args, GError **err)
{
    ScsiDisk *s = drive_named(NULL, args->id, err);
    Node *n = node_find(args->node_name);

    if (!s)
        return false;
    if (!n)
        return err_set(err, ENOENT, "Node '%s' not found", args->node_name);
    if (is_used(n))
        return err_set(err, EBUSY, "Node '%s' is already in use", args->node_name);
    if (!s->tray_open)
        return err_set(err, EBUSY, "Tray of the device is not open");
    if (handle_node(s->handle))
        return err_set(err, EBUSY, "There already is a medium in the device");
    return medium_put(s, n, err);
}

CO bool qmp_eject(const QmpEjectArgs *args, GError **err)
{
    ScsiDisk *s = drive_named(args->device, args->id, err);

    return s && tray_move(s, true, args->force, args->id ? args->id : args->device, err) &&
           (!handle_node(s->handle) || medium_put(s, NULL, err));
}

/* ---- change ---------------------------------------------------------------------------------- */

/* The image of @args, kept open by a handle that does nothing. NULL with @err. */
static CO Handle *image_open(const QmpBlockdevChangeMediumArgs *args, GError **err)
{
    bool writable = args->has_read_only_mode &&
                    args->read_only_mode == BLOCKDEV_CHANGE_READ_ONLY_MODE_READ_WRITE;
    json_t *options = json_object();
    Handle *h, *idle;

    if (args->format)
        json_put_str(options, "driver", args->format);
    h = handle_open(args->filename, options, writable ? OPEN_RDWR : 0, err);
    if (!h)
        return NULL;
    idle = handle_new(handle_node(h), HANDLE_USER, 0, ACCESS_ALL, err);
    handle_close(h);
    return idle;
}

CO bool qmp_blockdev_change_medium(const QmpBlockdevChangeMediumArgs *args, GError **err)
{
    ScsiDisk *s = drive_named(args->device, args->id, err);
    Handle *image = s ? image_open(args, err) : NULL;
    bool ok;

    if (!image)
        return false;
    ok = tray_move(s, true, args->force, args->id ? args->id : args->device, err) &&
         medium_put(s, handle_node(image), err) && tray_move(s, false, false, NULL, err);
    handle_close(image);
    return ok;
}
