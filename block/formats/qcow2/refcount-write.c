/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Refcount blocks and table on their way to the file; commit.c has the order. */
#include "block/formats/qcow2/refcount.h"
#include <string.h>

static CO int block_write(Qcow2 *q, CacheEntry *e, uint8_t *bounce)
{
    uint32_t from = round_down(e->dirty_from, 512), to = MIN(round_up(e->dirty_to, 512),
                                                             q->refblocks.part);
    uint64_t off = e->off;
    int r = qcow2_overlap_check(q, OVERLAP_REFBLOCK, off, q->cluster);

    if (r < 0)
        return r;
    memcpy(bounce + from, (uint8_t *)cache_data(&q->refblocks, e) + from, to - from);
    cache_clean(&q->refblocks, e);
    cache_hold(e);
    edge_event(q->storage, EV_REFBLOCK_UPDATE_PART);
    r = edge_pwrite_buf(q->storage, off + from, bounce + from, to - from);
    if (r < 0)
        cache_mark(&q->refblocks, cache_data(&q->refblocks, e), from, to - from);
    cache_release(&q->refblocks, e);
    q->unflushed = true;
    return r;
}

CO int qcow2_refblocks_write(Qcow2 *q)
{
    CO_LOCKED(&q->refblock_write_lock);
    g_autoptr(GPtrArray) list = cache_dirty_list(&q->refblocks);
    g_autoptr(Aligned) bounce = list->len ? aligned_try_alloc(q->cluster) : NULL;
    int r = 0;

    if (list->len && !bounce)
        return -ENOMEM;
    for (guint i = 0; i < list->len && r >= 0; i++)
        if (cache_is_dirty(list->pdata[i]))
            r = block_write(q, list->pdata[i], bounce);
    return r;
}

bool qcow2_reftable_capture(Qcow2 *q, ReftableWrite *w)
{
    uint64_t per_sector = 512 / 8;

    *w = (ReftableWrite){ .off = q->reftable_off };
    if (q->reftable_next_off) {
        w->off = q->reftable_next_off;
        w->clusters = q->reftable_next_clusters;
        w->to = w->clusters * (q->cluster / 8);
    } else if (q->reftable_dirty_from < q->reftable_dirty_to) {
        w->from = round_down(q->reftable_dirty_from, per_sector);
        w->to = round_up(q->reftable_dirty_to, per_sector);
    }
    w->bytes = g_try_malloc(MAX(w->to - w->from, 1) * UINT64_C(8));
    if (!w->bytes) {
        *w = (ReftableWrite){};
        return false;
    }
    q->reftable_moving = q->reftable_next_off;
    q->reftable_dirty_from = q->reftable_dirty_to = 0;
    for (uint32_t i = w->from; i < w->to; i++)
        be64_put(w->bytes + (i - w->from) * UINT64_C(8), q->reftable[i]);
    return true;
}

/* The new table is in the file: the header says so from now on, then the old one is free. */
static CO int table_switch(Qcow2 *q, const ReftableWrite *w)
{
    uint64_t old_off = q->reftable_off;
    uint32_t old_clusters = q->reftable_clusters;
    int r = qcow2_barrier(q);

    if (r < 0)
        return r;
    edge_event(q->storage, EV_REFBLOCK_ALLOC_SWITCH_TABLE);
    q->reftable_off = w->off;
    q->reftable_clusters = w->clusters;
    r = qcow2_header_write(q);
    if (r < 0) {
        q->reftable_off = old_off;
        q->reftable_clusters = old_clusters;
        return r;
    }
    q->unflushed = true;
    if (q->reftable_next_off == w->off)
        q->reftable_next_off = 0;
    qcow2_overlap_remove(q, OVERLAP_REFTABLE, old_off, old_clusters * q->cluster);
    qcow2_overlap_add(q, OVERLAP_REFTABLE, w->off, w->clusters * q->cluster);
    qcow2_free_later(q, old_off, old_clusters * q->cluster, FREE_OTHER);
    return 0;
}

CO int qcow2_reftable_write(Qcow2 *q, const ReftableWrite *w)
{
    uint64_t len = (w->to - w->from) * UINT64_C(8);
    int r;

    if (reftable_is_homeless(q))
        return -ENOSPC;
    if (!len)
        return 0;
    r = q->unflushed ? qcow2_barrier(q) : 0;
    if (r >= 0)
        r = qcow2_overlap_check(q, OVERLAP_REFTABLE, w->off, len);
    if (r < 0)
        return r;
    edge_event(q->storage, w->clusters ? EV_REFBLOCK_ALLOC_WRITE_TABLE : EV_REFBLOCK_ALLOC_HOOKUP);
    q->unflushed = true;
    r = edge_pwrite_buf(q->storage, w->off + w->from * UINT64_C(8), w->bytes, len);
    return r < 0 || !w->clusters ? r : table_switch(q, w);
}

void qcow2_reftable_release(Qcow2 *q, ReftableWrite *w, bool written)
{
    if (!w->bytes)
        return;
    q->reftable_moving = false;
    if (!written && !w->clusters && w->from < w->to) {
        reftable_mark(q, w->from);
        reftable_mark(q, w->to - 1);
    }
    g_clear_pointer(&w->bytes, g_free);
}
