/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Queues of virtio devices as a driver sees them, split or packed, of either version of the
 * transport. Each of a queue's slots has one chain at a time.
 */
#include "guest.h"

#ifndef QUEUE_SLOTS
#define QUEUE_SLOTS 8
#endif

enum {
    LEGACY_PAGE = 16, LEGACY_ALIGN = 64, /* those of Queue */
    SLOTS = QUEUE_SLOTS, PER_SLOT = 4, QUEUE = SLOTS * PER_SLOT,
    NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 1 << 7, USED = 1 << 15,
};

typedef struct {
    uint64_t at;
    uint32_t len;
    uint16_t flags, next; /* packed: id, flags */
} Descriptor;

typedef struct {
    volatile Descriptor table[QUEUE] __attribute__((aligned(16)));
    volatile struct {
        uint16_t flags, index, ring[QUEUE], used_event;
    } avail __attribute__((aligned(4)));
    volatile struct {
        uint16_t flags, index;
        struct {
            uint32_t id, len;
        } ring[QUEUE];
        uint16_t avail_event;
    } used __attribute__((aligned(LEGACY_ALIGN)));
    uint64_t base;
    unsigned number, at, used_at, count[SLOTS];
    uint32_t len; /* of what was given back last */
    bool packed, wrap, used_wrap;
} Queue;

typedef struct {
    void *at;
    uint32_t len;
    bool write;
} Segment;

static inline bool is_legacy(uint64_t base)
{
    return mmio_get(base + 4) == 1;
}

/* Begins with a device and accepts the features @low, and packed queues if they are offered. */
static inline bool device_open(uint64_t base, uint32_t low)
{
    bool packed;

    mmio_put(base + 0x70, 0);
    mmio_put(base + 0x70, 3);
    mmio_put(base + 0x14, 1);
    packed = !is_legacy(base) && mmio_get(base + 0x10) & 4;
    mmio_put(base + 0x14, 0);
    if ((mmio_get(base + 0x10) & low) != low)
        print("bad features\n");
    mmio_put(base + 0x24, 0);
    mmio_put(base + 0x20, low);
    if (is_legacy(base)) {
        mmio_put(base + 0x28, LEGACY_PAGE);
        return false;
    }
    mmio_put(base + 0x24, 1);
    mmio_put(base + 0x20, packed ? 5 : 1);
    mmio_put(base + 0x70, 11);
    return packed;
}

/* Queue @number of it, anew. */
static inline void queue_start(Queue *q, uint64_t base, unsigned number, bool packed)
{
    q->base = base;
    q->number = number;
    q->packed = packed;
    q->wrap = q->used_wrap = true;
    q->at = q->used_at = q->avail.index = q->used.index = 0;
    for (unsigned i = 0; i < QUEUE; i++)
        q->table[i].flags = q->table[i].next = 0;
    mmio_put(base + 0x30, number);
    mmio_put(base + 0x38, QUEUE);
    if (is_legacy(base)) {
        mmio_put(base + 0x3c, LEGACY_ALIGN);
        mmio_put(base + 0x40, (uint64_t)q->table / LEGACY_PAGE);
        return;
    }
    mmio_put(base + 0x80, (uint64_t)q->table);
    mmio_put(base + 0x84, 0);
    mmio_put(base + 0x90, (uint64_t)&q->avail);
    mmio_put(base + 0x94, 0);
    mmio_put(base + 0xa0, (uint64_t)&q->used);
    mmio_put(base + 0xa4, 0);
    mmio_put(base + 0x44, 1);
}

/* The driver is ready. */
static inline void device_start(uint64_t base)
{
    mmio_put(base + 0x70, 15);
}

/* ---- chains ---------------------------------------------------------------------------------- */

static inline void fence(void)
{
    __asm__ volatile("mfence" : : : "memory");
}

static inline void add_packed(Queue *q, unsigned slot, const Segment *s, unsigned n)
{
    unsigned first = q->at;
    uint16_t first_flags = 0;

    for (unsigned i = 0; i < n; i++) {
        volatile Descriptor *d = &q->table[q->at];
        uint16_t flags = (s[i].write ? WRITE : 0) | (i + 1 < n ? NEXT : 0) |
                         (q->wrap ? AVAIL : USED);

        d->at = (uint64_t)s[i].at;
        d->len = s[i].len;
        d->flags = slot;
        if (i)
            d->next = flags;
        else
            first_flags = flags;
        if (++q->at == QUEUE) {
            q->at = 0;
            q->wrap = !q->wrap;
        }
    }
    fence();
    q->table[first].next = first_flags;
}

static inline void add_split(Queue *q, unsigned slot, const Segment *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        volatile Descriptor *d = &q->table[PER_SLOT * slot + i];

        d->at = (uint64_t)s[i].at;
        d->len = s[i].len;
        d->flags = (s[i].write ? WRITE : 0) | (i + 1 < n ? NEXT : 0);
        d->next = PER_SLOT * slot + i + 1;
    }
    q->avail.ring[q->at++ % QUEUE] = PER_SLOT * slot;
    fence();
    q->avail.index = q->at;
}

/* Gives the device a chain of @n segments, at most PER_SLOT, and tells it. */
static inline void queue_add(Queue *q, unsigned slot, const Segment *s, unsigned n)
{
    q->count[slot] = n;
    if (q->packed)
        add_packed(q, slot, s, n);
    else
        add_split(q, slot, s, n);
    fence();
    mmio_put(q->base + 0x50, q->number);
}

static inline int take_packed(Queue *q)
{
    volatile Descriptor *d = &q->table[q->used_at];
    uint16_t flags = d->next;
    unsigned slot;

    if (!!(flags & AVAIL) != q->used_wrap || !!(flags & USED) != q->used_wrap)
        return -1;
    fence();
    slot = d->flags;
    q->len = d->len;
    q->used_at += q->count[slot];
    if (q->used_at >= QUEUE) {
        q->used_at -= QUEUE;
        q->used_wrap = !q->used_wrap;
    }
    return slot;
}

/* The slot of a chain that was given back; -1: none was. */
static inline int queue_take(Queue *q)
{
    unsigned i;

    if (q->packed)
        return take_packed(q);
    if (q->used.index == (uint16_t)q->used_at)
        return -1;
    fence();
    i = q->used_at++ % QUEUE;
    q->len = q->used.ring[i].len;
    return q->used.ring[i].id / PER_SLOT;
}

static inline void queue_await(Queue *q)
{
    while (queue_take(q) < 0)
        ;
}
