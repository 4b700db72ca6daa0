/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The queues of a client. A coroutine for each waits for kicks and takes chains from the ring; each
 * chain becomes a request with a coroutine of its own, whose data goes straight from or to the
 * guest's memory.
 */
#include "util/err.h"
#include "vhost-user/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

typedef struct VhostRequest {
    VhostQueue *queue;
    VhostMemory *memory; /* holds the addresses in .chain */
    VirtioDiskRequest request;
    RingChain chain;
    struct VhostRequest *next;
} Request;

/* ---- telling the client ---------------------------------------------------------------------- */

/*
 * Should the counter of an eventfd be full, the other side has enough to wake up for. O_NONBLOCK is
 * the client's, too, which may have taken it back to make us wait.
 */
static void signal_fd(int fd)
{
    static const uint64_t one = 1;
    struct pollfd p = { .fd = fd, .events = POLLOUT };

    if (fd < 0 || poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
        return;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (write(fd, &one, sizeof(one)) < 0)
        return;
}

static void call(VhostQueue *q)
{
    if (q->serving)
        q->owes_call = true;
    else if (ring_wants_interrupt(&q->ring, &q->session->ring_memory))
        signal_fd(q->call);
}

/* The queue rests until it is set up anew. */
static void fail(VhostQueue *q, const char *why)
{
    q->ring.broken = true;
    signal_fd(q->err);
    vhost_session_warn(q->session, why);
}

/* ---- requests -------------------------------------------------------------------------------- */

static Request *request_new(VhostQueue *q)
{
    Request *r = q->spare;

    if (r)
        q->spare = r->next;
    else
        r = g_new(Request, 1);
    r->queue = q;
    return r;
}

static void request_free(Request *r)
{
    r->next = r->queue->spare;
    r->queue->spare = r;
}

static CO void request_run(void *arg)
{
    Request *q = arg;
    VhostQueue *queue = q->queue;
    const RingMemory *m = &queue->session->ring_memory;
    int r = virtio_disk_perform(queue->session->disk, &q->request, &q->chain, m);

    ring_push(&queue->ring, m, &q->chain, virtio_disk_answer(&q->request, &q->chain, m, r));
    call(queue);
    vhost_memory_unref(q->memory);
    request_free(q);
    if (--queue->in_flight == 0)
        co_queue_wake_all(&queue->idle);
}

/* The next request; NULL: there is none, or the ring is broken. */
static Request *next_request(VhostQueue *queue)
{
    VhostSession *s = queue->session;
    Request *q = request_new(queue);

    switch (ring_pop(&queue->ring, &s->ring_memory, &q->chain)) {
    case RING_CHAIN:
        if (queue->in_flight == queue->ring.size)
            fail(queue, "A queue has more requests in flight than entries");
        else if (!virtio_disk_request(&q->chain, &q->request))
            fail(queue, "A request has no room for its header or status");
        else
            break;
        request_free(q);
        return NULL;
    case RING_BROKEN:
        fail(queue, "A queue has addresses outside of the shared memory, or invalid indexes");
        request_free(q);
        return NULL;
    case RING_EMPTY:
    case RING_MISSING: /* memory of a front-end is always there */
        request_free(q);
        return NULL;
    }
    q->memory = vhost_memory_ref(s->memory);
    queue->in_flight++;
    return q;
}

static bool may_serve(const VhostQueue *queue)
{
    return !queue->stopping && queue->enabled;
}

/* Starts requests that wait in the ring, up to its size. */
static CO void serve_some(VhostQueue *queue)
{
    unsigned taken = 0;
    Request *q;

    queue->serving = true;
    while (may_serve(queue) && taken++ < queue->ring.size && (q = next_request(queue)))
        co_start_now(request_run, q);
    queue->serving = false;
    if (queue->owes_call) {
        queue->owes_call = false;
        call(queue);
    }
}

/* All of them. A client that never ceases lets others of this loop run, too. */
static CO void serve(VhostQueue *queue)
{
    const RingMemory *m = &queue->session->ring_memory;

    ring_want_kicks(&queue->ring, m, false);
    serve_some(queue);
    while (may_serve(queue) && ring_want_kicks(&queue->ring, m, true)) {
        co_yield();
        ring_want_kicks(&queue->ring, m, false);
        serve_some(queue);
    }
}

/* ---- the coroutine --------------------------------------------------------------------------- */

/* Without waiting, also if the client has taken back O_NONBLOCK. False: it cannot be read. */
static bool take_kicks(VhostQueue *q)
{
    uint64_t count;
    struct iovec iov = { &count, sizeof(count) };

    return preadv2(channel_fd(q->kick), &iov, 1, -1, RWF_NOWAIT) > 0 || errno == EAGAIN;
}

/* True: there was a kick, or something has changed. */
static CO bool await_kick(VhostQueue *q)
{
    int r = channel_expect(q->kick, 0);

    if (r == -EINTR || (r >= 0 && take_kicks(q)))
        return true;
    fail(q, "The eventfd for kicks of a queue cannot be read");
    return false;
}

static CO void queue_run(void *arg)
{
    VhostQueue *q = arg;
    VhostSession *s = q->session;

    do {
        if (q->enabled)
            serve(q);
        if (vhost_memory_is_lost(s->memory)) {
            fail(q, "A file of its shared memory was truncated");
            channel_shutdown(s->channel);
        }
    } while (!q->stopping && !q->ring.broken && await_kick(q));
}

/* ---- life ------------------------------------------------------------------------------------ */

void vhost_queue_init(VhostQueue *q, VhostSession *s)
{
    *q = (VhostQueue){ .session = s, .call = -1, .err = -1 };
}

CO bool vhost_queue_start(VhostQueue *q, int kick, GError **err)
{
    VhostSession *s = q->session;

    vhost_queue_stop(q);
    q->kick = channel_new_fd(kick);
    if (!ring_continue(&q->ring, &s->ring_memory, q->base)) {
        g_clear_pointer(&q->kick, channel_free);
        return err_set(err, EINVAL, "The rings of a queue of %u entries are misaligned or not in "
                       "the shared memory", q->ring.size);
    }
    q->ring.ready = true;
    co_group_start(&q->worker, queue_run, q);
    return true;
}

CO void vhost_queue_stop(VhostQueue *q)
{
    if (!q->kick)
        return;
    q->stopping = true;
    channel_interrupt_wait(q->kick);
    co_group_wait(&q->worker);
    while (q->in_flight)
        co_queue_wait(&q->idle);
    q->stopping = q->ring.ready = false;
    q->base = q->ring.next_avail;
    g_clear_pointer(&q->kick, channel_free);
}

void vhost_queue_enable(VhostQueue *q, bool enabled)
{
    q->enabled = enabled;
    if (q->kick)
        channel_interrupt_wait(q->kick);
}

CO void vhost_queue_end(VhostQueue *q)
{
    vhost_queue_stop(q);
    while (q->spare) {
        Request *r = q->spare;

        q->spare = r->next;
        g_free(r);
    }
    if (q->call >= 0)
        close(q->call);
    if (q->err >= 0)
        close(q->err);
}
