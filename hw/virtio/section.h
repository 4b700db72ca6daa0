/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtio devices in migration streams: a section holds the transport, the rings and the device. */
#ifndef HW_VIRTIO_SECTION_H
#define HW_VIRTIO_SECTION_H

#include "hw/virtio/device.h"

enum { VIRTIO_MIGRATED_QUEUES = 1024 };

/* What a kind of device has beyond configuration and rings; of its type. */
typedef struct VirtioPart {
    const char *name;        /* "virtio-blk", as sections are called */
    unsigned version;
    unsigned (*config_size)(const VirtioDevice *d); /* in streams; NULL: as in its type */
    const StateLayout *layout; /* of its part of the image; NULL: it has none */
    const StateLayout *packed_layout; /* the same if packed queues are offered; NULL: as .layout */
    void (*save)(const VirtioDevice *d, void *part);
    /* Rings are there already. @config: what its driver saw. False with @err. */
    bool (*load)(VirtioDevice *d, const void *part, const uint8_t *config, GError **err);
    /*
     * A bit for each queue whose first chain the device may hold back. In streams that chain counts
     * as taken; after loading it is in the queue again.
     */
    uint64_t held_queues;
    /* Does the device hold back the first chain of @queue? NULL: never. */
    bool (*has_begun)(const VirtioDevice *d, unsigned queue);
} VirtioPart;

/* Registers of the transport. */
typedef struct {
    uint32_t device_features_sel, driver_features_sel, queue_sel;
    /* Of the legacy version. */
    uint32_t page_shift, alignment[VIRTIO_QUEUES_MAX];
} VirtioRegisters;

/* The section of the device @d, whose .path is known. To be freed with virtio_section_free. */
DeviceSection *virtio_section_new(const VirtioDevice *d);
void virtio_section_free(DeviceSection *s);
void virtio_section_save(const VirtioDevice *d, const VirtioRegisters *r, void *image);
bool virtio_section_load(VirtioDevice *d, VirtioRegisters *r, const void *image, GError **err);
/*
 * Does the rest of that for a queue of VirtioDevice.unsettled, whose memory is here now. A queue
 * with requests under way, which cannot be taken over, is broken then.
 */
void virtio_section_settle(VirtioDevice *d, unsigned queue);

/* The lower 32 features of the driver, for fields of @part that depend on them. */
uint32_t virtio_part_features(const void *part);

#endif
