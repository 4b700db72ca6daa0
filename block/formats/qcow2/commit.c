/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order in which metadata reaches the file.
 *
 *     capture  copies of all changed L2 slices, L1 sectors, refcount table sectors
 *     first    refcount blocks; slices of tables that nothing in the file refers to
 *              -- flush, if the refcount table changed -- refcount table
 *              -- flush, if anything since the last one --
 *     second   all other slices, L1
 *
 * What changes meanwhile is in memory only and waits for the next commit, so the second step cannot
 * refer to anything that the first did not write.
 *
 * Freed clusters are counted down only when that is durable (frees.c) and no request that may still
 * use them is in flight (pins.c).
 */
#include "block/formats/qcow2/frees.h"
#include "util/trace.h"
#include <string.h>

/* ---- freed clusters ------------------------------------------------------------------------- */

static int free_order(const void *a, const void *b)
{
    const FreeRun *x = a, *y = b;

    return x->off < y->off ? -1 : x->off > y->off;
}

/* Tells the layers below that [@off, @off + @len) is not needed, if the options say so. */
static CO void free_pass_down(Qcow2 *q, FreeKind kind, uint64_t off, uint64_t len)
{
    if (len && q->pass_discard[kind])
        edge_discard(q->storage, off, len);
}

static CO void free_apply(Qcow2 *q, const FreeRun *run)
{
    uint64_t end = run->off + run->len, from = run->off;

    TRACE(qcow2_free, "host=%" PRIu64 " len=%" PRIu64 " kind=%d", run->off, run->len,
          (int)run->kind);
    for (uint64_t at = run->off; at < end; at += q->cluster) {
        uint64_t count = 0;
        int r = qcow2_refcount_free(q, at >> q->cluster_bits, &count);

        if (r < 0)
            fprintf(stderr, "qcow2_free_clusters failed: %s\n", g_strerror(-r));
        if (r < 0 || count) {
            free_pass_down(q, run->kind, from, at - from);
            from = at + q->cluster;
        }
    }
    free_pass_down(q, run->kind, from, end - from);
}

/*
 * Counts down what is durably free. The caller holds no pin, nor commit_lock: a request that it
 * waits for may need it.
 */
static CO void frees_apply(Qcow2 *q)
{
    CO_LOCKED(&q->reclaim_lock);
    g_autoptr(GArray) list = g_steal_pointer(&q->frees_durable);

    if (!list || !list->len)
        return;
    qcow2_pins_pass(q);
    g_array_sort(list, free_order);
    edge_event(q->storage, EV_CLUSTER_FREE);
    CO_LOCKED(&q->refcount_lock);    /* nobody takes a cluster that is about to be discarded */
    for (guint i = 0; i < list->len; i++) {
        const FreeRun *run = &g_array_index(list, FreeRun, i);

        q->frees_clusters -= run->len >> q->cluster_bits;
        free_apply(q, run);
    }
}

/* ---- capture -------------------------------------------------------------------------------- */

typedef struct {
    CacheEntry *e;
    uint64_t off;            /* in the file */
    uint32_t from, len;      /* bytes within the part */
    uint8_t *copy;
    bool detached, written;
} SliceCopy;

typedef struct {
    GArray *slices;          /* SliceCopy, by offset */
    uint8_t *memory;
    uint8_t *l1;             /* bytes as in the file; NULL: no change */
    uint32_t l1_from, l1_to; /* entries, whole sectors */
    ReftableWrite reftable;
    bool reftable_written;
    GArray *frees;
} Capture;

static bool capture_l1(Qcow2 *q, Capture *c)
{
    uint64_t per_sector = 512 / 8;

    if (q->l1_dirty_from == q->l1_dirty_to)
        return true;
    c->l1_from = round_down(q->l1_dirty_from, per_sector);
    c->l1_to = round_up(q->l1_dirty_to, per_sector);
    c->l1 = g_try_malloc0((c->l1_to - c->l1_from) * UINT64_C(8));
    if (!c->l1)
        return false;
    q->l1_dirty_from = q->l1_dirty_to = 0;
    for (uint32_t i = c->l1_from; i < MIN(c->l1_to, q->l1_len); i++)
        be64_put(c->l1 + (i - c->l1_from) * UINT64_C(8), q->l1[i]);
    return true;
}

static bool capture_slices(Qcow2 *q, Capture *c)
{
    g_autoptr(GPtrArray) dirty = cache_dirty_list(&q->l2);
    uint64_t total = 0;

    c->slices = g_array_new(FALSE, FALSE, sizeof(SliceCopy));
    for (guint i = 0; i < dirty->len; i++) {
        CacheEntry *e = dirty->pdata[i];
        uint32_t from = round_down(e->dirty_from, 512);
        SliceCopy s = { .e = e, .off = e->off, .from = from, .detached = e->detached,
                        .len = MIN(round_up(e->dirty_to, 512), q->l2.part) - from };

        g_array_append_val(c->slices, s);
        total += s.len;
    }
    c->memory = g_try_malloc(MAX(total, 1));
    if (!c->memory) {
        g_array_set_size(c->slices, 0);
        return false;
    }
    total = 0;
    for (guint i = 0; i < c->slices->len; i++) {
        SliceCopy *s = &g_array_index(c->slices, SliceCopy, i);

        s->copy = c->memory + total;
        total += s->len;
        memcpy(s->copy, (uint8_t *)cache_data(&q->l2, s->e) + s->from, s->len);
        cache_clean(&q->l2, s->e);
        cache_hold(s->e);
    }
    return true;
}

/* Does not suspend, so all parts belong together. */
static bool capture(Qcow2 *q, Capture *c)
{
    if (!capture_slices(q, c) || !capture_l1(q, c))
        return false;
    if (q->reftable && !q->lazy_refcounts && !qcow2_reftable_capture(q, &c->reftable))
        return false;
    c->frees = g_steal_pointer(&q->frees_open);
    return true;
}

/* After @r: what was not written is changed still. */
static void capture_end(Qcow2 *q, Capture *c, int r)
{
    for (guint i = 0; i < c->slices->len; i++) {
        SliceCopy *s = &g_array_index(c->slices, SliceCopy, i);

        if (!s->written)
            cache_mark(&q->l2, cache_data(&q->l2, s->e), s->from, s->len);
        cache_release(&q->l2, s->e);
    }
    qcow2_reftable_release(q, &c->reftable, c->reftable_written);
    if (r < 0 && c->l1)
        qcow2_l1_mark(q, c->l1_from, MIN(c->l1_to, q->l1_len) - c->l1_from);
    frees_append(r < 0 ? &q->frees_open : &q->frees_written, c->frees);
    if (c->frees)
        g_array_unref(c->frees);
    g_array_unref(c->slices);
    g_free(c->memory);
    g_free(c->l1);
}

/* ---- writing -------------------------------------------------------------------------------- */

static CO int slices_write(Qcow2 *q, Capture *c, bool detached)
{
    guint i = 0;

    while (i < c->slices->len) {
        SliceCopy *s = &g_array_index(c->slices, SliceCopy, i);
        uint64_t at = s->off + s->from, len = s->len;
        guint n = 1;
        int r;

        if (s->detached != detached) {
            i++;
            continue;
        }
        /* Neighbours in the file are neighbours in memory: one write. */
        for (; i + n < c->slices->len; n++) {
            const SliceCopy *t = &s[n];

            if (t->detached != detached || t->off + t->from != at + len)
                break;
            len += t->len;
        }
        r = qcow2_overlap_check(q, OVERLAP_L2, at, len);
        if (r < 0)
            return r;
        edge_event(q->storage, EV_L2_UPDATE);
        r = edge_pwrite_buf(q->storage, at, s->copy, len);
        if (r < 0)
            return r;
        for (guint j = 0; j < n; j++)
            s[j].written = true;
        i += n;
        if (detached)
            q->unflushed = true;
    }
    return 0;
}

static CO int l1_write(Qcow2 *q, const Capture *c)
{
    uint64_t off = q->l1_off + c->l1_from * UINT64_C(8),
             len = (c->l1_to - c->l1_from) * UINT64_C(8);
    int r;

    if (!c->l1)
        return 0;
    r = qcow2_overlap_check(q, OVERLAP_L1, off, len);
    if (r < 0)
        return r;
    edge_event(q->storage, EV_L1_UPDATE);
    return edge_pwrite_buf(q->storage, off, c->l1, len);
}

/* What is in the file, or may be, is not detached any more. */
static void slices_attach(Capture *c)
{
    for (guint i = 0; i < c->slices->len; i++)
        g_array_index(c->slices, SliceCopy, i).e->detached = false;
}

/* Does the file lack changes of refcounts? */
static bool refcounts_differ(const Qcow2 *q)
{
    return q->refblocks.dirty || q->reftable_dirty_from != q->reftable_dirty_to ||
           q->reftable_next_off;
}

static CO int capture_write(Qcow2 *q, Capture *c)
{
    int r = 0;

    if (!q->lazy_refcounts)
        r = qcow2_refblocks_write(q);
    else if (refcounts_differ(q))
        r = qcow2_mark_dirty(q);
    if (r >= 0)
        r = slices_write(q, c, true);
    if (r >= 0 && c->reftable.bytes) {
        r = qcow2_reftable_write(q, &c->reftable);
        c->reftable_written = r >= 0;
    }
    if (r < 0 || (!c->slices->len && !c->l1))
        return r;
    r = q->unflushed ? qcow2_barrier(q) : 0;
    if (r < 0)
        return r;
    slices_attach(c);
    r = slices_write(q, c, false);
    return r < 0 ? r : l1_write(q, c);
}

static bool is_clean(const Qcow2 *q)
{
    return !q->l2.dirty && q->l1_dirty_from == q->l1_dirty_to && !refcounts_differ(q);
}

/* Callers hold commit_lock. */
static CO int commit(Qcow2 *q)
{
    Capture c = {};
    int r;

    if (is_clean(q)) {
        frees_move(&q->frees_written, &q->frees_open);
        return 0;
    }
    if (!capture(q, &c))
        r = -ENOMEM;
    else
        r = capture_write(q, &c);
    capture_end(q, &c, r);
    return r;
}

CO int qcow2_commit(Qcow2 *q)
{
    CO_LOCKED(&q->commit_lock);

    return q->is_corrupt ? -EIO : commit(q);
}

static CO int commit_durably(Qcow2 *q)
{
    CO_LOCKED(&q->commit_lock);
    int r = q->is_corrupt ? -EIO : commit(q);

    return r < 0 ? r : qcow2_barrier(q);
}

CO int qcow2_commit_all(Qcow2 *q)
{
    int r = commit_durably(q);

    if (r < 0 || !q->frees_clusters)
        return r;
    frees_apply(q);
    return commit_durably(q);
}

CO int qcow2_flush(Node *n)
{
    Qcow2 *q = qcow2_of(n);
    int r = q->is_corrupt ? -ENOMEDIUM : qcow2_commit(q);

    if (r >= 0)
        frees_apply(q);
    return r;
}

CO int qcow2_clean_l2(void *q)
{
    return qcow2_commit(q);
}

CO int qcow2_clean_refblocks(void *q)
{
    return qcow2_refblocks_write(q);
}

CO void qcow2_reclaim_some(Qcow2 *q)
{
    enum { ENOUGH = 1024 };

    if (q->frees_clusters < ENOUGH || q->commit_lock.locked || q->reclaim_lock.locked)
        return;
    qcow2_commit_all(q);
}
