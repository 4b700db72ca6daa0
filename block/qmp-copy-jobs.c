/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that start jobs which copy between images. Messages are those of the reference. */
#include "block/internal.h"
#include "block/jobs/kinds.h"
#include "block/monitor-nodes.h"
#include <string.h>

/* What the arguments of all these commands have in common. */
#define JOB_ARGS(a) { \
    .id = (a)->job_id, \
    .has_speed = (a)->has_speed, \
    .speed = (a)->speed, \
    .auto_finalize = !(a)->has_auto_finalize || (a)->auto_finalize, \
    .auto_dismiss = !(a)->has_auto_dismiss || (a)->auto_dismiss, \
}

static Node *node_named_by(const char *name, GError **err)
{
    return monitor_node_or_device(name, name, err);
}

/* The same for a name that is never a device's. */
static Node *plain_node(const char *name, GError **err)
{
    return monitor_node_or_device(NULL, name, err);
}

/* True if no other node uses @n. */
static bool node_is_root(const Node *n, GError **err)
{
    for (guint i = 0; i < n->parents->len; i++)
        if (((const Edge *)n->parents->pdata[i])->parent)
            return err_set(err, EBUSY, "Need a root block node");
    return true;
}

/* The layer of @n's chain, from its first backing file on, whose file is called @name. */
static Node *layer_of_file(Node *n, const char *name)
{
    g_autofree char *full = NULL;

    for (Node *above = n; (n = node_backing_chain_next(above)); above = n) {
        const char *stored = node_backing_stored(node_skip_filters(above));

        if ((stored && !strcmp(stored, name)) || !strcmp(node_filename(n), name) ||
            node_is_file_named(n, name))
            return n;
    }
    return NULL;
}

/* True if @layer is @top or a layer or filter below it. */
static bool is_in_chain(Node *top, const Node *layer)
{
    for (Node *n = top; n; n = node_filtered(n) ? node_filtered(n) : node_backing(n))
        if (n == layer)
            return true;
    return false;
}

/* ---- mirror ---------------------------------------------------------------------------------- */

CO bool qmp_blockdev_mirror(const QmpBlockdevMirrorArgs *args, GError **err)
{
    MirrorArgs how = {
        .job = JOB_ARGS(args),
        .replaces = args->replaces,
        .filter_name = args->filter_node_name,
        .sync = args->sync,
        .copy_mode = args->copy_mode,
        .granularity = args->granularity,
        .memory = args->buf_size,
        .on_read = args->on_source_error,
        .on_write = args->on_target_error,
        .resume = args->x_resume,
    };

    how.source = node_named_by(args->device, err);
    if (!how.source || !node_is_root(how.source, err))
        return false;
    how.target = node_named_by(args->target, err);
    if (!how.target)
        return false;
    if (args->has_granularity && !args->granularity)
        how.granularity = 0;
    return mirror_start(&how, err);
}

/* ---- stream ---------------------------------------------------------------------------------- */

static bool stream_excludes(bool a, const char *a_name, bool b, const char *b_name, GError **err)
{
    return !(a && b) || err_set(err, EINVAL, "'%s' and '%s' cannot be specified at the same time",
                                a_name, b_name);
}

/* The layers that are copied, in how->base and how->bottom. */
static bool stream_range(const QmpBlockStreamArgs *args, StreamArgs *how, GError **err)
{
    Node *n;

    if (args->base) {
        how->base = layer_of_file(how->node, args->base);
        if (!how->base)
            return err_set(err, ENOENT, "Can't find '%s' in the backing chain", args->base);
    }
    if (args->base_node) {
        how->base = plain_node(args->base_node, err);
        if (!how->base)
            return false;
        if (how->base == how->node || !is_in_chain(how->node, how->base))
            return err_set(err, EINVAL, "Node '%s' is not a backing image of '%s'", args->base_node,
                           args->device);
    }
    if (args->bottom) {
        how->bottom = plain_node(args->bottom, err);
        if (!how->bottom)
            return false;
        if (how->bottom->drv->kind == BLK_FILTER)
            return err_set(err, EINVAL, "Node '%s' is a filter, use a non-filter node as 'bottom'",
                           args->bottom);
        if (!is_in_chain(how->node, how->bottom))
            return err_set(err, EINVAL, "Node '%s' is not in a chain starting from '%s'",
                           args->bottom, args->device);
        how->base = node_backing(how->bottom);
    }
    for (n = node_skip_filters(how->node); !how->bottom; n = node_backing_chain_next(n))
        if (node_backing_chain_next(n) == node_skip_filters(how->base))
            how->bottom = n;
    return true;
}

CO bool qmp_block_stream(const QmpBlockStreamArgs *args, GError **err)
{
    StreamArgs how = {
        .job = JOB_ARGS(args),
        .backing_file = args->backing_file,
        .filter_name = args->filter_node_name,
        .on_error = args->on_error,
    };

    if (!stream_excludes(args->base, "base", args->base_node, "base-node", err) ||
        !stream_excludes(args->base, "base", args->bottom, "bottom", err) ||
        !stream_excludes(args->bottom, "bottom", args->base_node, "base-node", err))
        return false;
    how.node = node_named_by(args->device, err);
    if (!how.node || !stream_range(args, &how, err))
        return false;
    for (Node *n = how.node; n; n = n == how.base ? NULL : node_filtered(n) ? node_filtered(n)
                                                                           : node_backing(n))
        if (!node_check_idle(n, err))
            return false;
    if (args->backing_file && !how.base)
        return err_set(err, EINVAL, "backing file specified, but streaming the entire chain");
    return stream_start(&how, err);
}

/* ---- commit ---------------------------------------------------------------------------------- */

static bool commit_top(const QmpBlockCommitArgs *args, CommitArgs *how, GError **err)
{
    how->top = how->active;
    if (args->top_node && args->top)
        return err_set(err, EINVAL, "'top-node' and 'top' are mutually exclusive");
    if (args->top_node) {
        how->top = plain_node(args->top_node, err);
        if (!how->top)
            return false;
        if (!is_in_chain(how->active, how->top))
            return err_set(err, EINVAL, "'%s' is not in this backing file chain", args->top_node);
    } else if (args->top && strcmp(args->top, node_filename(how->active))) {
        how->top = layer_of_file(how->active, args->top);
        if (!how->top)
            return err_set(err, ENOENT, "Top image file %s not found", args->top);
    }
    return true;
}

static bool commit_base(const QmpBlockCommitArgs *args, CommitArgs *how, GError **err)
{
    if (args->base_node && args->base)
        return err_set(err, EINVAL, "'base-node' and 'base' are mutually exclusive");
    if (args->base_node) {
        how->base = plain_node(args->base_node, err);
        if (!how->base)
            return false;
        if (!is_in_chain(how->top, how->base))
            return err_set(err, EINVAL, "'%s' is not in this backing file chain", args->base_node);
    } else if (args->base) {
        how->base = layer_of_file(how->top, args->base);
        if (!how->base)
            return err_set(err, ENOENT, "Can't find '%s' in the backing chain", args->base);
    } else {
        for (Node *n = node_skip_filters(how->top); n; n = node_backing_chain_next(n))
            how->base = n;
    }
    return how->base != how->top ||
           err_set(err, EINVAL, "cannot commit an image into itself");
}

CO bool qmp_block_commit(const QmpBlockCommitArgs *args, GError **err)
{
    CommitArgs how = {
        .job = JOB_ARGS(args),
        .backing_file = args->backing_file,
        .filter_name = args->filter_node_name,
        .on_error = args->on_error,
    };

    how.active = node_find(args->device);
    if (!how.active) {
        err_set(err, ENOENT, "Device '%s' not found", args->device);
        return err_class(err, "DeviceNotFound");
    }
    if (!node_is_root(how.active, err) || !node_check_idle(how.active, err) ||
        !commit_top(args, &how, err) || !commit_base(args, &how, err))
        return false;
    for (Node *n = how.top; n; n = n == how.base ? NULL : node_filtered(n) ? node_filtered(n)
                                                                          : node_backing(n))
        if (!node_check_idle(n, err))
            return false;
    if (how.top != how.active)
        return commit_start(&how, err);
    if (args->backing_file)
        return err_set(err, EINVAL, "'backing-file' specified, but 'top' is the active layer");
    return commit_active_start(&how, err);
}
