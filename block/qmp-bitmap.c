/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about dirty bitmaps. Messages are those of the reference, which clients see. */
#include "block/internal.h"
#include "gen/qmp.h"
#include <string.h>

enum { BITMAP_NAME_MAX = 1023, GRANULARITY_MIN = 512 };

static bool check_name(Node *n, const char *name, GError **err)
{
    if (!*name)
        return err_set(err, EINVAL, "Bitmap name cannot be empty");
    if (strlen(name) > BITMAP_NAME_MAX)
        return err_set(err, EINVAL, "Bitmap name too long: %s", name);
    return !dirty_find(n, name) || err_set(err, EEXIST, "Bitmap already exists: %s", name);
}

CO bool qmp_block_dirty_bitmap_add(const BlockDirtyBitmapAdd *args, GError **err)
{
    Node *n = node_find(args->node);
    uint32_t granularity = args->granularity;
    DirtyBitmap *b;

    if (!n)
        return err_set(err, ENOENT, "Cannot find device='%s' nor node-name='%s'", args->node,
                       args->node);
    if (args->has_granularity && (granularity < GRANULARITY_MIN || !is_power_of_2(granularity)))
        return err_set(err, EINVAL, "Granularity must be power of 2 and at least 512");
    if (!check_name(n, args->name, err))
        return false;
    if (!args->has_granularity)
        granularity = dirty_default_granularity(n);
    if (args->persistent) {
        b = dirty_add_persistent(n, args->name, granularity, err);
        if (!b)
            return err_prefix(err, "Can't store persistent bitmaps to %s: ", args->node);
    } else {
        b = dirty_add(n, args->name, granularity, err);
        if (!b)
            return false;
    }
    b->enabled = !args->disabled;
    return true;
}

/* The bitmap that @args name, which nobody else uses. NULL with @err. */
static DirtyBitmap *bitmap_find(const BlockDirtyBitmap *args, Node **n, GError **err)
{
    DirtyBitmap *b;

    *n = node_find(args->node);
    if (!*n) {
        err_set(err, ENOENT, "Node '%s' not found", args->node);
        return NULL;
    }
    b = dirty_find(*n, args->name);
    if (!b)
        err_set(err, ENOENT, "Dirty bitmap '%s' not found", args->name);
    else if (b->busy)
        err_set(err, EBUSY, "Bitmap '%s' is currently in use by another operation and cannot be used",
                args->name);
    else
        return b;
    return NULL;
}

/* The same for one whose bits are known. */
static DirtyBitmap *bitmap_known(const BlockDirtyBitmap *args, Node **n, GError **err)
{
    DirtyBitmap *b = bitmap_find(args, n, err);

    return b && dirty_check_known(b, err) ? b : NULL;
}

CO bool qmp_block_dirty_bitmap_remove(const BlockDirtyBitmap *args, GError **err)
{
    Node *n;
    DirtyBitmap *b = bitmap_find(args, &n, err);

    return b && dirty_delete(n, b, err);
}

CO bool qmp_block_dirty_bitmap_clear(const BlockDirtyBitmap *args, GError **err)
{
    Node *n;
    DirtyBitmap *b = bitmap_known(args, &n, err);

    if (!b)
        return false;
    if (b->persistent && node_is_read_only(n))
        return err_set(err, EACCES, "Bitmap '%s' is readonly and cannot be modified", args->name);
    hbitmap_clear(b->bits, 0, hbitmap_bits(b->bits));
    return true;
}

CO bool qmp_block_dirty_bitmap_enable(const BlockDirtyBitmap *args, GError **err)
{
    Node *n;
    DirtyBitmap *b = bitmap_known(args, &n, err);

    if (b)
        b->enabled = true;
    return b;
}

CO bool qmp_block_dirty_bitmap_disable(const BlockDirtyBitmap *args, GError **err)
{
    Node *n;
    DirtyBitmap *b = bitmap_known(args, &n, err);

    if (b)
        b->enabled = false;
    return b;
}
