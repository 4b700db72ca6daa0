/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The refcount table in memory. */
#include "block/formats/qcow2/refcount.h"

CO int qcow2_reftable_load(Qcow2 *q)
{
    uint64_t bytes = q->reftable_clusters * q->cluster;
    uint64_t *table;
    int r;

    if (q->reftable)
        return 0;
    table = g_try_malloc(MAX(bytes, 8));
    if (!table)
        return -ENOMEM;
    edge_event(q->storage, EV_REFTABLE_LOAD);
    r = qcow2_file_read(q, q->reftable_off, table, bytes);
    if (r < 0 || q->reftable) {    /* another coroutine has loaded it meanwhile */
        g_free(table);
        return r;
    }
    for (uint64_t i = 0; i < bytes / 8; i++)
        table[i] = be64_at(&table[i]);
    q->reftable_len = bytes / 8;
    q->reftable = table;
    return 0;
}

void qcow2_refcount_close(Qcow2 *q)
{
    cache_fini(&q->refblocks);
    g_clear_pointer(&q->reftable, g_free);
}

void reftable_mark(Qcow2 *q, uint32_t i)
{
    bool any = q->reftable_dirty_from < q->reftable_dirty_to;

    q->reftable_dirty_from = any ? MIN(q->reftable_dirty_from, i) : i;
    q->reftable_dirty_to = any ? MAX(q->reftable_dirty_to, i + 1) : i + 1;
}
