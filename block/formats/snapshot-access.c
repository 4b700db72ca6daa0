/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * snapshot-access: shows the image below a copy-before-write node as it was when that was put on
 * top. What was copied comes from the target, all else from the image, which is not overwritten
 * meanwhile.
 */
#include "block/filters/copy-before-write.h"
#include <errno.h>

static Node *snapshot_cbw(Node *n)
{
    return node_storage(n);
}

static CO bool snapshot_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Edge *file = node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err);

    if (!file)
        return false;
    if (!cbw_copy(edge_node(file)))
        return err_set(err, EINVAL, "'%s' has no snapshot: only a 'copy-before-write' node has one",
                       node_filename(edge_node(file)));
    node_set_size(n, edge_size(file));
    return true;
}

/* 0, or why the range cannot be read. */
static int snapshot_check(Node *n, uint64_t off, uint64_t len)
{
    const HBitmap *access = cbw_access(snapshot_cbw(n));
    const Copy *c = cbw_copy(snapshot_cbw(n));
    uint64_t first = off / c->granularity, end = div_round_up(off + len, c->granularity);

    if (cbw_is_broken(snapshot_cbw(n)))
        return -EACCES;
    return access && hbitmap_next_clear(access, first, end) < end ? -EACCES : 0;
}

/* From @off on, *@len is cut to what comes from one place. */
static bool is_copied(const Copy *c, uint64_t off, uint64_t *len)
{
    uint64_t first = off / c->granularity, end = div_round_up(off + *len, c->granularity);
    bool copied = !hbitmap_get(c->todo, first);
    uint64_t bit = copied ? hbitmap_next_set(c->todo, first, end)
                          : hbitmap_next_clear(c->todo, first, end);

    *len = MIN(*len, bit * c->granularity - off);
    return copied;
}

static CO int snapshot_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Node *cbw = snapshot_cbw(n);
    Copy *c = cbw_copy(cbw);
    RANGE_GUARD hold = {};
    int r;

    range_take_shared(&c->busy, &hold, round_down(off, c->granularity),
                      round_up(off + buf.len, c->granularity) - round_down(off, c->granularity));
    r = snapshot_check(n, off, buf.len);
    for (uint64_t done = 0; done < buf.len && r == 0;) {
        uint64_t len = buf.len - done;
        Node *from = is_copied(c, off + done, &len) ? cbw_target(cbw) : cbw_source(cbw);

        r = node_pread(from, off + done, span_slice(buf, done, len), 0);
        done += len;
    }
    /* A write that gave up waiting for us may have come in between. */
    return r == 0 && cbw_is_broken(cbw) ? -EACCES : r;
}

static CO int snapshot_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Node *cbw = snapshot_cbw(n);
    Copy *c = cbw_copy(cbw);
    RANGE_GUARD hold = {};
    Node *from;
    int r;

    len = MIN(len, node_size(n) - off);
    range_take_shared(&c->busy, &hold, round_down(off, c->granularity),
                      round_up(off + len, c->granularity) - round_down(off, c->granularity));
    r = snapshot_check(n, off, len);
    if (r < 0)
        return r;
    from = is_copied(c, off, &len) ? cbw_target(cbw) : cbw_source(cbw);
    r = node_extent_above(from, NULL, off, len, precise, e, NULL);
    /* Where it lies is nobody's: it may be overwritten at any time. */
    e->flags = (e->flags & (EXTENT_ZERO | EXTENT_DATA)) | EXTENT_ALLOCATED;
    return r;
}

static void snapshot_access_of(Node *n, Role role, unsigned parent_needs, unsigned parent_shares,
                               unsigned *needs, unsigned *shares)
{
    *needs = parent_needs & ACCESS_READ;
    *shares = ACCESS_ALL & ~(unsigned)ACCESS_RESIZE;
}

const BlockDriver block_snapshot_access = {
    .name = "snapshot-access",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .open = snapshot_open,
    .pread = snapshot_pread,
    .extent = snapshot_extent,
    .child_access = snapshot_access_of,
};
