/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What devices have asked of their images, and what has been asked of nodes. */
#include "block/account-internal.h"
#include "block/internal.h"
#include "block/monitor-nodes.h"
#include "block/throttle.h"
#include "gen/qmp.h"

/* ---- of a device ----------------------------------------------------------------------------- */

static json_t *numbers(const uint64_t *v, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(v[i]));
    return list;
}

/* NULL: there is none. */
static BlockLatencyHistogramInfo *histogram_info(const Histogram *g)
{
    BlockLatencyHistogramInfo *info;

    if (!g->bins)
        return NULL;
    info = g_new0(BlockLatencyHistogramInfo, 1);
    info->boundaries = numbers(g->bounds, g->count);
    info->bins = numbers(g->bins, g->count + 1);
    return info;
}

static Window both_windows(const Interval *v, AccountKind kind)
{
    const Window *a = &v->current[kind], *b = &v->before[kind];

    if (!a->count || !b->count)
        return a->count ? *a : *b;
    return (Window){
        .count = a->count + b->count,
        .sum = a->sum + b->sum,
        .min = MIN(a->min, b->min),
        .max = MAX(a->max, b->max),
    };
}

static int64_t average(const Window *w)
{
    return w->count ? (int64_t)(w->sum / w->count) : 0;
}

static BlockDeviceTimedStats *interval_info(Interval *v)
{
    BlockDeviceTimedStats *info = g_new0(BlockDeviceTimedStats, 1);
    int64_t now = clock_now_ns();
    Window rd, wr, flush;
    double span;

    interval_advance(v, now);
    rd = both_windows(v, ACCOUNT_READ);
    wr = both_windows(v, ACCOUNT_WRITE);
    flush = both_windows(v, ACCOUNT_FLUSH);
    span = MAX(now - v->before_since, 1);
    *info = (BlockDeviceTimedStats){
        .interval_length = v->length_ns / 1000000000,
        .min_rd_latency_ns = rd.min, .max_rd_latency_ns = rd.max, .avg_rd_latency_ns = average(&rd),
        .min_wr_latency_ns = wr.min, .max_wr_latency_ns = wr.max, .avg_wr_latency_ns = average(&wr),
        .min_flush_latency_ns = flush.min, .max_flush_latency_ns = flush.max,
        .avg_flush_latency_ns = average(&flush),
        .avg_rd_queue_depth = rd.sum / span, .avg_wr_queue_depth = wr.sum / span,
    };
    return info;
}

/* Fills in what @a has counted. */
static void account_info(BlockDeviceStats *s, Account *a)
{
    enum { RD = ACCOUNT_READ, WR = ACCOUNT_WRITE, FLUSH = ACCOUNT_FLUSH, UNMAP = ACCOUNT_UNMAP };

    s->rd_bytes = a->bytes[RD];
    s->wr_bytes = a->bytes[WR];
    s->unmap_bytes = a->bytes[UNMAP];
    s->rd_operations = a->operations[RD];
    s->wr_operations = a->operations[WR];
    s->flush_operations = a->operations[FLUSH];
    s->unmap_operations = a->operations[UNMAP];
    s->rd_total_time_ns = a->total_ns[RD];
    s->wr_total_time_ns = a->total_ns[WR];
    s->flush_total_time_ns = a->total_ns[FLUSH];
    s->unmap_total_time_ns = a->total_ns[UNMAP];
    s->rd_merged = a->merged[RD];
    s->wr_merged = a->merged[WR];
    s->unmap_merged = a->merged[UNMAP];
    s->has_idle_time_ns = a->last_ns;
    s->idle_time_ns = clock_now_ns() - a->last_ns;
    s->failed_rd_operations = a->failed[RD];
    s->failed_wr_operations = a->failed[WR];
    s->failed_flush_operations = a->failed[FLUSH];
    s->failed_unmap_operations = a->failed[UNMAP];
    s->invalid_rd_operations = a->invalid[RD];
    s->invalid_wr_operations = a->invalid[WR];
    s->invalid_flush_operations = a->invalid[FLUSH];
    s->invalid_unmap_operations = a->invalid[UNMAP];
    s->account_invalid = s->account_failed = true;
    s->rd_latency_histogram = histogram_info(&a->histograms[RD]);
    s->wr_latency_histogram = histogram_info(&a->histograms[WR]);
    s->flush_latency_histogram = histogram_info(&a->histograms[FLUSH]);
    for (unsigned i = 0; i < a->interval_count; i++)
        g_ptr_array_add(s->timed_stats, interval_info(&a->intervals[i]));
}

/* ---- of a node ------------------------------------------------------------------------------- */

static json_t *file_stats(const Node *n)
{
    return json_pack("{s:s, s:I, s:I, s:I}", "driver", n->drv->name,
                     "discard-nb-ok", (json_int_t)n->discards.ok,
                     "discard-nb-failed", (json_int_t)n->discards.failed,
                     "discard-bytes-ok", (json_int_t)n->discards.ok_bytes);
}

/*
 * The one child that carries the bytes of @n. NULL: they are its own, or several children have
 * them.
 */
static Node *bytes_below(const Node *n)
{
    const Edge *first = node_edge_at(n, 0);

    if (n->drv->kind == BLK_FILTER)
        return node_filtered(n);
    if (node_data(n))
        return node_data(n);
    return node_child_count(n) == 1 ? edge_node(first) : NULL;
}

static BlockStats *stats_new(void)
{
    BlockStats *s = g_new0(BlockStats, 1);

    s->stats = g_new0(BlockDeviceStats, 1);
    s->stats->timed_stats =
        g_ptr_array_new_with_free_func((GDestroyNotify)block_device_timed_stats_free);
    return s;
}

static BlockStats *node_stats_alone(const Node *n)
{
    BlockStats *s = stats_new();

    s->node_name = g_strdup(node_shown_name(n));
    s->stats->wr_highest_offset = n->highest_write;
    if (n->drv->counts_discards)
        s->driver_specific = file_stats(n);
    return s;
}

/* Of @n and of what carries its bytes; with @backing also of its backing files. */
static BlockStats *node_stats(const Node *n, bool backing)
{
    BlockStats *top = NULL, **at = &top;

    for (; n; n = backing ? node_backing(n) : NULL, at = &(*at)->backing) {
        const Node *below = bytes_below(n);

        *at = node_stats_alone(n);
        if (below)
            (*at)->parent = node_stats(below, backing);
    }
    return top;
}

/* ---- commands -------------------------------------------------------------------------------- */

static BlockStats *handle_stats(const Handle *h)
{
    BlockStats *s = h->root ? node_stats(node_skip_implicit(h->root->node), true) : stats_new();

    s->device = g_strdup(h->account->drive);
    s->qdev = g_strdup(h->account->device);
    account_info(s->stats, h->account);
    return s;
}

CO bool qmp_query_blockstats(const QmpQueryBlockstatsArgs *args, GPtrArray **ret, GError **err)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)block_stats_free);
    g_autoptr(GPtrArray) nodes = args->query_nodes ? monitor_nodes_all() : NULL;
    const GPtrArray *handles = accounts_all();

    for (guint i = 0; nodes && i < nodes->len; i++)
        g_ptr_array_add(list, node_stats(nodes->pdata[i], false));
    for (guint i = 0; !nodes && i < handles->len; i++)
        g_ptr_array_add(list, handle_stats(handles->pdata[i]));
    *ret = list;
    return true;
}

static CO BlockInfo *handle_info(const Handle *h, GError **err)
{
    g_autoptr(BlockInfo) info = g_new0(BlockInfo, 1);

    info->device = g_strdup(h->account->drive);
    info->qdev = g_strdup(h->account->device);
    info->type = g_strdup("unknown");
    info->removable = !info->qdev;
    info->has_io_status = info->qdev;
    if (h->root)
        info->inserted = node_device_info(node_skip_implicit(h->root->node), false, err);
    if (info->inserted) {
        info->inserted->cache->writeback = !(h->flags & OPEN_WRITETHROUGH);
        handle_throttle_info(h, info->inserted);
    }
    return !h->root || info->inserted ? g_steal_pointer(&info) : NULL;
}

CO bool qmp_query_block(GPtrArray **ret, GError **err)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)block_info_free);
    g_autoptr(Edit) still = edit_begin(); /* telling of images may wait: none goes meanwhile */
    const GPtrArray *handles = accounts_all();

    for (guint i = 0; i < handles->len; i++) {
        BlockInfo *info = handle_info(handles->pdata[i], err);

        if (!info)
            return false;
        g_ptr_array_add(list, info);
    }
    *ret = g_steal_pointer(&list);
    return true;
}
