/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copying the content of images into another. */
#include "qemu-img/copy.h"
#include "block/driver.h"
#include "io/co-lock.h"
#include "io/memory.h"
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
enum { BUFFER = 256 << 10, BUFFER_DIRECT = 1 << 20, BUFFER_COMPRESS = 128 << 10, BUFFER_MAX = 2 << 20 };

enum { SECTOR = 512, PAGE = 4096 };

typedef enum { RUN_DATA, RUN_ZERO, RUN_SKIP } RunKind;

/* A run of the input that is alike. */
typedef struct {
    RunKind kind;
    uint64_t end;
} Run;

/* What one worker does next; data or zeroes. */
typedef struct {
    RunKind kind;
    uint64_t off, len;
    uint64_t number;        /* in the order of the input */
} Piece;

typedef struct {
    CopyJob *job;
    uint64_t unit;          /* holes are made, and pieces cut, at multiples of this */
    uint64_t cut;           /* long data is cut at multiples of this */
    uint64_t room;          /* bytes of a worker's buffer: whole units, and at least one cut */
    bool offload;           /* cleared when the host turns out not to */
    bool share;             /* likewise */

    CoMutex taking;
    uint64_t next;          /* input handed out so far */
    uint64_t handed;        /* pieces handed out so far */

    uint64_t turn;          /* number of the piece that may start writing */
    CoQueue turns;
    int64_t pace_ns;        /* with a rate: when the next write may start */

    uint64_t done, total;   /* for the progress */

    int error;              /* negative errno: stop */
    uint64_t error_at;
    const char *error_what; /* "read", "written" */
} Copy;

/* ---- failing -------------------------------------------------------------------------------- */

/* Remembers the failure that lies first in the input, and stops everybody. */
static void copy_fail(Copy *c, const char *what, uint64_t at, int r)
{
    if (!c->error || at < c->error_at) {
        c->error = r;
        c->error_at = at;
        c->error_what = what;
    }
    co_queue_wake_all(&c->turns);
    if (c->job->digest)
        digest_abandon(c->job->digest);
}

static bool copy_stopped(Copy *c)
{
    if (!c->error && tool_interrupted())
        copy_fail(c, "copied", c->next, -EINTR);
    return c->error;
}

/* ---- what the input is made of -------------------------------------------------------------- */

static CopySource *copy_source(const Copy *c, uint64_t off)
{
    CopySource *s = c->job->sources;

    while (s + 1 < c->job->sources + c->job->nsources && off >= s->start + s->len)
        s++;
    return s;
}

/* What no layer of the source above the base holds: is it what the target's backing file has? */
static RunKind unallocated_kind(const CopyJob *j, uint64_t off)
{
    bool in_base = off < node_size(j->base), in_backing = off < j->backing_len;

    if (in_base)
        return in_backing ? RUN_SKIP : RUN_DATA;
    return in_backing ? RUN_ZERO : RUN_SKIP;
}

/* The end of a run that must not reach over the end of the base or of the backing file. */
static uint64_t unallocated_end(const CopyJob *j, uint64_t off, uint64_t end)
{
    if (off < node_size(j->base))
        end = MIN(end, node_size(j->base));
    return off < j->backing_len ? MIN(end, j->backing_len) : end;
}

/*
 * The extent at @at of @s. With salvage one that cannot be read is asked for again, half as long each
 * time, down to a sector: the fault may lie further on.
 */
static CO int source_extent(const Copy *c, CopySource *s, uint64_t at)
{
    uint64_t len = MIN(s->len - at, s->asked ? MIN(2 * s->asked, EXTENT_LEN_MAX) : EXTENT_LEN_MAX);
    int r;

    for (;;) {
        r = node_extent_above(handle_node(s->h), c->job->base, s->from + at, len, true, &s->extent,
                              NULL);
        if (s->asked)
            s->asked = len;
        if (r >= 0 || !c->job->salvage || len <= SECTOR)
            return r;
        len = MAX(round_down(len / 2, SECTOR), (uint64_t)SECTOR);
        s->asked = len;
    }
}

/* The run that begins at @off. With salvage, what is not known counts as data. */
static CO int copy_look(Copy *c, uint64_t off, Run *run)
{
    CopySource *s = copy_source(c, off);
    uint64_t at = off - s->start;

    if (off >= s->known) {
        int r = source_extent(c, s, at);

        if (r >= 0 && plausible_add(&s->plausible, handle_node(s->h), &s->extent) < 0)
            return -EUCLEAN;
        if (r < 0 && !c->job->salvage)
            return r;
        if (r < 0) {
            s->extent = (Extent){ .len = MIN(SECTOR, s->len - at), .flags = EXTENT_DATA };
            if (!c->job->quiet)
                complain_errno(r, "warning: The allocation of '%s' cannot be read at offset %" PRIu64,
                               s->name, at);
        }
        s->known = off + s->extent.len;
    }
    *run = (Run){ .kind = RUN_DATA, .end = s->known };
    if (c->job->base && !(s->extent.flags & EXTENT_ALLOCATED)) {
        run->kind = unallocated_kind(c->job, off);
        run->end = unallocated_end(c->job, off, run->end);
    } else if (s->extent.flags & EXTENT_ZERO && !c->job->write_all) {
        run->kind = RUN_ZERO;
    }
    return 0;
}

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
    uint64_t limit = MIN(round_down(off + c->room, c->cut), c->job->len), at = off;

    while (at < limit) {
        uint64_t first, last;
        Run run;
        int r = copy_look(c, at, &run);

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

/* The piece that begins at @off, of any kind. */
static CO int copy_piece_at(Copy *c, uint64_t off, Piece *p)
{
    uint64_t end = off;
    Run run;
    int r = copy_look(c, off, &run);

    if (r < 0)
        return r;
    *p = (Piece){ .kind = run.kind, .off = off };
    if (run.kind != RUN_DATA) {
        whole_units(c, off, &run, &end);
        if (end > off) {
            /* What the target has already is read for the digest all the same. */
            p->len = run.kind == RUN_SKIP && c->job->digest ? MIN(end - off, c->room) : end - off;
            return 0;
        }
        p->kind = RUN_DATA;
    }
    r = copy_data_end(c, off, &end);
    p->len = end - off;
    return r;
}

/* Is there input at @off, which may have to grow first? */
static CO bool input_reaches(Copy *c, uint64_t off)
{
    const char *what;

    while (off >= c->job->len && c->job->grow) {
        int r = c->job->grow(c->job, &what);

        if (r < 0) {
            copy_fail(c, what, off, r);
            return false;
        }
    }
    return off < c->job->len;
}

/* Takes the next piece that needs work; false when there is none. */
static CO bool copy_take(Copy *c, Piece *p)
{
    CO_LOCKED(&c->taking);

    while (!copy_stopped(c) && input_reaches(c, c->next)) {
        int r = copy_piece_at(c, c->next, p);

        if (r < 0) {
            copy_fail(c, "looked at", c->next, r);
            return false;
        }
        c->next += p->len;
        if (kind_needs_work(c, p->kind)) {
            p->number = c->handed++;
            TRACE(copy_piece, "%s off=%" PRIu64 " len=%" PRIu64,
                  p->kind == RUN_DATA ? "data" : "zero", p->off, p->len);
            return true;
        }
    }
    return false;
}

/* Adds up the pieces that need work, so that progress can be told in parts of it. */
static CO int copy_count(Copy *c)
{
    uint64_t off = 0;

    while (off < c->job->len) {
        Piece p;
        int r = copy_piece_at(c, off, &p);

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

/* ---- reading -------------------------------------------------------------------------------- */

/* Reads what can be read of [@at, @at + @buf.len) of @s sector by sector, zeroes for the rest. */
static CO void salvage_read(const Copy *c, CopySource *s, uint64_t at, Span buf)
{
    for (uint64_t done = 0; done < buf.len;) {
        uint64_t len = MIN(buf.len - done, SECTOR);
        Span part = span_slice(buf, done, len);
        int r = handle_pread(s->h, s->from + at + done, part, 0);

        if (r < 0) {
            span_zero(part);
            if (!c->job->quiet)
                complain_errno(r, "warning: '%s' cannot be read at offset %" PRIu64, s->name,
                               at + done);
        }
        done += len;
    }
}

static CO int copy_read(Copy *c, uint64_t off, Span buf)
{
    for (uint64_t done = 0; done < buf.len;) {
        CopySource *s = copy_source(c, off + done);
        uint64_t at = off + done - s->start, len = MIN(buf.len - done, s->len - at);
        Span part = span_slice(buf, done, len);
        int r = handle_pread(s->h, s->from + at, part, 0);

        if (r < 0 && !c->job->salvage)
            return r;
        if (r < 0)
            salvage_read(c, s, at, part);
        done += len;
    }
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Waits until the pieces before @p have started their last write. False: stop. */
static CO bool copy_await_turn(Copy *c, const Piece *p)
{
    while (!c->job->any_order && c->turn != p->number && !c->error)
        co_queue_wait(&c->turns);
    return !c->error;
}

/* The next piece may start writing once we wait for something. */
static void copy_pass_turn(Copy *c)
{
    c->turn++;
    co_queue_wake_all(&c->turns);
}

/* Keeps to the rate: each write starts when those before it would have ended. */
static CO void copy_pace(Copy *c, uint64_t len)
{
    int64_t now, start;

    if (!c->job->rate)
        return;
    now = clock_now_ns();
    start = MAX(c->pace_ns, now);
    c->pace_ns = start + (int64_t)((double)len * 1e9 / (double)c->job->rate);
    while (now < start && !copy_stopped(c)) {
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
    const CopySource *s = copy_source(c, off);
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
        copy_pass_turn(c);
    if (!zero && copy_shared(c, off, buf.len))
        return 0;
    if (!zero)
        return handle_pwrite(c->job->target, off, buf, flags);
    if (c->job->target_is_zero)
        return 0;
    return handle_zero(c->job->target, off, buf.len, REQ_MAY_UNMAP);
}

/* Tells the digest of the bytes of @p; @buf NULL: zeroes. */
static CO void copy_digest(Copy *c, const Piece *p, const uint8_t *buf)
{
    if (c->job->digest)
        digest_add(c->job->digest, p->off, buf, p->len);
}

static CO void copy_data(Copy *c, const Piece *p, uint8_t *buf)
{
    int r = copy_read(c, p->off, span_of(buf, p->len));

    if (r < 0) {
        copy_fail(c, "read", p->off, r);
        return;
    }
    copy_digest(c, p, buf);
    if (!copy_await_turn(c, p))
        return;
    if (p->kind == RUN_SKIP || !c->job->target) {
        copy_pass_turn(c);
        return;
    }
    for (uint64_t done = 0; done < p->len;) {
        bool zero;
        uint64_t len = run_in_buffer(c, buf + done, p->len - done, &zero);

        r = copy_write_run(c, p->off + done, span_of(buf + done, len), zero, done + len == p->len);
        if (r < 0) {
            copy_fail(c, "written", p->off + done, r);
            return;
        }
        done += len;
    }
}

static CO void copy_zeroes(Copy *c, const Piece *p)
{
    int r;

    copy_digest(c, p, NULL);
    if (!copy_await_turn(c, p))
        return;
    copy_pass_turn(c);
    if (c->job->target_is_zero)
        return;
    for (uint64_t done = 0; done < p->len && !copy_stopped(c);) {
        uint64_t len = MIN(p->len - done, REQ_LEN_MAX);

        r = handle_zero(c->job->target, p->off + done, len, REQ_MAY_UNMAP);
        if (r < 0)
            copy_fail(c, "written", p->off + done, r);
        done += len;
    }
}

/* Lets the host copy @p. False: it cannot, do it by hand; the turn is still ours. */
static CO bool copy_offloaded(Copy *c, const Piece *p)
{
    const CopySource *s = copy_source(c, p->off);
    int r;

    if (!c->offload || p->off + p->len > s->start + s->len)
        return false;
    if (!copy_await_turn(c, p))
        return true;
    copy_pace(c, p->len);
    r = handle_copy(s->h, s->from + p->off - s->start, c->job->target, p->off, p->len, 0);
    if (r < 0) {
        TRACE(copy_offload_refused, "off=%" PRIu64 " error=%d", p->off, r);
        c->offload = false;
        return false;
    }
    copy_pass_turn(c);
    return true;
}

static void copy_show(const Copy *c)
{
    if (c->job->to_read)
        progress_update(c->job->read, c->job->to_read);
    else
        progress_update(c->total ? c->done : c->next, c->total ? c->total : c->job->len);
}

static CO void copy_worker(void *arg)
{
    Copy *c = arg;
    g_autoptr(Aligned) buf = NULL;
    Piece p;

    while (copy_take(c, &p)) {
        if (p.kind == RUN_ZERO) {
            copy_zeroes(c, &p);
        } else if (!copy_offloaded(c, &p)) {
            if (!buf)
                buf = aligned_try_alloc(c->room);
            if (buf)
                copy_data(c, &p, buf);
            else
                copy_fail(c, "copied", p.off, -ENOMEM);
        }
        c->done += p.len;
        copy_show(c);
    }
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* How many workers: with little memory, or large clusters to compress, fewer than was asked for. */
static unsigned copy_workers(const Copy *c)
{
    /* What is compressed is in memory a second time, beside what compressing needs. */
    return memory_shares(c->job->workers, c->job->compress ? 3 * c->room : c->room);
}

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
    const CopySource *s = copy_source(c, MIN(c->error_at, c->job->len - 1));

    if (!c->job->target)
        return complain_errno(c->error, "'%s' could not be %s at offset %" PRIu64, s->name,
                              c->error_what, s->from + c->error_at - s->start);
    if (c->error == -EINTR)
        return complain("'%s' is incomplete: interrupted", c->job->target_name);
    if (!strcmp(c->error_what, "written"))
        return complain_errno(c->error, "'%s' is incomplete: it could not be written at offset %"
                              PRIu64, c->job->target_name, c->error_at);
    return complain_errno(c->error, "'%s' is incomplete: '%s' could not be %s at offset %" PRIu64,
                          c->job->target_name, s->name, c->error_what, s->from + c->error_at - s->start);
}

bool copy_run(CopyJob *job)
{
    uint64_t unit = copy_unit(job), cut = job->digest ? MAX(unit, digest_unit(job->digest)) : unit;
    Copy c = { .job = job, .offload = job->offload, .share = job->share, .unit = unit, .cut = cut,
               .room = copy_room(job, cut) };
    CoGroup group = { 0 };
    int r = progress_is_shown() && !job->grow ? copy_count(&c) : 0;

    if (!job->len && !job->grow)
        return true;
    if (r < 0) {
        copy_fail(&c, "looked at", 0, r);
        return copy_complain(&c);
    }
    for (unsigned i = copy_workers(&c); i-- > 0;)
        co_group_start(&group, copy_worker, &c);
    co_group_wait(&group);
    return !c.error || copy_complain(&c);
}
