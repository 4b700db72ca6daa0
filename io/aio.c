/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Picks the way for a system call that may wait: made directly, on the ring, or in the pool. The
 * request is one struct on the caller's stack whatever the way.
 */
#include "io/aio.h"
#include "io/internal.h"
#include "io/pool.h"
#include "util/span.h"
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

typedef struct Request Request;

/* What an operation is: the ways to do it. Results are counts or negative errnos. */
typedef struct {
    ssize_t (*call)(const Request *q);
    CO ssize_t (*on_ring)(Ring *r, const Request *q);
    int opcode;       /* what the ring must know */
    short poll_event; /* readiness that ends EAGAIN */
} Operation;

struct Request {
    const Operation *op;
    int fd;
    int flags; /* RWF_* or FALLOC_FL_* */
    int niov;
    const struct iovec *iov;
    uint64_t off, len;
    ssize_t result;
};

static ssize_t result_of(ssize_t r)
{
    return r < 0 ? -errno : r;
}

static ssize_t read_call(const Request *q)
{
    return result_of(preadv2(q->fd, q->iov, q->niov, q->off, q->flags));
}

static ssize_t read_on_ring(Ring *r, const Request *q)
{
    return ring_preadv(r, q->fd, q->iov, q->niov, q->off);
}

static ssize_t write_call(const Request *q)
{
    return result_of(pwritev2(q->fd, q->iov, q->niov, q->off, q->flags));
}

static ssize_t write_on_ring(Ring *r, const Request *q)
{
    return ring_pwritev(r, q->fd, q->iov, q->niov, q->off, q->flags);
}

static ssize_t sync_call(const Request *q)
{
    return result_of(fdatasync(q->fd));
}

static ssize_t sync_on_ring(Ring *r, const Request *q)
{
    return ring_fdatasync(r, q->fd);
}

static ssize_t fallocate_call(const Request *q)
{
    return result_of(fallocate(q->fd, q->flags, q->off, q->len));
}

static ssize_t fallocate_on_ring(Ring *r, const Request *q)
{
    return ring_fallocate(r, q->fd, q->flags, q->off, q->len);
}

static const Operation op_read = { read_call, read_on_ring, IORING_OP_READV, POLLIN };
static const Operation op_write = { write_call, write_on_ring, IORING_OP_WRITEV, POLLOUT };
static const Operation op_sync = { sync_call, sync_on_ring, IORING_OP_FSYNC, POLLOUT };
static const Operation op_fallocate = { fallocate_call, fallocate_on_ring, IORING_OP_FALLOCATE,
                                        POLLOUT };

static int request_work(void *arg)
{
    Request *q = arg;

    q->result = q->op->call(q);
    return 0;
}

static CO ssize_t request_in_pool(Request *q)
{
    pool_run(request_work, q);
    return q->result;
}

/* ---- the page cache -------------------------------------------------------------------------- */

enum {
    SHORT_WRITE = 64 << 10,
    SLOW_WRITE_NS = 10000000, /* longer than copying takes: the kernel made us wait for the disk */
    SLOW_PAUSE = 10,          /* times as long no more writes are made directly */
};

/* What is in the page cache is read at once; -EAGAIN if that cannot be known or done. */
static ssize_t read_cached(const Request *q)
{
    Request now = *q;
    ssize_t r;

    now.flags |= RWF_NOWAIT;
    r = read_call(&now);
    return r == -EOPNOTSUPP || r == -EINVAL || r == -EINTR ? -EAGAIN : r;
}

/*
 * A short write only copies into the page cache, for a tenth of what handing it to a worker costs:
 * until too much there waits for the disk and the kernel makes writers wait too. -EAGAIN then.
 */
static ssize_t write_cached(const Request *q)
{
    static _Thread_local int64_t slow_until_ns;
    int64_t start = clock_now_ns(), took;
    ssize_t r;

    if (q->flags || start < slow_until_ns || span_of_iov(q->iov, q->niov).len > SHORT_WRITE)
        return -EAGAIN;
    r = write_call(q);
    took = clock_now_ns() - start;
    if (took > SLOW_WRITE_NS)
        slow_until_ns = start + took + SLOW_PAUSE * took;
    return r == -EINTR ? -EAGAIN : r;
}

/* What needs nothing but the page cache; -EAGAIN if it needs more. */
static ssize_t request_cached(const Request *q)
{
    return q->op == &op_read ? read_cached(q) : q->op == &op_write ? write_cached(q) : -EAGAIN;
}

/* ---- the way --------------------------------------------------------------------------------- */

/* With O_DIRECT the kernel would wait for the disk in spite of RWF_NOWAIT. */
static CO ssize_t request_without_ring(Request *q, AioMode mode)
{
    ssize_t r = -EAGAIN;

    if (mode != AIO_CACHED && q->op == &op_read && !(fcntl(q->fd, F_GETFL) & O_DIRECT))
        r = read_cached(q);
    return r == -EAGAIN ? request_in_pool(q) : r;
}

static CO ssize_t request_try(Request *q, AioMode mode)
{
    Ring *ring;
    ssize_t r;

    if (mode == AIO_THREADS)
        return request_in_pool(q);
    if (mode != AIO_RING && loop_is_alone())
        return q->op->call(q);
    if (mode == AIO_CACHED) {
        r = request_cached(q);
        if (r != -EAGAIN)
            return r;
    }
    ring = ring_get(loop_here());
    g_assert(ring || mode != AIO_RING);
    if (!ring)
        return request_without_ring(q, mode);
    if (!ring_can(ring, q->op->opcode))
        return request_in_pool(q);
    r = q->op->on_ring(ring, q);
    /* ECANCELED: the kernel wanted a thread of its own for it, and could not start one. */
    return r == -EAGAIN || r == -ECANCELED ? request_in_pool(q) : r;
}

static CO ssize_t request_run(Request *q, AioMode mode)
{
    for (;;) {
        ssize_t r = request_try(q, mode);

        if (r == -EAGAIN)
            r = aio_poll(q->fd, q->op->poll_event, 0);
        else if (r != -EINTR)
            return r;
        if (r < 0 && r != -EINTR)
            return r;
    }
}

ssize_t aio_preadv(AioMode mode, int fd, const struct iovec *iov, int niov, uint64_t off)
{
    Request q = { .op = &op_read, .fd = fd, .iov = iov, .niov = niov, .off = off };

    if (off > INT64_MAX)
        return -EINVAL;
    return request_run(&q, mode);
}

ssize_t aio_pwritev(AioMode mode, int fd, const struct iovec *iov, int niov, uint64_t off, int rwf)
{
    Request q = {
        .op = &op_write, .fd = fd, .iov = iov, .niov = niov, .off = off, .flags = rwf,
    };

    if (off > INT64_MAX)
        return -EINVAL;
    return request_run(&q, mode);
}

int aio_fdatasync(AioMode mode, int fd)
{
    Request q = { .op = &op_sync, .fd = fd };

    return request_run(&q, mode);
}

int aio_fallocate(AioMode mode, int fd, int flags, uint64_t off, uint64_t len)
{
    Request q = { .op = &op_fallocate, .fd = fd, .flags = flags, .off = off, .len = len };

    if (off > INT64_MAX || len > INT64_MAX)
        return -EINVAL;
    return request_run(&q, mode);
}
