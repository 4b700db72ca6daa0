/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which host clusters are in use: the refcount table in memory, its blocks in the cache. What takes
 * space is in space.c, what writes to the file in refcount-write.c.
 *
 * Counts change in memory only; commit.c writes blocks before whatever relies on an increment, and
 * applies a decrement only when the reference is gone from the file for good. So a block may be
 * written at any time. A block that the file's table does not know yet is written before the table,
 * the table before anything relies on it.
 */
#include "block/formats/qcow2/refcount.h"

/* ---- counts in a block ---------------------------------------------------------------------- */

uint64_t qcow2_count_at(const Qcow2 *q, const void *block, uint64_t i)
{
    const uint8_t *p = block;

    switch (q->refcount_order) {
    case 3: return p[i];
    case 4: return be16_at(p + 2 * i);
    case 5: return be32_at(p + 4 * i);
    case 6: return be64_at(p + 8 * i);
    default: {
        unsigned bits = qcow2_refcount_bits(q), shift = 3 - q->refcount_order;

        return p[i >> shift] >> (i & ((1u << shift) - 1)) * bits & q->refcount_max;
    }
    }
}

void qcow2_count_put(const Qcow2 *q, void *block, uint64_t i, uint64_t value)
{
    uint8_t *p = block;

    switch (q->refcount_order) {
    case 3: p[i] = value; break;
    case 4: be16_put(p + 2 * i, value); break;
    case 5: be32_put(p + 4 * i, value); break;
    case 6: be64_put(p + 8 * i, value); break;
    default: {
        unsigned bits = qcow2_refcount_bits(q), shift = 3 - q->refcount_order;
        unsigned at = (i & ((1u << shift) - 1)) * bits;

        p[i >> shift] = (p[i >> shift] & ~(q->refcount_max << at)) | value << at;
    }
    }
}

void refcount_change(Qcow2 *q, void *block, uint64_t i, uint64_t value)
{
    uint64_t bit = i << q->refcount_order;

    qcow2_count_put(q, block, i, value);
    cache_mark(&q->refblocks, block, bit / 8, (qcow2_refcount_bits(q) + 7) / 8);
}

CO int qcow2_refblock_get(Qcow2 *q, uint64_t i, void **block)
{
    uint64_t off = i < q->reftable_len ? q->reftable[i] & REFTABLE_OFFSET : 0;

    *block = NULL;
    if (!off)
        return 0;
    if (qcow2_within(q, off))
        return qcow2_corrupt(q, true, "Refblock offset 0x%" PRIx64 " unaligned (reftable index: 0x%"
                             PRIx64 ")", off, i);
    return cache_get(&q->refblocks, off, block);
}

CO int qcow2_refcount_get(Qcow2 *q, uint64_t cluster, uint64_t *count)
{
    void *block;
    int r = qcow2_reftable_load(q);

    if (r >= 0)
        r = qcow2_refblock_get(q, cluster >> q->refblock_bits, &block);
    if (r < 0)
        return r;
    *count = block ? qcow2_count_at(q, block, refblock_index(q, cluster)) : 0;
    return 0;
}

/* ---- changing counts ------------------------------------------------------------------------ */

static CO int add_in_block(Qcow2 *q, uint64_t cluster, uint64_t n, int64_t delta)
{
    void *block;
    int r = qcow2_refblock_get(q, cluster >> q->refblock_bits, &block);

    if (r < 0)
        return r;
    if (!block)
        return -EINVAL;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t count = qcow2_count_at(q, block, refblock_index(q, cluster) + i);

        if (delta < 0 ? count < (uint64_t)-delta : q->refcount_max - MIN(count, q->refcount_max) <
                                                   (uint64_t)delta)
            return -EINVAL;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = refblock_index(q, cluster) + i;
        uint64_t count = qcow2_count_at(q, block, at) + delta;

        refcount_change(q, block, at, count);
        if (!count)
            q->free_hint = MIN(q->free_hint, cluster + i);
    }
    return 0;
}

CO int refcount_add(Qcow2 *q, uint64_t cluster, uint64_t n, int64_t delta)
{
    for (uint64_t done = 0; done < n;) {
        uint64_t part = refblock_part(q, cluster + done, n - done);
        int r = add_in_block(q, cluster + done, part, delta);

        if (r < 0) {
            if (done)
                refcount_add(q, cluster, done, -delta);
            return r;
        }
        done += part;
    }
    return 0;
}

CO int qcow2_refcount_add(Qcow2 *q, uint64_t cluster, uint64_t n, int64_t delta)
{
    int r = qcow2_reftable_load(q);
    CO_LOCKED(&q->refcount_lock);

    return r < 0 ? r : refcount_add(q, cluster, n, delta);
}

CO int qcow2_refcounts_fit(Qcow2 *q, const Counts *by)
{
    int r = 0;

    for (uint64_t i = counts_next(by, 0, by->n); i < by->n && r >= 0;
         i = counts_next(by, i + 1, by->n)) {
        uint64_t now;

        r = qcow2_refcount_get(q, i, &now);
        if (r >= 0 && now < counts_get(by, i))
            r = -EIO;
    }
    return r;
}

/* Count @now with @up more and @down fewer references, plus 1; 0: as it is. Negative errno. */
static int count_planned(const Qcow2 *q, uint64_t now, uint64_t up, uint64_t down, uint64_t *plan)
{
    uint64_t more = now + up;

    if (!now || more < now || more < down)
        return -EIO;
    if (more - down > MIN(q->refcount_max, UINT64_MAX - 1))
        return -EOVERFLOW;
    *plan = up == down ? 0 : more - down + 1;
    return 0;
}

/* Plans for the clusters [@first, @end), which one block counts. */
static CO int plan_in_block(Qcow2 *q, uint64_t first, uint64_t end, Counts *up, const Counts *down)
{
    void *block;
    int r = qcow2_refblock_get(q, first >> q->refblock_bits, &block);

    for (uint64_t i = first; i < end && r >= 0; i++) {
        uint64_t more = counts_get(up, i), less = counts_get(down, i), plan;

        if (!more && !less)
            continue;
        r = count_planned(q, block ? qcow2_count_at(q, block, refblock_index(q, i)) : 0, more, less,
                          &plan);
        if (r >= 0)
            counts_set(up, i, plan);
    }
    return r;
}

CO int qcow2_refcounts_plan(Qcow2 *q, Counts *up, const Counts *down)
{
    uint64_t n = up->n, next_up = counts_next(up, 0, n), next_down = counts_next(down, 0, n);
    int r = qcow2_reftable_load(q);

    while (r >= 0 && MIN(next_up, next_down) < n) {
        uint64_t first = MIN(next_up, next_down), end = first + refblock_part(q, first, n - first);

        r = plan_in_block(q, first, end, up, down);
        next_up = counts_next(up, MAX(next_up, end), n);
        next_down = counts_next(down, MAX(next_down, end), n);
    }
    return r >= 0 && up->failed ? -ENOMEM : r;
}

/* Lowers the counts of the clusters [@first, @end), which one block counts. */
static CO int lower_in_block(Qcow2 *q, uint64_t first, uint64_t end, Counts *by)
{
    uint64_t from = end, to = first;
    void *block;
    int r;
    CO_LOCKED(&q->refcount_lock);

    r = qcow2_refblock_get(q, first >> q->refblock_bits, &block);
    if (r < 0 || !block)
        return r < 0 ? r : -EINVAL;
    for (uint64_t i = first; i < end; i++) {
        uint64_t less = counts_get(by, i), at = refblock_index(q, i), now;

        if (!less)
            continue;
        now = qcow2_count_at(q, block, at) - less;
        qcow2_count_put(q, block, at, now);
        counts_set(by, i, now ? 2 : 1);
        from = MIN(from, i);
        to = i + 1;
    }
    if (from < to) {
        uint64_t base = first - refblock_index(q, first);
        uint64_t start = (from - base) << q->refcount_order >> 3;

        cache_mark(&q->refblocks, block, start,
                   div_round_up((to - base) << q->refcount_order, 8) - start);
    }
    return 0;
}

CO int qcow2_refcounts_lower(Qcow2 *q, Counts *by)
{
    uint64_t first = counts_next(by, 0, by->n);
    int r = qcow2_reftable_load(q);

    q->free_hint = MIN(q->free_hint, first);
    for (uint64_t end; first < by->n && r >= 0; first = counts_next(by, end, by->n)) {
        end = first + refblock_part(q, first, by->n - first);
        r = lower_in_block(q, first, end, by);
    }
    return r;
}

CO int qcow2_refcount_free(Qcow2 *q, uint64_t cluster, uint64_t *count)
{
    int r = qcow2_reftable_load(q);

    if (r >= 0)
        r = refcount_add(q, cluster, 1, -1);
    return r < 0 ? r : qcow2_refcount_get(q, cluster, count);
}

CO void qcow2_cluster_unalloc(Qcow2 *q, uint64_t host, uint64_t bytes)
{
    uint64_t first = host >> q->cluster_bits;
    uint64_t last = (host + bytes - 1) >> q->cluster_bits;

    q->bytes_off = 0;
    qcow2_refcount_add(q, first, last - first + 1, -1);
}
