/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtqueues, split or packed, seen by the device: docs/spec/virtio.md. Everything that a driver
 * says, addresses, indexes, lengths and chains, is checked here and nowhere else; after a fault the
 * ring is broken, and stays so until it is started anew. Nothing here allocates or waits.
 */
#ifndef VIRTIO_RING_H
#define VIRTIO_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { RING_SIZE_MAX = 256, RING_SEGMENTS_MAX = RING_SIZE_MAX + 2 };

/* The driver's memory. */
typedef struct {
    /* The host address of @len bytes at @at, if all of them are memory (to write), else NULL. */
    void *(*range)(void *opaque, uint64_t at, uint64_t len, bool write);
    /*
     * False: some of that memory is still to come, has been asked for, and must not be touched yet.
     * What has come stays. NULL: all is always there.
     */
    bool (*here)(void *opaque, uint64_t at, uint64_t len);
    /* Tells that @len bytes at @at have been written. */
    void (*written)(void *opaque, uint64_t at, uint64_t len);
    void *opaque;
} RingMemory;

/* Plain data; what the driver sets comes first. */
typedef struct {
    uint64_t desc, avail, used; /* addresses; packed: table, driver's area, device's area */
    uint16_t size;              /* of the queue, up to RING_SIZE_MAX; split: a power of two */
    bool ready;
    bool event_index, indirect, packed, notify_on_empty; /* have been agreed on */
    bool untouched;             /* the device writes to no segment: they need not be here */
    bool broken;
    uint16_t next_avail;        /* the next entry of the available ring, or of the table */
    uint16_t next_used;         /* the next entry of the used ring, or of the table */
    uint16_t signalled;         /* the used index at the last interrupt; packed: entries since */
    bool signalled_valid;
    bool avail_wrap, used_wrap; /* packed: these rounds are odd ones */
} Ring;

/* What a driver has put into the ring: first what the device reads, then what it writes. */
typedef struct {
    uint16_t head, count;       /* its number, and how many entries of the table it takes */
    unsigned out, in;           /* segments to read, and to write, in this order in @iov */
    uint64_t out_len, in_len;
    bool lacks_memory;          /* some of what the device touches is still to come */
    struct iovec iov[RING_SEGMENTS_MAX];
    uint64_t at[RING_SEGMENTS_MAX]; /* their addresses */
} RingChain;

/* What is left to say of a chain whose data have been dealt with. */
typedef struct {
    uint16_t head, count;
    uint32_t len; /* bytes that have been written */
} RingUsed;

static inline RingUsed ring_used(const RingChain *c, uint32_t len)
{
    return (RingUsed){ c->head, c->count, len };
}

/*
 * Where a legacy driver's split ring is, .size being set: the table at @desc, the available ring
 * after it, the used ring at the next multiple of @alignment, a power of two.
 */
void ring_place_legacy(Ring *r, uint64_t desc, uint32_t alignment);
/* Forgets all. */
void ring_reset(Ring *r);
/* Checks what the driver has set, and starts. False: it is broken. */
bool ring_start(Ring *r, const RingMemory *m);
/* The same for a split ring that goes on where it was stopped, all that was taken being given back:
 * @next_avail is the next entry to take. */
bool ring_continue(Ring *r, const RingMemory *m, uint16_t next_avail);

/* False: memory of the ring itself is still to come, and has been asked for. */
bool ring_is_here(const Ring *r, const RingMemory *m);

/* RING_MISSING: memory of the ring or of the chain is still to come, and has been asked for. */
typedef enum { RING_EMPTY, RING_CHAIN, RING_MISSING, RING_BROKEN } RingResult;
/* Looks at the next chain and leaves it in the ring. */
RingResult ring_peek(Ring *r, const RingMemory *m, RingChain *c);
/* Takes the chain that ring_peek has just given. */
void ring_take(Ring *r, const RingChain *c);
/* Puts back the chain that was taken last. */
void ring_untake(Ring *r, const RingUsed *used);
/* Takes the next chain. */
RingResult ring_pop(Ring *r, const RingMemory *m, RingChain *c);
/*
 * The calls from here on are for rings that are here (ring_is_here); that of a chain is. If a
 * driver has moved the ring meanwhile, which it must not do, to where memory is still to come, the
 * ring breaks.
 */
/* Gives it back; @len bytes of what the driver can read have been written. */
void ring_push(Ring *r, const RingMemory *m, const RingChain *c, uint32_t len);
/* Gives several back, all of which the driver sees at once. */
void ring_push_all(Ring *r, const RingMemory *m, const RingUsed *used, unsigned count);
/* The driver wants an interrupt for what has been pushed since this was last asked. */
bool ring_wants_interrupt(Ring *r, const RingMemory *m);
/* The driver shall tell of new chains, or need not. True: there are some already. */
bool ring_want_kicks(Ring *r, const RingMemory *m, bool want);

/* Entries taken from the queue and not given back; more than its size if the ring is damaged. */
unsigned ring_in_use(const Ring *r);

/* Bytes of the chain, from its @skip'th to read or to write on. How many were copied. */
size_t ring_chain_read(const RingChain *c, uint64_t skip, void *to, size_t len);
size_t ring_chain_write(const RingChain *c, const RingMemory *m, uint64_t skip, const void *from,
                        size_t len);
/* Tells that the first @len bytes to write have been written. */
void ring_chain_written(const RingChain *c, const RingMemory *m, uint64_t len);

#endif
