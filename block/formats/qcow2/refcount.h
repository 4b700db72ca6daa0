/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files that change refcounts offer each other. Callers hold refcount_lock. */
#ifndef BLOCK_FORMATS_QCOW2_REFCOUNT_H
#define BLOCK_FORMATS_QCOW2_REFCOUNT_H

#include "block/formats/qcow2/qcow2.h"

static inline uint64_t refblock_entries(const Qcow2 *q)
{
    return UINT64_C(1) << q->refblock_bits;
}

static inline uint64_t refblock_index(const Qcow2 *q, uint64_t cluster)
{
    return cluster & (refblock_entries(q) - 1);
}

/* The part of [@cluster, @cluster + @n) that one block counts. */
static inline uint64_t refblock_part(const Qcow2 *q, uint64_t cluster, uint64_t n)
{
    return MIN(n, refblock_entries(q) - refblock_index(q, cluster));
}

/* The cluster of block @i; 0: there is none. */
static inline uint64_t refblock_cluster(const Qcow2 *q, uint32_t i)
{
    return (q->reftable[i] & REFTABLE_OFFSET) >> q->cluster_bits;
}

/* Is the table longer than the file has room for, with no new place yet? */
static inline bool reftable_is_homeless(const Qcow2 *q)
{
    return !q->reftable_next_off && q->reftable_len > q->reftable_clusters * (q->cluster / 8);
}

/* Entry @i of the table changed. */
void reftable_mark(Qcow2 *q, uint32_t i);
/* Entry @i of @block, which is in the cache, becomes @value. */
void refcount_change(Qcow2 *q, void *block, uint64_t i, uint64_t value);
/* As qcow2_refcount_add, with the table loaded. */
CO int refcount_add(Qcow2 *q, uint64_t cluster, uint64_t n, int64_t delta);
/* The first run of at least @min free clusters at or after @from: *@start, and *@len up to @max. */
CO int space_find(Qcow2 *q, uint64_t from, uint64_t min, uint64_t max, uint64_t *start,
                  uint64_t *len);
/* Takes @min to *@len adjacent free clusters; *@len becomes their number, *@start the first. */
CO int space_take(Qcow2 *q, uint64_t min, uint64_t *len, uint64_t *start);

#endif
