/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Persistent dirty bitmaps. */
#include "qemu-img/bitmaps.h"
#include "block/driver.h"
#include "qemu-img/tool.h"

bool bitmaps_can_copy(Node *n, bool skip_broken)
{
    g_autoptr(GError) err = NULL;

    if (!node_driver(n)->bitmaps)
        return complain("'%s' has no bitmaps that could be copied: its format is '%s'",
                        node_filename(n), node_format(n));
    for (const DirtyBitmap *b = dirty_first(n); b; b = b->next)
        if (b->persistent && b->inconsistent && !skip_broken) {
            err_set(&err, EINVAL, "Bitmap '%s' of '%s' is inconsistent", b->name, node_filename(n));
            err_line(&err,
                     "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it");
            return complain_err(err);
        }
    return true;
}

bool bitmaps_supported(Node *n)
{
    const BitmapOps *ops = node_driver(n)->bitmaps;
    g_autoptr(GError) err = NULL;

    if (!ops)
        return complain("Images of format '%s' cannot store bitmaps", node_format(n));
    /* Any bitmap would do to find out. */
    return ops->can_store(n, "any", 65536, &err) || complain_err(err);
}

void bitmaps_merge(DirtyBitmap *to, const DirtyBitmap *from)
{
    uint64_t end = MIN(to->size, from->size), granule = from->granularity;
    uint64_t bits = hbitmap_bits(from->bits), bit = 0;

    while ((bit = hbitmap_next_set(from->bits, bit, bits)) < bits && bit * granule < end) {
        uint64_t stop = hbitmap_next_clear(from->bits, bit, bits);
        uint64_t last = (MIN(stop * granule, end) - 1) / to->granularity;
        uint64_t first = bit * granule / to->granularity;

        hbitmap_set(to->bits, first, last - first + 1);
        bit = stop;
    }
}

bool bitmaps_copy(Node *from, Node *to, bool skip_broken)
{
    for (const DirtyBitmap *b = dirty_first(from); b; b = b->next) {
        g_autoptr(GError) err = NULL;
        DirtyBitmap *copy;

        if (!b->persistent)
            continue;
        if (b->inconsistent && skip_broken) {
            block_warn("Bitmap '%s' is inconsistent and left out", b->name);
            continue;
        }
        copy = dirty_add_persistent(to, b->name, b->granularity, &err);
        if (!copy) {
            err_prefix(&err, "Bitmap '%s' could not be copied: ", b->name);
            return complain_err(err);
        }
        copy->enabled = b->enabled;
        bitmaps_merge(copy, b);
    }
    return true;
}
