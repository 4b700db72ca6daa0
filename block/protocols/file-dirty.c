/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/protocols/file-dirty.h"
#include "io/memory.h"
#include "io/pool.h"
#include "util/size.h"
#include <errno.h>
#include <fcntl.h>

/* With more memory than ENOUGH the kernel's own flow control works. */
#define ENOUGH GiB
enum { SHARE = 8, WINDOW_MIN = 2 << 20 };

static uint64_t window(void)
{
    uint64_t limit = memory_limit_with_cache();

    return limit < ENOUGH ? MAX(limit / SHARE, WINDOW_MIN) : UINT64_MAX;
}

static int drain_work(void *arg)
{
    int fd = *(int *)arg;
    unsigned all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

    return sync_file_range(fd, 0, 0, all) < 0 ? -errno : 0;
}

/* Writes back what there is now; others go on up to the window meanwhile. */
static CO int drain(FileDirty *d, int fd)
{
    uint64_t before = d->bytes;
    int r;

    d->draining = true;
    r = pool_run(drain_work, &fd);
    d->draining = false;
    d->bytes -= before;
    co_queue_wake_all(&d->waiters);
    /* Devices and file systems may not know it; that a signal ended it does no harm. */
    return r == -EIO || r == -ENOSPC || r == -EDQUOT ? r : 0;
}

CO int file_dirty_add(FileDirty *d, int fd, uint64_t len)
{
    uint64_t max = window();

    d->bytes += len;
    while (d->draining && d->bytes > max)
        co_queue_wait(&d->waiters);
    return !d->draining && d->bytes > max / 2 ? drain(d, fd) : 0;
}
