/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mirror_top: on top of an image that is mirrored. With copy-mode=write-blocking it writes to the
 * target what users write, else it only passes on.
 */
#include "block/jobs/mirror-filter.h"

typedef struct {
    Copy *copy;             /* NULL: only pass on */
    ResumeLog *log;         /* NULL: none */
    bool excludes;          /* others may not write past the filter */
} MirrorFilter;

typedef enum { OP_WRITE, OP_ZERO, OP_DISCARD } Op;

typedef struct {
    Op op;
    uint64_t off, len;
    Span buf;
    ReqFlags flags;
} Change;

void mirror_filter_set(Node *filter, Copy *c)
{
    MirrorFilter *s = node_state(filter);

    s->copy = c;
    s->excludes = c;
}

void mirror_filter_log(Node *filter, ResumeLog *log)
{
    MirrorFilter *s = node_state(filter);

    s->log = log;
    s->excludes = true;
}

static CO int change_source(Edge *e, const Change *w)
{
    switch (w->op) {
    case OP_WRITE:
        return edge_pwrite(e, w->off, w->buf, w->flags);
    case OP_ZERO:
        return edge_zero(e, w->off, w->len, w->flags);
    default:
        return edge_discard(e, w->off, w->len);
    }
}

/* The flags are those of the source; durable is the target when the job has ended. */
static CO int change_target(Handle *h, const Change *w)
{
    switch (w->op) {
    case OP_WRITE:
        return handle_pwrite(h, w->off, w->buf, 0);
    case OP_ZERO:
        return handle_zero(h, w->off, w->len, w->flags & REQ_MAY_UNMAP);
    default:
        return handle_discard(h, w->off, w->len);
    }
}

/*
 * The granules of a change, locked: those that the target had as the source before need no copy
 * afterwards. Which these are is known only if all had been marked by then: a mark that comes while
 * the change is under way must stay.
 */
static CO int change_both(Node *n, const Change *w)
{
    MirrorFilter *s = node_state(n);
    Copy *c = s->copy;
    uint64_t start = round_down(w->off, c->granularity),
             end = round_up(w->off + w->len, c->granularity);
    g_autoptr(HBitmap) before = hbitmap_try_new((end - start) / c->granularity);
    uint64_t first = start / c->granularity;
    RANGE_GUARD hold = {};
    int r, target;

    range_take(&c->busy, &hold, start, end - start);
    for (uint64_t i = 0; before && i < hbitmap_bits(before); i++)
        if (!c->is_marked || hbitmap_get(c->todo, first + i))
            hbitmap_set(before, i, 1);
    r = change_source(node_edge(n, ROLE_FILTERED), w);
    /* What discarding leaves is not known: it is copied again. */
    if (r < 0 || !before || w->op == OP_DISCARD)
        return r;
    target = change_target(c->to, w);
    if (target < 0) {
        if (job_error(c->job, c->on_write, false, -target) == BLOCK_ERROR_ACTION_REPORT)
            c->error = c->error ? c->error : target;
        job_kick(c->job);
        return 0;
    }
    for (uint64_t i = 0; i < hbitmap_bits(before); i++) {
        uint64_t at = start + i * c->granularity;
        bool is_whole = at >= w->off && at + c->granularity <= w->off + w->len;

        if (is_whole || !hbitmap_get(before, i))
            hbitmap_clear(c->todo, first + i, 1);
    }
    return 0;
}

static CO int mirror_filter_change(Node *n, const Change *w)
{
    const MirrorFilter *s = node_state(n);
    ResumeLog *log = s->log;
    int r;

    if (log)
        resume_log_enter(log, w->off, w->len);
    r = s->copy && w->len ? change_both(n, w) : change_source(node_edge(n, ROLE_FILTERED), w);
    if (log)
        resume_log_leave(log);
    return r;
}

static CO int mirror_filter_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return edge_pread(node_edge(n, ROLE_FILTERED), off, buf, flags);
}

static CO int mirror_filter_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Change w = { .op = OP_WRITE, .off = off, .len = buf.len, .buf = buf, .flags = flags };

    return mirror_filter_change(n, &w);
}

static CO int mirror_filter_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    Change w = { .op = OP_ZERO, .off = off, .len = len, .flags = flags };

    return mirror_filter_change(n, &w);
}

static CO int mirror_filter_discard(Node *n, uint64_t off, uint64_t len)
{
    Change w = { .op = OP_DISCARD, .off = off, .len = len };

    return mirror_filter_change(n, &w);
}

/* Who wrote past the filter would not write to the target, or to the log. */
static void mirror_filter_access(Node *n, Role role, unsigned parent_needs, unsigned parent_shares,
                                 unsigned *needs, unsigned *shares)
{
    const MirrorFilter *s = node_state(n);

    *needs = parent_needs;
    *shares = parent_shares & ~(unsigned)ACCESS_RESIZE;
    if (s->excludes)
        *shares &= ~(unsigned)ACCESS_WRITE;
}

static char *mirror_filter_name(Node *n)
{
    return g_strdup(node_filename(node_filtered(n)));
}

const BlockDriver mirror_filter = {
    .name = "mirror_top",
    .kind = BLK_FILTER,
    .any_loop = true,
    .state_size = sizeof(MirrorFilter),
    .write_flags = REQ_FUA | REQ_UNCHANGED | REQ_SERIALISE,
    .zero_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .pread = mirror_filter_pread,
    .pwrite = mirror_filter_pwrite,
    .zero = mirror_filter_zero,
    .discard = mirror_filter_discard,
    .child_access = mirror_filter_access,
    .plain_filename = mirror_filter_name,
};
