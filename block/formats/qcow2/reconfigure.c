/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reopening an image that stays open: other options, other sizes of caches, read-only or not.
 *
 * All that may fail is done in prepare: the new options are read into a copy, new caches are made,
 * an image that becomes writable is marked as it is when it is opened. One that becomes read-only
 * has been made inactive before. Gates are closed.
 */
#include "block/formats/qcow2/qcow2.h"
#include <string.h>

typedef struct {
    Qcow2 next;              /* a copy whose options are the new ones */
    bool was_writable, is_writable;
    bool was_lazy;
    bool has_caches;         /* next has new ones */
    bool has_marked;         /* the bitmaps as in use */
} Change;

static bool caches_differ(const Qcow2 *a, const Qcow2 *b)
{
    return a->l2_cache_bytes != b->l2_cache_bytes || a->l2_part != b->l2_part ||
           a->refcount_cache_bytes != b->refcount_cache_bytes;
}

/* What the file must say before the new settings hold. */
static CO bool change_mode(Qcow2 *q, Change *c, OpenFlags flags, GError **err)
{
    int r = 0;

    /* Counts that are not written yet were made under the other rule. */
    if (c->was_writable && !q->is_corrupt && q->lazy_refcounts != c->next.lazy_refcounts)
        r = qcow2_write_all(q);
    else if (c->was_writable && !q->is_corrupt && c->has_caches)
        r = qcow2_commit_all(q);
    if (r < 0)
        return err_set_errno(err, r, "Could not write all metadata");
    if (c->is_writable && !c->was_writable) {
        c->has_marked = true;
        return qcow2_open_for_writing(q, flags, err);
    }
    return true;
}

/* Takes change_mode back. */
static CO void restore_mode(Qcow2 *q, const Change *c)
{
    g_autoptr(GError) err = NULL;

    q->lazy_refcounts = c->was_lazy;
    if (c->has_marked && !qcow2_bitmaps_store(q, &err))
        block_warn("The bitmaps of image '%s' stay marked as in use: %s", node_filename(q->node),
                   err->message);
}

static void change_free(Change *c)
{
    if (c->has_caches) {
        cache_fini(&c->next.l2);
        cache_fini(&c->next.refblocks);
    }
    g_free(c);
}

CO bool qcow2_reconfigure_prepare(Node *n, const json_t *options, OpenFlags flags, void **change,
                                  GError **err)
{
    Qcow2 *q = qcow2_of(n);
    Change *c = g_new0(Change, 1);
    bool ok;

    c->next = *q;
    c->was_writable = q->was_writable;
    c->is_writable = flags & OPEN_RDWR;
    c->was_lazy = q->lazy_refcounts;
    ok = qcow2_options_read(&c->next, options, flags, err);
    if (ok && caches_differ(q, &c->next)) {
        ok = qcow2_caches_make(&c->next, err);
        c->has_caches = ok;
    }
    if (ok && change_mode(q, c, flags, err)) {
        *change = c;
        return true;
    }
    restore_mode(q, c);
    change_free(c);
    return false;
}

CO void qcow2_reconfigure_abort(Node *n, void *change)
{
    Change *c = change;

    restore_mode(qcow2_of(n), c);
    change_free(c);
}

static void caches_take(Qcow2 *q, Change *c)
{
    cache_fini(&q->l2);
    cache_fini(&q->refblocks);
    q->l2 = c->next.l2;
    q->refblocks = c->next.refblocks;
    q->l2.owner = q->refblocks.owner = q;
    q->slice_bits = c->next.slice_bits;
    c->has_caches = false;
}

CO void qcow2_reconfigure_commit(Node *n, void *change)
{
    Qcow2 *q = qcow2_of(n);
    Change *c = change;
    const Qcow2 *next = &c->next;

    if (c->has_caches)
        caches_take(q, c);
    q->l2_cache_bytes = next->l2_cache_bytes;
    q->refcount_cache_bytes = next->refcount_cache_bytes;
    q->l2_part = next->l2_part;
    q->trim_interval_ns = next->trim_interval_ns;
    q->lazy_refcounts = next->lazy_refcounts;
    memcpy(q->pass_discard, next->pass_discard, sizeof(q->pass_discard));
    q->discard_no_unref = next->discard_no_unref;
    q->overlap_mask = next->overlap_mask;
    qcow2_overlap_free(q);
    q->was_writable = c->is_writable;
    if (q->trimming && q->trimmer)
        co_wake(q->trimmer);    /* it sleeps for the old interval */
    change_free(c);
}
