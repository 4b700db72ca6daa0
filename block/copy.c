/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copying on the host's side, without the bytes passing through us. */
#include "block/internal.h"

CO int node_copy(Node *src, uint64_t src_off, Node *dst, uint64_t dst_off, uint64_t len,
                 ReqFlags flags)
{
    RANGE_GUARD hold = {};
    int r = 0;

    if (!(dst->flags & OPEN_RDWR))
        return -EPERM;
    if (!dst->drv->copy)
        return -ENOTSUP;
    range_take_shared(&dst->ranges, &hold, dst_off, len);
    for (uint64_t done = 0; done < len && r == 0;) {
        Extent e;

        r = node_extent_above(src, NULL, src_off + done, len - done, true, &e, NULL);
        if (r < 0)
            return r;
        if (!e.len || !(e.flags & EXTENT_HOST) || e.flags & EXTENT_COMPRESSED)
            return -ENOTSUP;
        r = dst->drv->copy(dst, dst_off + done, e.host, e.host_off, e.len, flags);
        done += e.len;
    }
    dst->writes++;
    dirty_mark(dst, dst_off, len);
    return r;
}
