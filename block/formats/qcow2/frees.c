/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clusters that lost a reference. They go through three lists: frees_open (the file may refer to
 * them), frees_written (a commit wrote that it does not), frees_durable (a flush followed). From
 * the last one commit.c counts them down.
 */
#include "block/formats/qcow2/frees.h"
#include "util/trace.h"

static GArray *frees_new(void)
{
    return g_array_new(FALSE, FALSE, sizeof(FreeRun));
}

void frees_append(GArray **to, const GArray *from)
{
    if (!from || !from->len)
        return;
    if (!*to)
        *to = frees_new();
    g_array_append_vals(*to, from->data, from->len);
}

void frees_move(GArray **to, GArray **from)
{
    frees_append(to, *from);
    if (*from)
        g_array_set_size(*from, 0);
}

void qcow2_free_later(Qcow2 *q, uint64_t off, uint64_t len, FreeKind kind)
{
    uint64_t end = round_up(off + len, q->cluster);
    FreeRun run = { .off = round_down(off, q->cluster), .kind = kind };
    FreeRun *last;

    run.len = end - run.off;
    q->frees_clusters += run.len >> q->cluster_bits;
    cache_forget(&q->l2, run.off, run.len);
    if (!q->frees_open)
        q->frees_open = frees_new();
    last = q->frees_open->len ? &g_array_index(q->frees_open, FreeRun, q->frees_open->len - 1)
                              : NULL;
    if (last && last->kind == kind && last->off + last->len == run.off)
        last->len += run.len;
    else
        g_array_append_val(q->frees_open, run);
}

void qcow2_frees_free(Qcow2 *q)
{
    GArray **lists[] = { &q->frees_open, &q->frees_written, &q->frees_durable };

    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++)
        if (*lists[i])
            g_array_unref(g_steal_pointer(lists[i]));
}

CO int qcow2_barrier(Qcow2 *q)
{
    GArray *written = g_steal_pointer(&q->frees_written);
    int r;

    TRACE(qcow2_barrier, "'%s'", node_filename(q->node));
    q->unflushed = false;
    r = edge_flush(q->storage);
    if (r >= 0 && q->data != q->storage)
        r = edge_flush(q->data);
    if (r < 0)
        q->unflushed = true;
    frees_append(r < 0 ? &q->frees_written : &q->frees_durable, written);
    if (written)
        g_array_unref(written);
    return r;
}
