/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps of a node: a list in order of adding, home loop only. Bits are granules; the last
 * one may be shorter than the others.
 */
#include "block/internal.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

enum {
    NAME_MAX_LEN = 1023,
    GRANULARITY_MIN = 512,
    DEFAULT_GRANULARITY_MIN = 4096,
    DEFAULT_GRANULARITY_MAX = 65536,
};

/* Above it bitmaps are refused: half a GiB of bits. */
#define DIRTY_BITS_MAX (UINT64_C(1) << 32)

static uint64_t granules(uint64_t size, uint32_t granularity)
{
    return div_round_up(size, granularity);
}

static bool dirty_check(Node *n, const char *name, uint32_t granularity, GError **err)
{
    size_t len = name ? strlen(name) : 1;

    if (!len)
        return err_set(err, EINVAL, "A bitmap needs a name that is not empty");
    if (len > NAME_MAX_LEN)
        return err_set(err, EINVAL, "The name of the bitmap has %zu bytes, more than %d", len,
                       NAME_MAX_LEN);
    if (name && dirty_find(n, name))
        return err_set(err, EEXIST, "There is already a bitmap '%s'", name);
    name = name ? name : "";
    if (!is_power_of_2(granularity) || granularity < GRANULARITY_MIN)
        return err_set(err, EINVAL, "The granularity of bitmap '%s' is %u, not a power of two of "
                       "at least %d", name, granularity, GRANULARITY_MIN);
    if (granules(node_size(n), granularity) > DIRTY_BITS_MAX)
        return err_set(err, EFBIG, "Bitmap '%s' with a granularity of %u bytes would be too large",
                       name, granularity);
    return true;
}

static DirtyBitmap *dirty_append(Node *n, const char *name, uint32_t granularity)
{
    DirtyBitmap *b = g_new0(DirtyBitmap, 1);

    b->name = g_strdup(name);
    b->granularity = granularity;
    b->size = node_size(n);
    if (!n->bitmap_names)
        n->bitmap_names = g_hash_table_new(g_str_hash, g_str_equal);
    if (name)
        g_hash_table_insert(n->bitmap_names, b->name, b);
    *(n->last_bitmap ? &n->last_bitmap->next : &n->bitmaps) = b;
    n->last_bitmap = b;
    return b;
}

DirtyBitmap *dirty_add(Node *n, const char *name, uint32_t granularity, GError **err)
{
    DirtyBitmap *b;
    HBitmap *bits;

    if (!dirty_check(n, name, granularity, err))
        return NULL;
    bits = hbitmap_try_new(granules(node_size(n), granularity));
    if (!bits) {
        err_set(err, ENOMEM, "No memory for bitmap '%s'", name ? name : "");
        return NULL;
    }
    b = dirty_append(n, name, granularity);
    b->enabled = true;
    b->bits = bits;
    return b;
}

CO bool dirty_can_store(Node *n, const char *name, uint32_t granularity, GError **err)
{
    const BitmapOps *ops = n->drv->bitmaps;

    return ops ? ops->can_store(n, name, granularity, err)
               : err_set(err, ENOTSUP, "Images of format '%s' cannot store bitmaps", n->drv->name);
}

CO DirtyBitmap *dirty_add_persistent(Node *n, const char *name, uint32_t granularity, GError **err)
{
    DirtyBitmap *b;

    if (!dirty_can_store(n, name, granularity, err))
        return NULL;
    b = dirty_add(n, name, granularity, err);
    if (b)
        b->persistent = true;
    return b;
}

CO bool dirty_delete(Node *n, DirtyBitmap *b, GError **err)
{
    const BitmapOps *ops = n->drv->bitmaps;

    if (b->persistent && ops && !ops->remove(n, b->name, err))
        return false;
    dirty_remove(n, b);
    return true;
}

DirtyBitmap *dirty_add_inconsistent(Node *n, const char *name, uint32_t granularity, GError **err)
{
    DirtyBitmap *b = dirty_check(n, name, granularity, err) ? dirty_append(n, name, granularity)
                                                            : NULL;

    if (b)
        b->inconsistent = true;
    return b;
}

bool dirty_check_known(const DirtyBitmap *b, GError **err)
{
    if (!b->inconsistent)
        return true;
    err_set(err, EINVAL, "Bitmap '%s' is inconsistent and can only be removed", b->name);
    return err_line(err, "Try block-dirty-bitmap-remove to delete this bitmap from disk");
}

DirtyBitmap *dirty_find(Node *n, const char *name)
{
    return n->bitmap_names ? g_hash_table_lookup(n->bitmap_names, name) : NULL;
}

DirtyBitmap *dirty_first(Node *n)
{
    return n->bitmaps;
}

void dirty_remove(Node *n, DirtyBitmap *b)
{
    DirtyBitmap **at = &n->bitmaps, *before = NULL;

    for (; *at != b; at = &before->next)
        before = *at;
    *at = b->next;
    if (n->last_bitmap == b)
        n->last_bitmap = before;
    if (b->name)
        g_hash_table_remove(n->bitmap_names, b->name);
    hbitmap_free(b->bits);
    g_free(b->name);
    g_free(b);
}

void dirty_drop_stored(Node *n)
{
    DirtyBitmap *next;

    for (DirtyBitmap *b = dirty_first(n); b; b = next) {
        next = b->next;
        if (b->persistent)
            dirty_remove(n, b);
    }
}

void dirty_mark(Node *n, uint64_t off, uint64_t len)
{
    for (DirtyBitmap *b = n->bitmaps; b; b = b->next) {
        uint64_t first, last;

        if (!b->enabled || !b->bits || !len || off >= b->size)
            continue;
        first = off / b->granularity;
        last = (off + MIN(len, b->size - off) - 1) / b->granularity;
        hbitmap_set(b->bits, first, last - first + 1);
    }
}

bool dirty_resize(Node *n, GError **err)
{
    uint64_t size = node_size(n);

    for (DirtyBitmap *b = n->bitmaps; b; b = b->next) {
        uint64_t bits = granules(size, b->granularity);

        if (b->bits && (bits > DIRTY_BITS_MAX || !hbitmap_resize(b->bits, bits)))
            return err_set(err, ENOMEM, "No memory for bitmap '%s' of %" PRIu64 " bytes",
                           b->name ? b->name : "", size);
        b->size = size;
    }
    return true;
}

void dirty_fill(Node *n)
{
    for (DirtyBitmap *b = n->bitmaps; b; b = b->next) {
        uint64_t bits = granules(node_size(n), b->granularity);

        if (b->persistent || !b->bits)
            continue;
        b->size = node_size(n);
        if (bits <= DIRTY_BITS_MAX && hbitmap_resize(b->bits, bits)) {
            hbitmap_set(b->bits, 0, bits);
        } else {
            g_clear_pointer(&b->bits, hbitmap_free);
            b->inconsistent = true;
        }
    }
}

CO uint32_t dirty_default_granularity(Node *n)
{
    NodeInfo info = {};

    if (node_info(n, &info) < 0 || !info.cluster_size)
        return DEFAULT_GRANULARITY_MAX;
    return (uint32_t)CLAMP(info.cluster_size, DEFAULT_GRANULARITY_MIN, DEFAULT_GRANULARITY_MAX);
}

void dirty_bits_merge(HBitmap *to, uint32_t to_granularity, const HBitmap *from,
                      uint32_t from_granularity, uint64_t len)
{
    uint64_t bits = MIN(granules(len, from_granularity), hbitmap_bits(from)), at = 0;

    while ((at = hbitmap_next_set(from, at, bits)) < bits) {
        uint64_t end = hbitmap_next_clear(from, at, bits);
        uint64_t first = at * from_granularity / to_granularity;
        uint64_t last = MIN(granules(MIN(end * from_granularity, len), to_granularity),
                            hbitmap_bits(to));

        if (first < last)
            hbitmap_set(to, first, last - first);
        at = end;
    }
}

uint64_t dirty_count(const DirtyBitmap *b)
{
    uint64_t bits, count, tail = b->size % b->granularity;

    if (!b->bits)
        return 0;
    bits = hbitmap_bits(b->bits);
    count = hbitmap_count(b->bits) * b->granularity;
    if (tail && hbitmap_get(b->bits, bits - 1))
        count -= b->granularity - tail;
    return count;
}
