/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which host clusters are in use: the refcount table in memory, its blocks in the cache.
 *
 * Counts change in memory only; commit.c writes blocks before whatever relies on an increment, and
 * applies a decrement only when the reference is gone from the file for good. So a block may be
 * written at any time. A block that the file's table does not know yet is written before the table,
 * the table before anything relies on it.
 *
 * A new block takes the first free cluster of those it counts, so it counts itself. A table that
 * becomes too small is replaced: reftable_next_off says where the new one goes until
 * qcow2_reftable_write has switched the header over.
 */
#include "block/formats/qcow2/qcow2.h"
#include "util/trace.h"
#include <string.h>

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

static void count_change(Qcow2 *q, void *block, uint64_t i, uint64_t value)
{
    uint64_t bit = i << q->refcount_order;

    qcow2_count_put(q, block, i, value);
    cache_mark(&q->refblocks, block, bit / 8, (qcow2_refcount_bits(q) + 7) / 8);
}

/* The first index in [@from, @to) whose count is 0 (@free) or not 0; @to if there is none. */
static uint64_t block_search(const Qcow2 *q, const void *block, uint64_t from, uint64_t to,
                             bool free)
{
    if (q->refcount_order == 4) {
        const uint8_t *p = block;

        while (from < to && !(p[2 * from] | p[2 * from + 1]) != free)
            from++;
        return from;
    }
    while (from < to && !qcow2_count_at(q, block, from) != free)
        from++;
    return from;
}

/* ---- table ---------------------------------------------------------------------------------- */

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
    if (r < 0 || q->reftable) {    /* somebody else was faster */
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

static void reftable_mark(Qcow2 *q, uint32_t i)
{
    bool any = q->reftable_dirty_from < q->reftable_dirty_to;

    q->reftable_dirty_from = any ? MIN(q->reftable_dirty_from, i) : i;
    q->reftable_dirty_to = any ? MAX(q->reftable_dirty_to, i + 1) : i + 1;
}

/* Block number @i; *@block NULL: there is none, all its counts are 0. */
static CO int block_get(Qcow2 *q, uint64_t i, void **block)
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

static uint64_t block_entries(const Qcow2 *q)
{
    return UINT64_C(1) << q->refblock_bits;
}

static uint64_t index_in_block(const Qcow2 *q, uint64_t cluster)
{
    return cluster & (block_entries(q) - 1);
}

CO int qcow2_refcount_get(Qcow2 *q, uint64_t cluster, uint64_t *count)
{
    void *block;
    int r = qcow2_reftable_load(q);

    if (r >= 0)
        r = block_get(q, cluster >> q->refblock_bits, &block);
    if (r < 0)
        return r;
    *count = block ? qcow2_count_at(q, block, index_in_block(q, cluster)) : 0;
    return 0;
}

/* ---- changing counts ------------------------------------------------------------------------ */

/* The part of [@cluster, @cluster + @n) that one block counts. */
static uint64_t part_in_block(const Qcow2 *q, uint64_t cluster, uint64_t n)
{
    return MIN(n, block_entries(q) - index_in_block(q, cluster));
}

static CO int add_in_block(Qcow2 *q, uint64_t cluster, uint64_t n, int64_t delta)
{
    void *block;
    int r = block_get(q, cluster >> q->refblock_bits, &block);

    if (r < 0)
        return r;
    if (!block)
        return -EINVAL;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t count = qcow2_count_at(q, block, index_in_block(q, cluster) + i);

        if (delta < 0 ? count < (uint64_t)-delta : q->refcount_max - MIN(count, q->refcount_max) <
                                                   (uint64_t)delta)
            return -EINVAL;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = index_in_block(q, cluster) + i;
        uint64_t count = qcow2_count_at(q, block, at) + delta;

        count_change(q, block, at, count);
        if (!count)
            q->free_hint = MIN(q->free_hint, cluster + i);
    }
    return 0;
}

static CO int count_add(Qcow2 *q, uint64_t cluster, uint64_t n, int64_t delta)
{
    for (uint64_t done = 0; done < n;) {
        uint64_t part = part_in_block(q, cluster + done, n - done);
        int r = add_in_block(q, cluster + done, part, delta);

        if (r < 0) {
            if (done)
                count_add(q, cluster, done, -delta);
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

    return r < 0 ? r : count_add(q, cluster, n, delta);
}

CO int qcow2_refcounts_fit(Qcow2 *q, uint64_t cluster, uint64_t n, const uint32_t *by)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t now;
        int r = by[i] ? qcow2_refcount_get(q, cluster + i, &now) : 0;

        if (r < 0 || (by[i] && now < by[i]))
            return r < 0 ? r : -EIO;
    }
    return 0;
}

/* Count @now with @up more and @down fewer references, plus 1; 0: as it is. Negative errno. */
static int count_planned(const Qcow2 *q, uint64_t now, uint32_t up, uint32_t down, uint32_t *plan)
{
    uint64_t more = now + up;

    if (!now || more < now || more < down)
        return -EIO;
    if (more - down > MIN(q->refcount_max, UINT32_MAX - 2))
        return -EOVERFLOW;
    *plan = up == down ? 0 : (uint32_t)(more - down + 1);
    return 0;
}

CO int qcow2_refcounts_plan(Qcow2 *q, uint64_t cluster, uint64_t n, uint32_t *up,
                            const uint32_t *down)
{
    int r = qcow2_reftable_load(q);

    for (uint64_t done = 0, part; done < n && r >= 0; done += part) {
        uint64_t first = index_in_block(q, cluster + done);
        void *block;

        part = part_in_block(q, cluster + done, n - done);
        r = block_get(q, (cluster + done) >> q->refblock_bits, &block);
        for (uint64_t i = done; i < done + part && r >= 0; i++)
            if (up[i] || (down && down[i]))
                r = count_planned(q, block ? qcow2_count_at(q, block, first + i - done) : 0, up[i],
                                  down ? down[i] : 0, &up[i]);
    }
    return r;
}

CO int qcow2_refblock_get(Qcow2 *q, uint64_t i, void **block)
{
    return block_get(q, i, block);
}

/* The same in one block, from its entry @first on. */
static void counts_lower(Qcow2 *q, void *block, uint64_t first, uint64_t n, uint32_t *by)
{
    uint64_t from = n, to = 0;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t now;

        if (!by[i])
            continue;
        now = qcow2_count_at(q, block, first + i) - by[i];
        qcow2_count_put(q, block, first + i, now);
        by[i] = (uint32_t)MIN(now, UINT32_MAX - 1) + 1;
        from = MIN(from, i);
        to = i + 1;
    }
    if (from < to) {
        uint64_t start = (first + from) << q->refcount_order >> 3;
        uint64_t end = div_round_up((first + to) << q->refcount_order, 8);

        cache_mark(&q->refblocks, block, start, end - start);
    }
}

CO int qcow2_refcounts_lower(Qcow2 *q, uint64_t cluster, uint64_t n, uint32_t *by)
{
    int r = qcow2_reftable_load(q);
    CO_LOCKED(&q->refcount_lock);

    for (uint64_t done = 0, part; done < n && r >= 0; done += part) {
        void *block;

        part = part_in_block(q, cluster + done, n - done);
        r = block_get(q, (cluster + done) >> q->refblock_bits, &block);
        if (r >= 0 && block)
            counts_lower(q, block, index_in_block(q, cluster + done), part, by + done);
        for (uint64_t i = 0; i < part && r >= 0 && !block; i++)
            r = by[done + i] ? -EINVAL : 0;
    }
    q->free_hint = MIN(q->free_hint, cluster);
    return r;
}

CO int qcow2_refcount_free(Qcow2 *q, uint64_t cluster, uint64_t *count)
{
    int r = qcow2_reftable_load(q);

    if (r >= 0)
        r = count_add(q, cluster, 1, -1);
    return r < 0 ? r : qcow2_refcount_get(q, cluster, count);
}

CO void qcow2_cluster_unalloc(Qcow2 *q, uint64_t host, uint64_t bytes)
{
    uint64_t first = host >> q->cluster_bits;
    uint64_t last = (host + bytes - 1) >> q->cluster_bits;

    q->bytes_off = 0;
    qcow2_refcount_add(q, first, last - first + 1, -1);
}

/* ---- finding space. Callers hold refcount_lock. --------------------------------------------- */

/*
 * The first run of at least @min free clusters at or after @from: *@start, and *@len up to @max.
 */
static CO int find_run(Qcow2 *q, uint64_t from, uint64_t min, uint64_t max, uint64_t *start,
                       uint64_t *len)
{
    uint64_t limit = (ENTRY_OFFSET >> q->cluster_bits) + 1;

    *start = from;
    *len = 0;
    while (*len < max) {
        uint64_t at = *start + *len, base = at - index_in_block(q, at), end = base +
                                                                              block_entries(q);
        void *block;
        int r;

        if (at >= limit)
            return -EFBIG;
        if (at >> q->refblock_bits >= q->reftable_len) {   /* free to the end of the world */
            *len = MIN(max, limit - *start);
            return *len < min ? -EFBIG : 0;
        }
        r = block_get(q, at >> q->refblock_bits, &block);
        if (r < 0)
            return r;
        /* No further than is asked for, lest each cluster taken costs a walk over its block. */
        uint64_t bound = MIN(end, at + (max - *len));
        uint64_t used = block ? base + block_search(q, block, at - base, bound - base, false) : bound;
        *len = used - *start;
        if (used == bound)
            continue;
        if (*len >= min)
            break;
        *start = base + block_search(q, block, used - base, end - base, true);
        *len = 0;
    }
    *len = MIN(*len, max);
    return 0;
}

/* Makes block @i at cluster @at, which is free and one of those the block counts or another's. */
static CO int block_make(Qcow2 *q, uint64_t i, uint64_t at)
{
    uint64_t off = at << q->cluster_bits;
    void *block;
    int r;

    edge_event(q->storage, EV_REFBLOCK_ALLOC);
    if (!at)
        return qcow2_corrupt(q, true, "Preventing invalid allocation of refcount block at offset 0");
    r = qcow2_overlap_check(q, 0, off, q->cluster);
    if (r >= 0)
        r = cache_get_new(&q->refblocks, off, &block);
    if (r < 0)
        return r;
    q->reftable[i] = off;
    reftable_mark(q, i);
    qcow2_overlap_add(q, OVERLAP_REFBLOCK, off, q->cluster);
    return 0;
}

/* How many blocks are missing to count [@start, @start + @len). */
static uint64_t blocks_missing(const Qcow2 *q, uint64_t start, uint64_t len)
{
    uint64_t missing = 0;

    for (uint64_t i = start >> q->refblock_bits; i <= (start + len - 1) >> q->refblock_bits; i++)
        missing += i >= q->reftable_len || !(q->reftable[i] & REFTABLE_OFFSET);
    return missing;
}

/* Makes the missing blocks for [@start, @start + @len) at its first clusters, and counts those. */
static CO int blocks_make(Qcow2 *q, uint64_t start, uint64_t len)
{
    uint64_t at = start;
    int r;

    for (uint64_t i = start >> q->refblock_bits; i <= (start + len - 1) >> q->refblock_bits; i++) {
        if (q->reftable[i] & REFTABLE_OFFSET)
            continue;
        r = block_make(q, i, at++);
        if (r < 0)
            return r;
    }
    return at > start ? count_add(q, start, at - start, 1) : 0;
}

/* Is the table longer than the file has room for, with no new place yet? */
static bool table_is_homeless(const Qcow2 *q)
{
    return !q->reftable_next_off && q->reftable_len > q->reftable_clusters * (q->cluster / 8);
}

/* Makes the table long enough for block @i, in memory. */
static int table_grow(Qcow2 *q, uint64_t i)
{
    uint64_t bytes = round_up(MAX(i + 1, q->reftable_len + q->reftable_len / 2) * 8, q->cluster);
    uint64_t *table;

    bytes = MIN(bytes, QCOW2_REFTABLE_BYTES_MAX);
    if (bytes <= i * 8)
        return -EFBIG;
    table = g_try_realloc(q->reftable, bytes);
    if (!table)
        return -ENOMEM;
    memset(table + q->reftable_len, 0, bytes - q->reftable_len * 8);
    q->reftable = table;
    q->reftable_len = bytes / 8;
    return 0;
}

/*
 * Takes @min to *@len adjacent free clusters; *@len becomes their number, *@start the first.
 * -EAGAIN: the table is too short for what was found, which *@start and *@len say.
 */
static CO int take_run_now(Qcow2 *q, uint64_t min, uint64_t *len, uint64_t *start)
{
    uint64_t max = *len, missing = 0, needed;
    int r = 0;

    for (;;) {
        r = find_run(q, q->free_hint, min + missing, max + missing, start, len);
        if (r < 0)
            return r;
        if (max > min)   /* not more than one block's, so that one missing block is enough */
            *len = MIN(*len, MAX(part_in_block(q, *start, *len), min + missing));
        if ((*start + *len - 1) >> q->refblock_bits >= q->reftable_len)
            return -EAGAIN;
        needed = blocks_missing(q, *start, *len);
        if (*len >= min + needed)
            break;
        missing = needed;
    }
    r = needed ? blocks_make(q, *start, *len) : 0;
    *start += needed;
    *len = MIN(*len - needed, max);
    if (r >= 0)
        r = count_add(q, *start, *len, 1);
    if (r >= 0 && min == 1)
        q->free_hint = *start + *len;
    return r;
}

/* Finds a place in the file for a table that has grown. */
static CO int table_place(Qcow2 *q)
{
    uint64_t clusters = q->reftable_len * UINT64_C(8) >> q->cluster_bits, start, len = clusters;
    int r = take_run_now(q, clusters, &len, &start);

    if (r == -EAGAIN) {
        r = table_grow(q, q->reftable_len);
        return r < 0 ? r : table_place(q);
    }
    if (r < 0)
        return r;
    q->reftable_next_off = start << q->cluster_bits;
    q->reftable_next_clusters = clusters;
    return 0;
}

/* As take_run_now; a table that is too short grows. */
static CO int take_run(Qcow2 *q, uint64_t min, uint64_t *len, uint64_t *start)
{
    uint64_t max = *len;
    int r = qcow2_reftable_load(q);

    while (r >= 0) {
        if (table_is_homeless(q)) {
            r = table_place(q);
            continue;
        }
        *len = max;
        r = take_run_now(q, min, len, start);
        if (r != -EAGAIN)
            return r;
        edge_event(q->storage, EV_REFTABLE_GROW);
        if (q->reftable_next_off && !q->reftable_moving)    /* outgrown before it was written */
            count_add(q, q->reftable_next_off >> q->cluster_bits, q->reftable_next_clusters, -1);
        q->reftable_next_off = 0;
        r = table_grow(q, (*start + *len - 1) >> q->refblock_bits);
    }
    return r;
}

/* ---- taking space --------------------------------------------------------------------------- */

CO int qcow2_cluster_alloc(Qcow2 *q, uint64_t *clusters, uint64_t *host)
{
    CO_LOCKED(&q->refcount_lock);
    int r;

    edge_event(q->storage, EV_CLUSTER_ALLOC);
    r = take_run(q, 1, clusters, host);
    *host <<= q->cluster_bits;
    if (r >= 0 && !*host)
        r = qcow2_corrupt(q, true, "Preventing invalid allocation of data cluster at offset 0");
    TRACE(qcow2_alloc_data, "host=%" PRIu64 " clusters=%" PRIu64 " result=%d", *host, *clusters, r);
    return r;
}

CO int qcow2_table_alloc(Qcow2 *q, uint64_t bytes, uint64_t *host)
{
    CO_LOCKED(&q->refcount_lock);
    uint64_t clusters = MAX(div_round_up(bytes, q->cluster), 1);
    int r;

    edge_event(q->storage, EV_CLUSTER_ALLOC);
    r = take_run(q, clusters, &clusters, host);
    *host <<= q->cluster_bits;
    if (r >= 0 && !*host)
        r = qcow2_corrupt(q, true, "Preventing invalid allocation of L2 table at offset 0");
    TRACE(qcow2_alloc_table, "host=%" PRIu64 " clusters=%" PRIu64 " result=%d", *host, clusters, r);
    return r;
}

/* Is cluster @c free and counted by a block? Then takes it. 1: taken, 0: not, negative errno. */
static CO int take_this(Qcow2 *q, uint64_t c)
{
    void *block;
    int r = block_get(q, c >> q->refblock_bits, &block);

    if (r < 0)
        return r;
    if (!block || qcow2_count_at(q, block, index_in_block(q, c)))
        return 0;
    count_change(q, block, index_in_block(q, c), 1);
    return 1;
}

/* Goes on in the host cluster that the last compressed cluster ended in. 1: done. */
static CO int bytes_append(Qcow2 *q, uint64_t len)
{
    uint64_t c = q->bytes_off >> q->cluster_bits, count;
    int r = qcow2_refcount_get(q, c, &count);

    if (r < 0)
        return r;
    if (!count || count >= q->refcount_max)
        return 0;
    if (qcow2_within(q, q->bytes_off) + len > q->cluster) {
        r = take_this(q, c + 1);
        if (r <= 0)
            return r;
    }
    r = count_add(q, c, 1, 1);
    return r < 0 ? r : 1;
}

CO int qcow2_bytes_alloc(Qcow2 *q, uint64_t len, uint64_t *host)
{
    CO_LOCKED(&q->refcount_lock);
    int r = 0;

    edge_event(q->storage, EV_CLUSTER_ALLOC_BYTES);
    if (q->bytes_off)
        r = bytes_append(q, len);
    if (r < 0)
        return r;
    if (!r) {
        uint64_t one = 1, start;

        r = take_run(q, 1, &one, &start);
        if (r < 0)
            return r;
        q->bytes_off = start << q->cluster_bits;
        if (!start)
            return qcow2_corrupt(q, true,
                                 "Preventing invalid allocation of compressed cluster at offset 0");
    }
    *host = q->bytes_off;
    q->bytes_off += len;
    if (!qcow2_within(q, q->bytes_off))
        q->bytes_off = 0;
    return 0;
}

/* ---- counting anew -------------------------------------------------------------------------- */

static uint64_t block_cluster(const Qcow2 *q, uint32_t i)
{
    return (q->reftable[i] & REFTABLE_OFFSET) >> q->cluster_bits;
}

/* Block @i is kept, and so is the block that counts its cluster, and so on. */
static void keep_block(const Qcow2 *q, bool *keep, uint64_t i)
{
    while (i < q->reftable_len && !keep[i]) {
        keep[i] = true;
        i = block_cluster(q, i) >> q->refblock_bits;
    }
}

static void keep_blocks(const Qcow2 *q, bool *keep, uint64_t off, uint64_t len)
{
    for (uint64_t c = off >> q->cluster_bits; len && c <= (off + len - 1) >> q->cluster_bits; c++)
        keep_block(q, keep, c >> q->refblock_bits);
}

/* Which blocks count header, tables, and each other. Caller frees; NULL: no memory. */
static bool *blocks_kept(const Qcow2 *q)
{
    bool *keep = g_try_new0(bool, MAX(q->reftable_len, 1));

    if (!keep)
        return NULL;
    keep_blocks(q, keep, 0, q->cluster);
    keep_blocks(q, keep, q->reftable_off, q->reftable_clusters * q->cluster);
    keep_blocks(q, keep, q->l1_off, q->l1_len * UINT64_C(8));
    return keep;
}

static int cluster_order(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* The clusters of all blocks, by number, @*len of them. Caller frees; NULL: no memory. */
static uint64_t *block_clusters(const Qcow2 *q, uint32_t *len)
{
    uint64_t *list = g_try_new(uint64_t, MAX(q->reftable_len, 1));

    *len = 0;
    for (uint32_t i = 0; list && i < q->reftable_len; i++)
        if (block_cluster(q, i))
            list[(*len)++] = block_cluster(q, i);
    if (list)
        qsort(list, *len, sizeof(*list), cluster_order);
    return list;
}

static bool is_within(const Qcow2 *q, uint64_t cluster, uint64_t off, uint64_t len)
{
    uint64_t at = cluster << q->cluster_bits;

    return at >= off && at < off + len;
}

/*
 * Block @i counts header, tables and blocks, and nothing else. @next is the first of the blocks'
 * clusters that this block or a later one counts; returns the first that a later one counts.
 */
static const uint64_t *block_reset(Qcow2 *q, uint64_t i, void *block, const uint64_t *next,
                                   const uint64_t *end)
{
    for (uint64_t k = 0; k < block_entries(q); k++) {
        uint64_t cluster = (i << q->refblock_bits) + k, count;

        count = !cluster ||
                is_within(q, cluster, q->reftable_off, q->reftable_clusters * q->cluster) ||
                is_within(q, cluster, q->l1_off, q->l1_len * UINT64_C(8));
        for (; next < end && *next == cluster; next++)
            count += count < q->refcount_max;
        if (qcow2_count_at(q, block, k) != count)
            count_change(q, block, k, count);
    }
    return next;
}

/*
 * Each block gets its final counts, those of the blocks' own clusters included, before the next one
 * is read: if that fails, what was changed may be written, and leaves leaks at worst.
 */
static CO int blocks_reset(Qcow2 *q, const bool *keep)
{
    uint32_t len;
    g_autofree uint64_t *clusters = block_clusters(q, &len);
    const uint64_t *next = clusters, *end = clusters + len;

    if (!clusters)
        return -ENOMEM;
    for (uint32_t i = 0; i < q->reftable_len; i++) {
        void *block = NULL;
        int r = keep[i] ? block_get(q, i, &block) : 0;

        if (r < 0)
            return r;
        while (next < end && *next >> q->refblock_bits < i)
            next++;
        if (block)
            next = block_reset(q, i, block, next, end);
    }
    return 0;
}

/* Takes the blocks that are not kept out of the table. Their clusters are freed after its write. */
static void blocks_drop(Qcow2 *q, const bool *keep)
{
    for (uint32_t i = 0; i < q->reftable_len; i++) {
        uint64_t cluster = block_cluster(q, i), by = cluster >> q->refblock_bits;

        if (!cluster || keep[i])
            continue;
        cache_forget(&q->refblocks, cluster << q->cluster_bits, q->cluster);
        q->reftable[i] = 0;
        reftable_mark(q, i);
        if (by < q->reftable_len && keep[by])
            qcow2_free_later(q, cluster << q->cluster_bits, q->cluster, FREE_OTHER);
    }
}

CO int qcow2_refcount_reset(Qcow2 *q)
{
    int r = qcow2_reftable_load(q);
    g_autofree bool *keep = r < 0 ? NULL : blocks_kept(q);
    CO_LOCKED(&q->refcount_lock);

    if (!keep)
        return r < 0 ? r : -ENOMEM;
    /* The reference passes these events of blkdebug here: rules for them make the emptying fail. */
    edge_event(q->storage, EV_REFTABLE_UPDATE);
    edge_event(q->storage, EV_REFBLOCK_ALLOC);
    q->free_hint = q->bytes_off = 0;
    r = blocks_reset(q, keep);
    if (r >= 0)
        blocks_drop(q, keep);
    return r;
}

CO void qcow2_free_space_discard(Qcow2 *q)
{
    CO_LOCKED(&q->refcount_lock);
    uint64_t end = div_round_up(edge_size(q->storage), q->cluster), start, len;

    for (uint64_t at = 0; at < end; at = start + len) {
        if (find_run(q, at, 1, end - at, &start, &len) < 0 || start >= end)
            return;
        edge_discard(q->storage, start << q->cluster_bits, len << q->cluster_bits);
    }
}

/* ---- compacting ------------------------------------------------------------------------------- */

CO int qcow2_clusters_in_use(Qcow2 *q, uint64_t from, uint64_t *n)
{
    int r = qcow2_reftable_load(q);

    *n = 0;
    for (uint64_t i = from >> q->refblock_bits; i < q->reftable_len && r >= 0; i++) {
        uint64_t first = i << q->refblock_bits;
        void *block;

        r = block_get(q, i, &block);
        for (uint64_t k = 0; r >= 0 && block && k < block_entries(q); k++)
            *n += first + k >= from && qcow2_count_at(q, block, k);
    }
    return MIN(r, 0);
}

CO int qcow2_first_free(Qcow2 *q, uint64_t *cluster)
{
    CO_LOCKED(&q->refcount_lock);
    uint64_t len;
    int r = qcow2_reftable_load(q);

    return r < 0 ? r : find_run(q, q->free_hint, 1, 1, cluster, &len);
}

/* True if block @i counts nothing, or nothing but its own cluster. */
static bool block_is_idle(const Qcow2 *q, uint64_t i, const void *block)
{
    uint64_t first = i << q->refblock_bits, own = block_cluster(q, i);

    for (uint64_t k = 0; k < block_entries(q); k++)
        if (first + k != own && qcow2_count_at(q, block, k))
            return false;
    return i > 0;
}

/* Block @i, which nobody needs, goes. */
static void block_drop(Qcow2 *q, uint64_t i)
{
    uint64_t cluster = block_cluster(q, i), off = cluster << q->cluster_bits;

    cache_forget(&q->refblocks, off, q->cluster);
    qcow2_overlap_remove(q, OVERLAP_REFBLOCK, off, q->cluster);
    q->reftable[i] = 0;
    reftable_mark(q, i);
    if (cluster >> q->refblock_bits != i)
        qcow2_free_later(q, off, q->cluster, FREE_OTHER);
}

/* Takes @n adjacent clusters below @limit. 1: *@start; 0: there are none. */
static CO int take_below(Qcow2 *q, uint64_t n, uint64_t limit, uint64_t *start)
{
    uint64_t len = n;
    int r = take_run(q, n, &len, start);

    if (r < 0 || *start + n <= limit)
        return r < 0 ? r : 1;
    return MIN(count_add(q, *start, len, -1), 0);
}

/* Block @i goes on at another place below @limit, if there is one. */
static CO int block_move(Qcow2 *q, uint64_t i, uint64_t limit)
{
    uint64_t old = block_cluster(q, i) << q->cluster_bits, start, off;
    g_autofree uint8_t *copy = g_try_malloc(q->cluster);
    void *block;
    int r = copy ? take_below(q, 1, limit, &start) : -ENOMEM;

    if (r <= 0)
        return r;
    off = start << q->cluster_bits;
    r = qcow2_overlap_check(q, 0, off, q->cluster);
    if (r >= 0)
        r = block_get(q, i, &block);
    if (r >= 0)
        memcpy(copy, block, q->cluster);
    if (r >= 0)
        r = cache_get_new(&q->refblocks, off, &block);
    if (r < 0) {
        count_add(q, start, 1, -1);
        return r;
    }
    memcpy(block, copy, q->cluster);
    cache_forget(&q->refblocks, old, q->cluster);
    q->reftable[i] = off;
    reftable_mark(q, i);
    qcow2_overlap_remove(q, OVERLAP_REFBLOCK, old, q->cluster);
    qcow2_overlap_add(q, OVERLAP_REFBLOCK, off, q->cluster);
    qcow2_free_later(q, old, q->cluster, FREE_OTHER);
    return 0;
}

/* The table moves when it is written next. */
static CO int table_move(Qcow2 *q, uint64_t limit)
{
    uint64_t end = (q->reftable_off >> q->cluster_bits) + q->reftable_clusters, start;
    int r;

    if (end <= limit || q->reftable_next_off)
        return 0;
    r = take_below(q, q->reftable_clusters, limit, &start);
    if (r > 0 && !q->reftable_next_off) {
        q->reftable_next_off = start << q->cluster_bits;
        q->reftable_next_clusters = q->reftable_clusters;
    }
    return MIN(r, 0);
}

CO int qcow2_refblocks_compact(Qcow2 *q, uint64_t limit)
{
    CO_LOCKED(&q->refcount_lock);
    int r = table_move(q, limit);

    for (uint64_t i = 0; i < q->reftable_len && r >= 0; i++) {
        void *block;

        r = block_get(q, i, &block);
        if (r < 0 || !block)
            continue;
        if (block_is_idle(q, i, block))
            block_drop(q, i);
        else if (block_cluster(q, i) >= limit)
            r = block_move(q, i, limit);
    }
    return r;
}

/* ---- writing -------------------------------------------------------------------------------- */

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

    if (table_is_homeless(q))
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
