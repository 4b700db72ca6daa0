/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making an image's file as short as what is in it. */
#include "block/internal.h"

bool node_can_compact(Node *n, GError **err)
{
    if (!n->drv->compact)
        return err_set(err, ENOTSUP, "Format '%s' of '%s' cannot be compacted", n->drv->name,
                       node_filename(n));
    return n->flags & OPEN_RDWR ||
           err_set(err, EACCES, "Image '%s' is read-only", node_filename(n));
}

CO bool handle_compact(Handle *h, CompactState *s, GError **err)
{
    Node *n = handle_node(h);
    g_autoptr(GError) why = NULL;
    bool ok;

    if (!node_can_compact(n, err))
        return false;
    handle_begin(h);
    ok = n->drv->compact(n, s, &why);
    n->writes++;
    handle_end(h);
    if (!ok)
        g_propagate_error(err, g_steal_pointer(&why));
    return ok;
}
