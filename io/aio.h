/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls that wait, as suspending functions of the calling loop.
 *
 * Each returns what the system call would (a count or 0), or a negative errno. EINTR and EAGAIN
 * never come back. Reads and writes may be short, like their system calls.
 */
#ifndef IO_AIO_H
#define IO_AIO_H

#include "io/co.h"
#include <sys/types.h>
#include <sys/uio.h>

typedef enum {
    AIO_AUTO,     /* whatever is fastest: directly when alone on the loop, ring, or pool */
    /* the same for files behind the page cache: what only moves bytes there is direct */
    AIO_CACHED,
    AIO_THREADS,  /* in the pool */
    AIO_RING,     /* on the ring (loop_has_uring must hold) */
} AioMode;

CO ssize_t aio_preadv(AioMode mode, int fd, const struct iovec *iov, int niov, uint64_t off);
/* @rwf: RWF_DSYNC or 0. */
CO ssize_t aio_pwritev(AioMode mode, int fd, const struct iovec *iov, int niov, uint64_t off,
                       int rwf);
CO int aio_fdatasync(AioMode mode, int fd);
CO int aio_fallocate(AioMode mode, int fd, int flags, uint64_t off, uint64_t len);

/* Waits until one of @events (POLLIN, POLLOUT) is ready on @fd; returns the ready set, or
 * -ETIMEDOUT at monotonic time @deadline_ns (0: none). */
CO int aio_poll(int fd, int events, int64_t deadline_ns);

#endif
