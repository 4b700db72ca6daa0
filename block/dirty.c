/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/internal.h"
void dirty_mark(Node *n, uint64_t off, uint64_t len)
{
}
bool dirty_resize(Node *n, GError **err)
{
    return true;
}
void dirty_remove(Node *n, DirtyBitmap *b)
{
}
