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

/*
 * What need not be sent to the target of a migration (balloon/hints.h), if the driver can tell.
 * Asks for it anew: hints that have not been taken are void.
 */
void balloon_ask_for_hints(Device *d);
/* @is_done: the driver may use again what it has hinted at. Else hints are not heard for now. */
void balloon_end_hints(Device *d, bool is_done);
/* Calls @fn for each run of pages that has been hinted at since, by their number in memory. */
void balloon_take_hints(Device *d, void (*fn)(void *opaque, uint64_t first, uint64_t count),
                        void *opaque);

#endif
