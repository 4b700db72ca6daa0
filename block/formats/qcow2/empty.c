/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Emptying an image, after its content was committed to the backing file. Order of writing, each
 * line durable before the next:
 *
 *     L1 table without entries
 *     refcounts of header, L1 and refcount table and blocks only; then blocks that count none of
 *     them
 *     file cut off after what is left, and a hole in it wherever else nothing is left
 *
 * so no table of the map is read, and a cut leaves leaks at worst. What has more in its file than
 * these (snapshots, bitmaps, another program's extensions) is unmapped cluster by cluster.
 */
#include "block/formats/qcow2/compress.h"
#include "block/formats/qcow2/qcow2.h"
#include <string.h>

static bool is_simple(const Qcow2 *q)
{
    return !q->snapshot_count && !q->bitmap_count && !q->crypt_off && !qcow2_has_data_file(q) &&
           !q->unknown_exts->len;
}

static CO int map_drop(Qcow2 *q)
{
    int r = qcow2_commit_all(q);    /* nothing waits to be counted down after this */

    if (r < 0)
        return r;
    cache_drop_all(&q->l2);
    qcow2_compressed_forget(q);
    qcow2_overlap_free(q);
    memset(q->l1, 0, q->l1_len * sizeof(*q->l1));
    if (q->l1_len)
        qcow2_l1_mark(q, 0, q->l1_len);
    r = qcow2_commit(q);
    return r < 0 ? r : qcow2_barrier(q);
}

static CO int empty_at_once(Qcow2 *q)
{
    int r = map_drop(q);

    if (r >= 0)
        r = qcow2_refcount_reset(q);
    if (r >= 0)
        r = qcow2_commit_all(q);
    if (r >= 0) {
        qcow2_cut_file(q);
        qcow2_free_space_discard(q);
    }
    return r;
}

CO int qcow2_make_empty(Node *n)
{
    Qcow2 *q = qcow2_of(n);
    int r;

    qcow2_exclusive_begin(q);
    edge_event(q->storage, EV_EMPTY_IMAGE_PREPARE);
    r = q->is_corrupt ? -ENOMEDIUM : qcow2_mark_dirty(q);
    if (r >= 0 && is_simple(q)) {
        r = empty_at_once(q);
    } else if (r >= 0) {
        r = qcow2_unmap_range(q, 0, round_up(q->size, q->cluster));
        if (r >= 0)
            r = qcow2_commit_all(q);
    }
    qcow2_exclusive_end(q);
    return r;
}
