/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands about nodes. Messages are those of the reference, which clients see, where it has one.
 */
#include "block/describe.h"
#include "block/internal.h"
#include "block/jobs/job.h"
#include "block/monitor-nodes.h"
#include "gen/qmp.h"

CO bool qmp_blockdev_add(json_t *args, GError **err)
{
    return monitor_node_add(json_deep_copy(args), err);
}

CO bool qmp_blockdev_del(const QmpBlockdevDelArgs *args, GError **err)
{
    return monitor_node_remove(args->node_name, err);
}

CO bool qmp_block_resize(const QmpBlockResizeArgs *args, GError **err)
{
    Node *n = monitor_node_or_device(args->device, args->node_name, err);
    g_autoptr(Handle) h = NULL;

    if (!n)
        return false;
    if (args->size < 0)
        return err_set(err, EINVAL, "Parameter 'size' expects a >0 size");
    if (!node_check_idle(n, err))
        return false;
    h = handle_new(n, HANDLE_USER, ACCESS_RESIZE, ACCESS_ALL, err);
    return h && handle_resize(h, args->size, false, PREALLOC_OFF, err);
}

CO bool qmp_block_set_write_threshold(const QmpBlockSetWriteThresholdArgs *args, GError **err)
{
    Node *n = node_find(args->node_name);

    if (!n)
        return err_set(err, ENOENT, "Device '%s' not found", args->node_name);
    n->write_threshold = args->write_threshold;
    return true;
}

/* ---- what is known about nodes --------------------------------------------------------------- */

/* Puts the list of snapshots in place of its number. */
static void expand_snapshots(json_t *image, const GArray *lists)
{
    json_t *number = json_get(image, "snapshots"), *all;
    const SnapshotList *s;

    if (!number)
        return;
    s = &g_array_index(lists, SnapshotList, json_integer_value(number));
    all = json_array();
    for (size_t i = 0; i < s->count; i++)
        json_array_append_new(all, describe_snapshot(&s->list[i]));
    json_put(image, "snapshots", all);
}

/* The image below @n, which a filter shows and others take for their backing file. */
static Node *image_below(const Node *n)
{
    return node_skip_implicit(n->drv->kind == BLK_FILTER ? node_filtered(n) : node_backing(n));
}

/*
 * What is known of @n as ImageInfo and, unless @flat, of the images below, which *@depth counts.
 * NULL with @err.
 */
static CO json_t *node_image(Node *n, bool flat, int64_t *depth, GError **err)
{
    json_t *top = NULL, *above = NULL;

    *depth = -1;
    for (; n; n = flat ? NULL : image_below(n)) {
        g_autoptr(GArray) lists = snapshot_lists_new();
        json_t *image = describe_image(n, 0, lists, err);

        if (!image) {
            json_decref(top);
            return NULL;
        }
        expand_snapshots(image, lists);
        if (above)
            json_put(above, "backing-image", image);
        else
            top = image;
        above = image;
        ++*depth;
    }
    return top;
}

static BlockDirtyInfo *bitmap_info(const DirtyBitmap *b)
{
    BlockDirtyInfo *info = g_new0(BlockDirtyInfo, 1);

    info->name = g_strdup(b->name);
    info->count = b->inconsistent ? 0 : dirty_count(b);
    info->granularity = b->granularity;
    info->recording = b->enabled;
    info->busy = b->busy;
    info->persistent = b->persistent;
    info->has_inconsistent = info->inconsistent = b->inconsistent;
    return info;
}

/* NULL: there are none. The last one added first, as the reference. */
static GPtrArray *bitmap_infos(Node *n)
{
    GPtrArray *list = NULL;

    for (const DirtyBitmap *b = dirty_first(n); b; b = b->next) {
        if (!list)
            list = g_ptr_array_new_with_free_func((GDestroyNotify)block_dirty_info_free);
        g_ptr_array_insert(list, 0, bitmap_info(b));
    }
    return list;
}

CO BlockDeviceInfo *node_device_info(Node *n, bool flat, GError **err)
{
    g_autoptr(BlockDeviceInfo) info = g_new0(BlockDeviceInfo, 1);
    Node *backing = node_skip_implicit(node_backing(n));

    info->file = g_strdup(node_filename(n));
    info->node_name = g_strdup(node_shown_name(n));
    info->ro = node_is_read_only(n);
    info->drv = g_strdup(node_format(n));
    info->backing_file = backing ? g_strdup(node_filename(backing)) : NULL;
    info->detect_zeroes = (BlockdevDetectZeroesOptions)n->detect_zeroes;
    info->cache = g_new0(BlockdevCacheInfo, 1);
    *info->cache = (BlockdevCacheInfo){
        .writeback = true,
        .direct = n->flags & OPEN_DIRECT,
        .no_flush = n->flags & OPEN_NO_FLUSH,
    };
    info->write_threshold = (int64_t)n->write_threshold;
    info->dirty_bitmaps = bitmap_infos(n);
    info->image = node_image(n, flat, &info->backing_file_depth, err);
    if (!info->image)
        return NULL;
    info->encrypted = json_get_bool(info->image, "encrypted", false);
    return g_steal_pointer(&info);
}

CO bool qmp_query_named_block_nodes(const QmpQueryNamedBlockNodesArgs *args, GPtrArray **ret,
                                    GError **err)
{
    g_autoptr(Edit) still = edit_begin(); /* a job that ends would close nodes while one is read */
    g_autoptr(GPtrArray) nodes = monitor_nodes_all();
    g_autoptr(GPtrArray) list = NULL;

    list = g_ptr_array_new_with_free_func((GDestroyNotify)block_device_info_free);
    /* The last one first, as the reference. */
    for (guint i = nodes->len; i-- > 0;) {
        BlockDeviceInfo *info = node_device_info(nodes->pdata[i], args->flat, err);

        if (!info)
            return false;
        g_ptr_array_add(list, info);
    }
    *ret = g_steal_pointer(&list);
    return true;
}
