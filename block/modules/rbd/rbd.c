/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images of Ceph clusters, many requests at a time. Threads of librbd carry the requests out; what
 * has been answered is told by an eventfd, which a PollSet waits for.
 */
#include "block/modules/rbd/internal.h"
#include "util/err.h"
#include "util/module.h"
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    IOV_COUNT = 64,                     /* pieces of memory in a request */
    ANSWERS = 64,                       /* that are taken at a time */
    RETRY_NS = 10 * 1000 * 1000,        /* when the loop cannot wait: it lacks memory */
};

/* ---- waiting --------------------------------------------------------------------------------- */

/* A request under way, on the stack of the coroutine that waits for it. */
typedef struct {
    RbdImage *f;
    rbd_completion_t completion;
    ssize_t result;
    bool done;
} Request;

static void on_ready(void *opaque, int fd, unsigned events)
{
    RbdImage *f = opaque;
    rbd_completion_t answers[ANSWERS];
    eventfd_t count;
    int n;

    /* First: what is answered after this writes to it again. */
    if (eventfd_read(f->event, &count) < 0)
        g_assert(errno == EAGAIN);
    while ((n = rbd_poll_io_events(f->image, answers, ANSWERS)) > 0)
        for (int i = 0; i < n; i++) {
            Request *r = rbd_aio_get_arg(answers[i]);

            r->result = rbd_aio_get_return_value(answers[i]);
            rbd_aio_release(answers[i]);
            r->done = true;
        }
    poll_set_changed(f->set);
}

static int request_begin(RbdImage *f, Request *r)
{
    *r = (Request){ .f = f };
    return rbd_aio_create_completion(r, NULL, &r->completion);
}

/* Waits for @r, which librbd has @taken (a negative errno: it has not). */
static CO ssize_t request_end(Request *r, int taken)
{
    if (taken < 0) {
        rbd_aio_release(r->completion);
        return taken;
    }
    /* Until there is an answer librbd uses @r and the caller's memory, whatever happens. */
    while (!r->done)
        if (poll_set_wait(r->f->set, &r->done) < 0) {
            co_sleep(RETRY_NS);
            on_ready(r->f, r->f->event, 0);
        }
    return r->result;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Starts the request of the memory @iov at @off. */
typedef int Start(rbd_image_t image, const struct iovec *iov, int count, uint64_t off,
                  rbd_completion_t completion);

static CO int transfer(RbdImage *f, uint64_t off, Span buf, Start *start, bool counts)
{
    while (buf.len) {
        struct iovec iov[IOV_COUNT];
        size_t len;
        int count = span_to_iov(buf, iov, IOV_COUNT, &len), r;
        Request req;
        ssize_t done;

        r = request_begin(f, &req);
        if (r < 0)
            return r;
        done = request_end(&req, start(f->image, iov, count, off, req.completion));
        if (done < 0)
            return (int)done;
        if (counts && (size_t)done != len)
            return -EIO;        /* somebody has made the image smaller */
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return 0;
}

static CO int ceph_read(void *file, uint64_t off, Span buf)
{
    return transfer(file, off, buf, rbd_aio_readv, true);
}

static CO int ceph_write(void *file, uint64_t off, Span buf)
{
    return transfer(file, off, buf, rbd_aio_writev, false);
}

static CO int ceph_sync(void *file)
{
    RbdImage *f = file;
    Request req;
    int r = request_begin(f, &req);

    return r < 0 ? r : (int)request_end(&req, rbd_aio_flush(f->image, req.completion));
}

static CO int ceph_zero(RbdImage *f, uint64_t off, uint64_t len, bool may_unmap)
{
    Request req;
    int flags = may_unmap ? 0 : RBD_WRITE_ZEROES_FLAG_THICK_PROVISION;
    int r = request_begin(f, &req);

    if (r < 0)
        return r;
    r = rbd_aio_write_zeroes(f->image, off, len, req.completion, flags, 0);
    return (int)request_end(&req, r);
}

static CO int ceph_discard(RbdImage *f, uint64_t off, uint64_t len)
{
    Request req;
    int r = request_begin(f, &req);

    if (r < 0)
        return r;
    return (int)request_end(&req, rbd_aio_discard(f->image, off, len, req.completion));
}

/* ---- the whole image ------------------------------------------------------------------------- */

typedef struct {
    RbdImage *f;
    const RbdConfig *config;
    const RbdNew *new;
    RbdFound *found;
    uint64_t size;
    GError **err;
} ImageCall;

static int resize_run(void *arg)
{
    const ImageCall *c = arg;

    return ceph_set_size(c->f, c->size);
}

static CO int ceph_resize(void *file, uint64_t size)
{
    ImageCall c = { .f = file, .size = size };

    return pool_run(resize_run, &c);
}

static int disconnect_run(void *arg)
{
    ceph_disconnect(arg);
    return 0;
}

static CO void ceph_close(void *file)
{
    RbdImage *f = file;

    pool_run(disconnect_run, f);
    poll_set_free(f->set);
    if (f->event >= 0)
        close(f->event);
    g_free(f);
}

static int open_run(void *arg)
{
    const ImageCall *c = arg;

    return ceph_connect(c->f, c->config, c->err) &&
           ceph_open(c->f, c->config, c->found, c->err);
}

static CO RbdImage *ceph_new(const RbdConfig *config, RbdFound *found, GError **err)
{
    RbdImage *f = g_new0(RbdImage, 1);
    ImageCall c = { .f = f, .config = config, .found = found, .err = err };

    f->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->set = poll_set_new(on_ready, f, err);
    if (f->set && f->event < 0)
        err_set_errno(err, errno, "eventfd");
    else if (f->set && pool_run(open_run, &c)) {
        int r = poll_set_watch(f->set, f->event, POLLIN);

        if (r == 0)
            return f;
        err_set_errno(err, r, "The answers cannot be waited for");
    }
    ceph_close(f);
    return NULL;
}

static int create_run(void *arg)
{
    const ImageCall *c = arg;
    bool ok = ceph_connect(c->f, c->config, c->err) &&
              ceph_create(c->f, c->config, c->new, c->err);

    ceph_disconnect(c->f);
    return ok;
}

static CO bool ceph_make(const RbdConfig *config, const RbdNew *new, GError **err)
{
    RbdImage f = { .event = -1 };
    ImageCall c = { .f = &f, .config = config, .new = new, .err = err };

    return pool_run(create_run, &c);
}

MODULE_EXPORT const RbdModule ferry_module_rbd = {
    .open = ceph_new,
    .create = ceph_make,
    .file = {
        .read = ceph_read,
        .write = ceph_write,
        .sync = ceph_sync,
        .resize = ceph_resize,
        .close = ceph_close,
    },
    .zero = ceph_zero,
    .discard = ceph_discard,
    .extent = ceph_extent,
    .snapshots = ceph_snapshots,
    .free_snapshots = ceph_free_snapshots,
    .act = ceph_act,
};
