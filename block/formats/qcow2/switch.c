/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another state of the image beside the one that the file has.
 *
 * New clusters are taken in the ordinary way, so refcount blocks in use count them: at worst leaks.
 * The new blocks are copies of those in memory, with the planned counts put in. Old tables and
 * blocks are still counted in the new state and freed in the ordinary way once it is durable;
 * clusters of a removed tree that nobody else refers to are free with the switch itself.
 */
#include "block/formats/qcow2/switch.h"
#include "block/formats/qcow2/compress.h"
#include "block/formats/qcow2/snapshot-table.h"
#include <string.h>

/* An L2 table that goes on at another place. */
typedef struct {
    uint64_t from, to;   /* bytes */
    uint32_t times;      /* entries of the L1 table that refer to it */
} Moved;

/* A refcount block that goes on at another place. */
typedef struct {
    uint64_t index, to;
} MovedBlock;

/* ---- the fields ----------------------------------------------------------------------------- */

static SwitchFields fields_get(const Qcow2 *q)
{
    return (SwitchFields){
        .l1_off = q->l1_off, .l1_len = q->l1_len, .size = q->size,
        .reftable_off = q->reftable_off, .reftable_clusters = q->reftable_clusters,
        .snapshots_off = q->snapshots_off, .snapshots_len = q->snapshots_len,
        .header_snapshots = q->header_snapshots,
    };
}

static void fields_set(Qcow2 *q, const SwitchFields *f)
{
    q->l1_off = f->l1_off;
    q->l1_len = f->l1_len;
    q->size = f->size;
    q->reftable_off = f->reftable_off;
    q->reftable_clusters = f->reftable_clusters;
    q->snapshots_off = f->snapshots_off;
    q->snapshots_len = f->snapshots_len;
    q->header_snapshots = f->header_snapshots;
}

CO bool switch_init(Switch *s, Qcow2 *q, uint64_t *l1, uint32_t len, uint64_t size, GError **err)
{
    uint64_t clusters = div_round_up(edge_size(q->storage), q->cluster);

    *s = (Switch){ .q = q, .l1 = l1, .next = fields_get(q) };
    s->next.l1_len = len;
    s->next.size = size;
    s->taken = g_array_new(FALSE, FALSE, sizeof(FreeRun));
    s->left = g_array_new(FALSE, FALSE, sizeof(FreeRun));
    s->moved = g_array_new(FALSE, FALSE, sizeof(Moved));
    s->blocks = g_array_new(FALSE, FALSE, sizeof(MovedBlock));
    /* Compressed clusters may be among those that change. */
    qcow2_compressed_forget(q);
    q->bytes_off = 0;
    return (counts_init(&s->counts, clusters) && counts_init(&s->down, clusters)) ||
           err_set(err, ENOMEM, "No memory to count %" PRIu64 " clusters", clusters);
}

CO void switch_clear(Switch *s)
{
    GArray *arrays[] = { s->taken, s->left, s->moved, s->blocks };

    for (guint i = 0; s->taken && i < s->taken->len; i++) {
        const FreeRun *run = &g_array_index(s->taken, FreeRun, i);

        qcow2_cluster_unalloc(s->q, run->off, run->len);
    }
    if (s->l1)
        qcow2_overlap_free(s->q);    /* it may know of new tables */
    for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
        if (arrays[i])
            g_array_unref(arrays[i]);
    counts_clear(&s->counts);
    counts_clear(&s->down);
    g_free(s->l1);
    *s = (Switch){};
}

/* ---- space ---------------------------------------------------------------------------------- */

static void run_add(GArray *list, uint64_t off, uint64_t len, FreeKind kind)
{
    FreeRun run = { .off = off, .len = MAX(len, 1), .kind = kind };

    g_array_append_val(list, run);
}

void switch_leave(Switch *s, uint64_t off, uint64_t len)
{
    run_add(s->left, off, len, FREE_SNAPSHOT);
}

static CO int take(Switch *s, uint64_t bytes, uint64_t *off)
{
    int r = qcow2_table_alloc(s->q, bytes, off);

    if (r >= 0)
        run_add(s->taken, *off, bytes, FREE_NEVER);
    return r;
}

/* Writes to space that was taken. */
static CO int put(Switch *s, uint64_t off, const void *data, uint64_t len)
{
    int r = qcow2_overlap_check(s->q, 0, off, MAX(len, 8));

    s->q->unflushed = true;
    return r < 0 || !len ? r : edge_pwrite_buf(s->q->storage, off, data, len);
}

/* ---- counts --------------------------------------------------------------------------------- */

CO bool switch_count(Switch *s, const uint64_t *l1, uint32_t len, bool comes, GError **err)
{
    int r = tree_count(s->q, l1, len, comes ? &s->counts : &s->down);

    return r < 0 ? err_set_errno(err, r, "Could not read the L2 tables") : true;
}

CO int switch_plan(Switch *s)
{
    int r = qcow2_refcounts_plan(s->q, &s->counts, &s->down);

    if (r >= 0)
        counts_clear(&s->down);
    return r;
}

/* What the plan says for @cluster is too much by @times. */
static CO int plan_less(Switch *s, uint64_t cluster, uint32_t times)
{
    uint64_t count = counts_get(&s->counts, cluster);
    int r = 0;

    if (count)
        count--;
    else
        r = qcow2_refcount_get(s->q, cluster, &count);
    if (r >= 0 && count < times)
        r = -EIO;
    if (r < 0)
        return r;
    counts_set(&s->counts, cluster, count - times + 1);
    return s->counts.failed ? -ENOMEM : 0;
}

/* ---- L2 tables ------------------------------------------------------------------------------ */

/* Turns COPIED off in every entry of a table. Was any on? */
static bool flags_off(const Qcow2 *q, uint8_t *entries)
{
    bool changed = false;

    for (uint64_t i = 0; i < UINT64_C(1) << q->l2_bits; i++) {
        uint8_t *at = entries + (i << q->entry_bits);

        changed = changed || at[0] & 0x80;
        at[0] &= 0x7f;
    }
    return changed;
}

/* Turns COPIED on where the plan says that the count becomes 1. Was any off? */
static bool flags_on(const Qcow2 *q, const Counts *c, uint8_t *entries)
{
    bool changed = false;

    for (uint64_t i = 0; i < UINT64_C(1) << q->l2_bits; i++) {
        uint8_t *at = entries + (i << q->entry_bits);
        uint64_t desc = be64_at(at), cluster = (desc & ENTRY_OFFSET) >> q->cluster_bits;

        if (desc & (ENTRY_COMPRESSED | ENTRY_COPIED) || !cluster || cluster >= c->n ||
            counts_get(c, cluster) != 2)
            continue;
        be64_put(at, desc | ENTRY_COPIED);
        changed = true;
    }
    return changed;
}

typedef struct {
    Switch *s;
    SwitchMode mode;
} TableVisit;

/* The table with other flags, at a new place. */
static CO int table_move(TableVisit *v, const TreeTable *t, const uint8_t *entries)
{
    Switch *s = v->s;
    Qcow2 *q = s->q;
    uint32_t users = (v->mode == SWITCH_SHARE ? 2 : 1) * t->times;
    Moved m = { .from = t->off, .times = t->times };
    int r = take(s, q->cluster, &m.to);

    /* One by one: if it has to be given back, so are these. */
    for (uint32_t i = 1; i < users && r >= 0; i++) {
        r = qcow2_refcount_add(q, m.to >> q->cluster_bits, 1, 1);
        if (r >= 0)
            run_add(s->taken, m.to, q->cluster, FREE_NEVER);
    }
    if (r >= 0 && v->mode != SWITCH_OWN)   /* the copy has the users that the plan counts here */
        r = plan_less(s, t->off >> q->cluster_bits, t->times);
    if (r < 0)
        return r == -EINVAL ? -EOVERFLOW : r;
    for (uint32_t i = 0; i < t->times && v->mode != SWITCH_BORROW; i++)
        run_add(s->left, t->off, q->cluster, FREE_SNAPSHOT);
    g_array_append_val(s->moved, m);
    edge_event(q->storage, EV_L2_UPDATE);
    return put(s, m.to, entries, q->cluster);
}

static CO int table_visit(Qcow2 *q, const TreeTable *t, uint8_t *entries, bool *changed, void *arg)
{
    TableVisit *v = arg;
    bool differs = v->mode == SWITCH_OWN ? flags_on(q, &v->s->counts, entries)
                                         : flags_off(q, entries);

    return differs ? table_move(v, t, entries) : 0;
}

static const Moved *moved_find(const Switch *s, uint64_t from)
{
    guint low = 0, high = s->moved->len;

    while (low < high) {
        guint mid = (low + high) / 2;
        const Moved *m = &g_array_index(s->moved, Moved, mid);

        if (m->from == from)
            return m;
        if (m->from < from)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* The entry of the active L1 table for what was @entry. */
static uint64_t l1_entry(const Switch *s, SwitchMode mode, uint64_t entry)
{
    uint64_t off = entry & ENTRY_OFFSET, cluster = off >> s->q->cluster_bits;
    const Moved *m = off ? moved_find(s, off) : NULL;
    bool copied = entry & ENTRY_COPIED;

    if (m)
        copied = mode != SWITCH_SHARE && m->times == 1;
    else if (mode != SWITCH_OWN)
        copied = false;
    else if (off && cluster < s->counts.n && counts_get(&s->counts, cluster) == 2)
        copied = true;
    entry &= ~ENTRY_COPIED;
    if (m)
        entry = (entry & ~ENTRY_OFFSET) | m->to;
    return copied ? entry | ENTRY_COPIED : entry;
}

CO int switch_tables(Switch *s, SwitchMode mode)
{
    g_autoptr(GArray) tables = tree_tables(s->q, s->l1, s->next.l1_len);
    TableVisit v = { s, mode };
    int r = tree_walk(s->q, tables, table_visit, &v);

    for (uint32_t i = 0; i < s->next.l1_len && r >= 0; i++)
        s->l1[i] = l1_entry(s, mode, s->l1[i]);
    return r;
}

/* ---- L1 and snapshot table ------------------------------------------------------------------ */

static CO int l1_put(Switch *s, uint64_t keep, uint64_t *off)
{
    uint64_t bytes = s->next.l1_len * UINT64_C(8);
    g_autofree uint8_t *disk = g_try_malloc(MAX(bytes, 8));
    int r = disk ? take(s, bytes, off) : -ENOMEM;

    for (uint32_t i = 0; i < s->next.l1_len && r >= 0; i++)
        be64_put(disk + i * UINT64_C(8), s->l1[i] & keep);
    return r < 0 ? r : put(s, *off, disk, bytes);
}

CO int switch_l1_copy(Switch *s, uint64_t *off)
{
    return l1_put(s, ~ENTRY_COPIED, off);
}

/* The active table, if it becomes another. */
static CO int active_l1_put(Switch *s)
{
    Qcow2 *q = s->q;

    if (s->next.l1_len == q->l1_len &&
        (!q->l1_len || !memcmp(s->l1, q->l1, q->l1_len * sizeof(*s->l1))))
        return 0;
    run_add(s->left, q->l1_off, q->l1_len * UINT64_C(8), FREE_SNAPSHOT);
    edge_event(q->storage, EV_L1_UPDATE);
    return l1_put(s, UINT64_MAX, &s->next.l1_off);
}

CO int switch_snapshots_write(Switch *s)
{
    Qcow2 *q = s->q;
    uint64_t off, len;
    int r = snapshot_table_put(q, &off, &len);

    if (r < 0)
        return r;
    if (len)
        run_add(s->taken, off, len, FREE_NEVER);
    if (q->snapshots_len)
        run_add(s->left, q->snapshots_off, q->snapshots_len, FREE_SNAPSHOT);
    s->next.snapshots_off = off;
    s->next.snapshots_len = len;
    s->next.header_snapshots = q->snapshot_count;
    return 0;
}

/* ---- refcounts ------------------------------------------------------------------------------ */

/* Is a count planned that refcount block @index holds? Puts them all into @block, if not NULL. */
static bool block_plan(const Switch *s, uint64_t index, uint8_t *block)
{
    const Qcow2 *q = s->q;
    uint64_t first = index << q->refblock_bits;
    uint64_t end = MIN(first + (UINT64_C(1) << q->refblock_bits), s->counts.n);
    bool any = false;

    for (uint64_t i = counts_next(&s->counts, first, end); i < end;
         i = counts_next(&s->counts, i + 1, end)) {
        any = true;
        if (!block)
            return true;
        qcow2_count_put(q, block, i - first, counts_get(&s->counts, i) - 1);
    }
    return any;
}

static CO int blocks_take(Switch *s)
{
    Qcow2 *q = s->q;
    uint32_t len = q->reftable_len;   /* taking space may make it longer, for what is new */
    guint taken = 0;

    for (uint32_t i = 0; i < len; i++) {
        MovedBlock m = { .index = i };

        if (block_plan(s, i, NULL))
            g_array_append_val(s->blocks, m);
    }
    while (taken < s->blocks->len) {
        uint64_t run = s->blocks->len - taken, off;
        int r = qcow2_cluster_alloc(q, &run, &off);

        if (r < 0)
            return r;
        run_add(s->taken, off, run << q->cluster_bits, FREE_NEVER);
        for (uint64_t k = 0; k < run; k++)
            g_array_index(s->blocks, MovedBlock, taken++).to = off + (k << q->cluster_bits);
    }
    return 0;
}

static CO int block_copy(Switch *s, const MovedBlock *m, uint8_t *out)
{
    void *block;
    int r = qcow2_refblock_get(s->q, m->index, &block);

    if (r < 0 || !block)
        return r < 0 ? r : -EIO;
    memcpy(out, block, s->q->cluster);
    block_plan(s, m->index, out);
    run_add(s->left, s->q->reftable[m->index] & REFTABLE_OFFSET, s->q->cluster, FREE_SNAPSHOT);
    return 0;
}

/* Neighbours are written at once. */
static CO int blocks_put(Switch *s)
{
    enum { BYTES = 2 << 20 };
    Qcow2 *q = s->q;
    guint max = MAX(BYTES / q->cluster, 1);
    g_autoptr(Aligned) buf = aligned_try_alloc(MIN(max, MAX(s->blocks->len, 1)) * q->cluster);

    if (!buf)
        return -ENOMEM;
    for (guint i = 0, n; i < s->blocks->len; i += n) {
        const MovedBlock *m = &g_array_index(s->blocks, MovedBlock, i);
        uint8_t *data = (uint8_t *)buf;
        int r = 0;

        for (n = 0; r >= 0 && n < max && i + n < s->blocks->len &&
                    m[n].to == m->to + n * q->cluster; n++)
            r = block_copy(s, &m[n], data + n * q->cluster);
        edge_event(q->storage, EV_REFBLOCK_UPDATE_PART);
        if (r >= 0)
            r = put(s, m->to, data, n * q->cluster);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Space for a refcount table, which taking it may have made longer. */
static CO int reftable_take(Switch *s, uint64_t *off)
{
    for (;;) {
        uint32_t len = s->q->reftable_len;
        int r = take(s, len * UINT64_C(8), off);

        if (r < 0 || len == s->q->reftable_len)
            return r;
        g_array_set_size(s->taken, s->taken->len - 1);
        qcow2_cluster_unalloc(s->q, *off, len * UINT64_C(8));
    }
}

static CO int reftable_put(Switch *s, uint64_t off)
{
    Qcow2 *q = s->q;
    uint64_t bytes = q->reftable_len * UINT64_C(8);
    g_autofree uint8_t *disk = g_try_malloc(MAX(bytes, 8));

    if (!disk)
        return -ENOMEM;
    for (uint32_t i = 0; i < q->reftable_len; i++)
        be64_put(disk + i * UINT64_C(8), q->reftable[i]);
    for (guint i = 0; i < s->blocks->len; i++) {
        const MovedBlock *m = &g_array_index(s->blocks, MovedBlock, i);

        be64_put(disk + m->index * 8, m->to);
    }
    run_add(s->left, q->reftable_off, q->reftable_clusters * q->cluster, FREE_SNAPSHOT);
    s->next.reftable_off = off;
    s->next.reftable_clusters = bytes >> q->cluster_bits;
    edge_event(q->storage, EV_REFBLOCK_ALLOC_WRITE_TABLE);
    return put(s, off, disk, bytes);
}

CO int switch_prepare(Switch *s)
{
    Qcow2 *q = s->q;
    uint64_t reftable = 0;
    int r = active_l1_put(s);

    if (r >= 0)
        r = blocks_take(s);
    if (r >= 0 && s->blocks->len)
        r = reftable_take(s, &reftable);
    if (r >= 0)
        r = qcow2_commit(q);
    s->next.reftable_off = q->reftable_off;
    s->next.reftable_clusters = q->reftable_clusters;
    if (r >= 0)
        r = blocks_put(s);
    if (r >= 0 && reftable)
        r = reftable_put(s, reftable);
    return r < 0 ? r : qcow2_barrier(q);
}

/* ---- over ----------------------------------------------------------------------------------- */

/* The file has the new state; so has memory then. */
static void settle(Switch *s)
{
    Qcow2 *q = s->q;

    for (guint i = 0; i < s->blocks->len; i++) {
        const MovedBlock *m = &g_array_index(s->blocks, MovedBlock, i);

        cache_forget(&q->refblocks, q->reftable[m->index] & REFTABLE_OFFSET, q->cluster);
        q->reftable[m->index] = m->to;
    }
    cache_drop_all(&q->l2);
    qcow2_overlap_free(q);      /* built anew when next needed */
    g_free(q->l1);
    q->l1 = g_steal_pointer(&s->l1);
    g_array_set_size(s->taken, 0);
}

/* Frees what the old state alone referred to. */
static CO int release(Switch *s)
{
    Qcow2 *q = s->q;

    for (guint i = 0; i < s->left->len; i++) {
        const FreeRun *run = &g_array_index(s->left, FreeRun, i);

        qcow2_free_later(q, run->off, run->len, run->kind);
    }
    tree_became_free(q, &s->counts, FREE_SNAPSHOT);
    return qcow2_commit_all(q);
}

CO int switch_over(Switch *s, bool *done)
{
    Qcow2 *q = s->q;
    SwitchFields old = fields_get(q);
    int r;

    *done = false;
    fields_set(q, &s->next);
    r = qcow2_header_switch(q, done);
    if (!*done) {
        fields_set(q, &old);
        return r;
    }
    settle(s);
    if (q->size != old.size)
        node_set_size(q->node, q->size);
    if (r >= 0)
        return release(s);
    /* The file may still have the old state: what that refers to must not be taken. */
    q->free_hint = div_round_up(edge_size(q->storage), q->cluster);
    return r;
}
