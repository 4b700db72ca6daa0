/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copy-before-write: before something is overwritten, its old content is copied to the target. What
 * was copied and what was not is together the image as it was; snapshot-access shows it.
 */
#include "block/filters/copy-before-write.h"
#include <inttypes.h>
#include <string.h>

enum { GRANULARITY_MIN = 64 << 10, CHUNK = 1 << 20 };

typedef struct {
    Copy copy;
    HBitmap *todo, *access;
    bool breaks_snapshot;   /* rather than the write, when a copy fails */
    int64_t timeout_ns;     /* a copy that takes longer has failed; 0: none does */
    CoGroup late;           /* copies, those that nobody waits for any more too */
    bool is_broken;
    bool is_stopped;
} CopyBeforeWrite;

Copy *cbw_copy(Node *n)
{
    CopyBeforeWrite *s = node_state(n);

    return node_driver(n) == &block_copy_before_write ? &s->copy : NULL;
}

Node *cbw_source(Node *n)
{
    return node_filtered(n);
}

Node *cbw_target(Node *n)
{
    return edge_node(node_edge(n, ROLE_IMAGE));
}

const HBitmap *cbw_access(Node *n)
{
    return ((CopyBeforeWrite *)node_state(n))->access;
}

bool cbw_is_broken(Node *n)
{
    return ((CopyBeforeWrite *)node_state(n))->is_broken;
}

void cbw_compress(Node *n)
{
    cbw_copy(n)->write_flags = REQ_COMPRESSED;
}

void cbw_stop(Node *n)
{
    ((CopyBeforeWrite *)node_state(n))->is_stopped = true;
}

/* ---- copying --------------------------------------------------------------------------------- */

static CO int zero_target(Edge *target, uint64_t off, uint64_t len)
{
    int r = 0;

    for (uint64_t done = 0; done < len && r == 0;) {
        uint64_t now = MIN(len - done, REQ_LEN_MAX);
        Extent e = {};

        if (edge_extent(target, off + done, now, true, &e) == 0 && e.flags & EXTENT_ZERO && e.len)
            now = MIN(now, e.len);
        else
            r = edge_zero(target, off + done, now, REQ_MAY_UNMAP);
        done += now;
    }
    return r;
}

static CO int cbw_copy_piece(Copy *c, CopyKind kind, uint64_t off, uint64_t len, bool *is_read)
{
    CopyBeforeWrite *s = (CopyBeforeWrite *)((char *)c - offsetof(CopyBeforeWrite, copy));
    Node *n = c->opaque;
    Edge *target = node_edge(n, ROLE_IMAGE);
    g_autoptr(Aligned) buf = NULL;
    int r;

    *is_read = false;
    if (s->is_stopped)
        return -ECANCELED;
    if (kind == COPY_ZERO)
        return zero_target(target, off, len);
    if (c->offload && edge_copy(target, off, node_filtered(n), off, len, 0) == 0)
        return 0;
    c->offload = false;
    buf = aligned_try_alloc(len);
    *is_read = true;
    r = buf ? edge_pread(node_edge(n, ROLE_FILTERED), off, span_of(buf, len), 0) : -ENOMEM;
    if (r < 0)
        return r;
    *is_read = false;
    if (!(c->write_flags & REQ_COMPRESSED) && buffer_is_zero((void *)buf, len))
        return zero_target(target, off, len);
    return edge_pwrite(target, off, span_of(buf, len), c->write_flags);
}

static const CopyOps cbw_ops = { .copy = cbw_copy_piece };

/* A copy with a timeout. Whoever waits for it may leave; then it ends for itself. */
typedef struct {
    CopyBeforeWrite *s;
    uint64_t off, len;
    RangeHold hold;
    int result;
    bool is_done;
    Co *waiter;             /* NULL: nobody waits any more */
} TimedCopy;

/* What keeps a range as it is while it is written. */
typedef struct {
    RangeHold hold;
    TimedCopy *timed;       /* NULL: @hold does it */
} Before;

static void timed_copy_free(TimedCopy *t)
{
    range_release(&t->hold);
    g_free(t);
}

static void before_cleanup(Before *b)
{
    range_release(&b->hold);
    if (b->timed)
        timed_copy_free(b->timed);
}

#define BEFORE_GUARD __attribute__((cleanup(before_cleanup))) Before

static CO void timed_copy_run(void *arg)
{
    TimedCopy *t = arg;

    t->result = copy_ahead(&t->s->copy, t->off, t->len, &t->hold);
    t->is_done = true;
    if (t->waiter)
        co_wake(t->waiter);
    else
        timed_copy_free(t);
}

/* -ETIMEDOUT: nobody needs the copy any more; it goes on and keeps its range until it has ended. */
static CO int copy_in_time(CopyBeforeWrite *s, uint64_t off, uint64_t len, Before *b)
{
    TimedCopy *t = g_new0(TimedCopy, 1);
    int64_t deadline = clock_now_ns() + s->timeout_ns, now;

    *t = (TimedCopy){ .s = s, .off = off, .len = len, .waiter = co_self() };
    co_group_start(&s->late, timed_copy_run, t);
    while (!t->is_done && (now = clock_now_ns()) < deadline)
        co_sleep(deadline - now);
    t->waiter = NULL;
    if (!t->is_done)
        return -ETIMEDOUT;
    b->timed = t;
    return t->result;
}

/* Before a change of the range: 0, or the error with which it is to fail. */
static CO int cbw_before(Node *n, uint64_t off, uint64_t len, Before *b)
{
    CopyBeforeWrite *s = node_state(n);
    int r;

    if (s->is_stopped || s->is_broken)
        return 0;
    r = s->timeout_ns ? copy_in_time(s, off, len, b) : copy_ahead(&s->copy, off, len, &b->hold);
    if (r < 0 && (s->breaks_snapshot || s->is_stopped)) {
        s->is_broken = true;
        return 0;
    }
    return r;
}

static CO void cbw_drain(Node *n)
{
    co_group_wait(&((CopyBeforeWrite *)node_state(n))->late);
}

/* ---- requests -------------------------------------------------------------------------------- */

static CO int cbw_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return edge_pread(node_edge(n, ROLE_FILTERED), off, buf, flags);
}

static CO int cbw_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    BEFORE_GUARD before = {};
    int r = cbw_before(n, off, buf.len, &before);

    return r < 0 ? r : edge_pwrite(node_edge(n, ROLE_FILTERED), off, buf, flags);
}

static CO int cbw_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    BEFORE_GUARD before = {};
    int r = cbw_before(n, off, len, &before);

    return r < 0 ? r : edge_zero(node_edge(n, ROLE_FILTERED), off, len, flags);
}

static CO int cbw_discard(Node *n, uint64_t off, uint64_t len)
{
    BEFORE_GUARD before = {};
    int r = cbw_before(n, off, len, &before);

    return r < 0 ? r : edge_discard(node_edge(n, ROLE_FILTERED), off, len);
}

/* ---- life ------------------------------------------------------------------------------------ */

bool cbw_set_up(Node *n, uint64_t size, uint32_t granularity, GError **err)
{
    CopyBeforeWrite *s = node_state(n);

    s->todo = hbitmap_try_new(div_round_up(size, granularity));
    if (!s->todo)
        return err_set(err, ENOMEM, "No memory for a bitmap of %" PRIu64 " bytes", size);
    hbitmap_set(s->todo, 0, hbitmap_bits(s->todo));
    s->copy = (Copy){
        .ops = &cbw_ops,
        .opaque = n,
        .todo = s->todo,
        .granularity = granularity,
        .len = size,
        .chunk = MAX(CHUNK, granularity),
    };
    return true;
}

/* Only what @bitmap says belongs to the snapshot. */
static bool cbw_restrict(Node *n, const json_t *bitmap, GError **err)
{
    CopyBeforeWrite *s = node_state(n);
    const char *node = json_get_str(bitmap, "node", ""), *name = json_get_str(bitmap, "name", "");
    Node *holder = node_find(node);
    const DirtyBitmap *b = holder ? dirty_find(holder, name) : NULL;

    if (!b)
        return err_set(err, ENOENT, "There is no bitmap '%s' of node '%s'", name, node);
    if (!dirty_check_known(b, err))
        return false;
    s->access = hbitmap_try_new(hbitmap_bits(s->todo));
    if (!s->access)
        return err_set(err, ENOMEM, "No memory for a copy of bitmap '%s'", name);
    dirty_bits_merge(s->access, s->copy.granularity, b->bits, b->granularity, s->copy.len);
    hbitmap_clear(s->todo, 0, hbitmap_bits(s->todo));
    hbitmap_merge(s->todo, s->access);
    return true;
}

static CO uint32_t cbw_granularity(Node *target)
{
    NodeInfo info = {};

    if (node_info(target, &info) < 0 || info.cluster_size > UINT32_MAX)
        return GRANULARITY_MIN;
    return MAX((uint32_t)info.cluster_size, GRANULARITY_MIN);
}

static CO bool cbw_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    CopyBeforeWrite *s = node_state(n);
    Edge *file = node_open_child(n, "file", NULL, o, ROLE_FILTERED, false, err), *target;
    const json_t *bitmap = json_get(o, "bitmap");

    if (!file)
        return false;
    target = node_open_child(n, "target", NULL, o, ROLE_IMAGE, false, err);
    if (!target)
        return false;
    if (edge_size(target) < edge_size(file))
        return err_set(err, EINVAL, "The target '%s' is smaller than '%s'",
                       node_filename(edge_node(target)), node_filename(edge_node(file)));
    s->timeout_ns = json_get_int(o, "cbw-timeout", 0) * INT64_C(1000000000);
    s->breaks_snapshot = !strcmp(json_get_str(o, "on-cbw-error", ""), "break-snapshot");
    node_set_size(n, edge_size(file));
    return cbw_set_up(n, edge_size(file), cbw_granularity(edge_node(target)), err) &&
           (!bitmap || cbw_restrict(n, bitmap, err));
}

static CO void cbw_close(Node *n)
{
    CopyBeforeWrite *s = node_state(n);

    cbw_drain(n);
    hbitmap_free(s->todo);
    hbitmap_free(s->access);
}

/* Nobody else may write to the source: that would not be copied before. */
static void cbw_access_of(Node *n, Role role, unsigned parent_needs, unsigned parent_shares,
                          unsigned *needs, unsigned *shares)
{
    const CopyBeforeWrite *s = node_state(n);

    if (role == ROLE_IMAGE) {
        *needs = s->is_stopped ? 0 : ACCESS_READ | ACCESS_WRITE;
        *shares = ACCESS_ALL & ~(unsigned)ACCESS_RESIZE;
        return;
    }
    *needs = parent_needs | (parent_needs & ACCESS_WRITE ? ACCESS_READ : 0);
    *shares = parent_shares;
    if (!s->is_stopped)
        *shares &= ~(unsigned)(ACCESS_WRITE | ACCESS_RESIZE);
}

static char *cbw_filename(Node *n)
{
    return node_filtered(n) ? g_strdup(node_filename(node_filtered(n))) : NULL;
}

const BlockDriver block_copy_before_write = {
    .name = "copy-before-write",
    .kind = BLK_FILTER,
    .any_loop = true,
    .state_size = sizeof(CopyBeforeWrite),
    .write_flags = REQ_FUA | REQ_UNCHANGED | REQ_SERIALISE,
    .zero_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .open = cbw_open,
    .close = cbw_close,
    .drain = cbw_drain,
    .pread = cbw_pread,
    .pwrite = cbw_pwrite,
    .zero = cbw_zero,
    .discard = cbw_discard,
    .child_access = cbw_access_of,
    .plain_filename = cbw_filename,
};
