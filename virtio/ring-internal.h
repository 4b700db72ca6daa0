/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What both layouts of rings have in common. Inside of the room. */
#ifndef VIRTIO_RING_INTERNAL_H
#define VIRTIO_RING_INTERNAL_H

#include "util/endian.h"
#include "virtio/ring.h"
#include <glib.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_SIZE = 16 };

typedef struct {
    uint64_t at;
    uint32_t len;
    uint16_t flags;
    uint16_t next; /* of a packed ring: the id of the buffer */
} Descriptor;

/* @len bytes @offset bytes after @start, which may be anything. */
void *ring_range(const RingMemory *m, uint64_t start, uint64_t offset, uint64_t len, bool write);
/* False: some of these @len bytes is still to come. */
static inline bool ring_range_here(const RingMemory *m, uint64_t at, uint64_t len)
{
    return !m->here || m->here(m->opaque, at, len);
}

bool ring_add_segment(const Ring *r, RingChain *c, const RingMemory *m, const Descriptor *d);

static inline uint16_t load16(const uint8_t *p)
{
    return GUINT16_FROM_LE(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}

static inline void store16(uint8_t *p, uint16_t v)
{
    __atomic_store_n((uint16_t *)p, GUINT16_TO_LE(v), __ATOMIC_RELEASE);
}

/* As those of ring.h; the ring is not broken and ready. */
bool packed_is_here(const Ring *r, const RingMemory *m);
bool packed_start(const Ring *r, const RingMemory *m);
RingResult packed_peek(Ring *r, const RingMemory *m, RingChain *c);
void packed_take(Ring *r, unsigned count);
void packed_untake(Ring *r, unsigned count);
void packed_push_all(Ring *r, const RingMemory *m, const RingUsed *used, unsigned count);
bool packed_wants_interrupt(Ring *r, const RingMemory *m);
bool packed_want_kicks(Ring *r, const RingMemory *m, bool want);

#endif
