/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/virtio/device.h"
#include "hw/virtio/section.h"
#include "system/base/guest-log.h"
#include "util/endian.h"

enum { CONFIG_MAX = 128 };

/* ---- memory ---------------------------------------------------------------------------------- */

static void *memory_range(void *opaque, uint64_t at, uint64_t len, bool write)
{
    return memory_map_range(opaque, at, len, write);
}

static bool memory_here(void *opaque, uint64_t at, uint64_t len)
{
    return memory_map_here(opaque, at, len);
}

static void memory_written(void *opaque, uint64_t at, uint64_t len)
{
    memory_map_written(opaque, at, len);
}

/* Where no memory is missing, rings need not ask for it. */
static void choose_here(VirtioDevice *d)
{
    d->memory.here = memory_map_lacks(d->dev.board->memory) ? memory_here : NULL;
}

void virtio_init(VirtioDevice *d, const VirtioType *type, uint16_t queue_size)
{
    g_assert(type->queues <= VIRTIO_QUEUES_MAX && type->config_size <= CONFIG_MAX);
    d->type = type;
    d->queues = type->queues;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
        d->queue_size[i] = queue_size;
    d->memory = (RingMemory){ memory_range, NULL, memory_written, d->dev.board->memory };
    choose_here(d);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void raise_interrupt(VirtioDevice *d, uint8_t why)
{
    d->interrupts |= why;
    if (d->interrupt)
        d->interrupt(d->transport);
}

void virtio_config_changed(VirtioDevice *d)
{
    d->generation++;
    if (virtio_has_driver(d))
        raise_interrupt(d, VIRTIO_INTERRUPT_CONFIG);
}

void virtio_fail(VirtioDevice *d)
{
    if (d->status & VIRTIO_STATUS_NEEDS_RESET)
        return;
    guest_log(GUEST_LOG_ERRORS, "%s: the driver has made an invalid request: the device needs a "
              "reset", d->path);
    d->status |= VIRTIO_STATUS_NEEDS_RESET;
    if (d->status & VIRTIO_STATUS_DRIVER_OK)
        raise_interrupt(d, VIRTIO_INTERRUPT_CONFIG);
}

/* ---- states ---------------------------------------------------------------------------------- */

uint64_t virtio_features(const VirtioDevice *d)
{
    uint64_t rings = VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_INDEX;

    if (d->is_legacy)
        rings |= VIRTIO_F_NOTIFY_ON_EMPTY | (d->type->has_fixed_layout ? 0 : VIRTIO_F_ANY_LAYOUT);
    else
        rings |= VIRTIO_F_VERSION_1 | (d->offers_packed ? VIRTIO_F_PACKED : 0);
    return d->type->features(d) | rings;
}

bool virtio_has_driver(const VirtioDevice *d)
{
    return (d->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) ==
           VIRTIO_STATUS_DRIVER_OK;
}

bool virtio_is_running(const VirtioDevice *d)
{
    return virtio_has_driver(d) && !d->is_paused;
}

void virtio_reset(VirtioDevice *d)
{
    d->status = 0;
    d->resets++;
    d->features = 0;
    d->lacking = d->unsettled = 0;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        ring_reset(&d->ring[i]);
        d->ring[i].size = d->queue_size[i];
    }
    if (d->type->reset)
        d->type->reset(d);
    d->interrupts = 0;
    if (d->interrupt)
        d->interrupt(d->transport);
}

void virtio_set_status(VirtioDevice *d, uint8_t status)
{
    if (!status) {
        virtio_reset(d);
        return;
    }
    /*
     * Features that are not there, or without the one that all drivers must take, are not accepted.
     */
    if (!d->is_legacy && status & ~d->status & VIRTIO_STATUS_FEATURES_OK &&
        (d->features & ~virtio_features(d) || !virtio_has(d, VIRTIO_F_VERSION_1)))
        status &= ~VIRTIO_STATUS_FEATURES_OK;
    d->status = status | (d->status & VIRTIO_STATUS_NEEDS_RESET);
    for (unsigned i = 0; i < d->queues && virtio_is_running(d); i++)
        virtio_kick(d, i);
}

void virtio_set_ring_features(VirtioDevice *d, unsigned queue)
{
    Ring *r = &d->ring[queue];

    r->untouched = d->untouched >> queue & 1;
    r->event_index = virtio_has(d, VIRTIO_F_EVENT_INDEX);
    r->indirect = virtio_has(d, VIRTIO_F_INDIRECT);
    r->packed = virtio_has(d, VIRTIO_F_PACKED);
    r->notify_on_empty = virtio_has(d, VIRTIO_F_NOTIFY_ON_EMPTY);
}

void virtio_set_queue_ready(VirtioDevice *d, unsigned queue, bool ready)
{
    Ring *r = &d->ring[queue];

    r->ready = false;
    d->unsettled &= ~(UINT64_C(1) << queue);
    d->lacking &= ~(UINT64_C(1) << queue);
    if (!ready)
        return;
    virtio_set_ring_features(d, queue);
    r->ready = true;
    if (r->size > d->queue_size[queue] || !ring_start(r, &d->memory)) {
        r->broken = true;
        virtio_fail(d);
    }
}

void virtio_kick(VirtioDevice *d, unsigned queue)
{
    if (virtio_is_running(d) && d->ring[queue].ready)
        d->type->kick(d, queue);
}

/* ---- chains ---------------------------------------------------------------------------------- */

static void lack(VirtioDevice *d, unsigned queue)
{
    d->lacking |= UINT64_C(1) << queue;
}

/* False: the ring lacks memory, or what is in it does. */
static bool is_here(VirtioDevice *d, unsigned queue)
{
    if (d->lacking >> queue & 1)
        return false;
    if (!ring_is_here(&d->ring[queue], &d->memory)) {
        lack(d, queue);
        return false;
    }
    if (d->unsettled >> queue & 1)
        virtio_section_settle(d, queue);
    return true;
}

void virtio_memory_arrived(VirtioDevice *d)
{
    uint64_t lacking = d->lacking;

    choose_here(d);
    d->lacking = 0;
    for (uint64_t left = d->unsettled; left; left &= left - 1)
        is_here(d, __builtin_ctzll(left));
    for (; lacking; lacking &= lacking - 1)
        virtio_kick(d, __builtin_ctzll(lacking));
}

bool virtio_peek(VirtioDevice *d, unsigned queue, RingChain *c)
{
    if (!virtio_is_running(d) || !is_here(d, queue))
        return false;
    switch (ring_peek(&d->ring[queue], &d->memory, c)) {
    case RING_CHAIN:
        return true;
    case RING_BROKEN:
        virtio_fail(d);
        return false;
    case RING_MISSING:
        lack(d, queue);
        return false;
    default:
        return false;
    }
}

bool virtio_await(VirtioDevice *d, unsigned queue, RingChain *c)
{
    return virtio_peek(d, queue, c) ||
           (virtio_is_running(d) && virtio_want_kicks(d, queue, true) && virtio_peek(d, queue, c));
}

bool virtio_pop(VirtioDevice *d, unsigned queue, RingChain *c)
{
    if (!virtio_peek(d, queue, c))
        return false;
    ring_take(&d->ring[queue], c);
    return true;
}

bool virtio_want_kicks(VirtioDevice *d, unsigned queue, bool want)
{
    return is_here(d, queue) && ring_want_kicks(&d->ring[queue], &d->memory, want);
}

void virtio_notify(VirtioDevice *d, unsigned queue)
{
    if (ring_wants_interrupt(&d->ring[queue], &d->memory))
        raise_interrupt(d, VIRTIO_INTERRUPT_RING);
}

void virtio_push_all(VirtioDevice *d, unsigned queue, const RingUsed *used, unsigned count)
{
    ring_push_all(&d->ring[queue], &d->memory, used, count);
    virtio_notify(d, queue);
}

void virtio_push(VirtioDevice *d, unsigned queue, const RingChain *c, uint32_t len)
{
    RingUsed used = ring_used(c, len);

    virtio_push_all(d, queue, &used, 1);
}

/* ---- configuration --------------------------------------------------------------------------- */

uint64_t virtio_config_read(const VirtioDevice *d, unsigned offset, unsigned size)
{
    uint8_t config[CONFIG_MAX] = { 0 };

    if (offset + size > CONFIG_MAX)
        return 0;
    if (d->type->config_read)
        d->type->config_read(d, config);
    return size == 1 ? config[offset] : size == 2 ? le16_at(config + offset)
           : size == 4 ? le32_at(config + offset) : le64_at(config + offset);
}

void virtio_config_write(VirtioDevice *d, unsigned offset, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size && d->type->config_write; i++)
        if (offset + i < d->type->config_size)
            d->type->config_write(d, offset + i, value >> 8 * i);
}
