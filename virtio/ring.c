/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "virtio/ring-internal.h"
#include "util/size.h"
#include <string.h>

enum {
    AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1,
    AVAIL_RING = 4, USED_RING = 4, USED_SIZE = 8,
};

/* ---- the driver's memory --------------------------------------------------------------------- */

static bool break_it(Ring *r)
{
    r->broken = true;
    return false;
}

void *ring_range(const RingMemory *m, uint64_t start, uint64_t offset, uint64_t len, bool write)
{
    uint64_t at;

    return size_add(start, offset, &at) ? m->range(m->opaque, at, len, write) : NULL;
}

static uint64_t avail_bytes(const Ring *r)
{
    return AVAIL_RING + 2 * (uint64_t)r->size + 2;
}

static uint64_t used_bytes(const Ring *r)
{
    return USED_RING + USED_SIZE * (uint64_t)r->size + 2;
}

/* The areas lie in memory when the ring starts, and memory does not go away. */
static uint8_t *avail_area(const Ring *r, const RingMemory *m)
{
    return ring_range(m, r->avail, 0, avail_bytes(r), false);
}

static uint8_t *used_area(const Ring *r, const RingMemory *m)
{
    return ring_range(m, r->used, 0, used_bytes(r), true);
}

/* All are asked for at once. */
static bool split_is_here(const Ring *r, const RingMemory *m)
{
    return ring_range_here(m, r->desc, DESC_SIZE * (uint64_t)r->size) &
           ring_range_here(m, r->avail, avail_bytes(r)) &
           ring_range_here(m, r->used, used_bytes(r));
}

bool ring_is_here(const Ring *r, const RingMemory *m)
{
    if (!m->here || !r->ready)
        return true;
    return r->packed ? packed_is_here(r, m) : split_is_here(r, m);
}

/* ---- starting -------------------------------------------------------------------------------- */

void ring_reset(Ring *r)
{
    *r = (Ring){ 0 };
}

bool ring_start(Ring *r, const RingMemory *m)
{
    r->broken = false;
    r->next_avail = r->next_used = r->signalled = 0;
    r->signalled_valid = false;
    r->avail_wrap = r->used_wrap = true;
    if (r->packed)
        return packed_start(r, m) || break_it(r);
    if (!is_power_of_2(r->size) || r->size > RING_SIZE_MAX || r->desc & 15 || r->avail & 1 ||
        r->used & 3)
        return break_it(r);
    if (!ring_range(m, r->desc, 0, DESC_SIZE * (uint64_t)r->size, false) || !avail_area(r, m) ||
        !used_area(r, m))
        return break_it(r);
    return true;
}

bool ring_continue(Ring *r, const RingMemory *m, uint16_t next_avail)
{
    if (!ring_start(r, m))
        return false;
    r->next_avail = next_avail;
    r->next_used = load16(used_area(r, m) + 2);
    return true;
}

void ring_place_legacy(Ring *r, uint64_t desc, uint32_t alignment)
{
    r->desc = desc;
    r->avail = desc + DESC_SIZE * (uint64_t)r->size;
    r->used = round_up(r->avail + avail_bytes(r), alignment);
}

/* ---- chains ---------------------------------------------------------------------------------- */

/* Copied, since the driver may change it at any time. */
static Descriptor read_descriptor(const uint8_t *table, unsigned i)
{
    uint8_t raw[DESC_SIZE];

    memcpy(raw, table + DESC_SIZE * i, DESC_SIZE);
    return (Descriptor){ le64_at(raw), le32_at(raw + 8), le16_at(raw + 12), le16_at(raw + 14) };
}

bool ring_add_segment(const Ring *r, RingChain *c, const RingMemory *m, const Descriptor *d)
{
    bool write = d->flags & DESC_WRITE;
    unsigned n = c->out + c->in;
    uint64_t *total = write ? &c->in_len : &c->out_len;
    void *p;

    /* What the device reads comes first. */
    if (!write && c->in)
        return false;
    if (!d->len)
        return true;
    p = n < RING_SEGMENTS_MAX ? m->range(m->opaque, d->at, d->len, write) : NULL;
    if (!p)
        return false;
    c->lacks_memory |= !(write && r->untouched) && !ring_range_here(m, d->at, d->len);
    c->iov[n] = (struct iovec){ p, d->len };
    c->at[n] = d->at;
    *total += d->len;
    *(write ? &c->in : &c->out) += 1;
    return true;
}

/* Follows a chain through @table of @count entries; it cannot be longer than the table. */
static bool follow(const Ring *r, RingChain *c, const RingMemory *m, const uint8_t *table,
                   unsigned count, unsigned first, Descriptor *indirect)
{
    unsigned i = first;

    for (unsigned steps = 0; steps < count; steps++) {
        Descriptor d = read_descriptor(table, i);

        if (d.flags & DESC_INDIRECT) {
            if (!indirect || d.flags & DESC_NEXT)
                return false;
            *indirect = d;
            return true;
        }
        if (!ring_add_segment(r, c, m, &d))
            return false;
        if (!(d.flags & DESC_NEXT))
            return true;
        i = d.next;
        if (i >= count)
            return false;
    }
    return false;
}

static bool follow_indirect(const Ring *r, RingChain *c, const RingMemory *m, const Descriptor *d)
{
    const uint8_t *table = d->len ? m->range(m->opaque, d->at, d->len, false) : NULL;

    if (!table || d->len % DESC_SIZE || d->len / DESC_SIZE > RING_SEGMENTS_MAX)
        return false;
    if (ring_range_here(m, d->at, d->len))
        return follow(r, c, m, table, d->len / DESC_SIZE, 0, NULL);
    c->lacks_memory = true;
    return true;
}

static bool read_chain(const Ring *r, const RingMemory *m, RingChain *c)
{
    const uint8_t *table = ring_range(m, r->desc, 0, DESC_SIZE * (uint64_t)r->size, false);
    Descriptor indirect = { 0 };

    c->out = c->in = 0;
    c->count = 1;
    c->out_len = c->in_len = 0;
    c->lacks_memory = false;
    return table && follow(r, c, m, table, r->size, c->head, r->indirect ? &indirect : NULL) &&
           (!indirect.flags || follow_indirect(r, c, m, &indirect));
}

RingResult ring_peek(Ring *r, const RingMemory *m, RingChain *c)
{
    const uint8_t *avail;
    uint16_t waiting;

    if (r->broken)
        return RING_BROKEN;
    if (!ring_is_here(r, m))
        return RING_MISSING;
    if (r->ready && r->packed) {
        RingResult result = packed_peek(r, m, c);

        r->broken = result == RING_BROKEN;
        return result;
    }
    avail = r->ready ? avail_area(r, m) : NULL;
    if (!avail)
        return RING_EMPTY;
    waiting = load16(avail + 2) - r->next_avail;
    if (!waiting)
        return RING_EMPTY;
    c->head = load16(avail + AVAIL_RING + 2 * (r->next_avail % r->size));
    if (waiting > r->size || c->head >= r->size || !read_chain(r, m, c)) {
        break_it(r);
        return RING_BROKEN;
    }
    return c->lacks_memory ? RING_MISSING : RING_CHAIN;
}

void ring_take(Ring *r, const RingChain *c)
{
    if (r->packed)
        packed_take(r, c->count);
    else
        r->next_avail++;
}

void ring_untake(Ring *r, const RingUsed *used)
{
    if (r->packed)
        packed_untake(r, used->count);
    else
        r->next_avail--;
}

RingResult ring_pop(Ring *r, const RingMemory *m, RingChain *c)
{
    RingResult result = ring_peek(r, m, c);

    if (result == RING_CHAIN)
        ring_take(r, c);
    return result;
}

/* ---- giving back ----------------------------------------------------------------------------- */

void ring_push_all(Ring *r, const RingMemory *m, const RingUsed *used, unsigned count)
{
    uint8_t *area;

    if (r->broken || !r->ready)
        return;
    if (!ring_is_here(r, m)) {
        break_it(r);
        return;
    }
    if (r->packed) {
        packed_push_all(r, m, used, count);
        return;
    }
    area = used_area(r, m);
    if (!area)
        return;
    for (unsigned i = 0; i < count; i++) {
        uint8_t *entry = area + USED_RING + USED_SIZE * (r->next_used++ % r->size);

        le32_put(entry, used[i].head);
        le32_put(entry + 4, used[i].len);
    }
    store16(area + 2, r->next_used);
    m->written(m->opaque, r->used, used_bytes(r));
}

void ring_push(Ring *r, const RingMemory *m, const RingChain *c, uint32_t len)
{
    RingUsed used = ring_used(c, len);

    ring_push_all(r, m, &used, 1);
}

bool ring_wants_interrupt(Ring *r, const RingMemory *m)
{
    const uint8_t *avail;
    uint16_t old = r->signalled, event;
    bool was_valid = r->signalled_valid;

    if (r->broken || !r->ready || !ring_is_here(r, m))
        return false;
    if (r->packed)
        return packed_wants_interrupt(r, m);
    avail = avail_area(r, m);
    if (!avail)
        return false;
    /* What has been pushed is seen before we look. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    r->signalled = r->next_used;
    r->signalled_valid = r->event_index;
    if (r->notify_on_empty && !ring_in_use(r) && load16(avail + 2) == r->next_avail)
        return true;
    if (!r->event_index)
        return !(load16(avail) & AVAIL_NO_INTERRUPT);
    event = load16(avail + AVAIL_RING + 2 * r->size);
    return !was_valid ||
           (uint16_t)(r->next_used - event - 1) < (uint16_t)(r->next_used - old);
}

bool ring_want_kicks(Ring *r, const RingMemory *m, bool want)
{
    const uint8_t *avail;
    uint8_t *used;

    if (r->broken || !r->ready)
        return false;
    if (r->packed)
        return packed_want_kicks(r, m, want);
    avail = avail_area(r, m);
    used = avail ? used_area(r, m) : NULL;
    if (!used)
        return false;
    if (!r->event_index)
        store16(used, want ? 0 : USED_NO_NOTIFY);
    else if (want)
        store16(used + USED_RING + USED_SIZE * r->size, r->next_avail);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return load16(avail + 2) != r->next_avail;
}

unsigned ring_in_use(const Ring *r)
{
    if (!r->packed)
        return (uint16_t)(r->next_avail - r->next_used);
    return r->next_avail + (r->avail_wrap != r->used_wrap ? r->size : 0) - r->next_used;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

size_t ring_chain_read(const RingChain *c, uint64_t skip, void *to, size_t len)
{
    size_t done = 0;

    for (unsigned i = 0; i < c->out && done < len; i++) {
        const struct iovec *v = &c->iov[i];
        size_t n;

        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        n = MIN(v->iov_len - skip, len - done);
        memcpy((uint8_t *)to + done, (uint8_t *)v->iov_base + skip, n);
        done += n;
        skip = 0;
    }
    return done;
}

size_t ring_chain_write(const RingChain *c, const RingMemory *m, uint64_t skip, const void *from,
                        size_t len)
{
    size_t done = 0;

    for (unsigned i = c->out; i < c->out + c->in && done < len; i++) {
        const struct iovec *v = &c->iov[i];
        size_t n;

        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        n = MIN(v->iov_len - skip, len - done);
        memcpy((uint8_t *)v->iov_base + skip, (const uint8_t *)from + done, n);
        m->written(m->opaque, c->at[i] + skip, n);
        done += n;
        skip = 0;
    }
    return done;
}

void ring_chain_written(const RingChain *c, const RingMemory *m, uint64_t len)
{
    for (unsigned i = c->out; i < c->out + c->in && len; i++) {
        uint64_t n = MIN(c->iov[i].iov_len, len);

        m->written(m->opaque, c->at[i], n);
        len -= n;
    }
}
