/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packed virtqueues, virtio 1.2, 2.8: one table in which the driver makes descriptors available and
 * the device marks them as used, told apart by two flags and by whether each side has gone round an
 * odd or even number of times.
 */
#include "virtio/ring-internal.h"
#include <string.h>

enum {
    DESC_AVAIL = 1 << 7, DESC_USED = 1 << 15, WRAP = 1 << 15,
    AT_LEN = 8, AT_ID = 12, AT_FLAGS = 14,
    /* The areas by which both sides say what they want to be told. */
    EVENT_AT = 0, EVENT_FLAGS = 2, EVENT_SIZE = 4, EVENT_ENABLE = 0, EVENT_DISABLE = 1,
    EVENT_DESC = 2,
};

static uint8_t *table_of(const Ring *r, const RingMemory *m)
{
    return ring_range(m, r->desc, 0, DESC_SIZE * (uint64_t)r->size, true);
}

static uint8_t *driver_area(const Ring *r, const RingMemory *m)
{
    return ring_range(m, r->avail, 0, EVENT_SIZE, false);
}

static uint8_t *device_area(const Ring *r, const RingMemory *m)
{
    return ring_range(m, r->used, 0, EVENT_SIZE, true);
}

/* All are asked for at once. */
bool packed_is_here(const Ring *r, const RingMemory *m)
{
    return ring_range_here(m, r->desc, DESC_SIZE * (uint64_t)r->size) &
           ring_range_here(m, r->avail, EVENT_SIZE) & ring_range_here(m, r->used, EVENT_SIZE);
}

bool packed_start(const Ring *r, const RingMemory *m)
{
    return r->size && r->size <= RING_SIZE_MAX && !(r->desc & 15) && !(r->avail & 3) &&
           !(r->used & 3) && table_of(r, m) && driver_area(r, m) && device_area(r, m);
}

/* ---- chains ---------------------------------------------------------------------------------- */

static Descriptor read_descriptor(const uint8_t *table, unsigned i)
{
    uint8_t raw[DESC_SIZE];

    memcpy(raw, table + DESC_SIZE * i, DESC_SIZE);
    return (Descriptor){ .at = le64_at(raw), .len = le32_at(raw + AT_LEN),
                         .flags = le16_at(raw + AT_FLAGS), .next = le16_at(raw + AT_ID) };
}

static bool is_available(const Ring *r, const uint8_t *table)
{
    uint16_t flags = load16(table + DESC_SIZE * r->next_avail + AT_FLAGS);

    return !!(flags & DESC_AVAIL) == r->avail_wrap && !!(flags & DESC_USED) != r->avail_wrap;
}

/* The table of one indirect descriptor: all of its entries, in order. */
static bool follow_indirect(const Ring *r, RingChain *c, const RingMemory *m, const Descriptor *d)
{
    unsigned count = d->len / DESC_SIZE;
    const uint8_t *table = d->len ? m->range(m->opaque, d->at, d->len, false) : NULL;

    if (!table || d->len % DESC_SIZE || count > RING_SEGMENTS_MAX)
        return false;
    if (!ring_range_here(m, d->at, d->len)) {
        c->lacks_memory = true;
        return true;
    }
    for (unsigned i = 0; i < count; i++) {
        Descriptor inner = read_descriptor(table, i);

        if (inner.flags & DESC_INDIRECT || !ring_add_segment(r, c, m, &inner))
            return false;
    }
    return true;
}

static bool read_chain(const Ring *r, const RingMemory *m, const uint8_t *table, RingChain *c)
{
    unsigned i = r->next_avail;
    Descriptor d;

    c->out = c->in = c->count = 0;
    c->out_len = c->in_len = 0;
    c->lacks_memory = false;
    do {
        if (c->count++ == r->size)
            return false;
        d = read_descriptor(table, i);
        if (d.flags & DESC_INDIRECT) {
            if (!r->indirect || d.flags & DESC_NEXT || c->count > 1 ||
                !follow_indirect(r, c, m, &d))
                return false;
        } else if (!ring_add_segment(r, c, m, &d)) {
            return false;
        }
        i = (i + 1) % r->size;
    } while (d.flags & DESC_NEXT);
    c->head = d.next;
    return true;
}

RingResult packed_peek(Ring *r, const RingMemory *m, RingChain *c)
{
    const uint8_t *table = table_of(r, m);

    if (!table || !is_available(r, table))
        return RING_EMPTY;
    if (!read_chain(r, m, table, c))
        return RING_BROKEN;
    return c->lacks_memory ? RING_MISSING : RING_CHAIN;
}

/* Moves @at on by @count descriptors. */
static void advance(const Ring *r, uint16_t *at, bool *wrap, unsigned count)
{
    unsigned next = *at + count;

    *wrap ^= next >= r->size;
    *at = next >= r->size ? next - r->size : next;
}

void packed_take(Ring *r, unsigned count)
{
    advance(r, &r->next_avail, &r->avail_wrap, count);
}

void packed_untake(Ring *r, unsigned count)
{
    r->avail_wrap ^= count > r->next_avail;
    r->next_avail = count > r->next_avail ? r->next_avail + r->size - count : r->next_avail - count;
}

/* ---- giving back ----------------------------------------------------------------------------- */

void packed_push_all(Ring *r, const RingMemory *m, const RingUsed *used, unsigned count)
{
    uint8_t *table = table_of(r, m), *first = NULL;
    uint16_t first_flags = 0;

    for (unsigned i = 0; table && i < count; i++) {
        uint8_t *entry = table + DESC_SIZE * r->next_used;
        uint16_t flags = (r->used_wrap ? DESC_AVAIL | DESC_USED : 0) |
                         (used[i].len ? DESC_WRITE : 0);

        le32_put(entry + AT_LEN, used[i].len);
        le16_put(entry + AT_ID, used[i].head);
        /* The driver looks at the first; when that is there all others are. */
        if (first) {
            store16(entry + AT_FLAGS, flags);
        } else {
            first = entry;
            first_flags = flags;
        }
        r->signalled += used[i].count;
        advance(r, &r->next_used, &r->used_wrap, used[i].count);
    }
    if (!first)
        return;
    store16(first + AT_FLAGS, first_flags);
    m->written(m->opaque, r->desc, DESC_SIZE * (uint64_t)r->size);
}

bool packed_wants_interrupt(Ring *r, const RingMemory *m)
{
    const uint8_t *area = driver_area(r, m);
    uint16_t given = r->signalled, where, old = r->next_used - given;
    int event;

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    r->signalled = 0;
    if (!area || load16(area + EVENT_FLAGS) == EVENT_DISABLE)
        return false;
    if (!r->event_index || load16(area + EVENT_FLAGS) != EVENT_DESC)
        return true;
    where = load16(area + EVENT_AT);
    event = (where & ~WRAP) - (!!(where & WRAP) != r->used_wrap ? r->size : 0);
    return (uint16_t)(r->next_used - event - 1) < (uint16_t)(r->next_used - old);
}

bool packed_want_kicks(Ring *r, const RingMemory *m, bool want)
{
    const uint8_t *table = table_of(r, m);
    uint8_t *area = table ? device_area(r, m) : NULL;

    if (!area)
        return false;
    if (!want) {
        store16(area + EVENT_FLAGS, EVENT_DISABLE);
    } else if (!r->event_index) {
        store16(area + EVENT_FLAGS, EVENT_ENABLE);
    } else {
        store16(area + EVENT_AT, r->next_avail | (r->avail_wrap ? WRAP : 0));
        store16(area + EVENT_FLAGS, EVENT_DESC);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return is_available(r, table);
}
