/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mirror: copies an image to another one and keeps that up to date until it is told to complete;
 * then users go on with the copy. Committing an image in use into one below it is the same thing.
 *
 *     user -> mirror_top -> source            user -> target
 *                           (what is written is marked)
 *
 * The last writes are copied inside the edit that moves the users, when they are still.
 */
#include "block/home.h"
#include "block/jobs/copy.h"
#include "block/jobs/filter.h"
#include "block/jobs/kinds.h"
#include "block/jobs/mirror-filter.h"
#include "block/jobs/resume-bitmap.h"
#include <inttypes.h>

enum {
    GRANULARITY_MIN = 512,
    GRANULARITY_MAX = 64 << 20,
    FEW_PASSES = 4,         /* after that a completion does not wait for less to be left */
};

/* With no more than that left, users are stopped for the rest. */
#define FEW_BYTES (UINT64_C(4) << 20)
/* How long nothing may be marked before it is looked for. */
#define IDLE_NS (INT64_C(50) * 1000000)

typedef enum { GOES_ON, ENDS_WITHOUT, PIVOTS } MirrorEnd;

typedef struct {
    Node *source, *target, *filter; /* the filter's reference is ours */
    Node *base;             /* what it and those below hold is not copied; NULL: nothing such */
    bool is_commit;         /* the target is below the source */
    bool was_read_only;     /* and was made writable */
    MirrorSyncMode sync;
    Handle *to;
    DirtyBitmap *dirty;
    bool is_resumable;      /* @dirty is a persistent bitmap, which stays but for a pivot */
    bool is_new;            /* and was made by this job */
    ResumeLog *log;         /* with is_resumable */
    bool has_pivoted;
    Copy copy;
    char *replaces;         /* name of a node; NULL: the source */
    MirrorEnd end;
} Mirror;

/* ---- the work -------------------------------------------------------------------------------- */

static void mirror_progress(Job *j)
{
    Mirror *s = job_state(j);

    if (s->dirty && s->copy.todo) /* it has been set up, and not been cleaned up yet */
        j->total = j->done + copy_left(&s->copy);
}

static CO bool mirror_fail(const Mirror *s, int r, GError **err)
{
    return err_set(err, -r, "%s", g_strerror(-r));
}

static CO void marks_complete(void *arg)
{
    Mirror *s = arg;
    Copy *c = &s->copy;

    if (s->sync != MIRROR_SYNC_MODE_NONE && !s->is_resumable && !s->base)
        hbitmap_set(c->todo, 0, hbitmap_bits(c->todo));
    c->is_marked = true;
}

/* Marks what is to be copied at first. */
static CO int mirror_mark(Mirror *s)
{
    Copy *c = &s->copy;
    int r = s->base ? copy_mark_above_base(c, c->from, s->base) : 0;

    if (r == 0)
        home_work(c->from, marks_complete, s);
    return r;
}

static CO bool mirror_run(Job *j, GError **err)
{
    Mirror *s = job_state(j);
    Copy *c = &s->copy;
    int r;

    if (s->sync != MIRROR_SYNC_MODE_NONE)
        co_yield();
    if (!s->is_commit && node_size(s->source) != node_size(s->target))
        return err_set(err, EINVAL, "Source and target image have different sizes");
    if (node_size(s->target) < node_size(s->source) &&
        !handle_resize(s->to, node_size(s->source), false, PREALLOC_OFF, err))
        return false;
    if (s->log && !resume_log_start(s->log, err))
        return false;
    r = mirror_mark(s);
    for (unsigned passes = 0; r == 0 && !job_must_end(j); passes++) {
        r = copy_pass(c);
        if (r < 0)
            break;
        if (!job_is_ready(j)) {
            if (!c->left || (passes >= FEW_PASSES && c->left <= FEW_BYTES)) {
                r = handle_flush(s->to);
                if (r < 0)
                    break;
                job_set_ready(j);
                passes = 0;
            }
            continue;
        }
        if (s->end != GOES_ON && (c->left <= FEW_BYTES || passes >= FEW_PASSES))
            break;
        if (s->end == GOES_ON && !c->left)
            job_sleep(j, IDLE_NS);
        if (s->end == GOES_ON)
            passes = 0;
    }
    if (r == 0 && !job_must_end(j)) {
        j->total = j->done + c->left;
        r = handle_flush(s->to);
    }
    return r == 0 || (r == -ECANCELED ? true : mirror_fail(s, r, err));
}

static bool mirror_complete(Job *j, GError **err)
{
    Mirror *s = job_state(j);

    if (s->replaces) {
        const Node *n = node_find(s->replaces);

        if (!n)
            return err_set(err, ENOENT, "Failed to find node with node-name='%s'", s->replaces);
    }
    s->end = PIVOTS;
    return true;
}

static void mirror_stop(Job *j)
{
    ((Mirror *)job_state(j))->end = ENDS_WITHOUT;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* One run of marked granules, nobody else using either node. */
static CO int rest_copy(Mirror *s, uint64_t off, uint64_t len)
{
    g_autoptr(Aligned) buf = aligned_try_alloc(len);
    int r = buf ? node_pread(s->source, off, span_of(buf, len), 0) : -ENOMEM;

    if (r == 0 && buffer_is_zero((void *)buf, len))
        return node_zero(s->target, off, len, REQ_MAY_UNMAP);
    return r < 0 ? r : node_pwrite(s->target, off, span_of(buf, len), 0);
}

/* What was written since the last pass; users are still. */
static CO bool rest_prepare(void *step, GError **err)
{
    Mirror *s = step;
    Copy *c = &s->copy;
    uint64_t bits = hbitmap_bits(c->todo), at = 0;
    int r = 0;

    while (r == 0 && (at = hbitmap_next_set(c->todo, at, bits)) < bits) {
        uint64_t end = hbitmap_next_clear(c->todo, at, MIN(bits, at + c->chunk / c->granularity));
        uint64_t off = at * c->granularity;

        r = rest_copy(s, off, MIN(end * c->granularity, c->len) - off);
        at = end;
    }
    if (r == 0)
        r = node_flush(s->target);
    if (r < 0)
        return err_set_errno(err, r, "The last writes to '%s' could not be copied to '%s'",
                             node_filename(s->source), node_filename(s->target));
    hbitmap_clear(c->todo, 0, bits);
    return true;
}

static const EditOps rest_ops = { .prepare = rest_prepare };

static CO bool mirror_prepare(Job *j, GError **err)
{
    Mirror *s = job_state(j);
    g_autoptr(Edit) edit = NULL;
    Node *replaced = s->filter;

    if (s->end != PIVOTS)
        return true;
    mirror_progress(j);
    edit = edit_begin();
    if (s->replaces) {
        replaced = node_find(s->replaces);
        if (!replaced)
            return err_set(err, ENOENT, "Failed to find node with node-name='%s'", s->replaces);
        replaced = replaced == s->source ? s->filter : replaced;
    }
    edit_still(edit, s->source);
    edit_still(edit, s->target);
    edit_handle_yield(edit, s->to);
    edit_replace(edit, replaced, s->target);
    edit_add(edit, &rest_ops, s);
    s->has_pivoted = edit_commit(edit, err);
    return s->has_pivoted;
}

/* Below a commit that did not come to its end there is nothing to write any more. */
static CO void target_reset(const Mirror *s)
{
    g_autoptr(Edit) edit = edit_begin();

    edit_handle_yield(edit, s->to);
    edit_set_read_only(edit, s->target, true);
    edit_commit(edit, NULL);
}

static CO void mirror_abort(Job *j)
{
    Mirror *s = job_state(j);

    if (s->filter && s->was_read_only)
        target_reset(s);
}

static CO bool bitmap_delete(void *step, GError **err)
{
    const Mirror *s = step;

    return dirty_delete(s->source, s->dirty, err);
}

static const EditOps delete_ops = { .prepare = bitmap_delete };

/* The persistent bitmap stays for another mirror to the same target, unless none is needed. */
static CO void bitmap_leave(Mirror *s)
{
    g_autoptr(GError) err = NULL;
    Edit *edit;

    s->dirty->busy = false;
    if (!s->has_pivoted && !(s->is_new && !s->filter))
        return;
    edit = edit_begin();
    edit_still(edit, s->source);
    edit_add(edit, &delete_ops, s);
    if (!edit_commit(edit, &err))
        block_warn("%s", err->message);
    edit_free(edit);
}

static CO void mirror_clean(Job *j)
{
    Mirror *s = job_state(j);

    mirror_progress(j);
    if (s->filter) {
        if (s->log)
            resume_log_end(s->log);
        mirror_filter_set(s->filter, NULL);
        filter_remove(s->filter);
    }
    resume_log_free(s->log);
    if (s->dirty && s->is_resumable)
        bitmap_leave(s);
    else if (s->dirty)
        dirty_remove(s->source, s->dirty);
    s->dirty = NULL;
    g_free(s->replaces);
}

#define MIRROR_OPERATIONS \
    .state_size = sizeof(Mirror), \
    .is_block = true, \
    .cancel_is_late = true, \
    .starts_at_once = true, \
    .any_loop = true, \
    .run = mirror_run, \
    .prepare = mirror_prepare, \
    .abort = mirror_abort, \
    .clean = mirror_clean, \
    .complete = mirror_complete, \
    .stop = mirror_stop, \
    .progress = mirror_progress

static const JobDriver job_mirror = { .type = JOB_TYPE_MIRROR, MIRROR_OPERATIONS };
static const JobDriver job_commit_active = { .type = JOB_TYPE_COMMIT, MIRROR_OPERATIONS };

/* ---- starting -------------------------------------------------------------------------------- */

static bool granularity_check(uint32_t granularity, GError **err)
{
    if (granularity < GRANULARITY_MIN || granularity > GRANULARITY_MAX)
        return err_set(err, EINVAL,
                       "Parameter 'granularity' expects a value in range [512B, 64MB]");
    return is_power_of_2(granularity) ||
           err_set(err, EINVAL, "Parameter 'granularity' expects a power of 2");
}

/* The graph that the job works in. */
static CO bool mirror_set_up(Job *j, const char *filter_name, GError **err)
{
    Mirror *s = job_state(j);
    Edit *edit = edit_begin();
    unsigned shares = s->is_commit ? ACCESS_ALL & ~(unsigned)ACCESS_RESIZE : ACCESS_UNCHANGED;
    unsigned needs = ACCESS_WRITE;
    Node *filter = filter_insert(edit, &mirror_filter, filter_name, s->source, err);
    bool ok = filter;

    if (ok) {
        if (s->log)
            mirror_filter_log(filter, s->log);
        if (s->was_read_only)
            edit_set_read_only(edit, s->target, false);
        /* Storing what is to be copied is a write that nobody sees. */
        s->copy.from = job_attach(j, edit, s->source,
                                  ACCESS_READ | (s->log ? ACCESS_UNCHANGED : 0),
                                  ACCESS_ALL & ~(unsigned)ACCESS_RESIZE);
        if (node_size(s->target) < node_size(s->source))
            needs |= ACCESS_RESIZE;
        if (s->log && !s->is_new)
            needs |= ACCESS_READ; /* to check that it has what it is said to have */
        s->to = s->copy.to = job_attach(j, edit, s->target, needs, shares);
        ok = edit_commit(edit, err);
    }
    edit_free(edit);
    if (ok) {
        s->filter = filter;
        filter_inserted(filter);
        job_use_node(j, filter);
    } else if (filter) {
        node_unref(filter);
    }
    return ok;
}

/* Between the commit's top and its base there are images that it makes worthless. */
static void commit_use_between(Job *j)
{
    const Mirror *s = job_state(j);

    for (Node *n = node_backing_chain_next(s->source); n && n != s->target;
         n = node_backing_chain_next(n))
        job_use_node(j, n);
}

/* What is to be copied: a bitmap of the job's own, or that of @args. */
static CO bool mirror_bitmap(Mirror *s, const MirrorArgs *args, uint32_t granularity, GError **err)
{
    s->dirty = args->resume ? resume_bitmap_take(s->source, s->target, args->resume, granularity,
                                                 &s->is_new, err)
                            : dirty_add(s->source, NULL, granularity, err);
    s->is_resumable = args->resume;
    return s->dirty;
}

/* Begins with what stands in the state and frees the job if that fails. */
static CO bool mirror_begin(Job *j, const MirrorArgs *args, GError **err)
{
    Mirror *s = job_state(j);
    uint32_t granularity = args->granularity ? args->granularity
                                             : dirty_default_granularity(s->target);

    if (!mirror_bitmap(s, args, granularity, err)) {
        job_drop(j, false);
        return false;
    }
    granularity = s->dirty->granularity;
    s->copy = (Copy){
        .job = j,
        .granularity = granularity,
        .len = node_size(s->source),
        .chunk = copy_chunk(s->source, s->target, granularity),
        .memory = MAX(args->memory ? args->memory : COPY_MEMORY, granularity),
        .workers = COPY_WORKERS,
        /* The target may get another backing file later. */
        .target_has_old = s->sync != MIRROR_SYNC_MODE_FULL,
        .on_read = args->on_read,
        .on_write = args->on_write,
    };
    s->copy.todo = s->dirty->bits;
    if (s->is_resumable)
        s->log = resume_log_new(s->source, s->dirty, &s->copy);
    if (!mirror_set_up(j, args->filter_name, err)) {
        job_drop(j, false);
        return false;
    }
    if (s->is_commit)
        commit_use_between(j);
    if (args->copy_mode == MIRROR_COPY_MODE_WRITE_BLOCKING) {
        Edit *edit = edit_begin();
        bool ok;

        edit_still(edit, s->filter);
        edit_access_below(edit, s->filter);
        mirror_filter_set(s->filter, &s->copy);
        ok = edit_commit(edit, err);
        edit_free(edit);
        if (!ok) {
            job_drop(j, false);
            return false;
        }
    }
    job_start(j);
    return true;
}

CO bool mirror_start(const MirrorArgs *args, GError **err)
{
    Job *j;
    Mirror *s;

    if (args->granularity && !granularity_check(args->granularity, err))
        return false;
    if (args->source == args->target)
        return err_set(err, EINVAL, "Can't mirror node into itself");
    if (!node_check_idle(args->source, err) || !node_check_idle(args->target, err))
        return false;
    if (args->replaces && !node_find(args->replaces))
        return err_set(err, ENOENT, "Failed to find node with node-name='%s'", args->replaces);
    if (args->sync == MIRROR_SYNC_MODE_INCREMENTAL || args->sync == MIRROR_SYNC_MODE_BITMAP)
        return err_set(err, ENOTSUP, "Sync mode '%s' not supported",
                       mirror_sync_mode_enum.names[args->sync]);
    if (args->memory < 0)
        return err_set(err, EINVAL, "Invalid parameter 'buf-size'");
    if (args->resume && args->sync != MIRROR_SYNC_MODE_FULL)
        return err_set(err, EINVAL, "'x-resume' goes with sync=full only");
    j = job_new(&job_mirror, &args->job, err);
    if (!j)
        return false;
    s = job_state(j);
    s->source = args->source;
    s->target = args->target;
    s->sync = args->sync;
    s->base = args->sync == MIRROR_SYNC_MODE_TOP ? node_backing_chain_next(args->source) : NULL;
    s->replaces = g_strdup(args->replaces);
    return mirror_begin(j, args, err);
}

CO bool commit_active_start(const CommitArgs *args, GError **err)
{
    MirrorArgs how = { .on_read = args->on_error, .on_write = args->on_error,
                       .filter_name = args->filter_name };
    Job *j = job_new(&job_commit_active, &args->job, err);
    Mirror *s;

    if (!j)
        return false;
    s = job_state(j);
    s->source = args->top;
    s->target = s->base = args->base;
    s->is_commit = true;
    s->was_read_only = node_is_read_only(args->base);
    s->sync = MIRROR_SYNC_MODE_FULL;
    return mirror_begin(j, &how, err);
}
