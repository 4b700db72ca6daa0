/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Differencing images: which image is the parent ([MS-VHDX] 2.6.2.6), and which sectors are the
 * image's own (2.4).
 *
 * The parent locator is a table of keys and values, texts in UTF-16 in little endian.
 */
#include "block/formats/vhdx/vhdx.h"
#include "block/formats/parent.h"
#include <string.h>

typedef struct {
    VhdxGuid kind;
    le16 reserved, count;
} Locator;
G_STATIC_ASSERT(sizeof(Locator) == 20);

typedef struct {
    le32 key_at, value_at;  /* bytes, in the item */
    le16 key_len, value_len;
} LocatorEntry;
G_STATIC_ASSERT(sizeof(LocatorEntry) == 12);

#define LOCATOR_VHDX "b04aefb7-d19e-4a81-b789-25b8e9445913"

/* The item of metadata that is the locator. */
typedef struct {
    const uint8_t *at;
    size_t len;
} Item;

static bool text_is(const uint8_t *utf16, size_t len, const char *ascii)
{
    if (len != 2 * strlen(ascii))
        return false;
    for (size_t i = 0; i < len / 2; i++)
        if (utf16[2 * i] != (uint8_t)ascii[i] || utf16[2 * i + 1])
            return false;
    return true;
}

/* The value of @key; *@len 0: there is none. Values outside of the item count as missing. */
static const uint8_t *value_find(Item item, const char *key, size_t *len)
{
    uint16_t count = le16_get(((const Locator *)(const void *)item.at)->count);

    for (size_t i = 0; i < count; i++) {
        const LocatorEntry *e = (const void *)(item.at + sizeof(Locator) + i * sizeof(*e));
        size_t key_at = le32_get(e->key_at), key_len = le16_get(e->key_len);
        size_t value_at = le32_get(e->value_at);

        *len = le16_get(e->value_len);
        if (key_at <= item.len && key_len <= item.len - key_at && value_at <= item.len &&
            *len <= item.len - value_at && text_is(item.at + key_at, key_len, key))
            return item.at + value_at;
    }
    *len = 0;
    return NULL;
}

/* The identity that @key has: a GUID in braces. */
static bool guid_find(Item item, const char *key, VhdxGuid *guid)
{
    size_t len;
    const uint8_t *value = value_find(item, key, &len);
    char text[37] = "";

    for (size_t i = 0; i < sizeof(text) - 1 && 2 * i + 3 < len; i++)
        text[i] = value[2 * i + 3] ? '?' : (char)value[2 * i + 2];
    if (!g_uuid_string_is_valid(text))
        return false;
    *guid = vhdx_guid_of(text);
    return true;
}

static char *name_find(Item item)
{
    static const char *const keys[] = { "relative_path", "absolute_win32_path" };
    char *name = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(keys) && !name; i++) {
        size_t len;
        const uint8_t *value = value_find(item, keys[i], &len);

        name = value ? parent_name(value, len, false) : NULL;
    }
    return name;
}

bool vhdx_parent_load(Vhdx *v, const uint8_t *data, size_t len, GError **err)
{
    Item item = { data, len };
    const Locator *l = (const void *)data;
    g_autofree char *name = NULL;

    if (len < sizeof(*l) || le16_get(l->count) > (len - sizeof(*l)) / sizeof(LocatorEntry))
        return err_set(err, EINVAL, "The parent locator is cut off");
    if (!vhdx_guid_is(&l->kind, LOCATOR_VHDX))
        return err_set(err, ENOTSUP, "The parent locator is of an unknown kind");
    if (!guid_find(item, "parent_linkage", &v->parent[0]))
        return err_set(err, EINVAL, "The parent locator has no identity");
    v->parent[1] = v->parent[0];
    guid_find(item, "parent_linkage2", &v->parent[1]);
    name = name_find(item);
    if (!name)
        return err_set(err, EINVAL, "The parent locator has no path that can be used here");
    node_set_backing_stored(v->node, name, "vhdx");
    return true;
}

CO bool vhdx_backing_check(Node *n, Node *backing, GError **err)
{
    const Vhdx *v = vhdx_of(n);
    g_autofree char *wanted = vhdx_guid_text(&v->parent[0]), *found = NULL;
    const VhdxGuid *data;

    if (!v->has_parent)
        return err_set(err, EINVAL, "'%s' is no differencing image: it has no backing file",
                       node_filename(n));
    if (node_driver(backing) != node_driver(n))
        return parent_mismatch(n, backing, wanted, "missing (it is no VHDX image)", err);
    data = &vhdx_of(backing)->header.data_write;
    found = vhdx_guid_text(data);
    return !memcmp(data, &v->parent[0], sizeof(*data)) ||
           !memcmp(data, &v->parent[1], sizeof(*data)) ||
           parent_mismatch(n, backing, wanted, found, err);
}

CO int vhdx_sectors_find(Vhdx *v, uint64_t b, uint64_t within, uint64_t *len, bool *here)
{
    uint64_t bytes = v->block / v->logical / 8, first = within / v->logical;
    uint64_t end = div_round_up(within + *len, v->logical);

    if (!v->sectors || v->sectors_of != b) {
        uint64_t entry = le64_get(v->bat[vhdx_bitmap_entry(v, b)]);
        uint64_t at = round_down(entry, VHDX_UNIT) + b % v->ratio * bytes;
        g_autofree uint8_t *bits = g_malloc(bytes);
        uint64_t have = edge_size(v->file);
        /* Of a truncated file: zeroes would mean that all sectors are the parent's. */
        int r = at > have || bytes > have - at ? -EIO : edge_pread_buf(v->file, at, bits, bytes);

        if (r < 0)
            return r;
        g_free(v->sectors);
        v->sectors = g_steal_pointer(&bits);
        v->sectors_of = b;
    }
    end = first + parent_sectors(v->sectors, first, end, false, here);
    *len = MIN(end * v->logical - within, *len);
    return 0;
}
