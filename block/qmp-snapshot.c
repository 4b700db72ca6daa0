/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about snapshots inside images, and the name an image stores of its backing file. */
#include "block/actions.h"
#include "block/describe.h"
#include "block/internal.h"
#include "block/jobs/filter.h"
#include "block/monitor-nodes.h"
#include <string.h>

CO bool qmp_blockdev_snapshot_internal_sync(const BlockdevSnapshotInternal *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    return action_internal_snapshot(edit, args, err) && edit_commit(edit, err);
}

/* The snapshot that has both @id and @name, of which one may be NULL. */
static const Snapshot *find_both(const Snapshot *list, size_t count, const char *id,
                                 const char *name)
{
    for (size_t i = 0; i < count; i++)
        if ((!id || !strcmp(list[i].id, id)) && (!name || !strcmp(list[i].name, name)))
            return &list[i];
    return NULL;
}

CO bool qmp_blockdev_snapshot_delete_internal_sync(
    const QmpBlockdevSnapshotDeleteInternalSyncArgs *args, json_t **ret, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();
    Node *n = monitor_node_or_device(args->device, args->device, err);
    g_autofree Snapshot *list = NULL;
    const Snapshot *found;
    size_t count = 0;

    if (!n || !node_check_idle(n, err))
        return false;
    if (!args->id && !args->name)
        return err_set(err, EINVAL, "Name or id must be provided");
    if (!n->drv->snapshots)
        return err_set(err, ENOTSUP, "Block format '%s' used by device '%s' does not support "
                       "internal snapshots", n->drv->name, args->device);
    if (node_is_read_only(n))
        return err_set(err, EACCES, "Device '%s' is read only", args->device);
    if (n->drv->snapshots->list(n, &list, &count) < 0)
        count = 0;
    found = find_both(list, count, args->id, args->name);
    if (!found)
        return err_set(
            err, ENOENT, "Snapshot with id '%s' and name '%s' does not exist on device '%s'",
            args->id ? args->id : "null", args->name ? args->name : "null", args->device);
    *ret = describe_snapshot(found);
    action_internal_remove(edit, n, found->id);
    if (edit_commit(edit, err))
        return true;
    g_clear_pointer(ret, json_decref);
    return false;
}

CO bool qmp_change_backing_file(const QmpChangeBackingFileArgs *args, GError **err)
{
    Node *top = monitor_node_or_device(args->device, args->device, err), *n;
    bool was_read_only, ok;
    Edit *edit;

    if (!top)
        return false;
    n = monitor_node_or_device(NULL, args->image_node_name, err);
    if (!n)
        return false;
    if (!node_backing(n))
        return err_set(err, EINVAL,
                       "not allowing backing file change on an image without a backing file");
    if (!node_reaches(top, n))
        return err_set(err, EINVAL, "'%s' and image file are not in the same chain", args->device);
    if (!node_check_idle(n, err))
        return false;
    was_read_only = node_is_read_only(n);
    if (!node_set_read_only(n, false, err))
        return false;
    edit = edit_begin();
    edit_store_backing(edit, n, args->backing_file,
                       node_format(node_skip_filters(node_backing(n))));
    ok = edit_commit(edit, err);
    edit_free(edit);
    if (was_read_only)
        ok = node_set_read_only(n, true, ok ? err : NULL) && ok;
    return ok;
}
