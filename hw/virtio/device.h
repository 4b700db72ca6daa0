/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What virtio devices have in common, whatever they are and however they are reached. All with the
 * machine's lock held.
 */
#ifndef HW_VIRTIO_DEVICE_H
#define HW_VIRTIO_DEVICE_H

#include "system/base/device.h"
#include "virtio/ring.h"

enum { VIRTIO_QUEUES_MAX = 64, VIRTIO_LEGACY_ALIGNMENT = 4096 };

enum {
    VIRTIO_STATUS_ACKNOWLEDGE = 1, VIRTIO_STATUS_DRIVER = 2, VIRTIO_STATUS_DRIVER_OK = 4,
    VIRTIO_STATUS_FEATURES_OK = 8, VIRTIO_STATUS_NEEDS_RESET = 64, VIRTIO_STATUS_FAILED = 128,
};

enum { VIRTIO_INTERRUPT_RING = 1, VIRTIO_INTERRUPT_CONFIG = 2 };

#define VIRTIO_F_NOTIFY_ON_EMPTY (UINT64_C(1) << 24)
#define VIRTIO_F_ANY_LAYOUT (UINT64_C(1) << 27)
#define VIRTIO_F_INDIRECT (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_INDEX (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)
#define VIRTIO_F_PACKED (UINT64_C(1) << 34)

typedef struct VirtioDevice VirtioDevice;

/* What a kind of device does; a constant of its file. */
typedef struct {
    uint16_t id;
    unsigned queues;                             /* unless the device says otherwise */
    uint64_t (*features)(const VirtioDevice *d); /* besides those of rings */
    /* The configuration, of .config_size bytes; little-endian. */
    unsigned config_size;
    void (*config_read)(const VirtioDevice *d, uint8_t *config);
    void (*config_write)(VirtioDevice *d, unsigned offset, uint8_t value); /* NULL: read-only */
    void (*kick)(VirtioDevice *d, unsigned queue);
    void (*reset)(VirtioDevice *d);              /* rings are stopped already; NULL: nothing */
    const struct VirtioPart *part;               /* section.h */
    bool has_fixed_layout;                       /* of requests, as legacy drivers are told */
} VirtioType;

struct VirtioDevice {
    Device dev;
    const VirtioType *type;
    RingMemory memory;
    /* Of the transport: the interrupt's state has changed. */
    void (*interrupt)(void *transport);
    void *transport;

    char *path;             /* of the transport, as it is called in migration streams */

    bool offers_packed;     /* property: queues may be packed */
    bool is_legacy;         /* its driver is of before virtio 1.0 */
    bool is_paused;         /* the guest stands still: its memory is not to be touched */
    uint64_t features;      /* that the driver has accepted */
    uint8_t status, interrupts;
    uint32_t generation;    /* of the configuration */
    uint32_t resets;        /* what was begun before a reset must not be finished after it */
    Ring ring[VIRTIO_QUEUES_MAX];
    uint64_t lacking;       /* a bit for each queue that waits for memory which is still to come */
    /* likewise: that has moved here and does not know .next_used before that */
    uint64_t unsettled;
    unsigned queues;
    /* a bit for each queue with segments that are only named (Ring.untouched) */
    uint64_t untouched;
    uint16_t queue_size[VIRTIO_QUEUES_MAX]; /* greatest, of each */
};

/* For .properties of classes. */
#define VIRTIO_PROPERTIES                                                                          \
    PROPERTY("packed", DEVICE_BOOL, VirtioDevice, offers_packed, "queues may be packed [off]")

/* To be called by realize, which may change .queues and .queue_size afterwards. */
void virtio_init(VirtioDevice *d, const VirtioType *type, uint16_t queue_size);
uint64_t virtio_features(const VirtioDevice *d);
void virtio_reset(VirtioDevice *d);
void virtio_set_status(VirtioDevice *d, uint8_t status);
/* What was agreed on for rings, and what the device does with that of @queue. */
void virtio_set_ring_features(VirtioDevice *d, unsigned queue);
void virtio_set_queue_ready(VirtioDevice *d, unsigned queue, bool ready);
void virtio_kick(VirtioDevice *d, unsigned queue);
/* Memory may be missing from now on, or be here that queues wait for. */
void virtio_memory_arrived(VirtioDevice *d);
uint64_t virtio_config_read(const VirtioDevice *d, unsigned offset, unsigned size);
void virtio_config_write(VirtioDevice *d, unsigned offset, unsigned size, uint64_t value);

/* ---- for kinds of devices -------------------------------------------------------------------- */

static inline bool virtio_has(const VirtioDevice *d, uint64_t feature)
{
    return d->features & feature;
}

/* The guest's driver is ready, and the device has not failed. */
bool virtio_has_driver(const VirtioDevice *d);
/* The same, and the guest runs. */
bool virtio_is_running(const VirtioDevice *d);
/* Looks at the next chain of @queue and leaves it there; false as virtio_pop. */
bool virtio_peek(VirtioDevice *d, unsigned queue, RingChain *c);
/* The same; where there is none the driver is asked to kick when there is one. */
bool virtio_await(VirtioDevice *d, unsigned queue, RingChain *c);
/*
 * The next chain of @queue. False: there is none; a broken ring has been told of. If memory of the
 * ring or of the chain is still to come, that is asked for, and the queue is kicked when it is
 * here.
 */
bool virtio_pop(VirtioDevice *d, unsigned queue, RingChain *c);
/* Gives it back, and interrupts if that is wanted. */
void virtio_push(VirtioDevice *d, unsigned queue, const RingChain *c, uint32_t len);
/* The same for several at once. */
void virtio_push_all(VirtioDevice *d, unsigned queue, const RingUsed *used, unsigned count);
/* ring_want_kicks; false also if memory is still to come, as for virtio_pop. */
bool virtio_want_kicks(VirtioDevice *d, unsigned queue, bool want);
/* Interrupts if that is wanted for what was given back by ring_push and ring_push_all. */
void virtio_notify(VirtioDevice *d, unsigned queue);
/* The driver did what no driver may: the device stops until it is reset. */
void virtio_fail(VirtioDevice *d);
/* The configuration is another one. */
void virtio_config_changed(VirtioDevice *d);

#endif
