/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The transport of virtio devices in memory. */
#ifndef HW_VIRTIO_MMIO_H
#define HW_VIRTIO_MMIO_H

#include "hw/virtio/device.h"

/* Registers of @d at @address, of version 1 if @is_legacy, else 2; its interrupt at @gsi. */
Device *virtio_mmio_new(Board *board, VirtioDevice *d, uint64_t address, unsigned gsi,
                        bool is_legacy);

#endif
