/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Storing bitmaps. Everything goes to new clusters:
 *
 *     bits; tables; directory; refcounts
 *     header: extension and autoclear bit
 *     old directory, tables and bits are free
 *
 * each line durable before the next. A cut before the header's write leaves the old directory,
 * whose bitmaps are marked in use.
 */
#include "block/formats/qcow2/bitmap.h"
#include <inttypes.h>
#include <string.h>

/* ---- space ---------------------------------------------------------------------------------- */

typedef struct {
    uint64_t off, len;
} Taken;

guint bitmap_stored_index(const Qcow2 *q, const char *name)
{
    for (guint i = 0; q->bitmaps && i < q->bitmaps->stored->len; i++)
        if (!strcmp(g_array_index(q->bitmaps->stored, BitmapEntry, i).name, name))
            return i;
    return UINT_MAX;
}

/* Takes clusters for @len bytes and writes @buf there. */
static CO int put_new(Qcow2 *q, GArray *taken, const void *buf, uint64_t len, uint64_t *off)
{
    int r = qcow2_table_alloc(q, len, off);
    Taken t = { *off, len };

    if (r < 0)
        return r;
    g_array_append_val(taken, t);
    r = qcow2_overlap_check(q, 0, *off, len);
    if (r >= 0)
        r = edge_pwrite_buf(q->storage, *off, buf, len);
    q->unflushed = true;
    return r;
}

static CO void give_back(Qcow2 *q, const GArray *taken)
{
    for (guint i = 0; i < taken->len; i++) {
        const Taken *t = &g_array_index(taken, Taken, i);

        qcow2_cluster_unalloc(q, t->off, t->len);
    }
}

CO void bitmap_space_free(Qcow2 *q, const BitmapEntry *e)
{
    g_autofree uint64_t *table = bitmap_table_read(q, e, NULL);

    for (uint32_t i = 0; table && i < e->table_len; i++)
        if (table[i] > BITMAP_TABLE_ONES)
            qcow2_free_later(q, table[i], q->cluster, FREE_ALWAYS);
    if (table)
        qcow2_free_later(q, e->table_off, e->table_len * UINT64_C(8), FREE_OTHER);
}

/* ---- directory ------------------------------------------------------------------------------ */

/*
 * The directory at @off becomes that of the header; *@done as of qcow2_header_switch. What it
 * refers to is durable.
 */
static CO int directory_switch(Qcow2 *q, uint64_t off, uint64_t len, uint32_t count, bool *done)
{
    uint64_t old_off = q->bitmap_directory_off, old_len = q->bitmap_directory_len;
    uint64_t old_bits = q->autoclear;
    uint32_t old_count = q->bitmap_count;
    int r;

    q->bitmap_directory_off = off;
    q->bitmap_directory_len = len;
    q->bitmap_count = count;
    q->autoclear &= ~(uint64_t)AUTOCLEAR_BITMAPS;
    q->autoclear |= count ? AUTOCLEAR_BITMAPS : 0;
    q->head_stale = true;
    r = qcow2_header_switch(q, done);
    if (!*done) {
        q->bitmap_directory_off = old_off;
        q->bitmap_directory_len = old_len;
        q->bitmap_count = old_count;
        q->autoclear = old_bits;
        return r;
    }
    qcow2_overlap_remove(q, OVERLAP_BITMAPS, old_off, old_len);
    qcow2_overlap_add(q, OVERLAP_BITMAPS, off, len);
    if (old_count && r >= 0)
        qcow2_free_later(q, old_off, old_len, FREE_OTHER);
    return r;
}

/* Like bitmap_directory_replace; @taken has the clusters to be given back after a failure. */
static CO bool directory_replace(Qcow2 *q, GArray *entries, GArray *taken, GError **err)
{
    GByteArray *bytes = bitmap_directory_bytes(entries);
    uint64_t off = 0;
    bool done = false;
    int r = 0;

    if (!bytes) {
        g_array_unref(entries);
        return err_set(err, EFBIG, "The bitmap directory would be too large");
    }
    if (bytes->len)
        r = put_new(q, taken, bytes->data, bytes->len, &off);
    if (r >= 0)
        r = qcow2_commit(q);
    if (r >= 0)
        r = qcow2_barrier(q);
    if (r >= 0)
        r = directory_switch(q, off, bytes->len, entries->len, &done);
    g_byte_array_unref(bytes);
    if (!done) {
        g_array_unref(entries);
        return err_set_errno(err, r, "Could not write the bitmap directory");
    }
    g_array_set_size(taken, 0);
    if (!q->bitmaps)
        q->bitmaps = g_new0(Bitmaps, 1);
    else
        g_array_unref(q->bitmaps->stored);
    q->bitmaps->stored = entries;
    return r >= 0 || err_set_errno(err, r, "Could not make the bitmap directory durable");
}

CO bool bitmap_directory_replace(Qcow2 *q, GArray *entries, GError **err)
{
    g_autoptr(GArray) taken = g_array_new(FALSE, FALSE, sizeof(Taken));

    if (directory_replace(q, entries, taken, err))
        return true;
    give_back(q, taken);
    return false;
}

CO bool bitmaps_mark_in_use(Qcow2 *q, GError **err)
{
    GByteArray *bytes;
    bool changed = false;
    int r;

    for (guint i = 0; i < q->bitmaps->stored->len; i++) {
        BitmapEntry *e = &g_array_index(q->bitmaps->stored, BitmapEntry, i);

        changed |= !(e->flags & BITMAP_IN_USE);
        e->flags |= BITMAP_IN_USE;
    }
    if (!changed)
        return true;
    bytes = bitmap_directory_bytes(q->bitmaps->stored);
    if (bytes->len != q->bitmap_directory_len) {
        g_byte_array_unref(bytes);
        return err_set(err, EINVAL, "The bitmap directory has %" PRIu64 " bytes that belong to no "
                       "bitmap", q->bitmap_directory_len);
    }
    r = edge_pwrite_buf(q->storage, q->bitmap_directory_off, bytes->data, bytes->len);
    g_byte_array_unref(bytes);
    if (r >= 0)
        r = qcow2_barrier(q);
    return r < 0 ? err_set_errno(err, r, "Could not mark the bitmaps as in use") : true;
}

/* ---- bits ----------------------------------------------------------------------------------- */

/* Bits [@first, @first + @n) of @b: an entry for its table. */
static CO int store_part(Qcow2 *q, GArray *taken, const HBitmap *b, uint64_t first, uint64_t n,
                         uint8_t *buf, uint64_t *entry)
{
    *entry = 0;
    if (hbitmap_next_set(b, first, first + n) == first + n)
        return 0;
    /* Not for the last, shorter part: there are programs that take bits behind the end for set. */
    if (n == q->cluster * 8 && hbitmap_next_clear(b, first, first + n) == first + n) {
        *entry = BITMAP_TABLE_ONES;
        return 0;
    }
    hbitmap_store(b, first, buf, q->cluster);
    return put_new(q, taken, buf, q->cluster, entry);
}

/* Stores @content as the bits of @b. */
static CO int store_one(Qcow2 *q, GArray *taken, const DirtyBitmap *b, const HBitmap *content,
                        BitmapEntry *e)
{
    uint64_t bits = hbitmap_bits(content), per_cluster = q->cluster * 8;
    uint64_t len = bitmap_table_needed(q, bits);
    g_autofree uint8_t *table = NULL, *buf = g_try_malloc(q->cluster);
    int r = 0;

    if (!len || len > QCOW2_BITMAP_TABLE_MAX)
        return -EFBIG;
    table = g_try_malloc0(len * 8);
    if (!table || !buf)
        return -ENOMEM;
    for (uint64_t i = 0; i < len && r >= 0; i++) {
        uint64_t entry = 0, first = i * per_cluster;

        r = store_part(q, taken, content, first, MIN(per_cluster, bits - first), buf, &entry);
        be64_put(table + i * 8, entry);
    }
    if (r >= 0)
        r = put_new(q, taken, table, len * 8, &e->table_off);
    *e = (BitmapEntry){
        .table_off = e->table_off,
        .table_len = (uint32_t)len,
        .flags = b->enabled ? BITMAP_AUTO : 0,
        .granularity_bits = (uint8_t)__builtin_ctz(b->granularity),
        .name = g_strdup(b->name),
    };
    return r;
}

/* The entry for @b in the new directory: its bits stored, or as it is if nobody knows them. */
static CO bool entry_make(Qcow2 *q, GArray *taken, const DirtyBitmap *b, GArray *entries,
                          GError **err)
{
    guint index = bitmap_stored_index(q, b->name);
    BitmapEntry e = {};
    int r = 0;

    if (!b->inconsistent) {
        r = store_one(q, taken, b, b->bits, &e);
    } else if (index != UINT_MAX) {
        e = g_array_index(q->bitmaps->stored, BitmapEntry, index);
        e.name = g_strdup(e.name);
    } else {
        return true;
    }
    if (e.name)
        g_array_append_val(entries, e);
    return r < 0 ? err_set_errno(err, r, "Could not store bitmap '%s'", b->name) : true;
}

/* Bitmaps of the old directory whose space is not taken over by the new one. */
static CO void free_replaced(Qcow2 *q, const GArray *old)
{
    for (guint i = 0; i < old->len; i++) {
        const BitmapEntry *e = &g_array_index(old, BitmapEntry, i);
        guint now = bitmap_stored_index(q, e->name);

        if (now == UINT_MAX ||
            g_array_index(q->bitmaps->stored, BitmapEntry, now).table_off != e->table_off)
            bitmap_space_free(q, e);
    }
}

CO bool qcow2_bitmaps_store(Qcow2 *q, GError **err)
{
    g_autoptr(GArray) taken = g_array_new(FALSE, FALSE, sizeof(Taken));
    g_autoptr(GArray) old = q->bitmaps ? g_array_ref(q->bitmaps->stored) : bitmap_directory_new();
    GArray *entries = bitmap_directory_new();
    bool ok = true;

    for (DirtyBitmap *b = dirty_first(q->node); b && ok; b = b->next)
        if (b->persistent)
            ok = entry_make(q, taken, b, entries, err);
    if (ok && !entries->len && !old->len) {
        g_array_unref(entries);
        return true;
    }
    if (ok)
        ok = directory_replace(q, entries, taken, err);
    else
        g_array_unref(entries);
    if (ok)
        free_replaced(q, old);
    else
        give_back(q, taken);
    return ok;
}

/* ---- one alone ------------------------------------------------------------------------------ */

/* A directory like the present one, but that @b has @bits. NULL with @err. */
static CO GArray *directory_with(Qcow2 *q, GArray *taken, const DirtyBitmap *b, const HBitmap *bits,
                                 GError **err)
{
    GArray *entries = bitmap_directory_new();
    BitmapEntry own = {};
    int r = store_one(q, taken, b, bits, &own);

    for (guint i = 0; q->bitmaps && i < q->bitmaps->stored->len; i++) {
        BitmapEntry e = g_array_index(q->bitmaps->stored, BitmapEntry, i);

        if (!strcmp(e.name, b->name))
            continue;
        e.name = g_strdup(e.name);
        g_array_append_val(entries, e);
    }
    if (own.name)
        g_array_append_val(entries, own);
    if (r >= 0)
        return entries;
    g_array_unref(entries);
    err_set_errno(err, r, "Could not store bitmap '%s'", b->name);
    return NULL;
}

static CO bool store_alone(Qcow2 *q, const DirtyBitmap *b, const HBitmap *bits, GError **err)
{
    g_autoptr(GArray) taken = g_array_new(FALSE, FALSE, sizeof(Taken));
    g_autoptr(GArray) old = q->bitmaps ? g_array_ref(q->bitmaps->stored) : bitmap_directory_new();
    GArray *entries = directory_with(q, taken, b, bits, err);

    if (entries && directory_replace(q, entries, taken, err)) {
        free_replaced(q, old);
        return true;
    }
    give_back(q, taken);
    return false;
}

CO bool qcow2_bitmap_store_now(Node *n, const DirtyBitmap *b, const HBitmap *bits, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    bool ok;

    if (q->is_corrupt || !(node_flags(n) & OPEN_RDWR))
        return err_set(err, EROFS, "Image '%s' takes no writes", node_filename(n));
    qcow2_exclusive_begin(q);
    if (bits) {
        ok = store_alone(q, b, bits, err);
    } else {
        ok = !q->bitmaps || bitmaps_mark_in_use(q, err);
        q->is_corrupt |= !ok;   /* takes no more writes: the next mirror would miss them */
    }
    qcow2_exclusive_end(q);
    return ok;
}
