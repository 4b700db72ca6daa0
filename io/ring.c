/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_uring behind a loop.
 *
 * Operations are only queued when a coroutine asks for them; the wait of an otherwise idle loop
 * submits all of them with the same system call that sleeps. The record of an operation lives on
 * the stack of its coroutine, and its address is the user data of the request; low bits tell the
 * kinds apart.
 */
#include "io/internal.h"
#include "util/trace.h"
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_VALGRIND_H
#include <valgrind/valgrind.h>
#endif

enum {
    RING_ENTRIES = 128,
    RING_COMPLETIONS = 1024,
    /* Kinds of user data. */
    DATA_OP = 0,     /* RingOp, or nobody if it is NULL */
    DATA_POLL = 1,   /* PollWait */
    DATA_WAKE = 2,   /* the read of the mailbox's eventfd */
    DATA_KINDS = 3,
};

/* One system call takes at most this much; longer ones are cut by the kernel all the same. */
#define RW_MAX 0x7ffff000u

typedef struct {
    Co *co;
    int res;
} RingOp;

struct Ring {
    struct io_uring u;
    bool wake_queued;
    bool can[IORING_OP_LAST];
};

/*
 * Where eventfds of mailboxes are read to; nobody looks at it. Of the process, since the kernel may
 * still write there while it takes down a ring that we have freed.
 */
static uint64_t wake_count;

/* ---- may we? --------------------------------------------------------------------------------- */

static _Atomic bool uring_forbidden;
static _Atomic int uring_error; /* errno of the first refusal: it will not change */

void loop_forbid_uring(void)
{
    atomic_store(&uring_forbidden, true);
}

typedef enum { LOOP_ANY, LOOP_URING, LOOP_EPOLL } LoopKind;

static LoopKind kind_wanted(void)
{
    const char *name = getenv("FERRY_LOOP");

    if (!name || !*name)
        return LOOP_ANY;
    if (!strcmp(name, "uring"))
        return LOOP_URING;
    if (!strcmp(name, "epoll"))
        return LOOP_EPOLL;
    g_printerr("%s: FERRY_LOOP is '%s', not uring or epoll\n", program_invocation_short_name, name);
    exit(1);
}

/* Under valgrind a thread that waits on a ring stops all others. */
static bool is_watched(void)
{
#ifdef HAVE_VALGRIND_H
    return RUNNING_ON_VALGRIND;
#else
    return false;
#endif
}

/* Why no ring may be made, or NULL. */
static const char *refusal(void)
{
    LoopKind kind = kind_wanted();

    if (kind == LOOP_EPOLL)
        return "FERRY_LOOP=epoll is set";
    if (kind == LOOP_ANY && is_watched())
        return "valgrind cannot follow io_uring";
    if (atomic_load(&uring_forbidden))
        return "the sandbox forbids io_uring";
    if (atomic_load(&uring_error))
        return g_strerror(atomic_load(&uring_error));
    return NULL;
}

/* ---- making ---------------------------------------------------------------------------------- */

/* 0 or a negative errno. Newer kernels first: completions then cost no interrupts. */
static int ring_init(struct io_uring *u)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_COOP_TASKRUN,
        0,
    };
    const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_SUBMIT_STABLE;
    int r = -EINVAL;

    for (unsigned i = 0; i < G_N_ELEMENTS(flags) && r == -EINVAL; i++) {
        struct io_uring_params p = {
            .flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = RING_COMPLETIONS,
        };

        r = io_uring_queue_init_params(RING_ENTRIES, u, &p);
        if (r == 0 && (p.features & needed) != needed) {
            io_uring_queue_exit(u);
            return -ENOSYS;
        }
    }
    return r;
}

/* Learns which operations the kernel has. False if one is missing that the loop itself needs. */
static bool ring_probe(Ring *r)
{
    union {
        struct io_uring_probe head;
        char room[sizeof(struct io_uring_probe) + 256 * sizeof(struct io_uring_probe_op)];
    } probe = {};

    if (io_uring_register_probe(&r->u, &probe.head, 256) < 0)
        return false;
    for (int i = 0; i < probe.head.ops_len && i < IORING_OP_LAST; i++)
        r->can[i] = probe.head.ops[i].flags & IO_URING_OP_SUPPORTED;
    return r->can[IORING_OP_POLL_ADD] && r->can[IORING_OP_ASYNC_CANCEL] && r->can[IORING_OP_READ];
}

static Ring *ring_new(int *error)
{
    g_autofree Ring *r = g_new0(Ring, 1);

    *error = -ring_init(&r->u);
    if (*error)
        return NULL;
    if (!ring_probe(r)) {
        io_uring_queue_exit(&r->u);
        *error = ENOSYS;
        return NULL;
    }
    return g_steal_pointer(&r);
}

void ring_free(Ring *r)
{
    io_uring_queue_exit(&r->u);
    g_free(r);
}

/* A new ring, or NULL with the refusal remembered. */
static Ring *ring_try(void)
{
    const char *why = refusal();
    int error = 0;
    Ring *r = why ? NULL : ring_new(&error);

    /* Lack of memory or descriptors may pass; it is not a refusal of rings as such. */
    if (error && error != ENOMEM && error != EMFILE && error != ENFILE)
        atomic_store(&uring_error, error);
    if (!r && kind_wanted() == LOOP_URING)
        g_error("FERRY_LOOP=uring, but io_uring cannot be used: %s", why ? why : g_strerror(error));
    return r;
}

Ring *ring_get(Loop *l)
{
    if (!l->ring && !l->epoll && !l->no_ring) {
        l->ring = ring_try();
        TRACE(loop_choice, "%s", l->ring ? "io_uring" : "epoll and threads");
        l->no_ring = !l->ring;
    }
    return l->ring;
}

bool ring_can(const Ring *r, int opcode)
{
    return r->can[opcode];
}

bool loop_has_uring(const char **why)
{
    Loop *l = loop_current;
    Ring *r = l ? ring_get(l) : ring_try();
    const char *reason = r ? NULL : refusal();

    if (r && !l)
        ring_free(r);
    if (why)
        *why = r || reason ? reason : "too little memory or too many open files";
    return r;
}

/* ---- completions ----------------------------------------------------------------------------- */

static void ring_complete(Ring *r, const struct io_uring_cqe *cqe)
{
    void *p = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)DATA_KINDS);
    RingOp *op;
    PollWait *w;

    switch (cqe->user_data & DATA_KINDS) {
    case DATA_WAKE:
        r->wake_queued = false;
        break;
    case DATA_POLL:
        w = p;
        poll_wait_done(w, cqe->res == -EOPNOTSUPP ? w->events : cqe->res);
        break;
    default:
        op = p;
        if (op) {
            op->res = cqe->res;
            op->co->loop->in_flight--;
            co_unblock(op->co);
        }
    }
}

/* Hands out what is in the completion queue, without a system call. */
static void ring_reap(Ring *r)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&r->u, head, cqe) {
        ring_complete(r, cqe);
        n++;
    }
    io_uring_cq_advance(&r->u, n);
}

/* A free entry of the submission queue; what is queued is submitted when that is enough. */
static struct io_uring_sqe *ring_sqe(Ring *r)
{
    unsigned max = loop_here()->max_batch;
    struct io_uring_sqe *sqe;

    if (max && io_uring_sq_ready(&r->u) >= max)
        io_uring_submit(&r->u);
    while (!(sqe = io_uring_get_sqe(&r->u))) {
        if (io_uring_submit(&r->u) < 0) {
            io_uring_get_events(&r->u);
            ring_reap(r);
        }
    }
    return sqe;
}

static void sqe_set_data(struct io_uring_sqe *sqe, const void *p, unsigned kind)
{
    sqe->user_data = (uintptr_t)p | kind;
}

static void ring_watch_mailbox(Ring *r, Mailbox *mb)
{
    struct io_uring_sqe *sqe;

    if (r->wake_queued)
        return;
    sqe = ring_sqe(r);
    io_uring_prep_read(sqe, mailbox_fd(mb), &wake_count, sizeof(wake_count), 0);
    sqe_set_data(sqe, NULL, DATA_WAKE);
    r->wake_queued = true;
}

void ring_wait(Loop *l, int64_t timeout_ns)
{
    Ring *r = l->ring;
    struct __kernel_timespec ts = {
        .tv_sec = timeout_ns / 1000000000,
        .tv_nsec = timeout_ns % 1000000000,
    };
    struct io_uring_cqe *cqe;

    if (timeout_ns)
        ring_watch_mailbox(r, l->mailbox);
    /* Errors (interrupted, timed out, completion queue full) all mean: look what is there. */
    if (timeout_ns > 0)
        io_uring_submit_and_wait_timeout(&r->u, &cqe, 1, &ts, NULL);
    else if (timeout_ns < 0)
        io_uring_submit_and_wait(&r->u, 1);
    else
        io_uring_submit_and_get_events(&r->u);
    ring_reap(r);
}

/* ---- operations ------------------------------------------------------------------------------ */

/* Waits for the operation just filled in. */
static CO int ring_finish(struct io_uring_sqe *sqe)
{
    Loop *l = loop_here();
    RingOp op = { .co = l->running };

    sqe_set_data(sqe, &op, DATA_OP);
    l->in_flight++;
    co_block();
    return op.res;
}

ssize_t ring_preadv(Ring *r, int fd, const struct iovec *iov, int niov, uint64_t off)
{
    struct io_uring_sqe *sqe = ring_sqe(r);

    if (niov == 1)
        io_uring_prep_read(sqe, fd, iov->iov_base, MIN(iov->iov_len, RW_MAX), off);
    else
        io_uring_prep_readv(sqe, fd, iov, niov, off);
    return ring_finish(sqe);
}

ssize_t ring_pwritev(Ring *r, int fd, const struct iovec *iov, int niov, uint64_t off, int rwf)
{
    struct io_uring_sqe *sqe = ring_sqe(r);

    if (niov == 1)
        io_uring_prep_write(sqe, fd, iov->iov_base, MIN(iov->iov_len, RW_MAX), off);
    else
        io_uring_prep_writev(sqe, fd, iov, niov, off);
    sqe->rw_flags = rwf;
    return ring_finish(sqe);
}

int ring_fdatasync(Ring *r, int fd)
{
    struct io_uring_sqe *sqe = ring_sqe(r);

    io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    return ring_finish(sqe);
}

int ring_fallocate(Ring *r, int fd, int flags, uint64_t off, uint64_t len)
{
    struct io_uring_sqe *sqe = ring_sqe(r);

    io_uring_prep_fallocate(sqe, fd, flags, off, len);
    return ring_finish(sqe);
}

void ring_poll_start(Ring *r, PollWait *w)
{
    struct io_uring_sqe *sqe = ring_sqe(r);

    io_uring_prep_poll_add(sqe, w->fd, w->events);
    sqe_set_data(sqe, w, DATA_POLL);
}

void ring_poll_cancel(Ring *r, PollWait *w)
{
    struct io_uring_sqe *sqe = ring_sqe(r);

    /* POLL_REMOVE does nothing while a wake-up, even one in vain, is on its way. */
    io_uring_prep_cancel64(sqe, (uintptr_t)w | DATA_POLL, 0);
    sqe_set_data(sqe, NULL, DATA_OP);
}
