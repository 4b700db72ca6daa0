/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What becomes of the errors of a disk: the guest is told, or it is stopped and they are tried again. */
#ifndef HW_VIRTIO_DISK_ERRORS_H
#define HW_VIRTIO_DISK_ERRORS_H

#include "block/block.h"
#include "gen/schema.h"
#include "system/base/device.h"

/* Properties werror and rerror: "report", "ignore", "stop", "enospc" or "auto"; NULL: the default. */
typedef struct {
    char *on_write, *on_read;
} DiskErrors;

bool disk_errors_check(const DiskErrors *e, GError **err);

/*
 * Tells the user of @error, a positive errno, of device @d on @h, and stops the guest if that is what is
 * to be done. Main loop, without the lock.
 */
BlockErrorAction disk_error(const DiskErrors *e, Device *d, Handle *h, bool is_read, int error);

#endif
