/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The copying of jobs. */
#include "block/jobs/copy.h"
#include "block/home.h"
#include "util/trace.h"
#include <inttypes.h>

/* How long to wait before something that failed is tried again. */
#define RETRY_NS (INT64_C(100) * 1000000)

enum { SCAN_YIELD = 1024, CHUNK = 256 << 10, CHUNK_DIRECT = 1 << 20 };

typedef struct {
    Copy *copy;
    CopyKind kind;
    uint64_t off, len;
    RangeHold hold;
} Piece;

/* ---- what there is to do --------------------------------------------------------------------- */

static uint64_t first_bit(const Copy *c, uint64_t off)
{
    return off / c->granularity;
}

/* The bit after the last one of a range that ends at @end. */
static uint64_t end_bit(const Copy *c, uint64_t end)
{
    return div_round_up(end, c->granularity);
}

/* The first byte at or after @off that is to be copied; @c->len if there is none. */
static uint64_t next_todo(const Copy *c, uint64_t off)
{
    uint64_t bit = hbitmap_next_set(c->todo, first_bit(c, off), end_bit(c, c->len));

    return MIN(MAX(bit * c->granularity, off), c->len);
}

/* How far what is to be copied at @off reaches, at most to @end. */
static uint64_t todo_end(const Copy *c, uint64_t off, uint64_t end)
{
    uint64_t bit = hbitmap_next_clear(c->todo, first_bit(c, off), end_bit(c, end));

    return MIN(bit * c->granularity, end);
}

static void todo_clear(Copy *c, uint64_t off, uint64_t end)
{
    hbitmap_clear(c->todo, first_bit(c, off), end_bit(c, end) - first_bit(c, off));
}

static void todo_set(Copy *c, uint64_t off, uint64_t end)
{
    hbitmap_set(c->todo, first_bit(c, off), end_bit(c, end) - first_bit(c, off));
}

uint64_t copy_left(const Copy *c)
{
    uint64_t bits = end_bit(c, c->len), tail = c->len % c->granularity, left;

    left = hbitmap_count(c->todo) * c->granularity;
    if (tail && hbitmap_get(c->todo, bits - 1))
        left -= c->granularity - tail;
    return left + c->undone;
}

/* ---- what it is made of ---------------------------------------------------------------------- */

static CO int look_at_source(Copy *c, uint64_t off, uint64_t *len, CopyKind *kind)
{
    Extent e = {};
    int r;

    handle_begin(c->from);
    r = node_extent_above(handle_node(c->from), c->skips_base ? c->base : NULL, off, *len, true, &e,
                          NULL);
    handle_end(c->from);
    if (r < 0)
        return r;
    *len = MIN(*len, MAX(e.len, 1));
    *kind = COPY_DATA;
    if (c->skips_base && !(e.flags & EXTENT_ALLOCATED))
        *kind = COPY_NOTHING;
    else if (e.flags & EXTENT_ZERO)
        *kind = COPY_ZERO;
    return 0;
}

/* The kind of what begins at @off, up to *@end, which comes to lie at the end of a granule. */
static CO int piece_look(Copy *c, uint64_t off, uint64_t *end, CopyKind *kind)
{
    uint64_t len = MIN(*end - off, EXTENT_LEN_MAX), stop;
    int r = c->ops && c->ops->look ? c->ops->look(c, off, &len, kind)
                                   : look_at_source(c, off, &len, kind);

    /* What cannot be told is found out by reading. */
    if (r < 0) {
        *kind = COPY_DATA;
        len = c->granularity;
    }
    stop = off + len;
    if (*kind == COPY_DATA)
        stop = MIN(round_up(stop, c->granularity), off + c->chunk);
    else if (stop < *end)
        stop = round_down(stop, c->granularity);
    if (stop <= off) {
        *kind = COPY_DATA;
        stop = off + c->granularity;
    }
    *end = MIN(*end, stop);
    return 0;
}

/* ---- one piece ------------------------------------------------------------------------------- */

/* True if the target is known to have zeroes at all of the range. */
static CO bool target_is_zero(Copy *c, uint64_t off, uint64_t len)
{
    Extent e;

    return !c->target_has_old && handle_extent_above(c->to, off, len, true, &e, NULL) == 0 &&
           e.flags & EXTENT_ZERO && e.len >= len;
}

static CO int copy_zeroes(Copy *c, uint64_t off, uint64_t len)
{
    uint64_t done = 0;
    int r = 0;

    while (done < len && r == 0 && !job_must_end(c->job)) {
        uint64_t now = MIN(len - done, REQ_LEN_MAX);

        if (!target_is_zero(c, off + done, now))
            r = handle_zero(c->to, off + done, now, REQ_MAY_UNMAP);
        done += now;
    }
    return r == 0 && done < len ? -ECANCELED : r;
}

static CO int copy_through(Copy *c, Aligned *buf, uint64_t off, uint64_t len, bool *is_read)
{
    int r = handle_pread(c->from, off, span_of(buf, len), 0);

    if (r < 0)
        return r;
    *is_read = false;
    if (!(c->write_flags & REQ_COMPRESSED) && buffer_is_zero((void *)buf, len))
        return copy_zeroes(c, off, len);
    return handle_pwrite(c->to, off, span_of(buf, len), c->write_flags);
}

static CO int copy_data(Copy *c, uint64_t off, uint64_t len, bool *is_read)
{
    g_autoptr(Aligned) buf = aligned_try_alloc(len);

    *is_read = true;
    return buf ? copy_through(c, buf, off, len, is_read) : -ENOMEM;
}

/* Copies, however that is done; the range is held. */
static CO int copy_range(Copy *c, CopyKind kind, uint64_t off, uint64_t len, bool *is_read)
{
    *is_read = false;
    if (c->ops && c->ops->copy)
        return c->ops->copy(c, kind, off, len, is_read);
    return kind == COPY_ZERO ? copy_zeroes(c, off, len) : copy_data(c, off, len, is_read);
}

static void piece_failed(Copy *c, const Piece *p, bool is_read, int r)
{
    BlockErrorAction action;

    TRACE(copy_failed, "off=%" PRIu64 " len=%" PRIu64 " error=%d", p->off, p->len, r);
    if (c->error || (r == -ECANCELED && job_must_end(c->job))) {
        todo_set(c, p->off, p->off + p->len);
        return;
    }
    action = job_error(c->job, is_read ? c->on_read : c->on_write, is_read, -r);
    if (action == BLOCK_ERROR_ACTION_IGNORE && c->gives_up) {
        c->ignored = c->ignored ? c->ignored : r;
        return;
    }
    todo_set(c, p->off, p->off + p->len);
    if (action == BLOCK_ERROR_ACTION_REPORT)
        c->error = r;
    c->must_wait = action == BLOCK_ERROR_ACTION_IGNORE;
}

static CO void piece_run(void *arg)
{
    Piece *p = arg;
    Copy *c = p->copy;
    bool is_read;
    int r;

    if (c->gate)
        handle_begin(c->gate);
    r = copy_range(c, p->kind, p->off, p->len, &is_read);
    if (c->gate)
        handle_end(c->gate);
    if (r < 0)
        piece_failed(c, p, is_read, r);
    if (r == 0 || c->gives_up)
        c->job->done += p->len;
    c->undone -= p->len;
    c->pieces--;
    if (p->kind == COPY_DATA)
        c->bytes -= p->len;
    range_release(&p->hold);
    g_free(p);
    co_queue_wake_all(&c->landed);
}

/* True if requests to @n, or to what is below it, go past the page cache. */
static bool is_direct(const Node *n)
{
    for (; n; n = node_filtered(n) ? node_filtered(n) : node_storage(n))
        if (node_flags(n) & OPEN_DIRECT)
            return true;
    return false;
}

uint64_t copy_chunk(const Node *from, const Node *to, uint32_t granularity)
{
    return MAX(is_direct(from) || is_direct(to) ? CHUNK_DIRECT : CHUNK, granularity);
}

/* ---- the walk -------------------------------------------------------------------------------- */

static CO void await_all(Copy *c)
{
    while (c->pieces)
        co_queue_wait(&c->landed);
}

/* On the main loop: does what the user wants before the walk goes on. False: stop. */
static CO bool may_go_on(Copy *c)
{
    while (!c->error && !job_must_end(c->job)) {
        if (job_must_pause(c->job)) {
            job_pause_point(c->job);
        } else if (c->must_wait) {
            c->must_wait = false;
            job_sleep(c->job, RETRY_NS);
        } else {
            return true;
        }
    }
    return false;
}

static bool must_stop(const Copy *c)
{
    return c->error || c->must_wait || job_must_end(c->job) || job_must_pause(c->job) ||
           home_must_leave(c->from);
}

static CO void pace_sleep(Copy *c, int64_t ns)
{
    home_work_sleeper(c->from, co_self());
    if (c->job->co == co_self())
        job_sleep(c->job, ns);  /* on the main loop whoever kicks the job wakes it, too */
    else
        co_sleep(ns);
    home_work_sleeper(c->from, NULL);
}

/*
 * On the loop of the nodes: waits until the speed allows another piece. False: the walk has to
 * stop.
 */
static CO bool may_start(Copy *c)
{
    int64_t left;

    while (!must_stop(c) && (left = job_pace_left(c->job)))
        pace_sleep(c, left);
    return !must_stop(c);
}

/*
 * What is not read may have been written since it was looked at, and that mark is gone with the
 * others of @p. From here on writes leave new ones.
 */
static CO void piece_look_again(Copy *c, Piece *p, CopyKind kind)
{
    uint64_t end = p->off + p->len, sure = end;

    p->kind = kind;
    if (kind == COPY_DATA)
        return;
    piece_look(c, p->off, &sure, &p->kind);
    if (sure < end)
        todo_set(c, sure, end);
    p->len = sure - p->off;
}

/* Hands out the piece that begins at @off. Returns where to go on. */
static CO uint64_t piece_start(Copy *c, uint64_t off)
{
    uint64_t end = todo_end(c, off, c->len);
    Piece *p;
    CopyKind kind;

    piece_look(c, off, &end, &kind);
    while (c->pieces && (c->pieces >= c->workers ||
                         (kind == COPY_DATA && c->bytes + (end - off) > c->memory)))
        co_queue_wait(&c->landed);
    p = g_new0(Piece, 1);
    p->copy = c;
    p->off = off;
    range_take(&c->busy, &p->hold, off, end - off);
    /* Somebody else may have copied it in the meantime, or the job may have to stop. */
    p->len = c->error || job_must_end(c->job) || next_todo(c, off) != off
                 ? 0 : todo_end(c, off, end) - off;
    end = off + MAX(p->len, c->granularity);
    if (p->len) {
        todo_clear(c, off, end);
        piece_look_again(c, p, kind);
        end = off + p->len;
    }
    if (!p->len || p->kind == COPY_NOTHING) {
        c->job->done += p->len;
        range_release(&p->hold);
        g_free(p);
        return end;
    }
    c->pieces++;
    c->undone += p->len;
    if (p->kind == COPY_DATA) {
        c->bytes += p->len;
        job_pace_add(c->job, p->len);
    }
    co_start_now(piece_run, p);
    return end;
}

void copy_mark_in_flight(const Copy *c, HBitmap *to)
{
    for (const RangeHold *h = c->busy.first; h; h = h->next) {
        uint64_t end = MIN(h->off + h->len, c->len);

        if (h->off < end)
            hbitmap_set(to, first_bit(c, h->off), end_bit(c, end) - first_bit(c, h->off));
    }
}

typedef struct {
    Copy *copy;
    uint64_t off;
    bool is_over;
} Walk;

/* From @off on, as far as it can go without a look at what the job's user wants. */
static CO void walk_on(void *arg)
{
    Walk *w = arg;
    Copy *c = w->copy;
    unsigned steps = 0;

    while (!w->is_over && may_start(c)) {
        w->off = next_todo(c, w->off);
        w->is_over = w->off >= c->len;
        if (!w->is_over)
            w->off = piece_start(c, w->off);
        if (++steps % SCAN_YIELD == 0)
            co_yield();
    }
    await_all(c);
    c->left = copy_left(c);
}

CO int copy_pass(Copy *c)
{
    Walk w = { .copy = c };

    while (!w.is_over && may_go_on(c))
        home_work(c->from, walk_on, &w);
    return job_must_end(c->job) ? -ECANCELED : c->error;
}

CO int copy_all(Copy *c)
{
    int r;

    do {
        r = copy_pass(c);
    } while (r == 0 && c->left);
    return r;
}

typedef struct {
    Copy *copy;
    Handle *h;
    Node *base;
    /* sets the bits of what a layer of @h's node above @base has; else clears the others */
    bool marks;
    uint64_t off;
    int result;
} BaseWalk;

/* A step; less than 0 is a negative errno. */
static CO int base_walk_step(BaseWalk *w)
{
    Copy *c = w->copy;
    uint64_t len = c->len - w->off, first, end;
    int r;

    handle_begin(w->h);
    r = node_is_allocated_above(handle_node(w->h), w->base, false, w->off, &len);
    handle_end(w->h);
    if (r < 0)
        return r;
    len = MAX(len, 1);
    /* Granules of which only a part is left out are copied. */
    first = w->off ? round_up(w->off, c->granularity) : 0;
    end = w->off + len >= c->len ? c->len : round_down(w->off + len, c->granularity);
    if (w->marks && r > 0)
        todo_set(c, w->off, MIN(w->off + len, c->len));
    else if (!w->marks && r == 0 && first < end)
        todo_clear(c, first, end);
    w->off += len;
    return 0;
}

static CO void base_walk_on(void *arg)
{
    BaseWalk *w = arg;

    while (w->result == 0 && w->off < w->copy->len && !must_stop(w->copy) &&
           !home_must_leave(w->h)) {
        w->result = base_walk_step(w);
        co_yield();
    }
}

static CO int base_walk(BaseWalk *w)
{
    Copy *c = w->copy;

    while (w->result == 0 && w->off < c->len && !job_must_end(c->job)) {
        job_pause_point(c->job);
        home_work(w->h, base_walk_on, w);
    }
    return w->result;
}

CO int copy_mark_above_base(Copy *c, Handle *h, Node *base)
{
    return base_walk(&(BaseWalk){ .copy = c, .h = h, .base = base, .marks = true });
}

CO int copy_leave_out_base(Copy *c, Handle *h, Node *base)
{
    return base_walk(&(BaseWalk){ .copy = c, .h = h, .base = base });
}

CO int copy_ahead(Copy *c, uint64_t off, uint64_t len, RangeHold *hold)
{
    uint64_t start = round_down(off, c->granularity);
    uint64_t end = MIN(round_up(off + len, c->granularity), c->len), at = start;
    int r = 0;

    if (start >= end)
        return 0;
    range_take(&c->busy, hold, start, end - start);
    while (r == 0 && (at = next_todo(c, at)) < end) {
        uint64_t stop = todo_end(c, at, MIN(end, at + c->chunk));
        bool is_read;

        r = copy_range(c, COPY_DATA, at, stop - at, &is_read);
        if (r == 0) {
            todo_clear(c, at, stop);
            if (c->job)
                c->job->done += stop - at;
        }
        at = stop;
    }
    if (r < 0)
        range_release(hold);
    return r;
}
