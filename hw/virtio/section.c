/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The layout is that of others' devices behind a memory-mapped transport (docs/spec/
 * migration-stream.md): of 1024 queues, however few there are. How far the used ring is, the
 * guest's memory tells. Of the legacy version there are no registers and no rings: their place
 * follows from that of the table.
 */
#include "hw/virtio/section.h"
#include "system/base/guest-log.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

enum { CONFIG_MAX = 128, QUEUES = VIRTIO_MIGRATED_QUEUES };

typedef struct {
    uint32_t size, alignment;
    uint64_t desc;
    uint16_t next_avail;
} QueueImage;

typedef struct {
    uint64_t avail, used;
} RingsImage;

/* Of a packed queue. */
typedef struct {
    uint16_t next_avail, next_used;
    bool avail_wrap, used_wrap;
    uint32_t in_use;
} PackedImage;

/* Low halves first. */
typedef struct {
    uint16_t size;
    uint8_t ready;
    uint32_t desc[2], avail[2], used[2];
} RegistersImage;

typedef struct {
    uint32_t device_features_sel, driver_features_sel, page_shift;
    uint8_t status, interrupts;
    uint16_t queue_sel;
    uint32_t features, config_size;
    uint8_t config[CONFIG_MAX];
    uint32_t queues;
    QueueImage queue[VIRTIO_QUEUES_MAX];

    bool has_features, has_rings, has_sizes, is_broken, has_transport, has_registers, has_started,
        has_packed;
    uint64_t all_features;
    RingsImage rings[QUEUES];
    uint32_t default_size[QUEUES];
    uint8_t broken, started;
    uint32_t driver_features[2];
    RegistersImage registers[QUEUES];
    PackedImage packed[QUEUES];
    uint64_t part[]; /* of the kind of device */
} VirtioImage;

static const StateField queue_fields[] = {
    STATE_U("vring.num", QueueImage, size), STATE_U("vring.align", QueueImage, alignment),
    STATE_U("vring.desc", QueueImage, desc), STATE_U("last_avail_idx", QueueImage, next_avail), {}
};
static const StateLayout queue_layout = { "queue", 1, 1, sizeof(QueueImage), queue_fields };
static const StateField rings_fields[] = {
    STATE_U("avail", RingsImage, avail), STATE_U("used", RingsImage, used), {}
};
static const StateLayout rings_layout = { "rings", 1, 1, sizeof(RingsImage), rings_fields };
static const StateField packed_ring_fields[] = {
    STATE_U("last_avail_idx", PackedImage, next_avail),
    STATE_B("last_avail_wrap_counter", PackedImage, avail_wrap),
    STATE_U("used_idx", PackedImage, next_used),
    STATE_B("used_wrap_counter", PackedImage, used_wrap),
    STATE_U("inuse", PackedImage, in_use),
    {}
};
static const StateLayout packed_ring_layout = {
    "packed_ring", 1, 1, sizeof(PackedImage), packed_ring_fields
};
static const StateField register_fields[] = {
    STATE_U("num", RegistersImage, size), STATE_U("enabled", RegistersImage, ready),
    STATE_US("desc", RegistersImage, desc), STATE_US("avail", RegistersImage, avail),
    STATE_US("used", RegistersImage, used), {}
};
static const StateLayout register_layout = {
    "registers", 1, 1, sizeof(RegistersImage), register_fields
};

#define PART(part, title, presence, ...)                                                           \
    static const StateField part##_fields[] = { __VA_ARGS__, {} };                                 \
    static const StateLayout part##_layout = {                                                     \
        title, 1, 1, sizeof(VirtioImage), part##_fields, NULL, offsetof(VirtioImage, presence)     \
    }
PART(features, "virtio/64bit_features", has_features,
     STATE_U("guest_features", VirtioImage, all_features));
PART(areas, "virtio/virtqueues", has_rings,
     STATE_INNERS("vq", VirtioImage, rings, &rings_layout));
PART(sizes, "virtio/ringsize", has_sizes, STATE_US("vq", VirtioImage, default_size));
PART(broken, "virtio/broken", is_broken, STATE_U("broken", VirtioImage, broken));
PART(started, "virtio/started", has_started, STATE_U("started", VirtioImage, started));
PART(packed, "virtio/packed_virtqueues", has_packed,
     STATE_INNERS("vq", VirtioImage, packed, &packed_ring_layout));
PART(registers, "virtio_mmio/state", has_registers,
     STATE_US("guest_features", VirtioImage, driver_features),
     STATE_INNERS("vqs", VirtioImage, registers, &register_layout));

/* A state of its own, which has nothing but a part. */
static const StateLayout *const transport_parts[] = { &registers_layout, NULL };
static const StateField no_fields[] = { {} };
static const StateLayout mmio_layout = {
    "virtio_mmio", 1, 1, sizeof(VirtioImage), no_fields, transport_parts
};
static const StateField transport_fields[] = {
    { "extra_state", STATE_STRUCT, 0, sizeof(VirtioImage), 1, 0, &mmio_layout, 0 }, {}
};
static const StateLayout transport_layout = {
    "virtio/extra_state", 1, 1, sizeof(VirtioImage), transport_fields, NULL,
    offsetof(VirtioImage, has_transport)
};
static const StateLayout *const virtio_parts[] = {
    &features_layout, &areas_layout, &sizes_layout, &broken_layout, &transport_layout,
    &started_layout, &packed_layout, NULL
};

/* ---- the layout of a device ------------------------------------------------------------------ */

enum { FIELDS_MAX = 16 };

static unsigned config_size(const VirtioDevice *d)
{
    const VirtioPart *part = d->type->part;

    return part->config_size ? part->config_size(d) : d->type->config_size;
}

uint32_t virtio_part_features(const void *part)
{
    return ((const VirtioImage *)((const uint8_t *)part - offsetof(VirtioImage, part)))->features;
}

static StateLayout *layout_new(const VirtioDevice *d)
{
    const VirtioPart *part = d->type->part;
    const StateLayout *own = d->offers_packed && part->packed_layout ? part->packed_layout
                                                                     : part->layout;
    size_t size = own ? own->size : 0;
    const StateField fields[FIELDS_MAX] = {
        STATE_U("host_features_sel", VirtioImage, device_features_sel),
        STATE_U("guest_features_sel", VirtioImage, driver_features_sel),
        STATE_U("guest_page_shift", VirtioImage, page_shift),
        STATE_U("status", VirtioImage, status), STATE_U("isr", VirtioImage, interrupts),
        STATE_U_UP_TO("queue_sel", VirtioImage, queue_sel, QUEUES - 1),
        STATE_U("guest_features", VirtioImage, features),
        STATE_U("config_len", VirtioImage, config_size),
        { "config", STATE_BUFFER, offsetof(VirtioImage, config), config_size(d), 1, 0, NULL, 0 },
        STATE_U("queues", VirtioImage, queues),
        { "vq", STATE_STRUCT, offsetof(VirtioImage, queue), sizeof(QueueImage), d->queues,
          sizeof(QueueImage), &queue_layout, 0 },
        { own ? "device" : NULL, STATE_STRUCT, offsetof(VirtioImage, part), size, 1, 0, own, 0 },
    };
    StateLayout *l = g_new(StateLayout, 1);

    *l = (StateLayout){
        "virtio", part->version, part->version, sizeof(VirtioImage) + size,
        g_memdup2(fields, sizeof(fields)), virtio_parts
    };
    return l;
}

DeviceSection *virtio_section_new(const VirtioDevice *d)
{
    DeviceSection *s = g_new0(DeviceSection, 1);

    s->name = g_strdup_printf("%s/%s", d->path, d->type->part->name);
    s->layout = layout_new(d);
    return s;
}

void virtio_section_free(DeviceSection *s)
{
    g_free((char *)s->name);
    g_free((StateField *)s->layout->fields);
    g_free((StateLayout *)s->layout);
    g_free(s);
}

/* ---- saving ---------------------------------------------------------------------------------- */

/* The ring as it would be if the first chain, which has been begun, were taken. */
static Ring taken(const VirtioDevice *d, unsigned n)
{
    g_autofree RingChain *c = g_new(RingChain, 1);
    Ring r = d->ring[n];

    if (ring_peek(&r, &d->memory, c) == RING_CHAIN)
        ring_take(&r, c);
    return r;
}

static void save_queue(VirtioImage *i, unsigned n, const Ring *r, uint16_t queue_size,
                       uint32_t alignment)
{
    i->queue[n] = (QueueImage){ r->size, alignment, r->desc, r->next_avail };
    i->rings[n] = (RingsImage){ r->avail, r->used };
    i->default_size[n] = queue_size;
    i->registers[n] = (RegistersImage){
        .size = r->size, .ready = r->ready, .desc = { r->desc, r->desc >> 32 },
        .avail = { r->avail, r->avail >> 32 }, .used = { r->used, r->used >> 32 },
    };
    i->packed[n] = (PackedImage){
        r->next_avail, r->next_used, r->avail_wrap, r->used_wrap, ring_in_use(r)
    };
}

void virtio_section_save(const VirtioDevice *d, const VirtioRegisters *r, void *image)
{
    const VirtioPart *part = d->type->part;
    VirtioImage *i = image;

    *i = (VirtioImage){
        .device_features_sel = r->device_features_sel,
        .driver_features_sel = r->driver_features_sel,
        .page_shift = r->page_shift, .queue_sel = r->queue_sel,
        .status = d->status, .interrupts = d->interrupts,
        .features = d->features, .config_size = config_size(d), .queues = d->queues,
        .has_features = true, .all_features = d->features, .has_sizes = true,
        .has_rings = !d->is_legacy, .has_transport = !d->is_legacy,
        .is_broken = d->status & VIRTIO_STATUS_NEEDS_RESET, .broken = 1,
        .has_registers = true, .driver_features = { d->features, d->features >> 32 },
        .has_started = d->status & VIRTIO_STATUS_DRIVER_OK, .started = 1,
        .has_packed = d->offers_packed,
    };
    if (d->type->config_read)
        d->type->config_read(d, i->config);
    for (unsigned n = 0; n < d->queues; n++) {
        bool has_begun = part->has_begun && part->has_begun(d, n);
        Ring ring = has_begun ? taken(d, n) : d->ring[n];

        save_queue(i, n, &ring, d->queue_size[n], r->alignment[n]);
    }
    if (part->save)
        part->save(d, i->part);
}

/* ---- loading --------------------------------------------------------------------------------- */

static bool load_packed(Ring *r, const PackedImage *i)
{
    r->next_avail = i->next_avail;
    r->next_used = i->next_used;
    r->avail_wrap = i->avail_wrap;
    r->used_wrap = i->used_wrap;
    return r->next_avail < r->size && r->next_used < r->size;
}

/* Checks that nothing is in flight; a chain that the device held back is queued again. */
static bool settle_queue(VirtioDevice *d, unsigned n, GError **err)
{
    Ring *r = &d->ring[n];
    unsigned in_use = ring_in_use(r);

    if (in_use > r->size)
        return err_set(err, EINVAL, "Queue %u has %u entries in use, of %u", n, in_use, r->size);
    if (in_use && !(d->type->part->held_queues >> n & 1))
        return err_set(err, ENOTSUP,
                       "Queue %u has %u requests under way, which cannot be taken over", n, in_use);
    r->next_avail = r->next_used;
    r->avail_wrap = r->used_wrap;
    return true;
}

/* The device's position in a split queue is in its used ring. */
static bool settle_split(VirtioDevice *d, unsigned n, GError **err)
{
    Ring *r = &d->ring[n];
    uint8_t index[2];

    if (!memory_map_load(d->dev.board->memory, r->used + 2, index, sizeof(index)))
        return err_set(err, EINVAL, "Queue %u is not in memory", n);
    r->next_used = le16_at(index);
    return settle_queue(d, n, err);
}

static bool load_queue(VirtioDevice *d, unsigned n, const VirtioImage *i, GError **err)
{
    const QueueImage *q = &i->queue[n];
    bool ready = d->is_legacy ? q->desc : i->registers[n].ready;
    Ring *r = &d->ring[n];

    ring_reset(r);
    r->size = ready ? MIN(q->size, UINT16_MAX) : MIN(q->size, d->queue_size[n]);
    r->desc = q->desc;
    r->avail = i->rings[n].avail;
    r->used = i->rings[n].used;
    if (d->is_legacy)
        ring_place_legacy(r, q->desc, q->alignment);
    virtio_set_ring_features(d, n);
    if (!ready)
        return true;
    if (r->size > d->queue_size[n] || !ring_start(r, &d->memory) ||
        (r->packed && !load_packed(r, &i->packed[n])))
        return err_set(err, EINVAL, "Queue %u of %" PRIu32 " entries is not in memory, or too long",
                       n, q->size);
    r->ready = true;
    if (r->packed)
        return settle_queue(d, n, err);
    r->next_avail = q->next_avail;
    if (ring_is_here(r, &d->memory))
        return settle_split(d, n, err);
    /* If the connection breaks now, the guest nevertheless runs. */
    d->unsettled |= UINT64_C(1) << n;
    return true;
}

void virtio_section_settle(VirtioDevice *d, unsigned queue)
{
    g_autoptr(GError) why = NULL;

    d->unsettled &= ~(UINT64_C(1) << queue);
    if (settle_split(d, queue, &why))
        return;
    guest_log(GUEST_LOG_ERRORS, "%s: %s", d->path, why->message);
    d->ring[queue].broken = true;
}

bool virtio_section_load(VirtioDevice *d, VirtioRegisters *r, const void *image, GError **err)
{
    const VirtioImage *i = image;
    uint64_t features = i->has_features ? i->all_features : i->features;

    if (i->config_size != config_size(d) || i->queues != d->queues)
        return err_set(err, EINVAL, "It has %" PRIu32 " bytes of configuration and %" PRIu32
                       " queues, here it has %u and %u", i->config_size, i->queues,
                       config_size(d), d->queues);
    if (features & ~virtio_features(d))
        return err_set(err, EINVAL,
                       "Its driver uses features 0x%" PRIx64 ", which are not there here",
                       features & ~virtio_features(d));
    if (i->status && d->is_legacy != (!i->has_transport || !i->has_rings))
        return err_set(err, ENOTSUP,
                       "Its driver uses the other version of the transport: use -global "
                       "virtio-mmio.force-legacy=%s",
                       d->is_legacy ? "off" : "on");
    if (i->page_shift >= 32)
        return err_set(err, EINVAL, "Its page size is 2^%" PRIu32 " bytes, not less than 2^32",
                       i->page_shift);
    if (features & VIRTIO_F_PACKED && !i->has_packed)
        return err_set(err, EINVAL, "It uses packed queues, but their positions are missing");
    *r = (VirtioRegisters){
        i->device_features_sel, i->driver_features_sel, i->queue_sel, i->page_shift, { 0 }
    };
    d->features = features;
    d->status = i->status;
    d->interrupts = i->interrupts;
    d->is_paused = true;
    for (unsigned n = 0; n < d->queues; n++) {
        r->alignment[n] = i->queue[n].alignment;
        if (!is_power_of_2(r->alignment[n]))
            return err_set(err, EINVAL, "The alignment of queue %u is %" PRIu32
                           ", not a power of two", n,
                           r->alignment[n]);
        if (!load_queue(d, n, i, err))
            return false;
    }
    return !d->type->part->load || d->type->part->load(d, i->part, i->config, err);
}
