/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BLOCK_STATUS: what ranges of an export are, by each context that was asked for. */
#include "nbd/internal.h"
#include "util/hbitmap.h"
#include "util/size.h"
#include <string.h>

enum {
    /* In one answer, all contexts together. */
    EXTENTS_MAX = NBD_STATUS_MAX / sizeof(NbdExtentExt),
    PAUSE_EVERY = 256,   /* extents found, which may all be alike and become one */
};

/* The extents of one context, as they are found. */
typedef struct {
    GByteArray *out;
    bool extended;
    unsigned n, max;
    uint64_t len;   /* of the last one, which is not in @out yet; 0: there is none */
    uint32_t flags;
} Extents;

static void extents_flush(Extents *x)
{
    if (!x->len)
        return;
    if (x->extended) {
        NbdExtentExt e = { be64_of(x->len), be64_of(x->flags) };

        g_byte_array_append(x->out, (void *)&e, sizeof(e));
    } else {
        NbdExtent e = { be32_of(x->len), be32_of(x->flags) };

        g_byte_array_append(x->out, (void *)&e, sizeof(e));
    }
    x->n++;
    x->len = 0;
}

/* False: there is no room for it, nor for more. */
static bool extents_add(Extents *x, uint64_t len, uint32_t flags)
{
    if (x->len && x->flags == flags) {
        x->len += len;
        return true;
    }
    extents_flush(x);
    if (x->n == x->max)
        return false;
    x->len = len;
    x->flags = flags;
    return true;
}

static uint32_t allocation_flags(const Extent *e)
{
    return (e->flags & EXTENT_DATA ? 0 : NBD_STATE_HOLE) |
           (e->flags & EXTENT_ZERO ? NBD_STATE_ZERO : 0);
}

/* The number of the layer that decides, 1 for the uppermost; 0: none does. */
static uint32_t depth_flags(const Extent *e, int above)
{
    /* What a short backing file does not reach is its decision. */
    return e->flags & EXTENT_ALLOCATED ? above + 1 + !!(e->flags & EXTENT_PAST_BACKING) : 0;
}

/* Contexts base:allocation, and with @depth qemu:allocation-depth. */
static CO int find_allocation(NbdTask *t, bool depth, Extents *x)
{
    unsigned found = 0;

    for (uint64_t done = 0; done < t->length;) {
        Extent e;
        int above, r = nbd_task_extent(t, done, !depth, &e, &above);

        if (r == 0 && ++found % PAUSE_EVERY == 0)
            r = nbd_task_pause(t);
        if (r < 0)
            return r;
        if (!extents_add(x, e.len, depth ? depth_flags(&e, above) : allocation_flags(&e)))
            break;
        done += e.len;
    }
    return 0;
}

/* Context qemu:dirty-bitmap. */
static void find_dirty(const NbdTask *t, const DirtyBitmap *b, Extents *x)
{
    uint64_t end = t->offset + t->length;
    uint64_t end_bit = MIN(div_round_up(end, b->granularity), hbitmap_bits(b->bits));

    for (uint64_t at = t->offset; at < end;) {
        uint64_t bit = at / b->granularity;
        bool dirty = bit < end_bit && hbitmap_get(b->bits, bit);
        uint64_t next = bit >= end_bit ? end_bit :
                        dirty          ? hbitmap_next_clear(b->bits, bit, end_bit)
                                       : hbitmap_next_set(b->bits, bit, end_bit);
        uint64_t to = next >= end_bit ? end : MIN(next * b->granularity, end);

        if (!extents_add(x, to - at, dirty ? NBD_STATE_DIRTY : 0))
            return;
        at = to;
    }
}

static CO int find(NbdTask *t, unsigned id, Extents *x)
{
    if (id >= NBD_ID_BITMAP) {
        find_dirty(t, t->client->export->bitmaps->pdata[id - NBD_ID_BITMAP], x);
        return 0;
    }
    return find_allocation(t, id == NBD_ID_DEPTH, x);
}

/* Appends the chunk of context @id, with at most @max extents, to @out. */
static CO int chunk_add(NbdTask *t, unsigned id, unsigned max, bool last, GByteArray *out)
{
    bool extended = t->client->style == NBD_EXTENDED;
    size_t start = out->len, fixed = extended ? 8 : 4;
    uint8_t room[NBD_REPLY_HEAD] = { 0 };
    size_t head = nbd_chunk_head(t, room, 0, false, 0);
    Extents x = {
        .out = out,
        .extended = extended,
        .max = max,
    };
    int r;

    be32_put(room + head, id);
    g_byte_array_append(out, room, head + fixed);
    r = find(t, id, &x);
    if (r < 0)
        return r;
    extents_flush(&x);
    nbd_chunk_head(t, out->data + start,
                   extended ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS, last,
                   out->len - start - head);
    if (extended)
        be32_put(out->data + start + head + 4, x.n);
    return 0;
}

CO int nbd_task_status(NbdTask *t, uint64_t wanted)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    unsigned max = EXTENTS_MAX / MAX(__builtin_popcountll(wanted), 1);

    if (t->flags & NBD_CMD_FLAG_REQ_ONE)
        max = 1;
    for (unsigned id = 0; wanted >> id; id++) {
        int r = 0;

        if (wanted >> id & 1)
            r = chunk_add(t, id, max, !(wanted >> id >> 1), out);
        if (r < 0)
            return r;
    }
    if (!out->len)
        return 0;
    t->few[0] = (struct iovec){ NULL, out->len };
    t->more = g_byte_array_free(g_steal_pointer(&out), FALSE);
    t->few[0].iov_base = t->more;
    t->iov = t->few;
    t->niov = 1;
    return 0;
}
