/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * backup: copies an image as it is at one moment, while it is written to.
 *
 *     user -> copy-before-write -> source
 *                     |
 *                     +----------> target
 *
 * The job copies along; what users are about to overwrite is copied first. With a bitmap only what
 * that marks is copied; it records anew from the same moment on.
 */
#include "block/filters/copy-before-write.h"
#include "block/jobs/filter.h"
#include "block/jobs/kinds.h"

enum { GRANULARITY_MIN = 64 << 10 };

typedef struct {
    Node *source, *target, *filter; /* the filter's reference is ours */
    MirrorSyncMode sync;
    Copy *copy;             /* the filter's */
    Handle *through;        /* on the filter */
    Handle *to;             /* on the target */
    DirtyBitmap *bitmap;    /* NULL: none; busy */
    BitmapSyncMode bitmap_mode;
    HBitmap *before;        /* what it had marked; NULL: it is not taken from */
    bool is_begun;          /* the filter is in its place */
} Backup;

/* ---- the work -------------------------------------------------------------------------------- */

static void backup_progress(Job *j)
{
    const Backup *s = job_state(j);

    if (s->copy)
        j->total = j->done + copy_left(s->copy);
}

static CO bool backup_run(Job *j, GError **err)
{
    Backup *s = job_state(j);
    Copy *c = s->copy;
    int r = 0;

    if (s->sync == MIRROR_SYNC_MODE_NONE) {
        while (!job_must_end(j)) {
            job_pause_point(j);
            job_sleep(j, INT64_C(3600) * 1000000000);
        }
        return true;
    }
    if (s->sync == MIRROR_SYNC_MODE_TOP)
        r = copy_leave_out_base(c, s->through, node_backing_chain_next(s->source));
    if (r == 0)
        r = copy_all(c);
    if (r == 0)
        r = handle_flush(s->to);
    return r == 0 || r == -ECANCELED || err_set(err, -r, "%s", g_strerror(-r));
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Gives the bitmap back what it is to keep of what it had. */
static void bitmap_settle(const Backup *s, bool ok)
{
    DirtyBitmap *b = s->bitmap;

    if (!b)
        return;
    b->busy = false;
    if (!s->before || (ok && s->bitmap_mode != BITMAP_SYNC_MODE_NEVER))
        return;
    if (s->bitmap_mode == BITMAP_SYNC_MODE_ALWAYS && s->copy)
        dirty_bits_merge(b->bits, b->granularity, s->copy->todo, s->copy->granularity,
                         s->copy->len);
    else
        hbitmap_merge(b->bits, s->before);
}

static CO void backup_commit(Job *j)
{
    bitmap_settle(job_state(j), true);
}

static CO void backup_abort(Job *j)
{
    bitmap_settle(job_state(j), false);
}

static CO void backup_clean(Job *j)
{
    Backup *s = job_state(j);

    backup_progress(j);
    s->copy = NULL;
    if (s->is_begun) {
        cbw_stop(s->filter);
        filter_remove(s->filter);
    } else {
        node_unref(s->filter);
    }
    s->filter = NULL;
    hbitmap_free(s->before);
    s->before = NULL;
}

static const JobDriver job_backup = {
    .type = JOB_TYPE_BACKUP,
    .state_size = sizeof(Backup),
    .is_block = true,
    .starts_paused = true,
    .starts_at_once = true,
    .any_loop = true,
    .run = backup_run,
    .commit = backup_commit,
    .abort = backup_abort,
    .clean = backup_clean,
    .progress = backup_progress,
};

/* ---- starting -------------------------------------------------------------------------------- */

/* The filter's memory, and the bitmap's part in it. */
static bool backup_copy_set_up(Job *j, Node *filter, const BackupArgs *args, uint32_t granularity,
                               GError **err)
{
    Backup *s = job_state(j);
    uint64_t len = node_size(args->source);
    Copy *c;

    if (!cbw_set_up(filter, len, granularity, err))
        return false;
    c = cbw_copy(filter);
    c->job = j;
    c->memory = COPY_MEMORY;
    c->workers = args->workers ? args->workers : COPY_WORKERS;
    c->offload = args->offload && !args->compress;
    c->on_read = args->on_read;
    c->on_write = args->on_write;
    c->chunk = args->chunk ? round_down(args->chunk, granularity)
                           : copy_chunk(args->source, args->target, granularity);
    if (args->compress)
        cbw_compress(filter);
    s->copy = c;
    return true;
}

/*
 * The moment that the target will show. The bitmap records anew; what it had is kept until the job
 * has ended.
 */
static bool moment_apply(void *step, GError **err)
{
    Backup *s = step;
    DirtyBitmap *b = s->bitmap;
    Copy *c = s->copy;

    if (!b)
        return true;
    if (b->busy)
        return err_set(err, EBUSY,
                       "Bitmap '%s' is currently in use by another operation and cannot "
                       "be used",
                       b->name);
    s->before = hbitmap_try_new(hbitmap_bits(b->bits));
    if (!s->before)
        return err_set(err, ENOMEM, "No memory for a copy of bitmap '%s'", b->name);
    hbitmap_merge(s->before, b->bits);
    hbitmap_clear(b->bits, 0, hbitmap_bits(b->bits));
    b->busy = true;
    if (s->sync == MIRROR_SYNC_MODE_BITMAP) {
        hbitmap_clear(c->todo, 0, hbitmap_bits(c->todo));
        dirty_bits_merge(c->todo, c->granularity, s->before, b->granularity, c->len);
    }
    return true;
}

static CO void moment_undo(void *step)
{
    Backup *s = step;

    if (!s->bitmap)
        return;
    hbitmap_merge(s->bitmap->bits, s->before);
    s->bitmap->busy = false;
}

static CO void moment_settle(void *step)
{
    Backup *s = step;

    s->is_begun = true;
    filter_inserted(s->filter);
}

static const EditOps moment_ops = {
    .apply = moment_apply,
    .undo = moment_undo,
    .settle = moment_settle,
};

static bool backup_set_up(Job *j, const BackupArgs *args, Edit *edit, uint32_t granularity,
                          GError **err)
{
    Backup *s = job_state(j);

    s->filter = filter_insert(edit, &block_copy_before_write, args->filter_name, s->source, err);
    if (!s->filter || !backup_copy_set_up(j, s->filter, args, granularity, err))
        return false;
    edit_attach(edit, s->filter, "target", ROLE_IMAGE, s->target);
    s->through = job_attach(j, edit, s->filter, ACCESS_READ, ACCESS_ALL & ~(unsigned)ACCESS_RESIZE);
    s->copy->from = s->copy->gate = s->through;
    edit_add(edit, &moment_ops, s);
    /*
     * Closed after the filter: what the target has cached is written then, if nobody else uses it.
     */
    s->to = job_attach(j, edit, s->target, 0, ACCESS_ALL);
    return true;
}

static CO bool backup_granularity(const BackupArgs *args, uint32_t *granularity, GError **err)
{
    NodeInfo info = {};

    *granularity = GRANULARITY_MIN;
    if (node_info(args->target, &info) == 0 && info.cluster_size <= UINT32_MAX)
        *granularity = MAX((uint32_t)info.cluster_size, GRANULARITY_MIN);
    if (args->chunk && args->chunk < *granularity)
        return err_set(err, EINVAL,
                       "Required max-chunk (%" G_GUINT64_FORMAT ") is less than backup "
                       "cluster size (%u)",
                       args->chunk, *granularity);
    return !args->compress || node_driver(node_skip_filters(args->target))->is_compressing ||
           err_set(err, ENOTSUP, "Compression is not supported for this drive ");
}

CO Job *backup_new(const BackupArgs *args, Edit *edit, bool *ok, GError **err)
{
    uint32_t granularity;
    Backup *s;
    Job *j;

    *ok = false;
    if (!node_check_idle(args->source, err) || !node_check_idle(args->target, err) ||
        !backup_granularity(args, &granularity, err))
        return NULL;
    j = job_new(&job_backup, &args->job, err);
    if (!j)
        return NULL;
    s = job_state(j);
    s->source = args->source;
    s->target = args->target;
    s->sync = args->sync;
    s->bitmap = args->bitmap;
    s->bitmap_mode = args->bitmap_mode;
    *ok = backup_set_up(j, args, edit, granularity, err);
    return j;
}
