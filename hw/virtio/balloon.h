/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The balloon for commands: the Board's .balloon. With the machine's lock held. */
#ifndef HW_VIRTIO_BALLOON_H
#define HW_VIRTIO_BALLOON_H

#include "system/base/device.h"

/*
 * The guest shall have @bytes of its memory. Nothing happens if that is all it has already; a
 * smaller target waits while discarding memory is denied.
 */
void balloon_set_target(Device *d, uint64_t bytes);
/* Bytes that the guest has been asked to make do with, or will be when nobody denies discarding. */
uint64_t balloon_target(const Device *d);
/* Bytes that the guest has, as it says itself. */
uint64_t balloon_actual(const Device *d);
/* Bytes in the balloon that take memory of the host, because discarding was denied. */
uint64_t balloon_kept(const Device *d);

#endif
