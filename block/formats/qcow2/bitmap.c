/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent dirty bitmaps.
 *
 *     header extension --> directory --> table of a bitmap --> clusters with its bits
 *
 * At open all bitmaps are read. While an image is open for writing all its bitmaps are marked in
 * use in the file, so that after a crash nobody trusts bits that may miss writes; such a bitmap is
 * inconsistent and can only be removed. At close they are stored anew (bitmap-store.c).
 *
 * If the autoclear bit is missing, a program that does not know bitmaps changed the image:
 * header.c has then left them out.
 */
#include "block/formats/qcow2/bitmap.h"
#include <inttypes.h>
#include <string.h>

/* ---- loading -------------------------------------------------------------------------------- */

/* Of all bitmaps together, so that what a file of any size claims takes bounded memory. */
#define BITS_MAX (UINT64_C(1) << 36)

static uint64_t bitmap_bits(const Qcow2 *q, const BitmapEntry *e)
{
    return div_round_up(q->size, UINT64_C(1) << e->granularity_bits);
}

/* Looked at before any is loaded: to load most of them in vain would take long. */
static bool bits_are_bounded(const Qcow2 *q, const GArray *list)
{
    uint64_t bits = 0;

    for (guint i = 0; i < list->len && bits <= BITS_MAX; i++) {
        const BitmapEntry *e = &g_array_index(list, BitmapEntry, i);

        if (!(e->flags & BITMAP_IN_USE))
            bits += bitmap_bits(q, e);
    }
    return bits <= BITS_MAX;
}

/*
 * Can the file have the clusters with bits that the tables up to this one name? @clusters is the
 * number of them.
 */
static bool data_is_plausible(Qcow2 *q, const uint64_t *table, uint32_t len, uint64_t *clusters)
{
    for (uint32_t i = 0; i < len; i++)
        *clusters += table[i] > BITMAP_TABLE_ONES;
    return *clusters <= edge_size(q->storage) >> q->cluster_bits;
}

static CO bool load_bits(Qcow2 *q, HBitmap *bits, const uint64_t *table, uint32_t len,
                         const char *name, GError **err)
{
    g_autofree uint8_t *buf = g_try_malloc(q->cluster);
    uint64_t per_cluster = q->cluster * 8;

    if (!buf)
        return err_set_errno(err, ENOMEM, "Could not read bitmap '%s'", name);
    for (uint32_t i = 0; i < len; i++) {
        uint64_t first = i * per_cluster, n = MIN(per_cluster, hbitmap_bits(bits) - first);
        int r;

        if (table[i] == BITMAP_TABLE_ONES)
            hbitmap_set(bits, first, n);
        if (table[i] <= BITMAP_TABLE_ONES)
            continue;
        r = qcow2_file_read(q, table[i], buf, q->cluster);
        if (r < 0)
            return err_set_errno(err, r, "Could not read bitmap '%s'", name);
        hbitmap_load(bits, first, buf, q->cluster);
    }
    return true;
}

/* @look: only see whether it is sound. */
static CO bool load_one(Qcow2 *q, const BitmapEntry *e, uint64_t *clusters, bool look,
                        GError **err)
{
    g_autofree uint64_t *table = NULL;
    uint64_t bits = bitmap_bits(q, e);
    DirtyBitmap *b;

    if (e->flags & BITMAP_IN_USE && look)
        return true;
    if (e->flags & BITMAP_IN_USE) {
        b = dirty_add_inconsistent(q->node, e->name, 1u << e->granularity_bits, err);
        if (b)
            b->persistent = true;
        return b;
    }
    if (e->table_len != bitmap_table_needed(q, bits))
        return err_set(err, EINVAL, "The table of bitmap '%s' has %u entries, not the %" PRIu64
                       " that the disk's size needs", e->name, e->table_len,
                       bitmap_table_needed(q, bits));
    if (look && e->table_off >= edge_size(q->storage))
        return true;                   /* check tells of it */
    table = bitmap_table_read(q, e, err);
    if (!table)
        return false;
    if (look)
        return true;
    if (!data_is_plausible(q, table, e->table_len, clusters))
        return err_set(err, EINVAL, "Bitmap '%s' has more data than there is room for in the file",
                       e->name);
    b = dirty_add(q->node, e->name, 1u << e->granularity_bits, err);
    if (!b)
        return false;
    b->persistent = true;
    b->enabled = e->flags & BITMAP_AUTO;
    return load_bits(q, b->bits, table, e->table_len, e->name, err);
}

CO bool qcow2_bitmaps_open(Qcow2 *q, OpenFlags flags, GError **err)
{
    g_autoptr(GArray) list = NULL;
    uint64_t clusters = 0;
    bool look = flags & OPEN_CHECK;

    if (!q->bitmap_count)
        return true;
    list = bitmap_directory_read(q, err);
    if (!list)
        return false;
    if (!bits_are_bounded(q, list))
        return err_set(err, EFBIG, "The bitmaps of the image are too large");
    for (guint i = 0; i < list->len; i++)
        if (!load_one(q, &g_array_index(list, BitmapEntry, i), &clusters, look, err))
            return false;
    if (flags & OPEN_CHECK)
        return true;                   /* they stay as they are in the file */
    q->bitmaps = g_new0(Bitmaps, 1);
    q->bitmaps->stored = g_steal_pointer(&list);
    return true;
}

CO bool qcow2_bitmaps_open_for_writing(Qcow2 *q, GError **err)
{
    return !q->bitmaps || bitmaps_mark_in_use(q, err);
}

bool qcow2_bitmaps_can_resize(const Qcow2 *q, GError **err)
{
    for (const DirtyBitmap *b = dirty_first(q->node); b; b = b->next)
        if (b->persistent && !dirty_check_known(b, err))
            return false;
    return true;
}

void qcow2_bitmaps_free(Qcow2 *q)
{
    if (q->bitmaps)
        g_array_unref(q->bitmaps->stored);
    g_clear_pointer(&q->bitmaps, g_free);
}

/* ---- what is known of them ------------------------------------------------------------------ */

CO bool qcow2_bitmaps_info(Qcow2 *q, json_t *data, GError **err)
{
    g_autoptr(GArray) list = NULL;
    json_t *all;

    if (!q->bitmap_count)
        return true;
    list = bitmap_directory_read(q, err);
    if (!list)
        return false;
    all = json_array();
    for (guint i = 0; i < list->len; i++) {
        const BitmapEntry *e = &g_array_index(list, BitmapEntry, i);
        json_t *o = json_object(), *flags = json_array();

        if (e->flags & BITMAP_IN_USE)
            json_array_append_new(flags, json_string("in-use"));
        if (e->flags & BITMAP_AUTO)
            json_array_append_new(flags, json_string("auto"));
        json_put(o, "flags", flags);
        json_put_str(o, "name", e->name);
        json_put_int(o, "granularity", INT64_C(1) << e->granularity_bits);
        json_array_append_new(all, o);
    }
    json_put(data, "bitmaps", all);
    return true;
}

/* ---- operations ----------------------------------------------------------------------------- */

static CO bool bitmap_can_store(Node *n, const char *name, uint32_t granularity, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    uint64_t bytes = 0, count = 0;

    if (q->version < 3)
        return err_set(err, ENOTSUP, "A qcow2 image of version 2 cannot store bitmaps; amend it "
                       "with compat=1.1");
    if (!is_power_of_2(granularity) || granularity < 512)
        return err_set(err, EINVAL, "The granularity of bitmap '%s' is %u, not a power of two of "
                       "at least 512", name, granularity);
    if (!q->size)
        return err_set(err, EINVAL, "A disk of 0 bytes cannot have a bitmap");
    if (bitmap_table_needed(q, div_round_up(q->size, granularity)) > QCOW2_BITMAP_TABLE_MAX)
        return err_set(err, EFBIG, "Bitmap '%s' would be too large", name);
    for (DirtyBitmap *b = dirty_first(n); b; b = b->next) {
        count += b->persistent;
        bytes += b->persistent ? round_up(24 + strlen(b->name), 8) : 0;
    }
    if (count >= QCOW2_BITMAPS_MAX ||
        bytes + round_up(24 + strlen(name), 8) > QCOW2_BITMAP_DIRECTORY_MAX)
        return err_set(err, EFBIG, "The image has %" PRIu64 " bitmaps and room for no other",
                       count);
    return true;
}

static CO bool bitmap_remove(Node *n, const char *name, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    guint index = bitmap_stored_index(q, name);
    GArray *rest;
    BitmapEntry gone = {};
    bool ok;

    if (index == UINT_MAX)
        return true;                   /* not in the file yet */
    rest = bitmap_directory_new();
    for (guint i = 0; i < q->bitmaps->stored->len; i++) {
        BitmapEntry e = g_array_index(q->bitmaps->stored, BitmapEntry, i);

        e.name = g_strdup(e.name);
        if (i == index)
            gone = e;
        else
            g_array_append_val(rest, e);
    }
    ok = bitmap_directory_replace(q, rest, err);
    if (ok)
        bitmap_space_free(q, &gone);
    g_free(gone.name);
    return ok;
}

/* Bytes of tables, data and directory, in clusters of @cluster_size. */
static CO bool bitmap_measure(Node *n, uint64_t cluster_size, uint64_t *bytes)
{
    uint64_t sum = 0, directory = 0;

    if (qcow2_of(n)->version < 3)
        return false;
    for (DirtyBitmap *b = dirty_first(n); b; b = b->next) {
        uint64_t clusters;

        if (!b->persistent || b->inconsistent)
            continue;
        clusters = div_round_up(div_round_up(div_round_up(b->size, b->granularity), 8),
                                cluster_size);
        sum += clusters * cluster_size + round_up(clusters * 8, cluster_size);
        directory += round_up(24 + strlen(b->name), 8);
    }
    *bytes = sum + round_up(directory, cluster_size);
    return true;
}

const BitmapOps qcow2_bitmap_ops = {
    .can_store = bitmap_can_store,
    .remove = bitmap_remove,
    .measure = bitmap_measure,
    .store_now = qcow2_bitmap_store_now,
};
