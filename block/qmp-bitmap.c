/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about dirty bitmaps, each an edit of one step. */
#include "block/actions.h"

CO bool qmp_block_dirty_bitmap_add(const BlockDirtyBitmapAdd *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    return action_bitmap_add(edit, args, err) && edit_commit(edit, err);
}

CO bool qmp_block_dirty_bitmap_remove(const BlockDirtyBitmap *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    return action_bitmap_remove(edit, args, err) && edit_commit(edit, err);
}

CO bool qmp_block_dirty_bitmap_clear(const BlockDirtyBitmap *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    return action_bitmap_clear(edit, args, err) && edit_commit(edit, err);
}

CO bool qmp_block_dirty_bitmap_enable(const BlockDirtyBitmap *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    return action_bitmap_set_enabled(edit, args, true, err) && edit_commit(edit, err);
}

CO bool qmp_block_dirty_bitmap_disable(const BlockDirtyBitmap *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    return action_bitmap_set_enabled(edit, args, false, err) && edit_commit(edit, err);
}

CO bool qmp_block_dirty_bitmap_merge(const BlockDirtyBitmapMerge *args, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    return action_bitmap_merge(edit, args, err) && edit_commit(edit, err);
}
