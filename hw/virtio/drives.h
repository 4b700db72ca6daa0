/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that devices name by an id (-drive), or by their node's name (-blockdev). */
#ifndef HW_VIRTIO_DRIVES_H
#define HW_VIRTIO_DRIVES_H

#include "block/edit.h"

Handle *drive_find(const char *id);
/* @id is free. The handle is closed by whoever takes it out again. */
void drive_put(const char *id, Handle *h);
/* Adds the nodes of all of them to @list (of Node), without references. */
void drives_add_nodes(GPtrArray *list);
/* NULL: there are no more. */
Handle *drive_take_last(void);
/* Takes out the drive @id, which is there; NULL with @err while a device uses it. */
Handle *drive_take(const char *id, GError **err);

/*
 * A handle for a device on what @name means, for its use alone; without OPEN_RDWR where that is
 * read-only. *@owned: to be closed by the device. NULL with @err.
 */
CO Handle *drive_claim(const char *name, bool *owned, GError **err);
/* Ends the use of what drive_claim gave; @h may be NULL. */
CO void drive_release(const char *name, Handle *h, bool owned);

#endif
