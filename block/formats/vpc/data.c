/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table, and requests. */
#include "block/formats/vpc/vpc.h"
#include "block/formats/mapped.h"
#include <inttypes.h>
#include <string.h>

/* ---- the table ------------------------------------------------------------------------------ */

static uint64_t entry_off(uint32_t entry)
{
    return (uint64_t)entry * VPC_SECTOR;
}

CO bool vpc_table_load(Node *n, bool writable, GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Vpc *s = node_state(n);
    uint64_t have = edge_size(file), last = s->end;
    size_t len = (size_t)s->entries * sizeof(be32);
    int r;

    s->table = g_try_malloc(MAX(len, 1));
    s->full = g_try_malloc0(s->entries / 8 + 1);
    r = s->table && s->full ? edge_pread_buf(file, s->table_off, s->table, len) : -ENOMEM;
    if (r < 0)
        return err_set_errno(err, r, "Could not read the table of '%s'", node_filename(n));
    for (uint32_t i = 0; i < s->entries; i++) {
        uint32_t e = be32_get(s->table[i]);

        if (e != VPC_FREE)
            last = MAX(last, entry_off(e) + s->bitmap + s->block);
    }
    if (writable && last > have)
        return err_set(err, EINVAL,
                       "'%s' was cut off: the file of %" PRIu64 " bytes has blocks up to byte "
                       "%" PRIu64,
                       node_filename(n), have, last);
    s->end = last;
    s->fresh = s->limit = have;
    return true;
}

/* True if the block of @entry lies between the table and the end of the file. */
static bool entry_is_good(const Vpc *s, uint32_t entry)
{
    return entry_off(entry) >= round_up(s->table_off + UINT64_C(4) * s->entries, VPC_SECTOR) &&
           entry_off(entry) + s->bitmap + s->block <= s->limit;
}

/* Adjacent free blocks are one extent; between others there is a bitmap in the file. */
static CO int block_extent(Node *n, uint64_t off, uint64_t len, Extent *e)
{
    Vpc *s = node_state(n);
    uint64_t i = off / s->block, end = div_round_up(off + len, s->block);
    uint32_t entry = be32_get(s->table[i]);
    bool here = true;

    if (entry == VPC_FREE) {
        while (i + 1 < end && be32_get(s->table[i + 1]) == VPC_FREE)
            i++;
        here = false;
    } else if (!entry_is_good(s, entry)) {
        return -EIO;
    }
    e->len = MIN((i + 1) * s->block - off, len);
    if (here && s->kind == VPC_DIFFERENCING) {
        int r = vpc_sectors_find(n, (uint32_t)i, entry_off(entry), off % s->block, &e->len, &here);

        if (r < 0)
            return r;
    }
    if (here) {
        e->host_off = entry_off(entry) + s->bitmap + off % s->block;
        e->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_HOST;
    } else if (s->kind == VPC_DYNAMIC) {
        e->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
    }
    return 0;
}

CO int vpc_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Vpc *s = node_state(n);

    e->host = edge_node(node_edge(n, ROLE_STORAGE));
    if (s->kind != VPC_FIXED)
        return s->table ? block_extent(n, off, len, e) : -EPERM;
    e->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_HOST | EXTENT_RECURSE;
    e->len = len;
    e->host_off = off;
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* All of the bitmap of block @i, which is at @at. */
static CO int vpc_fill_bitmap(Node *n, uint32_t i, uint64_t at)
{
    Vpc *s = node_state(n);
    g_autofree uint8_t *ones = g_malloc(s->bitmap);
    int r;

    memset(ones, 0xff, s->bitmap);
    r = edge_pwrite_buf(node_edge(n, ROLE_STORAGE), at, ones, s->bitmap);
    if (r >= 0)
        s->full[i / 8] |= 1u << i % 8;
    return r;
}

/* Allocates block @i where the footer is now. */
static CO int vpc_allocate_block(Node *n, uint32_t i)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Vpc *s = node_state(n);
    uint64_t at = s->end, data = at + s->bitmap;
    int r = 0;

    if (at / VPC_SECTOR >= VPC_FREE)
        return -ENOSPC;
    /* After a crash there may be data of a block that never got into the table. */
    if (data < s->fresh)
        r = edge_zero(file, data, MIN(s->block, s->fresh - data), REQ_MAY_UNMAP);
    if (r >= 0)
        r = vpc_fill_bitmap(n, i, at);
    if (r < 0)
        return r;
    /* Nothing suspends from here on, so others see the new block only when it is whole. */
    be32_set(&s->table[i], at / VPC_SECTOR);
    s->end = data + s->block;
    s->limit = MAX(s->limit, s->end);
    s->dirty = s->dirty == s->dirty_end ? i : MIN(s->dirty, i);
    s->dirty_end = MAX(s->dirty_end, i + 1);
    return 0;
}

/*
 * Makes all of [@off, @off + @len) ready for data: each block has a place, and its bitmap says so.
 */
static CO int vpc_allocate(Node *n, uint64_t off, uint64_t len)
{
    Vpc *s = node_state(n);
    uint32_t end = div_round_up(off + len, s->block);
    int r = 0;

    CO_LOCKED(&s->lock);
    for (uint32_t i = off / s->block; i < end && r >= 0; i++) {
        if (be32_get(s->table[i]) == VPC_FREE)
            r = vpc_allocate_block(n, i);
        else if (!(s->full[i / 8] & 1u << i % 8))
            r = vpc_fill_bitmap(n, i, entry_off(be32_get(s->table[i])));
    }
    return r;
}

/* Fills bitmaps that other programs left incomplete. Entries out of range have none. */
static CO int vpc_prepare(Node *n, uint64_t off, uint64_t len)
{
    Vpc *s = node_state(n);

    for (uint64_t i = off / s->block; i <= (off + len - 1) / s->block; i++) {
        uint64_t at = MAX(i * s->block, off);
        Extent e = {};
        int r = s->full[i / 8] & 1u << i % 8 ? 0 : vpc_extent(n, at, 1, false, &e);

        if (r >= 0 && !(s->full[i / 8] & 1u << i % 8))
            r = vpc_allocate(n, at, 1);
        if (r < 0)
            return r;
    }
    return 0;
}

CO int vpc_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Vpc *s = node_state(n);
    int r = s->kind == VPC_DYNAMIC ? vpc_prepare(n, off, buf.len) : 0;

    return r < 0 ? r : mapped_pwrite(n, off, buf, flags, vpc_allocate);
}

CO int vpc_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    return mapped_zero(n, off, len, flags, vpc_allocate);
}

CO int vpc_flush(Node *n)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Vpc *s = node_state(n);
    uint32_t from, to;
    int r;

    CO_LOCKED(&s->lock);
    if (s->dirty == s->dirty_end)
        return 0;
    r = edge_pwrite_buf(file, s->end, &s->footer, sizeof(s->footer));
    if (r >= 0)
        r = edge_flush(file);
    if (r < 0)
        return r;
    from = round_down(s->dirty, VPC_SECTOR / 4);
    to = MIN(round_up(s->dirty_end, VPC_SECTOR / 4), s->entries);
    r = edge_pwrite_buf(file, s->table_off + UINT64_C(4) * from, s->table + from,
                        (to - from) * UINT64_C(4));
    if (r >= 0)
        s->dirty = s->dirty_end = 0;
    return r;
}
