/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The path of a request through a node: range, alignment, splitting, exclusion of overlaps, and
 * what has to be remembered after a write.
 *
 *     off         aligned                     aligned    off + len
 *      |--- head ---|--------- middle ---------|--- tail ---|
 *        bounced      straight to the driver      bounced
 *
 * Head and tail of a write are read, changed and written back while no other write overlaps them.
 */
#include "block/internal.h"
#include "gen/qmp.h"
#include "util/trace.h"
#include <inttypes.h>
#include <sys/mman.h>

enum { BOUNCE_MAX = 1 << 20, ZERO_BUFFER = 1 << 20 };

/* Zeroes to write from. Never written, so it takes no memory but for the mapping. */
static const void *zero_buffer(void)
{
    static gsize zeroes;

    if (g_once_init_enter(&zeroes)) {
        void *p = mmap(NULL, ZERO_BUFFER, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        g_assert(p != MAP_FAILED);
        g_once_init_leave(&zeroes, (gsize)p);
    }
    return (const void *)zeroes;
}

static uint64_t transfer_max(const Node *n)
{
    uint64_t max = n->limits.max_transfer ? n->limits.max_transfer : REQ_LEN_MAX;

    return MAX(round_down(max, n->limits.request_alignment), n->limits.request_alignment);
}

enum { UNIT_MAX = 2 << 20 };

/*
 * How much of [@off, @end) goes to the driver at once: up to @max, which is a multiple of @align.
 * The layers below lose a unit of theirs that two pieces share, so pieces meet where a unit is
 * likely to end: units are powers of two, up to the largest cluster.
 */
static uint64_t piece_len(uint64_t off, uint64_t end, uint64_t max, uint64_t align)
{
    uint64_t unit, seam;

    if (end - off <= max)
        return end - off;
    if (!is_power_of_2(align))
        return max;
    unit = MIN(UINT64_C(1) << (63 - __builtin_clzll(max)), (uint64_t)UNIT_MAX);
    seam = round_down(off + max, MAX(unit, align));
    return seam > off ? seam - off : max;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* An aligned read of any length. Filters without the operation pass it on. */
static CO int pread_split(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    uint64_t max = transfer_max(n);

    if (!n->drv->pread && n->drv->kind == BLK_FILTER)
        return edge_pread(node_edge(n, ROLE_FILTERED), off, buf, flags);
    for (uint64_t done = 0; done < buf.len;) {
        uint64_t len = MIN(buf.len - done, max);
        int r = n->drv->pread(n, off + done, span_slice(buf, done, len), flags);

        if (r < 0)
            return r;
        done += len;
    }
    return 0;
}

/* A read at any alignment, through memory that suits the node. */
static CO int pread_bounce(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    uint64_t align = n->limits.request_alignment;
    uint64_t room = MAX(round_up(MIN(buf.len, BOUNCE_MAX), align) + align, align);
    g_autoptr(Aligned) bounce = aligned_try_alloc(room);

    if (!bounce)
        return -ENOMEM;
    for (uint64_t done = 0; done < buf.len;) {
        uint64_t at = off + done, start = round_down(at, align);
        uint64_t len = MIN(buf.len - done, room - (at - start));
        uint64_t end = MIN(round_up(at + len, align), start + room);
        int r = pread_split(n, start, span_of(bounce, end - start), flags);

        if (r < 0)
            return r;
        span_write(span_slice(buf, done, len), (uint8_t *)bounce + (at - start));
        done += len;
    }
    return 0;
}

/* A read inside the node at any alignment. */
static CO int pread_fit(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    uint64_t align = n->limits.request_alignment;
    uint64_t first = round_up(off, align), end = round_down(off + buf.len, align);
    int r = 0;

    if (first >= end ||
        !span_is_aligned(span_slice(buf, first - off, end - first), n->limits.memory_alignment))
        return pread_bounce(n, off, buf, flags);
    if (first > off)
        r = pread_bounce(n, off, span_slice(buf, 0, first - off), flags);
    if (r == 0)
        r = pread_split(n, first, span_slice(buf, first - off, end - first), flags);
    if (r == 0 && end < off + buf.len)
        r = pread_bounce(n, end, span_slice(buf, end - off, off + buf.len - end), flags);
    return r;
}

/*
 * The node at or below *@n that a read of the range comes from as a whole. 0 or a negative errno.
 */
static CO int pread_descend(Node **n, uint64_t off, uint64_t len)
{
    while ((*n)->drv->reads_through) {
        Node *below = NULL;
        int r = (*n)->drv->reads_through(*n, off, len, &below);

        if (r < 0 || !below)
            return r;
        *n = below;
    }
    return 0;
}

CO int node_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    int r;

    node_assert_home(n);
    TRACE(node_read, "%s off=%" PRIu64 " len=%zu flags=0x%x", n->name, off, buf.len, flags);
    /* Beyond the end there are zeroes: a file may end inside its last cluster. */
    if (off >= n->size) {
        span_zero(buf);
        return 0;
    }
    if (buf.len > n->size - off) {
        span_zero(span_slice(buf, n->size - off, buf.len - (n->size - off)));
        buf = span_slice(buf, 0, n->size - off);
    }
    if (!buf.len)
        return 0;
    if (flags & REQ_COPY_ON_READ) {
        if (n->drv->kind != BLK_FILTER)
            return copy_on_read(n, off, buf, flags);
    }
    r = pread_descend(&n, off, buf.len);
    return r < 0 ? r : pread_fit(n, off, buf, flags);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Tells of a write up to @end, once. */
static void threshold_passed(Node *n, uint64_t end)
{
    uint64_t threshold = n->write_threshold;

    n->write_threshold = 0;
    event_block_write_threshold(node_shown_name(n), end - threshold, threshold);
}

/* What every change of content has to leave behind. */
static void node_written(Node *n, uint64_t off, uint64_t len, bool failed)
{
    n->writes++;
    n->highest_write = MAX(n->highest_write, off + len);
    if (n->write_threshold && off + len > n->write_threshold)
        threshold_passed(n, off + len);
    dirty_mark(n, off, len);
    /* What a failed write may have left behind the end is nobody's. */
    if (!failed && off + len > n->size && (n->drv->kind != BLK_FORMAT || n->drv->write_grows))
        node_set_size(n, off + len);
}

/* True if @n and all below it that bytes pass through make a write with REQ_FUA durable. */
static bool fua_is_native(const Node *n, bool zero)
{
    while (n) {
        bool passes_on = n->drv->kind == BLK_FILTER && !n->drv->pwrite;
        unsigned known = n->drv->write_flags & (zero ? n->drv->zero_flags : ~0u);

        if (!passes_on && !(known & REQ_FUA))
            return false;
        if (n->drv->kind == BLK_PROTOCOL)
            return true;
        n = n->drv->kind == BLK_FILTER ? node_filtered(n) : node_storage(n);
    }
    return false;
}

/*
 * Ends a change of content: remembers it, and flushes if that is how @n makes it durable. Nodes
 * above others count it after the flush, in which they only have to move what they cached.
 */
static CO int write_end(Node *n, uint64_t off, uint64_t len, bool flush, int r)
{
    if (n->drv->kind == BLK_PROTOCOL)
        node_written(n, off, len, r < 0);
    if (r == 0 && flush)
        r = node_flush(n);
    if (n->drv->kind != BLK_PROTOCOL)
        node_written(n, off, len, r < 0);
    node_event(n, EV_PWRITEV_DONE);
    return r;
}

/* An aligned write in pieces the driver can take. */
static CO int pwrite_split(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    uint64_t max = transfer_max(n);

    for (uint64_t done = 0; done < buf.len;) {
        uint64_t len = MIN(buf.len - done, max);
        int r = n->drv->pwrite(n, off + done, span_slice(buf, done, len), flags);

        if (r < 0)
            return r;
        done += len;
    }
    return 0;
}

/* An aligned write from memory that does not suit the node. */
static CO int pwrite_bounce(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    uint64_t room = round_up(MIN(buf.len, BOUNCE_MAX), n->limits.request_alignment);
    g_autoptr(Aligned) bounce = aligned_try_alloc(room);

    if (!bounce)
        return -ENOMEM;
    for (uint64_t done = 0; done < buf.len;) {
        uint64_t len = MIN(buf.len - done, room);
        int r;

        span_read(span_slice(buf, done, len), bounce);
        r = pwrite_split(n, off + done, span_of(bounce, len), flags);
        if (r < 0)
            return r;
        done += len;
    }
    return 0;
}

/* What of @flags a driver that knows @known is told. */
static ReqFlags flags_for(const Node *n, ReqFlags flags, unsigned known, bool native_fua)
{
    known |= n->drv->is_compressing ? REQ_COMPRESSED : 0;
    return flags & (native_fua ? known : known & ~REQ_FUA);
}

static CO int zero_aligned(Node *n, uint64_t off, uint64_t len, ReqFlags flags);

/* An aligned write of any length whose range is held. */
static CO int pwrite_aligned(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    bool native = flags & REQ_FUA && fua_is_native(n, false);
    int r;

    if (!n->drv->pwrite && n->drv->kind == BLK_FILTER) {
        r = edge_pwrite(node_edge(n, ROLE_FILTERED), off, buf, flags);
        return write_end(n, off, buf.len, false, r);
    }
    if (!n->drv->pwrite || (flags & REQ_COMPRESSED && !n->drv->is_compressing))
        return -ENOTSUP;
    if (n->detect_zeroes && !(flags & REQ_COMPRESSED) && span_is_zero(buf)) {
        flags |= n->detect_zeroes == DETECT_ZEROES_UNMAP ? REQ_MAY_UNMAP : 0;
        return zero_aligned(n, off, buf.len, flags);
    }
    node_event(n, EV_PWRITEV);
    if (span_is_aligned(buf, n->limits.memory_alignment))
        r = pwrite_split(n, off, buf, flags_for(n, flags, n->drv->write_flags, native));
    else
        r = pwrite_bounce(n, off, buf, flags_for(n, flags, n->drv->write_flags, native));
    return write_end(n, off, buf.len, flags & REQ_FUA && !native, r);
}

/* ---- writes that do not fill blocks --------------------------------------------------------- */

/* Reads the block, or blocks, at @off to be changed; zeroes beyond the end of the node. */
static CO int rmw_read(Node *n, uint64_t off, void *block, uint64_t len)
{
    uint64_t have = off < n->size ? MIN(len, round_up(n->size - off, n->limits.request_alignment))
                                  : 0;

    memset((uint8_t *)block + have, 0, len - have);
    return have ? pread_split(n, off, span_of(block, have), 0) : 0;
}

/* How a request lies on the blocks of its node. */
typedef struct {
    uint64_t start, end;  /* widened to whole blocks */
    bool head, tail;      /* part of the first, the last block stays as it is */
    bool at_once;         /* nothing lies between them: they are read as one */
} Blocks;

static Blocks blocks_of(const Node *n, uint64_t off, uint64_t len)
{
    uint64_t align = n->limits.request_alignment;
    Blocks b = { .start = round_down(off, align), .end = round_up(off + len, align) };

    b.head = off > b.start;
    b.tail = off + len < b.end;
    b.at_once = b.end - b.start == align || (b.head && b.tail && b.end - b.start == 2 * align);
    return b;
}

/* Reads the blocks of which part stays: the first to @first, the last to @last. */
static CO int rmw_read_ends(Node *n, const Blocks *b, uint8_t *first, uint8_t *last)
{
    uint64_t align = n->limits.request_alignment;
    int r = 0;

    if (b->head)
        node_event(n, EV_PWRITEV_RMW_HEAD);
    if (b->at_once) {
        if (b->tail)
            node_event(n, EV_PWRITEV_RMW_TAIL);
        r = rmw_read(n, b->start, first, b->end - b->start);
    } else if (b->head) {
        r = rmw_read(n, b->start, first, align);
    }
    if (r < 0)
        return r;
    if (b->head)
        node_event(n, EV_PWRITEV_RMW_AFTER_HEAD);
    if (b->tail && !b->at_once) {
        node_event(n, EV_PWRITEV_RMW_TAIL);
        r = rmw_read(n, b->end - align, last, align);
        if (r < 0)
            return r;
    }
    if (b->tail)
        node_event(n, EV_PWRITEV_RMW_AFTER_TAIL);
    return 0;
}

/* A write, or zeroes with @buf NULL, that is widened to whole blocks in memory of ours. */
static CO int pwrite_rmw(Node *n, uint64_t off, uint64_t len, const Span *buf, ReqFlags flags)
{
    Blocks b = blocks_of(n, off, len);
    g_autoptr(Aligned) bounce = aligned_try_alloc(b.end - b.start);
    uint8_t *at = bounce;
    int r;

    if (!bounce)
        return -ENOMEM;
    r = rmw_read_ends(n, &b, at, at + (b.end - b.start) - n->limits.request_alignment);
    if (r < 0)
        return r;
    if (buf)
        span_read(*buf, at + (off - b.start));
    else
        memset(at + (off - b.start), 0, len);
    return pwrite_aligned(n, b.start, span_of(bounce, b.end - b.start), flags);
}

/*
 * A write whose range is held already, at any alignment: at once if all of it fits into memory of
 * ours or is aligned, else its ends apart from its middle.
 */
static CO int pwrite_fit(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    uint64_t align = n->limits.request_alignment;
    int r = 0;

    while (buf.len && r == 0) {
        uint64_t len = MIN(buf.len, round_down(off, align) + MAX(BOUNCE_MAX, align) - off);
        bool fits = is_aligned(off | buf.len, align);

        if (fits || (is_aligned(off, align) && buf.len > BOUNCE_MAX && buf.len > align)) {
            len = round_down(buf.len, align);
            r = pwrite_aligned(n, off, span_slice(buf, 0, len), flags);
        } else {
            Span part = span_slice(buf, 0, len);

            r = pwrite_rmw(n, off, len, &part, flags);
        }
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

/* Holds the range of a write: alone for itself if it must read first or was asked to. */
static CO int write_hold(Node *n, RangeHold *hold, uint64_t off, uint64_t len, ReqFlags flags)
{
    uint64_t align = n->limits.request_alignment;

    if (flags & REQ_SERIALISE && flags & REQ_NO_WAIT && range_is_busy(&n->ranges, off, len))
        return -EBUSY;
    if (flags & REQ_SERIALISE || !is_aligned(off | len, align)) {
        uint64_t start = round_down(off, align);

        range_take(&n->ranges, hold, start, round_up(off + len, align) - start);
    } else {
        range_take_shared(&n->ranges, hold, off, len);
    }
    return 0;
}

static int write_check(const Node *n, uint64_t off, uint64_t len)
{
    uint64_t end;

    if (!(n->flags & OPEN_RDWR))
        return -EPERM;
    if (!size_add(off, len, &end) || end > INT64_MAX)
        return -EFBIG;
    if (end > n->size && n->drv->kind == BLK_FORMAT && !n->drv->write_grows)
        return -EIO;
    return 0;
}

CO int node_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    RANGE_GUARD hold = {};
    int r = write_check(n, off, buf.len);

    node_assert_home(n);
    TRACE(node_write, "%s off=%" PRIu64 " len=%zu flags=0x%x", n->name, off, buf.len, flags);
    if (r < 0 || !buf.len)
        return r;
    r = write_hold(n, &hold, off, buf.len, flags);
    return r < 0 ? r : pwrite_fit(n, off, buf, flags);
}

/* ---- zeroes --------------------------------------------------------------------------------- */

/* Zeroes written as data. */
static CO int zero_as_data(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    flags &= n->drv->write_flags;
    while (len) {
        uint64_t now = MIN(len, MAX(round_down(ZERO_BUFFER, n->limits.request_alignment),
                                    n->limits.request_alignment));
        g_autoptr(Aligned) big = now > ZERO_BUFFER ? aligned_try_alloc(now) : NULL;
        int r;

        if (now > ZERO_BUFFER && !big)
            return -ENOMEM;
        if (big)
            memset(big, 0, now);
        r = pwrite_split(n, off, span_of_const(big ? big : zero_buffer(), now), flags);
        if (r < 0)
            return r;
        off += now;
        len -= now;
    }
    return 0;
}

/* A piece that does not cross the driver's zero alignment, or covers whole units of it. */
static CO int zero_piece(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    int r = -ENOTSUP;

    if (n->drv->zero)
        r = n->drv->zero(n, off, len, flags);
    if (r == -ENOTSUP && !(flags & REQ_NO_FALLBACK) && n->drv->pwrite)
        return zero_as_data(n, off, len, flags);
    return r;
}

static CO int zero_split(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    uint64_t align = MAX(n->limits.zero_alignment, n->limits.request_alignment);
    uint64_t max = n->limits.max_zero ? n->limits.max_zero : REQ_LEN_MAX;

    max = MAX(max - max % align, align);
    while (len) {
        uint64_t within = off % align, now = len;
        int r;

        if (within)
            now = MIN(len, align - within);
        else if (len >= align)
            now = piece_len(off, off + (len - len % align), max, align);
        r = zero_piece(n, off, now, flags);
        if (r < 0)
            return r;
        off += now;
        len -= now;
    }
    return 0;
}

/* Whole blocks of zeroes whose range is held. */
static CO int zero_aligned(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    bool native = flags & REQ_FUA && fua_is_native(n, true);
    ReqFlags pass = flags_for(n, flags, n->drv->zero_flags | REQ_NO_FALLBACK, native);
    int r;

    node_event(n, EV_PWRITEV_ZERO);
    r = zero_split(n, off, len, pass & ~REQ_COMPRESSED);
    return write_end(n, off, len, flags & REQ_FUA && !native, r);
}

/* Zeroes that do not fill their first or last block: those are written as data. */
static CO int zero_rmw(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    uint64_t align = n->limits.request_alignment, end = off + len;
    Blocks b = blocks_of(n, off, len);
    uint64_t middle = b.start + (b.head ? align : 0), stop = b.end - (b.tail ? align : 0);
    ReqFlags data_flags = flags & ~(REQ_MAY_UNMAP | REQ_NO_FALLBACK);
    g_autoptr(Aligned) ends = NULL;
    uint8_t *first, *last;
    int r;

    if (b.at_once)
        return pwrite_rmw(n, off, len, NULL, data_flags);
    ends = aligned_try_alloc(2 * align);
    if (!ends)
        return -ENOMEM;
    first = ends;
    last = first + align;
    r = rmw_read_ends(n, &b, first, last);
    if (r == 0 && b.head) {
        memset(first + (off - b.start), 0, middle - off);
        r = pwrite_aligned(n, b.start, span_of(first, align), data_flags);
    }
    if (r == 0 && stop > middle)
        r = zero_aligned(n, middle, stop - middle, flags);
    if (r == 0 && b.tail) {
        memset(last, 0, end - stop);
        r = pwrite_aligned(n, stop, span_of(last, align), data_flags);
    }
    return r;
}

CO int node_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    RANGE_GUARD hold = {};
    int r = write_check(n, off, len);

    node_assert_home(n);
    TRACE(node_zero, "%s off=%" PRIu64 " len=%" PRIu64 " flags=0x%x", n->name, off, len, flags);
    if (r < 0 || !len)
        return r;
    if (!n->drv->zero && !n->drv->pwrite && n->drv->kind == BLK_FILTER) {
        r = edge_zero(node_edge(n, ROLE_FILTERED), off, len, flags);
        return write_end(n, off, len, false, r);
    }
    r = write_hold(n, &hold, off, len, flags);
    if (r < 0)
        return r;
    return is_aligned(off | len, n->limits.request_alignment) ? zero_aligned(n, off, len, flags)
                                                              : zero_rmw(n, off, len, flags);
}

/* ---- discard and flush ---------------------------------------------------------------------- */

static void count_discard(Node *n, uint64_t len, int result)
{
    if (result < 0) {
        n->discards.failed++;
        return;
    }
    n->discards.ok++;
    n->discards.ok_bytes += len;
}

CO int node_discard(Node *n, uint64_t off, uint64_t len)
{
    uint64_t align = MAX(n->limits.discard_alignment, n->limits.request_alignment);
    uint64_t max = n->limits.max_discard ? round_down(n->limits.max_discard, align) : 0;
    uint64_t first = round_up(off, align), end;
    RANGE_GUARD hold = {};
    int r = write_check(n, off, len);

    node_assert_home(n);
    TRACE(node_discard, "%s off=%" PRIu64 " len=%" PRIu64, n->name, off, len);
    if (r < 0 || !(n->flags & OPEN_UNMAP))
        return r;
    /* There is nothing to give back behind the end, and a node does not grow by that. */
    end = MIN(off + len, n->size);
    len = end - MIN(off, end);
    if (!n->drv->discard) {
        if (n->drv->kind != BLK_FILTER)
            return 0;
        n->writes++;
        dirty_mark(n, off, len);
        return edge_discard(node_edge(n, ROLE_FILTERED), off, len);
    }
    /* The end of the node counts as aligned: its last unit may be cut short. */
    if (end < n->size)
        end = round_down(end, align);
    if (first >= end)
        return 0;
    range_take_shared(&n->ranges, &hold, first, end - first);
    max = max ? max : round_down(REQ_LEN_MAX, align);
    for (uint64_t at = first, now; at < end && r == 0; at += now) {
        now = piece_len(at, end, max, align);
        r = n->drv->discard(n, at, now);
        count_discard(n, now, r);
    }
    node_written(n, first, end - first, r < 0);
    return r == -ENOTSUP ? 0 : r;
}

/* Flushes every child that was written since its last flush. */
static CO int flush_children(Node *n)
{
    int result = 0;

    for (guint i = 0; i < n->children->len; i++) {
        Node *child = ((Edge *)n->children->pdata[i])->node;
        int r = child->flags & OPEN_RDWR ? node_flush(child) : 0;

        if (r < 0 && result == 0)
            result = r;
    }
    return result;
}

static bool node_syncs(const Node *n)
{
    return !(n->flags & OPEN_NO_FLUSH) || n->drv->syncs_elsewhere;
}

/* The usual order: what the driver caches, the node's own medium, the children. */
static CO int flush_in_order(Node *n, bool is_dirty)
{
    Edge *e = node_edge(n, n->drv->kind == BLK_FILTER ? ROLE_FILTERED : ROLE_STORAGE);
    int r = 0;

    if (e)
        edge_event(e, EV_FLUSH_TO_OS);
    if (n->drv->flush)
        r = n->drv->flush(n);
    if (r == 0 && is_dirty && node_syncs(n)) {
        if (e)
            edge_event(e, EV_FLUSH_TO_DISK);
        if (n->drv->sync)
            r = n->drv->sync(n);
    }
    return r < 0 ? r : flush_children(n);
}

CO int node_flush(Node *n)
{
    CO_LOCKED(&n->flush_lock);
    uint64_t writes = n->writes;
    int r = n->drv->flush_all ? n->drv->flush_all(n) : flush_in_order(n, n->flushed != writes);

    node_assert_home(n);
    if (r == 0 && node_syncs(n))
        n->flushed = writes;
    TRACE(node_flush, "%s result=%d", n->name, r);
    return r;
}

/* ---- resize --------------------------------------------------------------------------------- */

CO bool node_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                    GError **err)
{
    RANGE_GUARD hold = {};
    uint64_t old = n->size;

    node_assert_home(n);
    TRACE(node_resize, "%s from=%" PRIu64 " to=%" PRIu64, n->name, old, size);
    if (!(n->flags & OPEN_RDWR))
        return err_set(err, EACCES, "Image '%s' is read-only", node_filename(n));
    if (size > NODE_SIZE_MAX)
        return err_set(err, EFBIG, "Size %" PRIu64 " of '%s' is too large", size,
                       node_filename(n));
    if (size < old && !node_may_shrink(n, size, err))
        return false;
    /* No write may be under way in what is cut off or added. */
    range_take(&n->ranges, &hold, MIN(old, size), UINT64_MAX - MIN(old, size));
    if (!n->drv->resize) {
        if (n->drv->kind != BLK_FILTER)
            return err_set(err, ENOTSUP, "Format '%s' of '%s' cannot be resized", n->drv->name,
                           node_filename(n));
        if (!edge_resize(node_edge(n, ROLE_FILTERED), size, exact, prealloc, flags, err))
            return false;
        n->size = node_filtered(n)->size;
    } else if (!n->drv->resize(n, size, exact, prealloc, flags, err)) {
        return false;
    }
    n->writes++;
    return node_size_changed(n, err);
}

CO bool node_learn_size(Node *n, uint64_t wanted, SizeLearned *l, GError **err)
{
    uint64_t old = n->size;

    if (!n->drv->learn_size && n->drv->kind == BLK_FILTER)
        return node_learn_size(node_filtered(n), wanted, l, err);
    *l = (SizeLearned){ .is_final = true };
    if (n->drv->learn_size && !n->drv->learn_size(n, wanted, l, err))
        return false;
    return n->size == old || node_size_changed(n, err);
}

/* ---- requests along edges ------------------------------------------------------------------- */

CO int edge_pread(Edge *e, uint64_t off, Span buf, ReqFlags flags)
{
    return node_pread(e->node, off, buf, flags);
}

CO int edge_pwrite(Edge *e, uint64_t off, Span buf, ReqFlags flags)
{
    return node_pwrite(e->node, off, buf, flags);
}

CO int edge_zero(Edge *e, uint64_t off, uint64_t len, ReqFlags flags)
{
    /* Who asks a handle to free space means it; below, a node's discard=ignore stands. */
    if (!(e->node->flags & OPEN_UNMAP))
        flags &= ~REQ_MAY_UNMAP;
    return node_zero(e->node, off, len, flags);
}

CO int edge_discard(Edge *e, uint64_t off, uint64_t len)
{
    return node_discard(e->node, off, len);
}

CO int edge_flush(Edge *e)
{
    return node_flush(e->node);
}

CO int edge_extent(Edge *e, uint64_t off, uint64_t len, bool precise, Extent *ext)
{
    return node_extent(e->node, off, len, precise, ext);
}

CO bool edge_resize(Edge *e, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                    GError **err)
{
    return node_resize(e->node, size, exact, prealloc, flags, err);
}

CO int edge_copy(Edge *e, uint64_t off, Node *src, uint64_t src_off, uint64_t len, ReqFlags flags)
{
    return node_copy(src, src_off, e->node, off, len, flags);
}

/* ---- events --------------------------------------------------------------------------------- */

CO void node_event(Node *n, BlockEvent event)
{
    if (G_UNLIKELY(n->drv->event != NULL))
        n->drv->event(n, event);
}

CO void edge_event(Edge *e, BlockEvent event)
{
    node_event(e->node, event);
}
