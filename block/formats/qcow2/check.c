/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Check and repair: what is referred to is counted anew in memory and compared with the refcounts.
 *
 * Order of repair, each line durable before the next, so that a cut leaves an image that is no
 * worse than it was:
 *
 *     entries that refer to nothing usable are emptied
 *     refcounts (see repair.c)
 *     COPIED flags
 *     snapshot table
 *     the bits "dirty" and "corrupt" of the header, if nothing is wrong any more
 *
 * What is printed, and in which order, is what callers of the reference look for.
 */
#include "block/formats/qcow2/check.h"
#include <inttypes.h>

/* Clusters of the largest file that is checked: counting in it takes 16 MiB for nothing. */
#define CLUSTERS_MAX (UINT64_C(1) << 36)

/* How far behind the end of a file references are noted: more than new refcounts for it take. */
#define FAR_CLUSTERS(clusters) (4096 + (clusters) / 16)

/* ---- comparing ------------------------------------------------------------------------------ */

/* Refcounts that nobody can read. */
static CO void tell_unknown(Check *c)
{
    for (uint64_t i = 0; g_hash_table_size(c->unknown) && i < c->clusters; i++) {
        uint64_t index = i >> c->q->refblock_bits;

        if (!check_is_unknown(c, i))
            continue;
        if (!c->fix)
            qcow2_corrupt(c->q, false, "Refblock offset 0x%" PRIx64 " unaligned (reftable index: "
                          "%#" PRIx64 ")", (uint64_t)(c->reftable[index] & REFTABLE_OFFSET), index);
        check_tell(c, "Can't get refcount for cluster %" PRIu64 ": Input/output error\n", i);
        if (!c->fix)
            c->result->check_errors++;
    }
}

/* Tells of every cluster whose counts differ; with @repairing, of what will be done about it. */
static void compare(Check *c, bool repairing)
{
    CheckResult *res = c->result;
    uint64_t i = counts_next_difference(&c->refs, &c->counts, 0);

    for (; i < c->refs.n; i = counts_next_difference(&c->refs, &c->counts, i + 1)) {
        uint64_t refs = counts_get(&c->refs, i), now = counts_get(&c->counts, i);
        bool leak = refs < now;
        bool fixed = repairing && c->fix & (leak ? CHECK_FIX_LEAKS : CHECK_FIX_ERRORS);

        if (check_is_unknown(c, i))
            continue;
        c->rebuild |= !now;
        check_tell(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64 "\n",
                   fixed ? "Repairing" : leak ? "Leaked" : "ERROR", i, now, refs);
        *(fixed ? leak ? &res->leaks_fixed : &res->corruptions_fixed
                : leak ? &res->leaks : &res->corruptions) += 1;
    }
}

/* The end of the last cluster that is in use or counted. */
static uint64_t image_end(Check *c)
{
    uint64_t end = MAX(counts_end(&c->refs), counts_end(&c->counts));

    while (end && check_is_unknown(c, end - 1))
        end--;
    return MAX(end, 1) << c->q->cluster_bits;
}

/* @before: corruptions that writing refcounts does not mend. */
static CO int repair_refcounts(Check *c, int64_t before, GError **err)
{
    CheckResult *res = c->result;
    int64_t wrong = res->corruptions - before;
    int r = check_barrier(c);

    if (r < 0) {
        err_set_errno(err, r, "Could not make the repaired L2 tables durable");
        return r;
    }
    if (c->rebuild && c->fix & CHECK_FIX_ERRORS) {
        r = repair_rebuild(c, err);
        if (r < 0)
            return r;
        res->corruptions_fixed += wrong;
        res->leaks_fixed += res->leaks;
        res->corruptions = before;
        res->leaks = 0;
        return 0;
    }
    if (c->rebuild) {
        check_tell(c, "ERROR need to rebuild refcount structures\n");
        err_set(err, EIO, "Errors must be repaired too: the refcounts are to be built anew");
        return -EIO;
    }
    if (wrong || res->leaks) {
        res->corruptions = before;
        res->leaks = 0;
        compare(c, true);
    }
    return repair_counts(c, err);
}

/* ---- tables that are cut off ---------------------------------------------------------------- */

/* Bytes of the file that table [@off, @off + @len) lacks, if it is less than a cluster. */
static uint64_t lacks(const Check *c, uint64_t off, uint64_t len)
{
    uint64_t end;

    if (!len || !size_add(off, len, &end) || end <= c->file_len ||
        end - c->file_len >= c->q->cluster)
        return 0;
    return end - c->file_len;
}

static void tell_cut(Check *c, unsigned level, uint64_t off, uint64_t missing)
{
    block_warn("Image '%s': the last %" PRIu64 " bytes of the L%u table at offset 0x%" PRIx64
               " are after the end of the file%s", node_filename(c->q->node), missing, level, off,
               c->fix & CHECK_FIX_ERRORS ? ", which is extended" : "");
    c->cut++;
}

/*
 * The reference does not notice a cut table, but what lies after it. Its count of that is printed,
 * so a cut table is counted only where nothing else tells of the loss.
 */
static void count_cut(Check *c)
{
    CheckResult *res = c->result;

    if (res->corruptions || res->corruptions_fixed)
        return;
    if (c->fix & CHECK_FIX_ERRORS)
        res->corruptions_fixed = c->cut;
    else
        res->corruptions = c->cut;
}

/* The file becomes so many bytes longer, if errors are to be repaired. */
static CO int cut_repair(Check *c, uint64_t missing, GError **err)
{
    if (!missing || !(c->fix & CHECK_FIX_ERRORS))
        return 0;
    if (!edge_resize(c->q->storage, c->file_len + missing, false, PREALLOC_OFF, 0, err))
        return -EIO;
    c->file_len += missing;
    return 0;
}

/*
 * References that exceed the end of the file by a cluster or more are found when they are counted.
 * A table that lacks less reads as if it had nothing there: the file becomes long enough for it, so
 * that this is told once.
 */
static CO int l1_ends_check(Check *c, GError **err)
{
    Qcow2 *q = c->q;
    uint64_t most = lacks(c, q->l1_off, q->l1_len * UINT64_C(8));

    int r;

    if (most)
        tell_cut(c, 1, q->l1_off, most);
    for (uint32_t i = 0; i < q->snapshot_count; i++) {
        const Qcow2Snapshot *s = &q->snapshots[i];
        uint64_t missing = qcow2_within(q, s->l1_off) ? 0 : lacks(c, s->l1_off,
                                                                  s->l1_len * UINT64_C(8));

        if (missing)
            tell_cut(c, 1, s->l1_off, missing);
        most = MAX(most, missing);
    }
    r = cut_repair(c, most, err);
    c->clusters = div_round_up(c->file_len, q->cluster);
    return r;
}

/* The last cluster of the file may be an L2 table. */
static CO int l2_end_check(Check *c, GError **err)
{
    uint64_t missing = 0;

    for (guint i = c->tables->len; i && !missing; i--) {
        const CheckTable *t = &g_array_index(c->tables, CheckTable, i - 1);

        if (qcow2_within(c->q, t->off))
            continue;
        missing = lacks(c, t->off, c->q->cluster);
        if (!missing)
            break;
        tell_cut(c, 2, t->off, missing);
    }
    return cut_repair(c, missing, err);
}

/* ---- one check ------------------------------------------------------------------------------ */

static CO bool check_init(Check *c, GError **err)
{
    Qcow2 *q = c->q;

    c->file_len = edge_size(q->storage);
    c->clusters = div_round_up(c->file_len, q->cluster);
    if (c->clusters > CLUSTERS_MAX)
        return err_set(err, EFBIG, "The file has %" PRIu64 " clusters, more than can be checked",
                       c->clusters);
    return true;
}

/* Room to count the clusters of the file in. */
static bool counts_make(Check *c, GError **err)
{
    c->tables = g_array_new(FALSE, TRUE, sizeof(CheckTable));
    c->roots = g_array_new(FALSE, TRUE, sizeof(CheckRoot));
    c->old_blocks = g_array_new(FALSE, TRUE, sizeof(uint64_t));
    c->unknown = g_hash_table_new(NULL, NULL);
    if (!counts_init(&c->refs, c->clusters + 1) || !counts_init(&c->counts, c->clusters + 1) ||
        !counts_init(&c->far, FAR_CLUSTERS(c->clusters)))
        return err_set(err, ENOMEM, "No memory to count the references of %" PRIu64 " clusters",
                       c->clusters);
    return true;
}

static void check_fini(Check *c)
{
    counts_clear(&c->refs);
    counts_clear(&c->far);
    counts_clear(&c->counts);
    counts_clear(&c->metadata);
    g_free(c->reftable);
    g_clear_pointer(&c->tables, g_array_unref);
    g_clear_pointer(&c->roots, g_array_unref);
    g_clear_pointer(&c->old_blocks, g_array_unref);
    g_clear_pointer(&c->unknown, g_hash_table_unref);
}

static CO int check_all(Check *c, GError **err)
{
    CheckResult *res = c->result;
    int64_t before;
    int r = check_snapshots_read(c, err);

    if (r >= 0)
        r = l1_ends_check(c, err);
    if (r >= 0 && !counts_make(c, err))
        r = -ENOMEM;
    if (r >= 0)
        r = check_counts_read(c, err);
    if (r >= 0)
        r = check_refs(c, err);
    if (r >= 0)
        r = l2_end_check(c, err);
    before = res->corruptions;
    if (r >= 0)
        r = check_counts_refs(c, err);
    if (r < 0)
        return r;
    before += c->overflows;
    /* What is counted behind the end of the file is nobody's. */
    if (!counts_get(&c->refs, c->clusters))
        counts_set(&c->counts, c->clusters, 0);
    tell_unknown(c);
    compare(c, false);
    r = c->fix ? repair_refcounts(c, before, err) : 0;
    if (r >= 0)
        r = check_barrier(c);
    if (r >= 0)
        r = check_flags(c, err);
    if (r >= 0)
        count_cut(c);
    return r < 0 ? r : check_barrier(c);
}

/* The image is as it should be. */
static CO int mark_clean(Qcow2 *q, GError **err)
{
    uint64_t bits = INCOMPAT_DIRTY | INCOMPAT_CORRUPT;
    int r = 0;

    if (q->incompatible & bits) {
        q->incompatible &= ~bits;
        r = qcow2_header_write_sync(q);
    }
    q->is_corrupt = q->dirty_found = false;
    if (r < 0)
        err_set_errno(err, r, "Could not mark the image as clean");
    return r;
}

/* What the driver has in memory may be old after a repair. */
static void forget(Qcow2 *q)
{
    cache_drop_all(&q->l2);
    cache_drop_all(&q->refblocks);
    g_clear_pointer(&q->reftable, g_free);
    q->free_hint = q->bytes_off = 0;
    qcow2_overlap_free(q);
}

static CO int check_exclusive(Qcow2 *q, CheckResult *res, CheckFix fix, FILE *out, GError **err)
{
    Check c = { .q = q, .result = res, .fix = fix, .out = out };
    bool lazy = q->lazy_refcounts;
    int r;

    /* What is compared, and what is clean afterwards, are the counts in the file. */
    q->lazy_refcounts = false;
    r = qcow2_is_writable(q) ? qcow2_commit_all(q) : 0;
    if (r < 0) {
        q->lazy_refcounts = lazy;
        err_set_errno(err, r, "Could not write what is cached");
        return r;
    }
    q->dirty_found = q->incompatible & INCOMPAT_DIRTY;
    r = check_init(&c, err) ? check_all(&c, err) : -ENOMEM;
    if (r >= 0) {
        res->clusters.total = div_round_up(q->size, q->cluster);
        res->clusters_known = true;
        res->image_end_offset = (int64_t)image_end(&c);
    }
    if (fix) {
        forget(q);
        if (r >= 0)
            r = check_snapshots_write(&c, err);
        if (r >= 0 && !res->corruptions && !res->check_errors)
            r = mark_clean(q, err);
    }
    check_fini(&c);
    q->lazy_refcounts = lazy;
    return r;
}

CO int qcow2_check(Node *n, CheckResult *result, CheckFix fix, FILE *out, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    int r;

    if (fix && !qcow2_is_writable(q)) {
        err_set(err, EACCES, "Image '%s' is read-only and cannot be repaired", node_filename(n));
        return -EACCES;
    }
    qcow2_exclusive_begin(q);
    r = check_exclusive(q, result, fix, out, err);
    qcow2_exclusive_end(q);
    return r;
}

CO bool qcow2_repair_dirty(Qcow2 *q, GError **err)
{
    CheckResult res = {};
    int r = check_exclusive(q, &res, CHECK_FIX_LEAKS | CHECK_FIX_ERRORS, stderr, err);

    if (r < 0)
        return err_prefix(err, "The image was not closed properly and could not be repaired: ");
    if (res.corruptions || res.check_errors)
        return err_set(err, EIO, "The image was not closed properly, and %" PRId64 " errors could "
                       "not be repaired", res.corruptions + res.check_errors);
    return true;
}
