/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that make images and change what they say of themselves, as jobs. */
#include "block/jobs/kinds.h"
#include "block/monitor-nodes.h"

CO bool qmp_blockdev_create(const QmpBlockdevCreateArgs *args, GError **err)
{
    return create_start(args->job_id, args->options, err);
}

CO bool qmp_x_compact(const QmpXCompactArgs *args, GError **err)
{
    Node *n = monitor_node_or_device(NULL, args->node_name, err);
    JobArgs job = {
        .id = args->job_id,
        .has_speed = args->has_speed,
        .speed = args->speed,
        .auto_finalize = !args->has_auto_finalize || args->auto_finalize,
        .auto_dismiss = !args->has_auto_dismiss || args->auto_dismiss,
    };

    return n && compact_start(&job, n, err);
}

CO bool qmp_x_blockdev_amend(const QmpXBlockdevAmendArgs *args, GError **err)
{
    Node *n = monitor_node_or_device(NULL, args->node_name, err);

    return n && amend_start(args->job_id, n, args->options, args->force, err);
}
