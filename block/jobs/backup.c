/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * backup: copies an image as it is at one moment, while it is written to.
 *
 *     user -> copy-before-write -> source
 *                     |
 *                     +----------> target
 *
 * The job copies along; what users are about to overwrite is copied first. With a bitmap only what that
 * marks is copied; it records anew from the same moment on.
 */
#include "block/filters/copy-before-write.h"
#include "block/jobs/filter.h"
#include "block/jobs/kinds.h"

enum { GRANULARITY_MIN = 64 << 10, MEMORY = 32 << 20, WORKERS = 16 };

typedef struct {
    Node *source, *target, *filter; /* the filter's reference is ours */
    MirrorSyncMode sync;
    Copy *copy;             /* the filter's */
    Handle *through;        /* on the filter */
    DirtyBitmap *bitmap;    /* NULL: none; busy */
    BitmapSyncMode bitmap_mode;
    HBitmap *before;        /* what it had marked; NULL: it is not taken from */
    uint64_t done, left;    /* when the filter is gone */
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
    if (r == 0) {
        handle_begin(s->through);
        r = node_flush(s->target);
        handle_end(s->through);
    }
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
        dirty_bits_merge(b->bits, b->granularity, s->copy->todo, s->copy->granularity, s->copy->len);
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
    if (s->filter) {
        cbw_stop(s->filter);
        filter_remove(s->filter);
        s->filter = NULL;
    }
    hbitmap_free(s->before);
    s->before = NULL;
}

static const JobDriver job_backup = {
    .type = JOB_TYPE_BACKUP,
    .state_size = sizeof(Backup),
    .is_block = true,
    .starts_paused = true,
    .starts_at_once = true,
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
    bool is_partial = args->sync == MIRROR_SYNC_MODE_BITMAP;
    Copy *c;

    if (!cbw_set_up(filter, len, granularity, err))
        return false;
    c = cbw_copy(filter);
    c->job = j;
    c->memory = MEMORY;
    c->workers = args->workers ? args->workers : WORKERS;
    c->offload = args->offload && !args->compress;
    c->on_read = args->on_read;
    c->on_write = args->on_write;
    if (args->chunk)
        c->chunk = round_down(args->chunk, granularity);
    if (args->compress)
        cbw_compress(filter);
    if (is_partial) {
        hbitmap_clear(c->todo, 0, hbitmap_bits(c->todo));
        dirty_bits_merge(c->todo, granularity, args->bitmap->bits, args->bitmap->granularity, len);
    }
    s->copy = c;
    return true;
}

/* The bitmap records anew; what it had is kept until the job has ended. Cannot fail. */
static void bitmap_take(void *step)
{
    Backup *s = step;

    s->bitmap->busy = true;
    hbitmap_merge(s->before, s->bitmap->bits);
    hbitmap_clear(s->bitmap->bits, 0, hbitmap_bits(s->bitmap->bits));
}

static const EditOps bitmap_ops = { .settle = bitmap_take };

static CO bool backup_set_up(Job *j, const BackupArgs *args, uint32_t granularity, GError **err)
{
    Backup *s = job_state(j);
    Edit *edit = edit_begin();
    Node *filter = filter_insert(edit, &block_copy_before_write, args->filter_name, s->source, err);
    bool ok = filter && backup_copy_set_up(j, filter, args, granularity, err);

    if (ok) {
        edit_attach(edit, filter, "target", ROLE_IMAGE, s->target);
        s->through = job_attach(j, edit, filter, ACCESS_READ, ACCESS_ALL & ~(unsigned)ACCESS_RESIZE);
        s->copy->from = s->copy->gate = s->through;
        if (s->before)
            edit_add(edit, &bitmap_ops, s);
        ok = edit_commit(edit, err);
    }
    edit_free(edit);
    if (!ok) {
        s->copy = NULL;
        node_unref(filter);
        return false;
    }
    s->filter = filter;
    filter_inserted(filter);
    job_use_node(j, s->target);
    if (s->bitmap)
        s->bitmap->busy = true;
    return true;
}

static CO bool backup_granularity(const BackupArgs *args, uint32_t *granularity, GError **err)
{
    NodeInfo info = {};

    *granularity = GRANULARITY_MIN;
    if (node_info(args->target, &info) == 0 && info.cluster_size <= UINT32_MAX)
        *granularity = MAX((uint32_t)info.cluster_size, GRANULARITY_MIN);
    if (args->chunk && args->chunk < *granularity)
        return err_set(err, EINVAL, "Required max-chunk (%" G_GUINT64_FORMAT ") is less than backup "
                       "cluster size (%u)", args->chunk, *granularity);
    return !args->compress || node_driver(node_skip_filters(args->target))->is_compressing ||
           err_set(err, ENOTSUP, "Compression is not supported for this drive ");
}

CO Job *backup_new(const BackupArgs *args, GError **err)
{
    uint32_t granularity;
    Backup *s;
    Job *j;

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
    s->before = s->bitmap ? hbitmap_try_new(hbitmap_bits(s->bitmap->bits)) : NULL;
    if (s->bitmap && !s->before)
        err_set(err, ENOMEM, "No memory for a copy of bitmap '%s'", s->bitmap->name);
    else if (backup_set_up(j, args, granularity, err))
        return j;
    s->bitmap = NULL;
    job_drop(j, false);
    return NULL;
}
