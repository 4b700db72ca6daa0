/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copy on read: what a read finds in the backing file is stored in the image on the way, in whole
 * clusters, while no other write touches them.
 */
#include "block/internal.h"
#include "util/trace.h"
#include <inttypes.h>

enum { COPY_MAX = 1 << 20 };

/* Stores [@off, @off + @len), whole clusters, as what the backing file has there. */
static CO int copy_up(Node *n, uint64_t off, uint64_t len)
{
    g_autoptr(Aligned) bounce = aligned_try_alloc(MIN(len, COPY_MAX));
    int r = bounce ? 0 : -ENOMEM;

    for (uint64_t done = 0; done < len && r == 0;) {
        uint64_t now = MIN(len - done, COPY_MAX);
        Span buf = span_of(bounce, now);

        r = n->drv->pread(n, off + done, buf, 0);
        if (r < 0)
            return r;
        node_event(n, EV_COR_WRITE);
        r = -ENOTSUP;
        if (span_is_zero(buf) && n->drv->zero)
            r = n->drv->zero(n, off + done, now, 0);
        if (r == -ENOTSUP)
            r = n->drv->pwrite(n, off + done, buf, 0);
        done += now;
    }
    n->writes++;
    return r;
}

CO int copy_on_read(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    NodeInfo info;
    uint64_t cluster = 0, start, end;
    RANGE_GUARD hold = {};

    flags &= ~REQ_COPY_ON_READ;
    if (!(n->flags & OPEN_RDWR) || !node_backing(n) || !n->drv->pwrite)
        return flags & REQ_PREFETCH ? 0 : node_pread(n, off, buf, flags);
    if (node_info(n, &info) == 0)
        cluster = info.subcluster_size ? info.subcluster_size : info.cluster_size;
    cluster = MAX(cluster, n->limits.request_alignment);
    start = round_down(off, cluster);
    end = MIN(round_up(off + buf.len, cluster), n->size);
    range_take(&n->ranges, &hold, start, end - start);
    while (start < end) {
        Extent e;
        int r = node_extent(n, start, end - start, false, &e);

        if (r < 0)
            return r;
        if (!(e.flags & EXTENT_ALLOCATED)) {
            TRACE(copy_on_read, "%s off=%" PRIu64 " len=%" PRIu64, n->name, start, e.len);
            r = copy_up(n, start, e.len);
            if (r < 0)
                return r;
        }
        start += e.len;
    }
    return flags & REQ_PREFETCH ? 0 : node_pread(n, off, buf, flags);
}
