/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The BAT and requests. */
#include "block/formats/vhdx/vhdx.h"
#include "block/formats/mapped.h"
#include <inttypes.h>
#include <string.h>

/* ---- BAT ------------------------------------------------------------------------------------ */

static VhdxState block_state(const Vhdx *v, uint64_t b, uint64_t *at)
{
    uint64_t entry = le64_get(v->bat[vhdx_entry(v, b)]);

    *at = round_down(entry, VHDX_UNIT);
    return entry & 7;
}

static void block_set(Vhdx *v, uint64_t b, VhdxState state, uint64_t at)
{
    uint64_t i = vhdx_entry(v, b);

    le64_set(&v->bat[i], at | state);
    v->bat_dirty[i * sizeof(le64) / VHDX_SECTOR] = 1;
    v->is_dirty = true;
}

static bool range_hits(VhdxRange r, uint64_t at, uint64_t len)
{
    return at < r.at + r.len && r.at < at + len;
}

/* True if the @len bytes at @at overlap no header or table, which writes would destroy. */
static bool place_check(const Vhdx *v, const char *what, uint64_t b, uint64_t at, uint64_t len,
                        GError **err)
{
    if (at > INT64_MAX - len)
        return err_set(err, EINVAL, "%s %" PRIu64 " is at an impossible place", what, b);
    if (at < VHDX_UNIT || range_hits(v->log, at, len) || range_hits(v->bat_range, at, len) ||
        range_hits(v->metadata, at, len))
        return err_set(err, EINVAL, "%s %" PRIu64 " overlaps headers or tables", what, b);
    return true;
}

/* Block @b is present in part, so its bitmap has to be present too. */
static bool bitmap_check(const Vhdx *v, uint64_t b, GError **err)
{
    uint64_t entry = le64_get(v->bat[vhdx_bitmap_entry(v, b)]);

    if ((entry & 7) != VHDX_PRESENT)
        return err_set(err, EINVAL, "The bitmap of block %" PRIu64 ", which is there in part, is "
                       "missing", b);
    return place_check(v, "The bitmap of block", b, round_down(entry, VHDX_UNIT), VHDX_UNIT, err);
}

static bool bat_check(const Vhdx *v, GError **err)
{
    for (uint64_t b = 0; b < v->blocks; b++) {
        uint64_t at;
        VhdxState state = block_state(v, b, &at);

        if ((state == VHDX_PARTIAL && !v->has_parent) || state == 4)
            return err_set(err, EINVAL, "Block %" PRIu64 " is in a state that it cannot be in, %d",
                           b, state);
        if ((state == VHDX_PRESENT || state == VHDX_PARTIAL) &&
            !place_check(v, "Block", b, at, v->block, err))
            return false;
        if (state == VHDX_PARTIAL && !bitmap_check(v, b, err))
            return false;
    }
    return true;
}

CO bool vhdx_bat_load(Vhdx *v, GError **err)
{
    uint64_t len = round_up(v->bat_entries * sizeof(le64), VHDX_SECTOR);
    int r;

    v->bat = g_try_malloc(MAX(len, VHDX_SECTOR));
    v->bat_dirty = g_try_malloc0(MAX(len / VHDX_SECTOR, 1));
    r = v->bat && v->bat_dirty ? edge_pread_buf(v->file, v->bat_range.at, v->bat, len) : -ENOMEM;
    if (r < 0)
        return err_set_errno(err, r, "Could not read the BAT");
    v->end = round_up(edge_size(v->file), VHDX_UNIT);
    return bat_check(v, err);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Does all of block @b come from the parent? */
static bool is_below(const Vhdx *v, uint64_t b)
{
    uint64_t at;

    return v->has_parent && block_state(v, b, &at) == VHDX_ABSENT;
}

/* Adjacent blocks that come from the parent are one extent; each other block is one or several. */
static CO int block_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Vhdx *v = vhdx_of(n);
    uint64_t b = off / v->block, end = div_round_up(off + len, v->block), at;
    VhdxState state;
    bool here;

    state = block_state(v, b, &at);
    here = state == VHDX_PRESENT || state == VHDX_PARTIAL;
    e->host = edge_node(v->file);
    while (is_below(v, b) && b + 1 < end && is_below(v, b + 1))
        b++;
    e->len = MIN((b + 1) * v->block - off, len);
    if (state == VHDX_PARTIAL) {
        int r = vhdx_sectors_find(v, b, off % v->block, &e->len, &here);

        if (r < 0)
            return r;
    }
    if (here && at + off % v->block >= v->end)
        return -EIO;    /* the file was cut off */
    e->host_off = at + off % v->block;
    if (here)
        e->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_HOST;
    else if (!is_below(v, off / v->block) && state != VHDX_PARTIAL)
        e->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
    return 0;
}

CO int vhdx_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    const Vhdx *v = vhdx_of(n);

    if (v->has_parent)
        return v->bat ? block_extent(n, off, len, precise, e) : -EPERM;
    /* As the reference does: all of it is told as data. */
    e->flags = EXTENT_DATA | EXTENT_ALLOCATED;
    e->len = len;
    return 0;
}

CO int vhdx_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return mapped_pread_by(block_extent, n, off, buf);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* New identities before the first change, so that others know that the image is another one now. */
static CO int tell_writes(Vhdx *v)
{
    CO_LOCKED(&v->lock);
    int r;

    if (v->writes_told)
        return 0;
    v->header.file_write = vhdx_guid_new();
    v->header.data_write = vhdx_guid_new();
    r = vhdx_header_write(v);
    v->writes_told = r == 0;
    return r;
}

/* Makes the file a block longer; *@at is where that is. */
static CO int block_take(Vhdx *v, uint64_t *at)
{
    CO_LOCKED(&v->lock);
    g_autoptr(GError) err = NULL;

    *at = v->end;
    if (*at + v->block > INT64_MAX)
        return -EFBIG;
    if (!edge_resize(v->file, v->end + v->block, false, PREALLOC_OFF, 0, &err))
        return err_errno(err);
    v->end += v->block;
    return 0;
}

/* Writes to block @b, which may have no space yet. */
static CO int write_new(Vhdx *v, uint64_t b, uint64_t within, Span buf)
{
    RANGE_GUARD hold = {};
    uint64_t at;
    int r = 0;

    range_take(&v->allocating, &hold, b, 1);
    if (block_state(v, b, &at) == VHDX_PRESENT)
        return edge_pwrite(v->file, at + within, buf, 0);   /* has come meanwhile */
    r = block_take(v, &at);
    if (r == 0)
        r = edge_pwrite(v->file, at + within, buf, 0);
    if (r == 0)
        block_set(v, b, VHDX_PRESENT, at);
    return r;
}

CO int vhdx_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Vhdx *v = vhdx_of(n);
    int r = v->writes_told ? 0 : tell_writes(v);

    while (buf.len && r == 0) {
        uint64_t b = off / v->block, within = off % v->block, len = MIN(buf.len, v->block - within),
                 at;
        Span part = span_slice(buf, 0, len);

        r = block_state(v, b, &at) == VHDX_PRESENT ? edge_pwrite(v->file, at + within, part, 0)
                                                   : write_new(v, b, within, part);
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

/* Zeroes in block @b; what is not there reads as zeroes already. */
static CO int zero_block(Vhdx *v, uint64_t b, uint64_t within, uint64_t len, ReqFlags flags)
{
    RANGE_GUARD hold = {};
    uint64_t at;
    VhdxState state;

    range_take(&v->allocating, &hold, b, 1);
    state = block_state(v, b, &at);
    if (state == VHDX_PRESENT)
        return edge_zero(v->file, at + within, len, flags);
    if (state != VHDX_ZERO)
        block_set(v, b, VHDX_ZERO, 0);
    return 0;
}

CO int vhdx_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    Vhdx *v = vhdx_of(n);
    int r = v->writes_told ? 0 : tell_writes(v);

    while (len && r == 0) {
        uint64_t within = off % v->block, now = MIN(len, v->block - within);

        r = zero_block(v, off / v->block, within, now, flags);
        off += now;
        len -= now;
    }
    return r;
}
