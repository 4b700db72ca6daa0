/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading and writing the bitmap directory. Entries follow each other, each padded to 8:
 *
 *     0    be64 offset of the bitmap's table, be32 its entries, be32 flags, u8 type (1: dirty),
 *          u8 log2 of the granularity, be16 length of the name, be32 length of extra data
 *     24   extra data, name
 */
#include "block/formats/qcow2/bitmap-directory.h"
#include <inttypes.h>
#include <string.h>

enum {
    ENTRY_LEN = 24,
    TYPE_DIRTY = 1,
    GRANULARITY_BITS_MIN = 9,
    GRANULARITY_BITS_MAX = 31,
    NAME_LEN_MAX = 1023,
};

static void entry_clear(void *p)
{
    BitmapEntry *e = p;

    g_free(e->name);
}

GArray *bitmap_directory_new(void)
{
    GArray *a = g_array_new(FALSE, TRUE, sizeof(BitmapEntry));

    g_array_set_clear_func(a, entry_clear);
    return a;
}

/* What is legal by itself, whatever the table holds. */
static bool entry_check(Qcow2 *q, const BitmapEntry *e, uint8_t type, GError **err)
{
    if (type != TYPE_DIRTY)
        return err_set(err, EINVAL, "Bitmap '%s' has the type %u, which is not known", e->name,
                       type);
    if (e->flags & ~(uint32_t)BITMAP_FLAGS_KNOWN)
        return err_set(err, EINVAL, "Bitmap '%s' has the flags 0x%x, not all of which are known",
                       e->name, e->flags);
    if (e->granularity_bits < GRANULARITY_BITS_MIN || e->granularity_bits > GRANULARITY_BITS_MAX)
        return err_set(err, EINVAL, "Field granularity_bits of bitmap '%s' is %u, which is not "
                       "within %d to %d", e->name, e->granularity_bits, GRANULARITY_BITS_MIN,
                       GRANULARITY_BITS_MAX);
    if (!e->table_off || qcow2_within(q, e->table_off) || e->table_off > INT64_MAX)
        return err_set(err, EINVAL, "The table of bitmap '%s' is said to be at 0x%" PRIx64,
                       e->name, e->table_off);
    if (!e->table_len || e->table_len > QCOW2_BITMAP_TABLE_MAX)
        return err_set(err, EINVAL, "The table of bitmap '%s' has %u entries", e->name,
                       e->table_len);
    return true;
}

/* The entry at @at, and how long it is. */
static bool entry_read(Qcow2 *q, const uint8_t *at, uint64_t left, BitmapEntry *e, uint64_t *len,
                       GError **err)
{
    uint32_t name_len, extra_len;

    if (left < ENTRY_LEN)
        return err_set(err, EINVAL, "The bitmap directory ends within an entry");
    name_len = be16_at(at + 18);
    extra_len = be32_at(at + 20);
    *len = round_up(ENTRY_LEN + (uint64_t)extra_len + name_len, 8);
    if (*len > left)
        return err_set(err, EINVAL, "The bitmap directory ends within an entry");
    if (!name_len || name_len > NAME_LEN_MAX)
        return err_set(err, EINVAL, "A bitmap has a name of %u bytes, not 1 to %d", name_len,
                       NAME_LEN_MAX);
    e->name = g_strndup((const char *)at + ENTRY_LEN + extra_len, name_len);
    e->table_off = be64_at(at);
    e->table_len = be32_at(at + 8);
    e->flags = be32_at(at + 12);
    e->granularity_bits = at[17];
    if (extra_len)
        return err_set(err, ENOTSUP, "Bitmap '%s' has extra data, which is not known", e->name);
    return entry_check(q, e, at[16], err);
}

static bool directory_parse(Qcow2 *q, const uint8_t *bytes, uint64_t len, GArray *list,
                            GError **err)
{
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);

    while (len) {
        BitmapEntry e = {};
        uint64_t used = 0;
        bool ok = entry_read(q, bytes, len, &e, &used, err);

        g_array_append_val(list, e);
        if (!ok)
            return false;
        if (!g_hash_table_add(names, e.name))
            return err_set(err, EINVAL, "There are two bitmaps named '%s'", e.name);
        if (list->len > q->bitmap_count)
            return err_set(err, EINVAL, "The bitmap directory has more than the %u bitmaps of "
                           "field nb_bitmaps", q->bitmap_count);
        bytes += used;
        len -= used;
    }
    if (list->len < q->bitmap_count)
        return err_set(err, EINVAL, "The bitmap directory has %u bitmaps, field nb_bitmaps is %u",
                       list->len, q->bitmap_count);
    return true;
}

CO GArray *bitmap_directory_read(Qcow2 *q, GError **err)
{
    g_autoptr(GArray) list = bitmap_directory_new();
    g_autofree uint8_t *bytes = NULL;
    uint64_t len = q->bitmap_directory_len;
    int r;

    if (!q->bitmap_count)
        return g_steal_pointer(&list);
    if (q->bitmap_directory_off >= edge_size(q->storage)) {
        err_set(err, EINVAL, "The bitmap directory at 0x%" PRIx64 " is behind the end of the file",
                q->bitmap_directory_off);
        return NULL;
    }
    bytes = g_try_malloc(MAX(len, 1));
    if (!bytes) {
        err_set(err, ENOMEM, "No memory for the bitmap directory of %" PRIu64 " bytes", len);
        return NULL;
    }
    r = qcow2_file_read(q, q->bitmap_directory_off, bytes, len);
    if (r < 0) {
        err_set_errno(err, r, "Could not read the bitmap directory");
        return NULL;
    }
    return directory_parse(q, bytes, len, list, err) ? g_steal_pointer(&list) : NULL;
}

GByteArray *bitmap_directory_bytes(const GArray *entries)
{
    static const uint8_t padding[8];
    GByteArray *out = g_byte_array_new();

    for (guint i = 0; i < entries->len; i++) {
        const BitmapEntry *e = &g_array_index(entries, BitmapEntry, i);
        uint8_t head[ENTRY_LEN] = { [16] = TYPE_DIRTY, [17] = e->granularity_bits };
        size_t name_len = strlen(e->name);

        be64_put(head, e->table_off);
        be32_put(head + 8, e->table_len);
        be32_put(head + 12, e->flags);
        be16_put(head + 18, (uint16_t)name_len);
        g_byte_array_append(out, head, sizeof(head));
        g_byte_array_append(out, (const uint8_t *)e->name, name_len);
        g_byte_array_append(out, padding, round_up(out->len, 8) - out->len);
    }
    if (entries->len > QCOW2_BITMAPS_MAX || out->len > QCOW2_BITMAP_DIRECTORY_MAX)
        g_clear_pointer(&out, g_byte_array_unref);
    return out;
}

/* ---- tables --------------------------------------------------------------------------------- */

CO uint64_t *bitmap_table_read(Qcow2 *q, const BitmapEntry *e, GError **err)
{
    uint64_t bytes = e->table_len * UINT64_C(8), end = edge_size(q->storage);
    g_autofree uint64_t *table = NULL;
    int r;

    if (e->table_off > end || bytes > end - e->table_off) {
        err_set(err, EINVAL, "The table of bitmap '%s' is behind the end of the file", e->name);
        return NULL;
    }
    table = g_try_malloc(bytes);
    r = table ? qcow2_file_read(q, e->table_off, table, bytes) : -ENOMEM;
    if (r < 0) {
        err_set_errno(err, r, "Could not read the table of bitmap '%s'", e->name);
        return NULL;
    }
    for (uint32_t i = 0; i < e->table_len; i++) {
        uint64_t desc = be64_at(&table[i]), off = desc & BITMAP_TABLE_OFFSET;

        if (desc & ~(BITMAP_TABLE_OFFSET | (off ? 0 : BITMAP_TABLE_ONES)) || qcow2_within(q, off)) {
            err_set(err, EINVAL, "Entry %u of the table of bitmap '%s' is 0x%" PRIx64, i, e->name,
                    desc);
            return NULL;
        }
        table[i] = desc;
    }
    return g_steal_pointer(&table);
}
