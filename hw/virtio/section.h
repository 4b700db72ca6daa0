/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtio devices in migration streams: a section holds the transport, the rings and the device. */
#ifndef HW_VIRTIO_SECTION_H
#define HW_VIRTIO_SECTION_H

#include "hw/virtio/device.h"

enum { VIRTIO_PART_MAX = 1024, VIRTIO_MIGRATED_QUEUES = 1024 };

/* What a kind of device has beyond configuration and rings; of its type. */
typedef struct VirtioPart {
    const char *name;        /* "virtio-blk", as sections are called */
    unsigned version;
    unsigned config_size;      /* of the configuration in streams; 0: as in its type */
    const StateLayout *layout; /* of its part of the image, up to VIRTIO_PART_MAX bytes */
    void (*save)(const VirtioDevice *d, void *part);
    /* Rings are there already. @config: what its driver saw. False with @err. */
    bool (*load)(VirtioDevice *d, const void *part, const uint8_t *config, GError **err);
    /*
     * Bits of queues of which the device keeps one chain for later. Streams tell of it as taken; after
     * loading it is in the queue again.
     */
    unsigned held_queues;
} VirtioPart;

/* Registers of the transport. */
typedef struct {
    uint32_t device_features_sel, driver_features_sel, queue_sel;
} VirtioRegisters;

/* The section of the device @d, whose transport is at @address. To be freed with virtio_section_free. */
DeviceSection *virtio_section_new(const VirtioDevice *d, uint64_t address);
void virtio_section_free(DeviceSection *s);
void virtio_section_save(const VirtioDevice *d, const VirtioRegisters *r, void *image);
bool virtio_section_load(VirtioDevice *d, VirtioRegisters *r, const void *image, GError **err);

#endif
