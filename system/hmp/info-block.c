/* SPDX-License-Identifier: GPL-2.0-or-later */
/* info of images and jobs. */
#include "gen/qmp.h"
#include "system/hmp/commands.h"
#include "util/json.h"
#include <inttypes.h>
#include <string.h>

#define SAY(...) g_string_append_printf(h->out, __VA_ARGS__)

/* ---- images ---------------------------------------------------------------------------------- */

static void show_file(Hmp *h, const BlockDeviceInfo *n)
{
    SAY(": %s (%s%s%s)\n", n->file, n->drv, n->ro ? ", read-only" : "",
        n->encrypted ? ", encrypted" : "");
}

static void show_modes(Hmp *h, const BlockDeviceInfo *n)
{
    SAY("    Cache mode:       %s%s%s\n", n->cache->writeback ? "writeback" : "writethrough",
        n->cache->direct ? ", direct" : "", n->cache->no_flush ? ", ignore flushes" : "");
    if (n->backing_file)
        SAY("    Backing file:     %s (chain depth: %" PRId64 ")\n", n->backing_file,
            n->backing_file_depth);
    if (n->detect_zeroes != BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF)
        SAY("    Detect zeroes:    %s\n",
            n->detect_zeroes == BLOCKDEV_DETECT_ZEROES_OPTIONS_ON ? "on" : "unmap");
}

static void show_limits(Hmp *h, const BlockDeviceInfo *n)
{
    SAY("    I/O throttling:   bps=%" PRId64 " bps_rd=%" PRId64 " bps_wr=%" PRId64
        " bps_max=%" PRId64 " bps_rd_max=%" PRId64 " bps_wr_max=%" PRId64
        " iops=%" PRId64 " iops_rd=%" PRId64 " iops_wr=%" PRId64
        " iops_max=%" PRId64 " iops_rd_max=%" PRId64 " iops_wr_max=%" PRId64
        " iops_size=%" PRId64 " group=%s\n", n->bps, n->bps_rd, n->bps_wr, n->bps_max,
        n->bps_rd_max, n->bps_wr_max, n->iops, n->iops_rd, n->iops_wr, n->iops_max, n->iops_rd_max,
        n->iops_wr_max, n->iops_size, n->group);
}

static void show_drive(Hmp *h, const BlockInfo *b)
{
    const BlockDeviceInfo *n = b->inserted;

    if (*b->device) {
        SAY("%s", b->device);
        if (n && n->node_name)
            SAY(" (%s)", n->node_name);
    } else {
        SAY("%s", n && n->node_name ? n->node_name : b->qdev ? b->qdev : "<anonymous>");
    }
    if (n)
        show_file(h, n);
    else
        SAY(": [not inserted]\n");
    if (b->qdev)
        SAY("    Attached to:      %s\n", b->qdev);
    if (b->removable)
        SAY("    Removable device: %slocked, tray %s\n", b->locked ? "" : "not ",
            b->tray_open ? "open" : "closed");
    if (n)
        show_modes(h, n);
    if (n && n->group)
        show_limits(h, n);
}

/* True if any is shown. */
static CO bool show_drives(Hmp *h, const char *wanted)
{
    g_autoptr(GPtrArray) drives = NULL;
    bool any = false;

    if (!qmp_query_block(&drives, NULL))
        return false;
    for (guint i = 0; i < drives->len; i++) {
        const BlockInfo *b = drives->pdata[i];

        if (wanted && strcmp(wanted, b->device))
            continue;
        SAY("%s", i ? "\n" : "");
        any = true;
        show_drive(h, b);
    }
    return any;
}

static CO void show_nodes(Hmp *h, const char *wanted)
{
    g_autoptr(GPtrArray) nodes = NULL;

    if (!qmp_query_named_block_nodes(&(QmpQueryNamedBlockNodesArgs){ 0 }, &nodes, NULL))
        return;
    for (guint i = 0; i < nodes->len; i++) {
        const BlockDeviceInfo *n = nodes->pdata[i];

        if (wanted && strcmp(wanted, n->node_name))
            continue;
        SAY("%s%s", i ? "\n" : "", n->node_name);
        show_file(h, n);
        show_modes(h, n);
    }
}

HMP_COMMAND(hmp_info_block)
{
    const char *wanted = a->text[2];
    bool by_node = a->is_given[0];

    if (a->is_given[1]) {
        SAY("Error: '-v' is not supported: query-block and query-named-block-nodes tell all\n");
        return;
    }
    if (!by_node)
        by_node = !show_drives(h, wanted) && wanted;
    if (by_node)
        show_nodes(h, wanted);
}

HMP_COMMAND(hmp_info_blockstats)
{
    g_autoptr(GPtrArray) list = NULL;

    if (!qmp_query_blockstats(&(QmpQueryBlockstatsArgs){ 0 }, &list, NULL))
        return;
    for (guint i = 0; i < list->len; i++) {
        const BlockStats *b = list->pdata[i];
        const BlockDeviceStats *s = b->stats;

        SAY("%s: rd_bytes=%" PRId64 " wr_bytes=%" PRId64 " rd_operations=%" PRId64
            " wr_operations=%" PRId64 " flush_operations=%" PRId64 " wr_total_time_ns=%" PRId64
            " rd_total_time_ns=%" PRId64 " flush_total_time_ns=%" PRId64 " rd_merged=%" PRId64
            " wr_merged=%" PRId64 " idle_time_ns=%" PRId64 "\n", b->device ? b->device : "",
            s->rd_bytes, s->wr_bytes, s->rd_operations, s->wr_operations, s->flush_operations,
            s->wr_total_time_ns, s->rd_total_time_ns, s->flush_total_time_ns, s->rd_merged,
            s->wr_merged, s->has_idle_time_ns ? s->idle_time_ns : 0);
    }
}

/* ---- jobs ------------------------------------------------------------------------------------ */

HMP_COMMAND(hmp_info_jobs)
{
    g_autoptr(GPtrArray) jobs = NULL;

    if (!qmp_query_block_jobs(&jobs, NULL))
        return;
    if (!jobs->len)
        SAY("No active jobs\n");
    for (guint i = 0; i < jobs->len; i++) {
        const BlockJobInfo *j = jobs->pdata[i];

        if (strcmp(j->type, "stream"))
            SAY("Type %s, device %s", j->type, j->device);
        else
            SAY("Streaming device %s", j->device);
        SAY(": Completed %" PRId64 " of %" PRId64 " bytes, speed limit %" PRId64 " bytes/s\n",
            j->offset, j->len, j->speed);
    }
}
