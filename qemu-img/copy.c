/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copying the content of images into another. */
#include "qemu-img/copy-input.h"
#include "block/driver.h"
#include "qemu-img/progress.h"
#include "qemu-img/tool.h"
#include "util/size.h"
#include "util/trace.h"
#include <inttypes.h>
#include <string.h>

/*
 * Bytes of a worker's buffer. Through the page cache those are fastest that stay in the caches of
 * the processor; with O_DIRECT each request costs, and takes its time.
 */
enum {
    BUFFER = 256 << 10,
    BUFFER_DIRECT = 1 << 20,
    BUFFER_COMPRESS = 128 << 10,
    BUFFER_MAX = 2 << 20,
};

enum { SECTOR = 512, PAGE = 4096 };

/* What could not be done to the input or the target: why a walk stopped. */
static const char *const failures[] = {
    [WALK_INTERRUPTED] = "copied",
    [COPY_FAILED] = "copied",
    [COPY_LOOK_FAILED] = "looked at",
    [COPY_READ_FAILED] = "read",
    [COPY_WRITE_FAILED] = "written",
};

typedef struct {
    CopyJob *job;
    Walk walk;              /* its buffers hold whole units, and at least one cut */
    uint64_t unit;          /* holes are made, and pieces cut, at multiples of this */
    uint64_t cut;           /* long data is cut at multiples of this */
    bool offload;           /* cleared when the host turns out not to */
    bool share;             /* likewise */
    int64_t pace_ns;        /* with a rate: when the next write may start */
    uint64_t total;         /* bytes of the pieces that need work, for the progress; 0: not known */
} Copy;

static void copy_fail(Copy *c, CopyFailure what, uint64_t at, int r)
{
    walk_stop(&c->walk, what, at, r, 0);
}

/* ---- pieces --------------------------------------------------------------------------------- */

/* The whole units of @run from @off on: their start and end; empty if there are none. */
static uint64_t whole_units(const Copy *c, uint64_t off, const Run *run, uint64_t *end)
{
    *end = run->end >= c->job->len ? c->job->len : round_down(run->end, c->unit);
    return round_up(off, c->unit);
}

/*
 * How far the data that begins at @off reaches, at most a buffer: up to the next whole unit
 * without data. Lesser gaps are taken along.
 */
static CO int copy_data_end(Copy *c, uint64_t off, uint64_t *end)
{
    uint64_t limit = MIN(round_down(off + c->walk.room, c->cut), c->job->len), at = off;

    while (at < limit) {
        uint64_t first, last;
        Run run;
        int r = input_look(c->job, at, &run);

        if (r < 0)
            return r;
        if (run.kind != RUN_DATA) {
            first = whole_units(c, at, &run, &last);
            if (first < last) {
                at = first;
                break;
            }
        }
        at = run.end;
    }
    *end = MIN(MIN(round_up(at, c->unit), limit), c->job->len);
    return 0;
}

/* True if there is something to do for a run of that kind. */
static bool kind_needs_work(const Copy *c, RunKind kind)
{
    return c->job->digest || kind == RUN_DATA || (kind == RUN_ZERO && !c->job->target_is_zero);
}

/* The piece that begins at @p->off, of any kind. */
static CO int copy_piece_look(Copy *c, WalkPiece *p)
{
    uint64_t off = p->off, end = off;
    Run run;
    int r = input_look(c->job, off, &run);

    if (r < 0)
        return r;
    p->kind = run.kind;
    if (run.kind != RUN_DATA) {
        whole_units(c, off, &run, &end);
        if (end > off) {
            /* What the target has already is read for the digest all the same. */
            p->len = end - off;
            if (run.kind == RUN_SKIP && c->job->digest)
                p->len = MIN(p->len, c->walk.room);
            return 0;
        }
        p->kind = RUN_DATA;
    }
    r = copy_data_end(c, off, &end);
    p->len = end - off;
    return r;
}

/* Adds up the pieces that need work, so that progress can be told in parts of it. */
static CO int copy_count(Copy *c)
{
    uint64_t off = 0;

    while (off < c->job->len) {
        WalkPiece p = { .off = off };
        int r = copy_piece_look(c, &p);

        if (r < 0)
            return r;
        if (kind_needs_work(c, p.kind))
            c->total += p.len;
        off += p.len;
    }
    for (unsigned i = 0; i < c->job->nsources; i++)
        c->job->sources[i].known = 0;
    return 0;
}

static CO bool copy_look(Walk *w, WalkPiece *p)
{
    Copy *c = w->opaque;
    int r = copy_piece_look(c, p);

    if (r < 0)
        copy_fail(c, COPY_LOOK_FAILED, p->off, r);
    return r >= 0 && kind_needs_work(c, p->kind);
}

/* The input may go on. */
static CO void copy_grow(Walk *w)
{
    Copy *c = w->opaque;
    CopyFailure what;
    int r = 0;

    while (r >= 0 && w->next >= c->job->len && c->job->grow) {
        r = c->job->grow(c->job, &what);
        if (r < 0)
            copy_fail(c, what, w->next, r);
    }
    w->end = c->job->len;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Keeps to the rate: each write starts when those before it would have ended. */
static CO void copy_pace(Copy *c, uint64_t len)
{
    int64_t now, start;

    if (!c->job->rate)
        return;
    now = clock_now_ns();
    start = MAX(c->pace_ns, now);
    c->pace_ns = start + (int64_t)((double)len * 1e9 / (double)c->job->rate);
    while (now < start && !walk_is_stopped(&c->walk)) {
        co_sleep(MIN(start - now, INT64_C(200000000)));
        now = clock_now_ns();
    }
}

/* How many bytes at the start of @buf are zero, in units. */
static uint64_t zeroes_in_buffer(const Copy *c, const uint8_t *buf, uint64_t len)
{
    uint64_t at = 0;

    while (at < len && buffer_is_zero(buf + at, MIN(c->unit, len - at)))
        at += MIN(c->unit, len - at);
    return at;
}

/*
 * How long the bytes at @buf are all zero, or not, in units; *@zero says which. Zeroes for fewer
 * bytes than a hole needs count as data, unless they may go on in the next buffer.
 */
static uint64_t run_in_buffer(const Copy *c, const uint8_t *buf, uint64_t len, bool *zero)
{
    uint64_t at = 0;

    *zero = false;
    while (at < len && c->job->min_sparse) {
        uint64_t zeroes = zeroes_in_buffer(c, buf + at, len - at);

        if (zeroes && (zeroes >= c->job->min_sparse || at + zeroes == len)) {
            *zero = !at;
            return at ? at : zeroes;
        }
        at += zeroes ? zeroes : MIN(c->unit, len - at);
    }
    return len;
}

/*
 * Lets the target share the space of the data at @off with its source: what was read need not be
 * written then. False: it has to be.
 */
static CO bool copy_shared(Copy *c, uint64_t off, uint64_t len)
{
    const CopySource *s = input_source(c->job, off);
    int r;

    if (!c->share || off + len > s->start + s->len)
        return false;
    r = handle_copy(s->h, s->from + off - s->start, c->job->target, off, len, REQ_NO_FALLBACK);
    if (r < 0)
        TRACE(copy_share_refused, "off=%" PRIu64 " error=%d", off, r);
    /* An end that is not aligned, such as that of the file, says nothing about the rest. */
    c->share = c->share && (r == 0 || r == -EINVAL);
    return r == 0;
}

static CO int copy_write_run(Copy *c, uint64_t off, Span buf, bool zero, bool is_last)
{
    ReqFlags flags = c->job->compress ? REQ_COMPRESSED : 0;

    if (!zero)
        copy_pace(c, buf.len);
    if (is_last)
        walk_pass_turn(&c->walk);
    if (!zero && copy_shared(c, off, buf.len))
        return 0;
    if (!zero)
        return handle_pwrite(c->job->target, off, buf, flags);
    if (c->job->target_is_zero)
        return 0;
    return handle_zero(c->job->target, off, buf.len, REQ_MAY_UNMAP);
}

/* Tells the digest of the bytes of @p; @buf NULL: zeroes. */
static CO void copy_digest(Copy *c, const WalkPiece *p, const uint8_t *buf)
{
    if (c->job->digest)
        digest_add(c->job->digest, p->off, buf, p->len);
}

static CO void copy_data(Copy *c, WalkPiece *p)
{
    uint8_t *buf = walk_buffer(&c->walk, p);
    int r = buf ? input_read(c->job, p->off, span_of(buf, p->len)) : -ENOMEM;

    if (r < 0) {
        copy_fail(c, buf ? COPY_READ_FAILED : COPY_FAILED, p->off, r);
        return;
    }
    copy_digest(c, p, buf);
    if (!walk_await_turn(&c->walk, p))
        return;
    if (p->kind == RUN_SKIP || !c->job->target) {
        walk_pass_turn(&c->walk);
        return;
    }
    for (uint64_t done = 0; done < p->len;) {
        bool zero;
        uint64_t len = run_in_buffer(c, buf + done, p->len - done, &zero);

        r = copy_write_run(c, p->off + done, span_of(buf + done, len), zero, done + len == p->len);
        if (r < 0) {
            copy_fail(c, COPY_WRITE_FAILED, p->off + done, r);
            return;
        }
        done += len;
    }
}

static CO void copy_zeroes(Copy *c, const WalkPiece *p)
{
    int r;

    copy_digest(c, p, NULL);
    if (!walk_await_turn(&c->walk, p))
        return;
    walk_pass_turn(&c->walk);
    if (c->job->target_is_zero)
        return;
    for (uint64_t done = 0; done < p->len && !walk_is_stopped(&c->walk);) {
        uint64_t len = MIN(p->len - done, REQ_LEN_MAX);

        r = handle_zero(c->job->target, p->off + done, len, REQ_MAY_UNMAP);
        if (r < 0)
            copy_fail(c, COPY_WRITE_FAILED, p->off + done, r);
        done += len;
    }
}

/* Lets the host copy @p. False: it cannot, do it by hand; the turn is still ours. */
static CO bool copy_offloaded(Copy *c, const WalkPiece *p)
{
    const CopySource *s = input_source(c->job, p->off);
    int r;

    if (!c->offload || p->off + p->len > s->start + s->len)
        return false;
    if (!walk_await_turn(&c->walk, p))
        return true;
    copy_pace(c, p->len);
    r = handle_copy(s->h, s->from + p->off - s->start, c->job->target, p->off, p->len, 0);
    if (r < 0) {
        TRACE(copy_offload_refused, "off=%" PRIu64 " error=%d", p->off, r);
        c->offload = false;
        return false;
    }
    walk_pass_turn(&c->walk);
    return true;
}

static CO void copy_work(Walk *w, WalkPiece *p)
{
    Copy *c = w->opaque;

    TRACE(copy_piece, "%s off=%" PRIu64 " len=%" PRIu64, p->kind == RUN_DATA ? "data" : "zero",
          p->off, p->len);
    if (p->kind == RUN_ZERO)
        copy_zeroes(c, p);
    else if (!copy_offloaded(c, p))
        copy_data(c, p);
}

static void copy_show(const Walk *w)
{
    const Copy *c = w->opaque;

    if (c->job->to_read)
        progress_update(c->job->read, c->job->to_read);
    else
        progress_update(c->total ? w->done : w->next, c->total ? c->total : c->job->len);
}

/* Workers that wait for bytes of the digest wait no longer. */
static void copy_stopped(Walk *w)
{
    const Copy *c = w->opaque;

    if (c->job->digest)
        digest_abandon(c->job->digest);
}

static const WalkOps copy_ops = {
    .look = copy_look,
    .work = copy_work,
    .show = copy_show,
    .grow = copy_grow,
    .stopped = copy_stopped,
};

/* ---- the whole ------------------------------------------------------------------------------ */

/* What holes of the target are made of. */
static CO uint64_t copy_unit(const CopyJob *j)
{
    NodeInfo info = { 0 };
    uint64_t unit = SECTOR;

    if (!j->target)
        return digest_unit(j->digest);
    while (unit * 2 <= j->min_sparse && unit < PAGE)
        unit *= 2;
    if (!j->fine && node_info(handle_node(j->target), &info) >= 0) {
        if (info.subcluster_size && !j->compress)
            unit = MAX(unit, info.subcluster_size);
        else if (info.cluster_size)
            unit = MAX(unit, info.cluster_size);
    }
    return unit;
}

static uint64_t copy_room(const CopyJob *j, uint64_t cut)
{
    OpenFlags flags = j->target ? node_flags(handle_node(j->target)) : 0;
    uint64_t room, preferred = 0;

    for (unsigned i = 0; i < j->nsources; i++) {
        Node *n = handle_node(j->sources[i].h);

        flags |= node_flags(n);
        preferred = MAX(preferred, node_limits(n)->opt_transfer);
    }
    room = j->compress ? BUFFER_COMPRESS : flags & OPEN_DIRECT ? BUFFER_DIRECT : BUFFER;
    /* A server far away answers large requests as fast as small ones. */
    return MAX(cut, j->compress ? room : MAX(room, MIN(preferred, BUFFER_MAX)));
}

static bool copy_complain(const Copy *c)
{
    const CopyJob *j = c->job;
    const WalkStop *stop = &c->walk.stop;
    const CopySource *s = input_source(j, MIN(stop->at, j->len - 1));
    uint64_t at = s->from + stop->at - s->start;

    if (!j->target)
        return complain_errno(stop->error, "'%s' could not be %s at offset %" PRIu64, s->name,
                              failures[stop->what], at);
    if (stop->error == -EINTR)
        return complain("'%s' is incomplete: interrupted", j->target_name);
    if (stop->what == COPY_WRITE_FAILED)
        return complain_errno(stop->error, "'%s' is incomplete: it could not be written at offset %"
                              PRIu64, j->target_name, stop->at);
    return complain_errno(stop->error, "'%s' is incomplete: '%s' could not be %s at offset %"
                          PRIu64, j->target_name, s->name, failures[stop->what], at);
}

bool copy_run(CopyJob *job)
{
    uint64_t unit = copy_unit(job), cut = job->digest ? MAX(unit, digest_unit(job->digest)) : unit;
    uint64_t room = copy_room(job, cut);
    Copy c = { .job = job, .offload = job->offload, .share = job->share, .unit = unit, .cut = cut };
    int r = 0;

    c.walk = (Walk){ .ops = &copy_ops, .opaque = &c, .end = job->len, .workers = job->workers,
                     .any_order = job->any_order, .room = room,
                     /* What is compressed is there a second time, beside what that needs. */
                     .memory = job->compress ? 3 * room : room };
    if (!job->len && !job->grow)
        return true;
    if (progress_is_shown() && !job->grow)
        r = copy_count(&c);
    if (r < 0)
        copy_fail(&c, COPY_LOOK_FAILED, 0, r);
    else
        walk_run(&c.walk);
    return !c.walk.stop.what || copy_complain(&c);
}
