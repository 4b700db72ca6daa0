/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/jobs/resume-log.h"
#include "block/home.h"
#include "util/trace.h"
#include <inttypes.h>
#include <string.h>

/* After a store the log rests REST times as long as it took, so that storing costs little time. */
enum { REST = 20 };
#define REST_MIN_NS (INT64_C(100) * 1000000)
#define REST_MAX_NS (INT64_C(10) * 1000000000)
/* Bytes that are stored around a write to a place that is not stored yet. */
#define NEIGHBOURS (UINT64_C(16) << 20)
/* Places at which the target is looked at, bytes of each, and extents looked at without a pause. */
enum { SAMPLES = 64, SAMPLE_LEN = 64 << 10, LOOKS_AT_ONCE = 1024 };

struct ResumeLog {
    Node *n;
    DirtyBitmap *b;
    Copy *copy;
    CoRwLock changes;       /* users' changes are readers; who stores is a writer */
    HBitmap *stored;        /* the bits in the image; NULL: nothing is stored yet */
    HBitmap *changed;       /* by users since the last store began to collect */
    bool is_off;            /* storing has failed: what is in the image is not to be trusted */
    bool ends;
    Co *sleeper;            /* the log's coroutine, while it sleeps */
    CoGroup running;
};

ResumeLog *resume_log_new(Node *n, DirtyBitmap *b, Copy *c)
{
    ResumeLog *l = g_new0(ResumeLog, 1);

    *l = (ResumeLog){ .n = n, .b = b, .copy = c };
    return l;
}

/* What the image has from now on. With the lock held as a writer. */
static CO bool store(ResumeLog *l, const HBitmap *bits, GError **err)
{
    return l->n->drv->bitmaps->store_now(l->n, l->b, bits, err);
}

/*
 * The image says from now on that nobody knows what is to be copied. With the lock held as a
 * writer.
 */
static CO void turn_off(ResumeLog *l)
{
    g_autoptr(GError) err = NULL;

    if (!l->is_off && !store(l, NULL, &err))
        block_warn("Bitmap '%s' of '%s' cannot be marked inconsistent, so the image takes no more "
                   "writes: %s", l->b->name, node_filename(l->n), err->message);
    l->is_off = true;
}

/*
 * The image cannot keep up, so that a crash will cost a whole copy; the job itself goes on. With
 * the lock held as a writer.
 */
static CO void give_up(ResumeLog *l, const GError *why)
{
    block_warn("Bitmap '%s' of '%s' cannot be kept up to date, so this mirror cannot be resumed "
               "if it fails: %s", l->b->name, node_filename(l->n), why->message);
    hbitmap_set(l->stored, 0, hbitmap_bits(l->stored));
    turn_off(l);
}

/* ---- changes --------------------------------------------------------------------------------- */

static bool is_stored(const ResumeLog *l, uint64_t first, uint64_t end)
{
    return !l->stored || hbitmap_next_clear(l->stored, first, end) == end;
}

/* Stores more than the granules [@first, @end): writes tend to come near each other. */
static CO void store_more(ResumeLog *l, uint64_t first, uint64_t end)
{
    uint64_t unit = MAX(NEIGHBOURS / l->b->granularity, 1);
    uint64_t bits = hbitmap_bits(l->b->bits);
    g_autoptr(GError) err = NULL;

    co_rwlock_wrlock(&l->changes);
    if (!is_stored(l, first, end)) {
        first = round_down(first, unit);
        end = MIN(round_up(end, unit), bits);
        hbitmap_set(l->stored, first, end - first);
        TRACE(resume_log_more, "first=%" G_GUINT64_FORMAT " end=%" G_GUINT64_FORMAT, first, end);
        if (!store(l, l->stored, &err))
            give_up(l, err);
    }
    co_rwlock_unlock(&l->changes);
}

CO void resume_log_enter(ResumeLog *l, uint64_t off, uint64_t len)
{
    uint64_t first = off / l->b->granularity;
    uint64_t end = MIN(div_round_up(off + len, l->b->granularity), hbitmap_bits(l->b->bits));

    co_rwlock_rdlock(&l->changes);
    while (first < end && !is_stored(l, first, end)) {
        co_rwlock_unlock(&l->changes);
        store_more(l, first, end);
        co_rwlock_rdlock(&l->changes);
    }
    if (l->changed && first < end)
        hbitmap_set(l->changed, first, end - first);
}

void resume_log_leave(ResumeLog *l)
{
    co_rwlock_unlock(&l->changes);
}

/* ---- storing --------------------------------------------------------------------------------- */

/*
 * In @left, all that is marked or in flight, while no user changes anything; what users change from
 * then on is collected in l->changed.
 */
static CO void collect(ResumeLog *l, HBitmap *left)
{
    co_rwlock_wrlock(&l->changes);
    hbitmap_merge(left, l->b->bits);
    copy_mark_in_flight(l->copy, left);
    hbitmap_clear(l->changed, 0, hbitmap_bits(l->changed));
    co_rwlock_unlock(&l->changes);
}

/*
 * What is neither marked nor in flight at first is durable after both flushes: the source as it was
 * read, and the target.
 */
static CO bool store_what_is_left(ResumeLog *l, GError **err)
{
    g_autoptr(HBitmap) left = hbitmap_try_new(hbitmap_bits(l->b->bits));
    GError *why = NULL;
    int r = 0;
    bool ok;

    if (!left)
        return err_set(err, ENOMEM, "No memory for a copy of bitmap '%s'", l->b->name);
    collect(l, left);
    if (l->stored && hbitmap_count(left) == hbitmap_count(l->stored))
        return true;        /* all that is stored is still to be copied */
    if ((r = handle_flush(l->copy->from)) < 0 || (r = handle_flush(l->copy->to)) < 0) {
        /* What it was to make durable may be lost, and no later flush will tell: the job ends. */
        l->copy->error = l->copy->error ? l->copy->error : r;
        job_kick(l->copy->job);
        return err_set_errno(err, r, "Could not flush the source or target of the mirror");
    }
    handle_begin(l->copy->from);
    co_rwlock_wrlock(&l->changes);
    hbitmap_merge(left, l->changed);
    ok = l->is_off || store(l, left, &why);
    if (!ok && l->stored)
        give_up(l, why);
    else if (!ok)
        turn_off(l);
    if (ok && !l->is_off) {
        hbitmap_free(l->stored);
        l->stored = g_steal_pointer(&left);
    }
    if (why)
        g_propagate_error(err, why);
    co_rwlock_unlock(&l->changes);
    handle_end(l->copy->from);
    return ok;
}

typedef struct {
    ResumeLog *log;
    GError **err;
    bool ok;
    bool is_off;
} Store;

static CO void store_run(void *arg)
{
    Store *s = arg;

    s->ok = s->log->is_off || store_what_is_left(s->log, s->err);
    s->is_off = s->log->is_off;
}

/* On the loop where the nodes live. Nothing is stored any more once the log @is_off. */
static CO bool store_there(ResumeLog *l, bool *is_off, GError **err)
{
    Store s = { .log = l, .err = err };

    home_work(l->copy->from, store_run, &s);
    *is_off = s.is_off;
    return s.ok;
}

static CO void keep_storing(void *arg)
{
    ResumeLog *l = arg;
    int64_t took = 0;
    bool is_off = false;

    while (!l->ends && !is_off) {
        g_autoptr(GError) err = NULL;
        int64_t start;

        l->sleeper = co_self();
        co_sleep(CLAMP(took * REST, REST_MIN_NS, REST_MAX_NS));
        l->sleeper = NULL;
        start = clock_now_ns();
        /* What was stored before still covers everything. */
        if (!l->ends && !store_there(l, &is_off, &err))
            TRACE(resume_log_failed, "%s", err->message);
        took = clock_now_ns() - start;
    }
}

/* ---- the target ------------------------------------------------------------------------------ */

/* One look at source and target, at most. */
typedef struct {
    ResumeLog *log;
    uint64_t off, end;      /* bytes from which a place is chosen */
    uint8_t *buf;           /* 2 * SAMPLE_LEN */
    GError **err;
    bool ok;
} Sample;

static bool sample_may_go_on(const Sample *s)
{
    const Copy *c = s->log->copy;

    return s->off < s->end && !job_must_end(c->job) && !home_must_leave(c->from);
}

/*
 * Moves s->off to a place that is not marked, and where the source has data. False: none was found,
 * or others come first. However many zeroes there are: a target that was emptied differs in data
 * only.
 */
static CO bool sample_find(Sample *s)
{
    const DirtyBitmap *b = s->log->b;
    uint64_t unit = b->granularity, last = div_round_up(s->end, unit);

    for (unsigned looks = 1; sample_may_go_on(s); looks++) {
        uint64_t first = hbitmap_next_clear(b->bits, s->off / unit, last);
        uint64_t stop = MIN(hbitmap_next_set(b->bits, first, last) * unit, s->end);
        Extent e;

        s->off = MIN(MAX(s->off, first * unit), s->end);
        if (s->off == s->end)
            return false;
        /* What cannot be told is found out by reading. */
        if (handle_extent(s->log->copy->from, s->off, stop - s->off, true, &e) < 0)
            e = (Extent){ .len = MIN(unit, stop - s->off) };
        if (!(e.flags & EXTENT_ZERO)) {
            s->off += g_random_int() % MAX(e.len / unit, 1) * unit;
            return true;
        }
        s->off += e.len;
        if (looks % LOOKS_AT_ONCE == 0)
            co_yield();
    }
    return false;
}

static CO int sample_read(const Sample *s, Handle *h, uint8_t *buf, uint64_t len)
{
    return handle_pread(h, s->off, span_of(buf, len), 0);
}

/*
 * While no user changes anything, which would be in the source only. *@same: also if it is marked
 * by now. What was read of the target is old if users' writes go to both, so a difference is looked
 * at again; those who write wait for the target then, as with each of such writes.
 */
static CO int sample_compare_still(const Sample *s, uint64_t len, bool *same)
{
    ResumeLog *l = s->log;
    uint8_t *target = s->buf + SAMPLE_LEN;
    int r = 0;

    co_rwlock_wrlock(&l->changes);
    *same = hbitmap_get(l->b->bits, s->off / l->b->granularity);
    if (!*same) {
        r = sample_read(s, l->copy->from, s->buf, len);
        *same = r == 0 && !memcmp(s->buf, target, len);
        if (r == 0 && !*same) {
            r = sample_read(s, l->copy->to, target, len);
            *same = r == 0 && !memcmp(s->buf, target, len);
        }
    }
    co_rwlock_unlock(&l->changes);
    return r;
}

/* Users do not wait for the target, which may not answer for long. */
static CO bool sample_compare(const Sample *s, GError **err)
{
    const ResumeLog *l = s->log;
    uint64_t unit = l->b->granularity;
    uint64_t len = MIN(MIN(unit - s->off % unit, SAMPLE_LEN), l->b->size - s->off);
    bool same = true;
    int r = sample_read(s, l->copy->to, s->buf + SAMPLE_LEN, len);

    if (r == 0)
        r = sample_compare_still(s, len, &same);
    if (r < 0)
        return err_set_errno(err, r, "Source and target could not be compared at offset %" PRIu64,
                             s->off);
    return same ||
           err_set(err, EINVAL, "At offset %" PRIu64 " the target does not have what bitmap '%s' "
                   "takes for copied, so somebody else has changed it: remove the bitmap to copy "
                   "the whole image", s->off, l->b->name);
}

static CO void sample_run(void *arg)
{
    Sample *s = arg;

    if (!sample_find(s))
        return;
    s->ok = sample_compare(s, s->err);
    s->off = s->end;
}

static CO bool check_samples(ResumeLog *l, GError **err)
{
    const DirtyBitmap *b = l->b;
    uint64_t step = div_round_up(hbitmap_bits(b->bits), SAMPLES) * b->granularity;
    g_autoptr(Aligned) buf = aligned_try_alloc(2 * SAMPLE_LEN);
    bool ok = buf || err_set(err, ENOMEM, "No memory to compare source and target");

    for (uint64_t at = 0; ok && at < b->size; at += step) {
        Sample s = {
            .log = l, .off = at, .end = MIN(at + step, b->size), .buf = buf, .err = err, .ok = true,
        };

        while (s.off < s.end && !job_must_end(l->copy->job))
            home_work(l->copy->from, sample_run, &s);
        ok = s.ok;
    }
    return ok;
}

/* ---- life ------------------------------------------------------------------------------------ */

CO bool resume_log_start(ResumeLog *l, GError **err)
{
    bool is_off;

    if (!check_samples(l, err))
        return false;
    l->changed = hbitmap_try_new(hbitmap_bits(l->b->bits));
    if (!l->changed)
        return err_set(err, ENOMEM, "No memory for a copy of bitmap '%s'", l->b->name);
    if (!store_there(l, &is_off, err))
        return false;
    co_group_start(&l->running, keep_storing, l);
    return true;
}

CO void resume_log_end(ResumeLog *l)
{
    l->ends = true;
    if (l->sleeper)
        co_wake(l->sleeper);
    co_group_wait(&l->running);
    co_rwlock_wrlock(&l->changes);
    if (l->stored) {
        turn_off(l);
        hbitmap_merge(l->b->bits, l->stored);
        hbitmap_set(l->stored, 0, hbitmap_bits(l->stored));
    }
    co_rwlock_unlock(&l->changes);
}

void resume_log_free(ResumeLog *l)
{
    if (!l)
        return;
    hbitmap_free(l->stored);
    hbitmap_free(l->changed);
    g_free(l);
}
