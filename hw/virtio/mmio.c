/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Both versions of the registers, 1 being the legacy one: docs/spec/virtio.md. */
#include "hw/virtio/mmio.h"
#include "hw/virtio/section.h"
#include "system/base/guest-log.h"
#include "util/size.h"
#include <inttypes.h>

enum {
    REG_MAGIC = 0x00, REG_VERSION = 0x04, REG_DEVICE_ID = 0x08, REG_VENDOR_ID = 0x0c,
    REG_DEVICE_FEATURES = 0x10, REG_DEVICE_FEATURES_SEL = 0x14, REG_DRIVER_FEATURES = 0x20,
    REG_DRIVER_FEATURES_SEL = 0x24, REG_PAGE_SIZE = 0x28, REG_QUEUE_SEL = 0x30,
    REG_QUEUE_MAX = 0x34, REG_QUEUE_NUM = 0x38, REG_QUEUE_ALIGN = 0x3c, REG_QUEUE_PAGE = 0x40,
    REG_QUEUE_READY = 0x44, REG_NOTIFY = 0x50, REG_INTERRUPT_STATUS = 0x60,
    REG_INTERRUPT_ACK = 0x64, REG_STATUS = 0x70, REG_QUEUE_DESC = 0x80, REG_QUEUE_AVAIL = 0x90,
    REG_QUEUE_USED = 0xa0, REG_SHM_LEN = 0xb0, REG_SHM_BASE_HIGH = 0xbc, REG_GENERATION = 0xfc,
    REG_CONFIG = 0x100,

    MAGIC = 0x74726976, VERSION = 2, LEGACY_VERSION = 1, VENDOR = 0x554d4551, SIZE = 0x200,
};

typedef struct {
    Device dev;
    VirtioDevice *device;
    unsigned gsi;

    char *path;        /* as it is called in streams */
    VirtioRegisters registers;
    DeviceSection *section;
} VirtioMmio;

static void update_interrupt(void *opaque)
{
    VirtioMmio *s = opaque;

    s->dev.board->set_irq(s->dev.board, s->gsi, s->device->interrupts);
}

/* The ring that is selected; NULL: there is no such queue. */
static Ring *selected(const VirtioMmio *s)
{
    return s->registers.queue_sel < s->device->queues ? &s->device->ring[s->registers.queue_sel]
                                                      : NULL;
}

static void complain_of_access(const VirtioMmio *s, const char *what, uint64_t at, unsigned size)
{
    guest_log(GUEST_LOG_ERRORS, "%s: %s 0x%03" PRIx64 " of %u bytes: there is no such register",
              s->path, what, at, size);
}

static void complain_of_queue(const VirtioMmio *s, uint64_t offset, const char *what)
{
    guest_log(GUEST_LOG_ERRORS, "%s: write of 0x%03" PRIx64 ": %s: queue %u", s->path, offset, what,
              s->registers.queue_sel);
}

/* ---- reading --------------------------------------------------------------------------------- */

static uint32_t half(uint64_t v, uint32_t sel)
{
    return sel == 0 ? v : sel == 1 ? v >> 32 : 0;
}

/* What only one of the versions has. */
static uint32_t read_new(const VirtioMmio *s, uint64_t offset)
{
    const Ring *r = selected(s);

    switch (offset) {
    case REG_QUEUE_READY:
        return r && r->ready;
    case REG_SHM_LEN ... REG_SHM_BASE_HIGH:
        return UINT32_MAX; /* there is no shared memory */
    case REG_GENERATION:
        return s->device->generation;
    default:
        complain_of_access(s, "read of", offset, 4);
        return 0;
    }
}

static uint32_t read_legacy(const VirtioMmio *s, uint64_t offset)
{
    const Ring *r = selected(s);

    if (offset == REG_QUEUE_PAGE)
        return r && r->ready ? r->desc >> s->registers.page_shift : 0;
    complain_of_access(s, "read of", offset, 4);
    return 0;
}

static uint32_t read_register(const VirtioMmio *s, uint64_t offset)
{
    const VirtioDevice *d = s->device;
    const Ring *r = selected(s);

    switch (offset) {
    case REG_MAGIC:
        return MAGIC;
    case REG_VERSION:
        return d->is_legacy ? LEGACY_VERSION : VERSION;
    case REG_DEVICE_ID:
        return d->type->id;
    case REG_VENDOR_ID:
        return VENDOR;
    case REG_DEVICE_FEATURES:
        return half(virtio_features(d), s->registers.device_features_sel);
    case REG_QUEUE_MAX:
        return r ? d->queue_size[s->registers.queue_sel] : 0;
    case REG_INTERRUPT_STATUS:
        return d->interrupts;
    case REG_STATUS:
        return d->status;
    default:
        return d->is_legacy ? read_legacy(s, offset) : read_new(s, offset);
    }
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioMmio *s = opaque;

    if (offset >= REG_CONFIG)
        return virtio_config_read(s->device, offset - REG_CONFIG, size);
    if (size == 4)
        return read_register(s, offset);
    complain_of_access(s, "read of", offset, size);
    return 0;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void set_half(uint64_t *v, bool high, uint32_t value)
{
    *v = high ? (*v & UINT32_MAX) | (uint64_t)value << 32 : (*v >> 32 << 32) | value;
}

static void set_features(VirtioMmio *s, uint32_t value)
{
    VirtioDevice *d = s->device;

    /* A legacy driver is not asked again whether that is all right. */
    if (d->is_legacy && !s->registers.driver_features_sel)
        d->features = value & virtio_features(d);
    if (d->is_legacy)
        return;
    if (s->registers.driver_features_sel <= 1 && !(s->device->status & VIRTIO_STATUS_FEATURES_OK))
        set_half(&s->device->features, s->registers.driver_features_sel, value);
}

/* A queue that is in use does not change. */
static void write_queue(VirtioMmio *s, uint64_t offset, uint32_t value)
{
    Ring *r = selected(s);
    bool high = offset & 4;

    if (!r) {
        complain_of_queue(s, offset, "it is not there");
        return;
    }
    if (offset == REG_QUEUE_READY) {
        virtio_set_queue_ready(s->device, s->registers.queue_sel, value & 1);
        return;
    }
    if (r->ready) {
        complain_of_queue(s, offset, "it is in use");
        return;
    }
    switch (offset & ~UINT64_C(4)) {
    case REG_QUEUE_NUM:
        r->size = MIN(value, UINT16_MAX);
        break;
    case REG_QUEUE_DESC:
        set_half(&r->desc, high, value);
        break;
    case REG_QUEUE_AVAIL:
        set_half(&r->avail, high, value);
        break;
    case REG_QUEUE_USED:
        set_half(&r->used, high, value);
        break;
    default:
        complain_of_access(s, "write of", offset, 4);
    }
}

/* The two rings follow the table, the second at the next multiple of the alignment. */
static void start_legacy_queue(VirtioMmio *s, Ring *r, uint32_t page)
{
    virtio_set_queue_ready(s->device, s->registers.queue_sel, false);
    if (!page) {
        r->desc = 0; /* by which streams of migrations tell that it is stopped */
        return;
    }
    ring_place_legacy(r, (uint64_t)page << s->registers.page_shift,
                      s->registers.alignment[s->registers.queue_sel]);
    virtio_set_queue_ready(s->device, s->registers.queue_sel, true);
}

static void write_legacy_queue(VirtioMmio *s, uint64_t offset, uint32_t value)
{
    Ring *r = selected(s);

    if (!r) {
        complain_of_queue(s, offset, "it is not there");
        return;
    }
    switch (offset) {
    case REG_QUEUE_NUM:
        if (!r->ready)
            r->size = MIN(value, UINT16_MAX);
        break;
    case REG_QUEUE_ALIGN:
        if (is_power_of_2(value))
            s->registers.alignment[s->registers.queue_sel] = value;
        else
            complain_of_access(s, "write of", offset, 4);
        break;
    case REG_QUEUE_PAGE:
        start_legacy_queue(s, r, value);
        break;
    default:
        complain_of_access(s, "write of", offset, 4);
    }
}

static void write_register(VirtioMmio *s, uint64_t offset, uint32_t value)
{
    VirtioDevice *d = s->device;

    switch (offset) {
    case REG_DEVICE_FEATURES_SEL:
        s->registers.device_features_sel = value;
        break;
    case REG_DRIVER_FEATURES:
        set_features(s, value);
        break;
    case REG_DRIVER_FEATURES_SEL:
        s->registers.driver_features_sel = value;
        break;
    case REG_PAGE_SIZE:
        if (d->is_legacy && is_power_of_2(value))
            s->registers.page_shift = __builtin_ctz(value);
        else
            complain_of_access(s, "write of", offset, 4);
        break;
    case REG_QUEUE_SEL:
        s->registers.queue_sel = value;
        break;
    case REG_NOTIFY:
        if (value < d->queues)
            virtio_kick(d, value);
        else
            guest_log(GUEST_LOG_ERRORS, "%s: there is no queue %u to notify", s->path, value);
        break;
    case REG_INTERRUPT_ACK:
        d->interrupts &= ~value;
        update_interrupt(s);
        break;
    case REG_STATUS:
        virtio_set_status(d, value);
        break;
    default:
        if (d->is_legacy)
            write_legacy_queue(s, offset, value);
        else
            write_queue(s, offset, value);
    }
}

static void mmio_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    VirtioMmio *s = opaque;

    if (offset >= REG_CONFIG)
        virtio_config_write(s->device, offset - REG_CONFIG, size, value);
    else if (size == 4)
        write_register(s, offset, value);
    else
        complain_of_access(s, "write of", offset, size);
}

/* ---- the device ------------------------------------------------------------------------------ */

static const DeviceSection *mmio_section(const Device *d)
{
    return ((const VirtioMmio *)d)->section;
}

static void mmio_save(const Device *d, unsigned n, void *image)
{
    const VirtioMmio *s = (const VirtioMmio *)d;

    virtio_section_save(s->device, &s->registers, image);
}

static bool mmio_load(Device *d, unsigned n, const void *image, GError **err)
{
    VirtioMmio *s = (VirtioMmio *)d;

    return virtio_section_load(s->device, &s->registers, image, err);
}

static void mmio_pause(Device *d)
{
    ((VirtioMmio *)d)->device->is_paused = true;
}

static void mmio_arrived(Device *d)
{
    virtio_memory_arrived(((VirtioMmio *)d)->device);
}

/* Requests made before the guest stopped, here or at the source, may not have been started yet. */
static void mmio_resume(Device *d)
{
    VirtioMmio *s = (VirtioMmio *)d;

    s->device->is_paused = false;
    for (unsigned i = 0; i < s->device->queues; i++)
        virtio_kick(s->device, i);
}

static void mmio_unrealize(Device *d)
{
    VirtioMmio *s = (VirtioMmio *)d;

    virtio_section_free(s->section);
    g_free(s->path);
}

static void mmio_reset(Device *d)
{
    VirtioMmio *s = (VirtioMmio *)d;

    s->registers = (VirtioRegisters){ 0 };
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
        s->registers.alignment[i] = VIRTIO_LEGACY_ALIGNMENT;
    virtio_reset(s->device);
}

const DeviceClass device_virtio_mmio = {
    .name = "virtio-mmio",
    .size = sizeof(VirtioMmio),
    .own_section = mmio_section,
    .reset = mmio_reset,
    .unrealize = mmio_unrealize,
    .pause = mmio_pause,
    .arrived = mmio_arrived,
    .resume = mmio_resume,
};

Device *virtio_mmio_new(Board *board, VirtioDevice *d, uint64_t address, unsigned gsi,
                        bool is_legacy)
{
    static const MmioOps ops = { mmio_read, mmio_write, 4 };
    Device *transport = device_new(board, &device_virtio_mmio, NULL, NULL, NULL);
    VirtioMmio *s = (VirtioMmio *)transport;

    s->device = d;
    d->is_legacy = is_legacy;
    s->gsi = gsi;
    d->path = s->path = g_strdup_printf("virtio-mmio@%016" PRIx64, address);
    s->section = virtio_section_new(d);
    s->section->save = mmio_save;
    s->section->load = mmio_load;
    d->interrupt = update_interrupt;
    d->transport = s;
    memory_map_add_mmio(board->memory, address, SIZE, &ops, s);
    return transport;
}
