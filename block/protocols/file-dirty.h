/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Data in the page cache that has yet to be written. It counts as memory of the control group, and
 * where that has little the kernel kills whoever fills it faster than the disk takes it.
 */
#ifndef BLOCK_FILE_DIRTY_H
#define BLOCK_FILE_DIRTY_H

#include "io/co-lock.h"
#include <stdint.h>

/* Of one file; home loop only. All zero: none. */
typedef struct {
    uint64_t bytes;    /* written since the last write-back that has ended */
    bool draining;
    CoQueue waiters;
} FileDirty;

/*
 * @len bytes were written to @fd through the page cache. Waits for the disk when too much is ahead
 * of it. 0 or a negative errno: data was lost, which no later fsync(2) will tell of.
 */
CO int file_dirty_add(FileDirty *d, int fd, uint64_t len);

#endif
