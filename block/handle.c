/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Handles: users of the graph. Every request from outside passes the gate of one. */
#include "block/home.h"
#include "block/internal.h"
#include "io/loop.h"
#include <inttypes.h>
#include <string.h>

/* ---- the gate of one request ---------------------------------------------------------------- */

/* False: the node lives on another loop, so the request has to be passed on. */
static CO bool handle_enter(Handle *h)
{
    while (handle_home(h) == loop_self()) {
        if (!h->closed) {
            h->in_flight++;
            return true;
        }
        co_queue_wait(&h->gate);
    }
    return false;
}

/*
 * For a request that concerns both: enters the two gates at once. Waiting at one of them while
 * being inside the other could hold up the edit that would open it.
 */
static CO bool handle_enter_with(Handle *h, Handle *other)
{
    while (handle_home(h) == loop_self() && handle_home(other) == loop_self()) {
        if (!h->closed && !other->closed) {
            other->in_flight++;
            h->in_flight++;
            return true;
        }
        co_queue_wait(h->closed ? &h->gate : &other->gate);
    }
    return false;
}

static void handle_leave(Handle *h)
{
    if (!--h->in_flight)
        co_queue_wake_all(&h->idle);
}

CO void handle_begin(Handle *h)
{
    bool is_here = handle_enter(h);

    g_assert(is_here); /* callers are home_work(), or hold (home_hold) */
}

void handle_end(Handle *h)
{
    handle_leave(h);
}

CO void handle_drain(Handle *h)
{
    while (h->in_flight)
        co_queue_wait(&h->idle);
}

void handle_open_gate(Handle *h)
{
    if (!--h->closed)
        co_queue_wake_all(&h->gate);
}

/* 0, -ENOMEDIUM without a node, or -EPERM if that accepts no requests. */
static int handle_state(const Handle *h)
{
    return !h->root ? -ENOMEDIUM : h->root->node->state == NODE_INACTIVE ? -EPERM : 0;
}

static int handle_range(const Handle *h, uint64_t off, uint64_t len)
{
    uint64_t end;

    if (handle_state(h) < 0)
        return handle_state(h);
    return size_add(off, len, &end) && end <= h->root->node->size ? 0 : -EIO;
}

/* ---- from loop to loop ---------------------------------------------------------------------- */

/* A request on its way to the loop of its node. Each kind of request fills in what it needs. */
typedef struct Call Call;
struct Call {
    Handle *h;
    CO int (*run)(const Call *c);  /* on the node's loop, inside the gate */
    int64_t start;                 /* for account_end */
    uint64_t off, len;
    Span buf;
    ReqFlags flags;
    void *more;                    /* further arguments of some kinds */
    int result;
    bool is_done;
};

/* Not done: the node lives on another loop. */
static CO void call_try(void *arg)
{
    Call *c = arg;

    if (!handle_enter(c->h))
        return;
    c->result = c->run(c);
    c->is_done = true;
    handle_leave(c->h);
}

/*
 * The node may move on while a call is on its way, or waits at the gate: then it is sent again,
 * from here. So nothing stays on the loop that was left, whose thread may end.
 */
static CO int call_run(Call *c)
{
    call_try(c);
    while (!c->is_done)
        loop_call_wait(handle_home(c->h), call_try, c);
    return c->result;
}

/* ---- requests ------------------------------------------------------------------------------- */

/*
 * Before the gate: edits do not wait for requests that limits hold up. Discards move no data: they
 * have no limits.
 */
static CO void wait_for_limits(Handle *h, bool is_write, uint64_t len)
{
    HandleThrottle *t = h->throttle;

    if (t)
        handle_throttle_wait(t, is_write, len);
}

static CO int pread_run(const Call *c)
{
    Handle *h = c->h;
    ReqFlags copy = h->flags & OPEN_COPY_ON_READ ? REQ_COPY_ON_READ : 0;
    int r = handle_range(h, c->off, c->buf.len);

    if (r == 0)
        r = node_pread(h->root->node, c->off, c->buf, c->flags | copy);
    return account_end(h, ACCOUNT_READ, c->buf.len, c->start, r);
}

CO int handle_pread(Handle *h, uint64_t off, Span buf, ReqFlags flags)
{
    Call c = { h, pread_run, account_start(h), off, .buf = buf, .flags = flags };

    wait_for_limits(h, false, buf.len);
    return call_run(&c);
}

static ReqFlags durable(const Handle *h)
{
    return h->flags & OPEN_WRITETHROUGH ? REQ_FUA : 0;
}

static CO int pwrite_run(const Call *c)
{
    Handle *h = c->h;
    int r = handle_range(h, c->off, c->buf.len);

    if (r == 0)
        r = node_pwrite(h->root->node, c->off, c->buf, c->flags | durable(h));
    return account_end(h, ACCOUNT_WRITE, c->buf.len, c->start, r);
}

CO int handle_pwrite(Handle *h, uint64_t off, Span buf, ReqFlags flags)
{
    Call c = { h, pwrite_run, account_start(h), off, .buf = buf, .flags = flags };

    wait_for_limits(h, true, buf.len);
    return call_run(&c);
}

static CO int zero_run(const Call *c)
{
    Handle *h = c->h;
    int r = handle_range(h, c->off, c->len);

    if (r == 0)
        r = node_zero(h->root->node, c->off, c->len, c->flags | durable(h));
    return account_end(h, ACCOUNT_WRITE, c->len, c->start, r);
}

CO int handle_zero(Handle *h, uint64_t off, uint64_t len, ReqFlags flags)
{
    Call c = { h, zero_run, account_start(h), off, len, .flags = flags };

    wait_for_limits(h, true, len);
    return call_run(&c);
}

static CO int discard_run(const Call *c)
{
    int r = handle_range(c->h, c->off, c->len);

    if (r == 0)
        r = node_discard(c->h->root->node, c->off, c->len);
    return account_end(c->h, ACCOUNT_UNMAP, c->len, c->start, r);
}

CO int handle_discard(Handle *h, uint64_t off, uint64_t len)
{
    Call c = { h, discard_run, account_start(h), off, len };

    return call_run(&c);
}

/* The node that keeps the VM state of @h's image: below filters and raw. NULL: none. */
static Node *vmstate_node(Handle *h)
{
    Node *n = handle_node(h);

    while (n && !n->drv->vmstate_pread)
        n = node_filtered(n) ? node_filtered(n) : node_storage(n);
    return n;
}

static CO int vmstate_pread_run(const Call *c)
{
    Node *n = vmstate_node(c->h);
    int r = handle_state(c->h);

    if (r == 0 && !n)
        r = -ENOTSUP;
    return r < 0 ? r : n->drv->vmstate_pread(n, c->off, c->buf);
}

CO int handle_vmstate_pread(Handle *h, uint64_t off, Span buf)
{
    Call c = { h, vmstate_pread_run, .off = off, .buf = buf };

    return call_run(&c);
}

static CO int vmstate_pwrite_run(const Call *c)
{
    Node *n = vmstate_node(c->h);
    int r;

    if (!n || !n->drv->vmstate_pwrite)
        return -ENOTSUP;
    if (!(n->flags & OPEN_RDWR) || handle_state(c->h) < 0)
        return -EPERM;
    r = n->drv->vmstate_pwrite(n, c->off, c->buf);
    n->writes++;
    return r;
}

CO int handle_vmstate_pwrite(Handle *h, uint64_t off, Span buf)
{
    Call c = { h, vmstate_pwrite_run, .off = off, .buf = buf };

    return call_run(&c);
}

static CO int flush_run(const Call *c)
{
    Handle *h = c->h;
    bool writes = handle_state(h) == 0 && h->root->node->flags & OPEN_RDWR;
    int r = writes ? node_flush(h->root->node) : 0;

    h->flush_failed = r < 0;
    return account_end(h, ACCOUNT_FLUSH, 0, c->start, r);
}

CO int handle_flush(Handle *h)
{
    Call c = { h, flush_run, account_start(h) };

    return call_run(&c);
}

typedef struct {
    bool precise;
    Extent *e;
    int *depth;
} ExtentCall;

static CO int extent_run(const Call *c)
{
    const ExtentCall *x = c->more;
    int r = handle_state(c->h);

    return r < 0 ? r : node_extent(c->h->root->node, c->off, c->len, x->precise, x->e);
}

CO int handle_extent(Handle *h, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    ExtentCall x = { precise, e, NULL };
    Call c = { h, extent_run, 0, off, len, .more = &x };

    return call_run(&c);
}

static CO int extent_above_run(const Call *c)
{
    const ExtentCall *x = c->more;
    int r = handle_state(c->h);

    return r < 0 ? r : node_extent_above(c->h->root->node, NULL, c->off, c->len, x->precise, x->e,
                                         x->depth);
}

CO int handle_extent_above(Handle *h, uint64_t off, uint64_t len, bool precise, Extent *e,
                           int *depth)
{
    ExtentCall x = { precise, e, depth };
    Call c = { h, extent_above_run, 0, off, len, .more = &x };

    return call_run(&c);
}

/* Copying on the host's side needs both images on this loop. */
CO int handle_copy(Handle *src, uint64_t src_off, Handle *dst, uint64_t dst_off, uint64_t len,
                   ReqFlags flags)
{
    int r;

    if (!handle_enter_with(src, dst))
        return -ENOTSUP;
    r = handle_range(src, src_off, len);
    if (r == 0)
        r = handle_range(dst, dst_off, len);
    if (r == 0)
        r = node_copy(src->root->node, src_off, dst->root->node, dst_off, len, flags);
    handle_leave(src);
    handle_leave(dst);
    return r;
}

typedef struct {
    bool exact;
    Prealloc prealloc;
    GError **err;
} ResizeCall;

static bool resize_now(Handle *h, uint64_t size, const ResizeCall *x)
{
    if (!h->root)
        return err_set(x->err, ENOMEDIUM, "There is no medium");
    if (handle_state(h) < 0)
        return err_set(x->err, EPERM, "'%s' is inactive", node_filename(h->root->node));
    return node_resize(h->root->node, size, x->exact, x->prealloc, 0, x->err);
}

static CO int resize_run(const Call *c)
{
    return resize_now(c->h, c->len, c->more) ? 0 : -1;
}

CO bool handle_resize(Handle *h, uint64_t size, bool exact, Prealloc prealloc, GError **err)
{
    ResizeCall x = { exact, prealloc, err };
    Call c = { h, resize_run, .len = size, .more = &x };

    return call_run(&c) == 0;
}

typedef struct {
    SizeLearned *learned;
    GError **err;
} LearnCall;

static CO int learn_size_run(const Call *c)
{
    const LearnCall *x = c->more;
    int r = handle_state(c->h);

    if (r < 0)
        return err_set_errno(x->err, r, "There is nothing to learn the size of") ? 0 : r;
    return node_learn_size(c->h->root->node, c->len, x->learned, x->err) ? 0 : -1;
}

CO bool handle_learn_size(Handle *h, uint64_t wanted, SizeLearned *l, GError **err)
{
    LearnCall x = { l, err };
    Call c = { h, learn_size_run, .len = wanted, .more = &x };

    return call_run(&c) == 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

Handle *handle_prepare(HandleKind kind, unsigned needs)
{
    Handle *h = g_new0(Handle, 1);

    h->home = loop_self();
    h->kind = kind;
    if (needs & ACCESS_WRITE)
        h->flags |= OPEN_RDWR;
    return h;
}

CO Handle *handle_new(Node *n, HandleKind kind, unsigned needs, unsigned shares, GError **err)
{
    g_autoptr(Handle) h = handle_prepare(kind, needs);
    g_autoptr(Edit) edit = edit_begin();

    edit_attach_handle(edit, h, n, needs, shares);
    if (!edit_commit(edit, err))
        return NULL;
    return g_steal_pointer(&h);
}

CO Handle *handle_new_beside(Handle *other, HandleKind kind, unsigned needs, unsigned shares,
                             GError **err)
{
    g_autoptr(Handle) h = handle_prepare(kind, needs);
    g_autoptr(Edit) edit = edit_begin();

    edit_attach_handle(edit, h, handle_node(other), needs, shares);
    if (!edit_commit(edit, err))
        return NULL;
    return g_steal_pointer(&h);
}

void handle_listen(Handle *h, const HandleOps *ops, void *owner)
{
    h->ops = ops;
    h->owner = owner;
    h->told_size = ops ? handle_size(h) : 0;
}

void handle_keep_size(Handle *h, uint64_t size, const char *who)
{
    h->keeper = who;
    h->least_size = size;
}

void handle_tell_size(Handle *h)
{
    if (!h->ops || h->told_size == handle_size(h))
        return;
    h->told_size = handle_size(h);
    if (h->ops->resized)
        h->ops->resized(h->owner);
}

void handle_tell_replaced(Handle *h)
{
    if (h->ops && h->ops->node_replaced)
        h->ops->node_replaced(h->owner);
    handle_tell_size(h);
}

/* What a user with @flags does with its node. */
unsigned handle_needs(OpenFlags flags)
{
    unsigned needs = flags & OPEN_NO_IO ? 0 : ACCESS_READ;

    if (flags & OPEN_RDWR)
        needs |= flags & OPEN_UNCHANGED ? ACCESS_UNCHANGED : ACCESS_WRITE;
    if (flags & OPEN_RESIZE && !(flags & OPEN_UNCHANGED))
        needs |= ACCESS_RESIZE;
    return needs;
}

CO bool handle_require(Handle *h, unsigned needs, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    if (!h->root)
        return err_set(err, ENOMEDIUM, "There is no medium");
    edit_handle_access(edit, h, h->root->needs | needs, h->flags);
    return edit_commit(edit, err);
}

static CO Handle *open_nested(const char *filename, json_t *options, OpenFlags flags,
                              unsigned nesting, GError **err)
{
    g_autoptr(Node) n = node_open(filename, options, flags, nesting, err);
    unsigned shares = ACCESS_ALL;
    Handle *h;

    if (!n)
        return NULL;
    if (flags & OPEN_RDWR && node_is_read_only(n)) {
        err_set(err, EACCES, "Image '%s' is read-only", node_filename(n));
        return NULL;
    }
    if (flags & OPEN_DENY_WRITERS && !(flags & OPEN_FORCE_SHARE))
        shares = ACCESS_READ | ACCESS_UNCHANGED;
    h = handle_new(n, HANDLE_USER, handle_needs(flags), shares, err);
    if (h)
        h->flags = flags;
    return h;
}

CO Handle *handle_open(const char *filename, json_t *options, OpenFlags flags, GError **err)
{
    return open_nested(filename, options, flags, 0, err);
}

CO Handle *handle_open_below(const Node *n, json_t *options, OpenFlags flags, GError **err)
{
    return open_nested(NULL, options, flags, n->nesting + 1, err);
}

/* Everything that @h's node and those below have is written. */
static CO bool handle_finish(Handle *h, GError **err)
{
    Node *n = h->root->node;
    bool is_written = n->flags & OPEN_RDWR && n->state != NODE_INACTIVE;
    bool ok = node_finish(n, err);
    int r = is_written ? node_flush(n) : 0;

    if (r >= 0 || h->flush_failed || !ok)
        return ok;
    return err_set_errno(err, r, "Could not write back what is cached of '%s'", node_filename(n));
}

CO bool handle_close_err(Handle *h, GError **err)
{
    g_autoptr(Edit) edit = NULL;
    bool ok = true;

    if (!h)
        return true;
    handle_throttle_free(h);
    home_hold(); /* then the gate belongs to this loop */
    h->closed++;
    handle_drain(h);
    if (h->root) {
        /* With the edit begun nobody else can become, or cease to be, the last user meanwhile. */
        edit = edit_begin();
        ok = h->root->node->refs > 1 || handle_finish(h, err);
        edit_detach(edit, h->root);
        edit_commit(edit, NULL);
    }
    account_close(h);
    g_free(h);
    home_release();
    return ok;
}

Handle *handle_new_empty(void)
{
    return handle_prepare(HANDLE_USER, 0);
}

/* The edit of a change; @h has no requests in flight, and lets none begin. */
static CO bool medium_swap(Handle *h, Node *n, unsigned needs, unsigned shares, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    if (h->root && h->root->node->refs == 1 && !handle_finish(h, err))
        return false;
    if (h->root)
        edit_detach(edit, h->root);
    if (n)
        edit_attach_handle(edit, h, n, needs, shares);
    return edit_commit(edit, err);
}

CO bool handle_change_medium(Handle *h, Node *n, unsigned needs, unsigned shares, GError **err)
{
    bool ok;

    home_hold();
    h->closed++;
    handle_drain(h);
    ok = medium_swap(h, n, needs, shares, err);
    if (ok)
        h->flags = (h->flags & ~(unsigned)OPEN_RDWR) | (needs & ACCESS_WRITE ? OPEN_RDWR : 0);
    handle_open_gate(h);
    home_release();
    if (!ok)
        return false;
    if (h->ops && h->ops->medium_changed)
        h->ops->medium_changed(h->owner);
    handle_tell_size(h);
    return true;
}

CO void handle_close(Handle *h)
{
    g_autoptr(GError) err = NULL;

    if (!handle_close_err(h, &err))
        block_warn("%s", err->message);
}

void handle_look_at_nodes(Handle *h)
{
    h->looks_at_nodes = true;
}

Node *handle_node(Handle *h)
{
    return h->root ? h->root->node : NULL;
}

uint64_t handle_size(Handle *h)
{
    return atomic_load_explicit(&h->size, memory_order_relaxed);
}

bool handle_is_writable(Handle *h)
{
    return h->flags & OPEN_RDWR;
}
