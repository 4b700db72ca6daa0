/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of jobs; what they are told, and what they tell. */
#include "block/jobs/job.h"
#include "block/home.h"
#include "block/internal.h"
#include "qapi/object.h"
#include <string.h>

/* How long commands wait for what they have told a job to do, before they answer. */
#define ANSWER_NS (INT64_C(1000) * 1000000)

struct JobGroup {
    unsigned refs;
    GPtrArray *jobs;        /* of Job, not owned: not yet concluded */
    bool is_ending;         /* somebody finalizes or aborts it */
};

typedef struct {
    Node *node;
    Hold *hold;
    Handle *handle;         /* NULL: none */
} JobUse;

static Loop *main_loop;     /* that of jobs and commands */
static GPtrArray *jobs;     /* of Job, the one made last first */
static CoQueue gone;        /* woken when one is, or has concluded */

/* ---- states --------------------------------------------------------------------------------- */

static void watchers_wake(Job *j)
{
    Co *co;

    while ((co = g_queue_pop_head(&j->watchers)))
        co_wake(co);
}

static void job_set_status(Job *j, JobStatus status)
{
    j->status = status;
    event_job_status_change(j->id, status);
    watchers_wake(j);
}

static Job *job_ref(Job *j)
{
    j->refs++;
    return j;
}

static void job_unref(Job *j)
{
    if (--j->refs)
        return;
    job_group_unref(j->group);
    g_clear_error(&j->error);
    g_ptr_array_free(j->uses, true);
    g_ptr_array_free(j->handles, true);
    g_free(j->state);
    g_free(j->id);
    g_free(j);
}

/* True if something that was asked for has happened. */
typedef bool JobCondition(const Job *j);

/* Waits, but not for ever, until @is_so: the job may hang in a request that nobody answers. */
static CO void job_await(Job *j, JobCondition *is_so)
{
    int64_t end = clock_now_ns() + ANSWER_NS, now;

    job_ref(j);
    while (!is_so(j) && (now = clock_now_ns()) < end) {
        g_queue_push_tail(&j->watchers, co_self());
        co_sleep(end - now);
        g_queue_remove(&j->watchers, co_self());
    }
    job_unref(j);
}

static bool has_ended(const Job *j)
{
    return j->status == JOB_STATUS_CONCLUDED || j->status == JOB_STATUS_NULL;
}

static bool is_paused(const Job *j)
{
    return !j->co || j->status == JOB_STATUS_PAUSED || j->status == JOB_STATUS_STANDBY;
}

static bool is_not_paused(const Job *j)
{
    return j->status != JOB_STATUS_PAUSED && j->status != JOB_STATUS_STANDBY;
}

/* ---- what it may be told --------------------------------------------------------------------- */

enum { IN_CREATED = 1 << JOB_STATUS_CREATED, IN_RUN = IN_CREATED | 1 << JOB_STATUS_RUNNING |
       1 << JOB_STATUS_PAUSED | 1 << JOB_STATUS_READY | 1 << JOB_STATUS_STANDBY,
       IN_END = 1 << JOB_STATUS_WAITING | 1 << JOB_STATUS_PENDING };

typedef struct {
    const char *name;
    unsigned states;        /* in which it may be told that */
} Verb;

static const Verb verb_cancel = { "cancel", IN_RUN | IN_END };
static const Verb verb_pause = { "pause", IN_RUN };
static const Verb verb_resume = { "resume", IN_RUN };
static const Verb verb_speed = { "set-speed", IN_RUN };
static const Verb verb_complete = { "complete", 1 << JOB_STATUS_READY | 1 << JOB_STATUS_STANDBY };
static const Verb verb_finalize = { "finalize", 1 << JOB_STATUS_PENDING };
static const Verb verb_dismiss = { "dismiss", 1 << JOB_STATUS_CONCLUDED };

static bool job_accepts(const Job *j, const Verb *verb, GError **err)
{
    return verb->states & (1u << j->status) ||
           err_set(err, EPERM, "Job '%s' in state '%s' cannot accept command verb '%s'", j->id,
                   job_status_enum.names[j->status], verb->name);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static JobUse *use_add(Job *j, Node *n)
{
    g_autofree char *reason = g_strdup_printf("block device is in use by block job: %s",
                                              job_type_enum.names[j->drv->type]);
    JobUse *u = g_new0(JobUse, 1);

    u->node = node_ref(n);
    u->hold = hold_take(&n->busy, HOLD_DENY, j->id, reason, NULL);
    g_ptr_array_add(j->uses, u);
    return u;
}

void job_use_node(Job *j, Node *n)
{
    use_add(j, n);
}

Handle *job_attach(Job *j, Edit *edit, Node *n, unsigned needs, unsigned shares)
{
    JobUse *u = use_add(j, n);

    u->handle = handle_prepare(HANDLE_JOB, needs);
    if (j->drv->any_loop) {
        u->handle->companions = j->handles;
        g_ptr_array_add(j->handles, u->handle);
    }
    edit_attach_handle(edit, u->handle, n, needs, shares);
    return u->handle;
}

CO void job_release_nodes(Job *j)
{
    home_hold();
    while (j->uses->len) {
        JobUse *u = g_ptr_array_steal_index(j->uses, j->uses->len - 1);

        if (u->handle)
            g_ptr_array_remove(j->handles, u->handle);
        handle_close(u->handle);
        hold_release(u->hold);
        node_unref(u->node);
        g_free(u);
    }
    home_release();
}

bool node_check_idle(const Node *n, GError **err)
{
    const char *reason = hold_denied(&n->busy);

    return !reason || err_set(err, EBUSY, "Node '%s' is busy: %s", node_shown_name(n), reason);
}

/* ---- beginning ------------------------------------------------------------------------------- */

Job *job_find(const char *id)
{
    for (guint i = 0; jobs && i < jobs->len; i++)
        if (!strcmp(((const Job *)jobs->pdata[i])->id, id))
            return jobs->pdata[i];
    return NULL;
}

Job *job_at(unsigned i)
{
    return jobs && i < jobs->len ? jobs->pdata[i] : NULL;
}

bool job_id_check(const char *id, GError **err)
{
    if (!id || !id_is_valid(id))
        return err_set(err, EINVAL, "Invalid job ID '%s'", id ? id : "");
    return !job_find(id) || err_set(err, EEXIST, "Job ID '%s' already in use", id);
}

JobGroup *job_group_new(void)
{
    JobGroup *g = g_new0(JobGroup, 1);

    g->refs = 1;
    g->jobs = g_ptr_array_new();
    return g;
}

void job_group_unref(JobGroup *g)
{
    if (!g || --g->refs)
        return;
    g_ptr_array_free(g->jobs, true);
    g_free(g);
}

/* Out of the list of all jobs: nobody finds it any more. */
static void job_remove(Job *j)
{
    job_set_status(j, JOB_STATUS_NULL);
    g_ptr_array_remove(jobs, j);
    co_queue_wake_all(&gone);
    job_unref(j);
}

Job *job_new(const JobDriver *drv, const JobArgs *args, GError **err)
{
    Job *j;

    if (!job_id_check(args->id, err))
        return NULL;
    main_loop = loop_self();
    j = g_new0(Job, 1);
    *j = (Job){
        .drv = drv,
        .id = g_strdup(args->id),
        .state = g_malloc0(MAX(drv->state_size, 1)),
        .auto_finalize = args->auto_finalize,
        .auto_dismiss = args->auto_dismiss,
        .refs = 1,
        .group = args->group ? args->group : job_group_new(),
        .uses = g_ptr_array_new(),
        .handles = g_ptr_array_new(),
    };
    if (args->group)
        args->group->refs++;
    g_ptr_array_insert(j->group->jobs, 0, j);
    if (!jobs)
        jobs = g_ptr_array_new();
    g_ptr_array_insert(jobs, 0, j);
    job_set_status(j, JOB_STATUS_CREATED);
    if (args->has_speed && args->speed < 0) {
        err_set(err, EINVAL, "Parameter 'speed' expects a non-negative value");
        g_ptr_array_remove(j->group->jobs, j);
        job_remove(j);
        return NULL;
    }
    j->speed = args->has_speed ? args->speed : 0;
    return j;
}

static CO void job_clean(Job *j)
{
    if (j->drv->clean)
        j->drv->clean(j);
    job_release_nodes(j);
}

CO void job_drop(Job *j, bool was_complete)
{
    if (was_complete)
        job_set_status(j, JOB_STATUS_ABORTING);
    job_clean(j);
    if (was_complete)
        job_set_status(j, JOB_STATUS_CONCLUDED);
    g_ptr_array_remove(j->group->jobs, j);
    job_remove(j);
}

/* ---- the end --------------------------------------------------------------------------------- */

void job_refresh_progress(Job *j)
{
    if (j->drv->progress)
        j->drv->progress(j);
}

/* Says how the job has ended. */
static void job_tell_end(Job *j)
{
    job_refresh_progress(j);
    if (j->is_cancelled)
        event_block_job_cancelled(j->drv->type, j->id, (int64_t)j->total, (int64_t)j->done,
                                  j->speed);
    else
        event_block_job_completed(j->drv->type, j->id, (int64_t)j->total, (int64_t)j->done,
                                  j->speed, j->error ? j->error->message : NULL);
}

static CO void job_conclude(Job *j, bool ok)
{
    if (!ok)
        job_set_status(j, JOB_STATUS_ABORTING);
    if (ok && j->drv->commit)
        j->drv->commit(j);
    if (!ok && j->drv->abort)
        j->drv->abort(j);
    job_clean(j);
    if (j->drv->is_block)
        job_tell_end(j);
    if (j->is_cancelled)
        err_set(&j->error, ECANCELED, "%s", g_strerror(ECANCELED));
    job_set_status(j, JOB_STATUS_CONCLUDED);
    if (j->auto_dismiss)
        job_remove(j);
    else
        co_queue_wake_all(&gone);
}

/* Ends all jobs of @g with success or without; nobody is in .run any more. */
static CO void group_conclude(JobGroup *g, bool ok)
{
    while (g->jobs->len)
        job_conclude(g_ptr_array_steal_index(g->jobs, 0), ok);
}

/* Cancels all jobs of @g, those in .run too, whose coroutines end then. */
static CO void group_abort(JobGroup *g)
{
    home_hold();
    g->refs++;
    g->is_ending = true;
    for (guint i = 0; i < g->jobs->len; i++) {
        Job *j = g->jobs->pdata[i];

        j->is_cancelled = j->is_cancelled || !j->error;
        job_kick(j);
    }
    for (guint i = 0; i < g->jobs->len; i++) {
        Job *j = g->jobs->pdata[i];

        while (j->co) {
            g_queue_push_tail(&j->watchers, co_self());
            co_suspend();
        }
    }
    group_conclude(g, false);
    job_group_unref(g);
    home_release();
}

/* All jobs of @g have done their work. */
static CO void group_finalize(JobGroup *g)
{
    bool ok = true;

    home_hold();
    g->refs++;
    g->is_ending = true;
    for (guint i = 0; i < g->jobs->len && ok; i++) {
        Job *j = g->jobs->pdata[i];

        ok = !j->drv->prepare || j->drv->prepare(j, &j->error);
    }
    for (guint i = 0; i < g->jobs->len && !ok; i++) {
        Job *j = g->jobs->pdata[i];

        j->is_cancelled = !j->error;
    }
    group_conclude(g, ok);
    job_group_unref(g);
    home_release();
}

/* The work of @j is done; so is that of its group, if it is the last one. */
static CO void job_wait_for_group(Job *j)
{
    JobGroup *g = j->group;
    bool is_automatic = true;

    job_set_status(j, JOB_STATUS_WAITING);
    for (guint i = 0; i < g->jobs->len; i++)
        if (((const Job *)g->jobs->pdata[i])->status != JOB_STATUS_WAITING)
            return;
    for (guint i = 0; i < g->jobs->len; i++) {
        Job *each = g->jobs->pdata[i];

        job_set_status(each, JOB_STATUS_PENDING);
        if (!each->auto_finalize && each->drv->is_block)
            event_block_job_pending(each->drv->type, each->id);
        is_automatic = is_automatic && each->auto_finalize;
    }
    if (is_automatic)
        group_finalize(g);
}

static CO void job_main(void *arg)
{
    Job *j = job_ref(arg);
    bool ok;

    j->co = co_self();
    j->is_busy = true;
    job_pause_point(j);
    ok = job_must_end(j) || j->drv->run(j, &j->error);
    j->is_busy = false;
    j->co = NULL;
    if (j->is_cancelled)
        g_clear_error(&j->error);
    watchers_wake(j);
    if (!j->group->is_ending) {
        if (ok && !j->is_cancelled)
            job_wait_for_group(j);
        else
            group_abort(j->group);
    }
    job_unref(j);
}

CO void jobs_start(Job **list, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        job_set_status(list[i], JOB_STATUS_RUNNING);
        if (list[i]->drv->starts_paused)
            job_set_status(list[i], JOB_STATUS_PAUSED);
    }
    for (unsigned i = 0; i < n; i++)
        if (list[i]->drv->starts_paused)
            job_set_status(list[i], JOB_STATUS_RUNNING);
    for (unsigned i = 0; i < n; i++) {
        if (list[i]->drv->starts_at_once)
            co_start_now(job_main, list[i]);
        else
            co_start(job_main, list[i]);
    }
}

CO void job_start(Job *j)
{
    jobs_start(&j, 1);
}

/* ---- for .run -------------------------------------------------------------------------------- */

/* @arg, which is freed, is the id of a job. */
static void kick_here(void *arg)
{
    g_autofree char *id = arg;
    Job *j = job_find(id);

    if (j)
        job_kick(j);
}

void job_kick(Job *j)
{
    if (loop_self() != main_loop) {
        loop_call(main_loop, kick_here, g_strdup(j->id));
        return;
    }
    j->is_kicked = true;
    if (!j->is_asleep)
        return;
    j->is_asleep = false;
    co_wake(j->co);
}

CO void job_sleep(Job *j, int64_t ns)
{
    if (!j->is_kicked) {
        j->is_asleep = true;
        j->is_busy = false;
        co_sleep(ns);
        j->is_busy = true;
        j->is_asleep = false;
    }
    j->is_kicked = false;
}

/* ---- how fast it is ------------------------------------------------------------------------- */

/* The rate is that of at least so long. */
#define RATE_NS (INT64_C(1) * 1000000000)
/* Before that, what is known after so long must do. */
#define RATE_FIRST_NS (INT64_C(50) * 1000000)

static uint64_t rate_since(const Job *j, int64_t now)
{
    uint64_t moved = j->done - MIN(j->rate_done, j->done);

    return (uint64_t)((double)moved * 1e9 / (double)(now - j->rate_ns));
}

/*
 * Looks whether another second is over. Half of the rate is that of the last one, a quarter of the
 * one before.
 */
static void rate_note(Job *j, int64_t now)
{
    if (j->rate_ns && now - j->rate_ns < RATE_NS)
        return;
    if (j->rate_ns)
        j->rate = j->rate ? j->rate / 2 + rate_since(j, now) / 2 : rate_since(j, now);
    j->rate_ns = now;
    j->rate_done = j->done;
}

bool job_rate(const Job *j, uint64_t *rate)
{
    int64_t now = clock_now_ns();

    if (!j->co || !j->rate_ns || is_paused(j) || (!j->rate && now - j->rate_ns < RATE_FIRST_NS))
        return false;
    /* The one before counts for less the longer nothing is done. */
    *rate = now - j->rate_ns > 2 * RATE_NS || !j->rate ? rate_since(j, now) : j->rate;
    return true;
}

/* ---- for .run, again ------------------------------------------------------------------------ */

CO void job_pause_point(Job *j)
{
    JobStatus before = j->status;

    if (!job_must_pause(j))
        return;
    job_set_status(j, before == JOB_STATUS_READY ? JOB_STATUS_STANDBY : JOB_STATUS_PAUSED);
    while (job_must_pause(j))
        job_sleep(j, INT64_C(3600) * 1000000000);
    job_set_status(j, before);
    j->rate_ns = 0;
}

int64_t job_pace_left(Job *j)
{
    int64_t now = clock_now_ns();

    rate_note(j, now);
    return j->speed ? MAX(j->pace_ns - now, 0) : 0;
}

CO bool job_pace_wait(Job *j)
{
    int64_t left = job_pace_left(j);

    if (left)
        job_sleep(j, left);
    return !left;
}

void job_pace_add(Job *j, uint64_t len)
{
    int64_t start = MAX(j->pace_ns, clock_now_ns());
    double ns = j->speed ? (double)len * 1e9 / (double)j->speed : 0;

    j->pace_ns = ns < (double)(INT64_MAX - start) ? start + (int64_t)ns : INT64_MAX;
}

bool job_is_ready(const Job *j)
{
    return j->status == JOB_STATUS_READY || j->status == JOB_STATUS_STANDBY;
}

CO void job_set_ready(Job *j)
{
    home_hold(); /* its progress is known where its nodes live */
    if (!job_must_end(j)) { /* it may have been cancelled meanwhile */
        job_set_status(j, JOB_STATUS_READY);
        job_refresh_progress(j);
        event_block_job_ready(j->drv->type, j->id, (int64_t)j->total, (int64_t)j->done, j->speed);
    }
    home_release();
}

static BlockErrorAction error_action(BlockdevOnError policy, int error)
{
    switch (policy) {
    case BLOCKDEV_ON_ERROR_ENOSPC:
    case BLOCKDEV_ON_ERROR_AUTO:
        return error == ENOSPC ? BLOCK_ERROR_ACTION_STOP : BLOCK_ERROR_ACTION_REPORT;
    case BLOCKDEV_ON_ERROR_STOP:
        return BLOCK_ERROR_ACTION_STOP;
    case BLOCKDEV_ON_ERROR_IGNORE:
        return BLOCK_ERROR_ACTION_IGNORE;
    default:
        return BLOCK_ERROR_ACTION_REPORT;
    }
}

BlockErrorAction job_error(Job *j, BlockdevOnError policy, bool is_read, int error)
{
    BlockErrorAction action = error_action(policy, error);

    event_block_job_error(j->id, is_read ? IO_OPERATION_TYPE_READ : IO_OPERATION_TYPE_WRITE,
                          action);
    if (action == BLOCK_ERROR_ACTION_STOP) {
        j->user_paused = true;
        if (j->io_status == BLOCK_DEVICE_IO_STATUS_OK)
            j->io_status = error == ENOSPC ? BLOCK_DEVICE_IO_STATUS_NOSPACE
                                           : BLOCK_DEVICE_IO_STATUS_FAILED;
    }
    return action;
}

/* ---- being told ------------------------------------------------------------------------------ */

CO bool job_pause(Job *j, GError **err)
{
    if (!job_accepts(j, &verb_pause, err))
        return false;
    if (j->user_paused)
        return err_set(err, EBUSY, "Job is already paused");
    j->user_paused = true;
    job_kick(j);
    job_await(j, is_paused);
    return true;
}

CO bool job_resume(Job *j, GError **err)
{
    if (!j->user_paused)
        return err_set(err, EINVAL, "Can't resume a job that was not paused");
    if (!job_accepts(j, &verb_resume, err))
        return false;
    j->user_paused = false;
    j->io_status = BLOCK_DEVICE_IO_STATUS_OK;
    job_kick(j);
    job_await(j, is_not_paused);
    return true;
}

CO bool job_set_speed(Job *j, int64_t speed, GError **err)
{
    if (!job_accepts(j, &verb_speed, err))
        return false;
    if (speed < 0)
        return err_set(err, EINVAL, "Parameter 'speed' expects a non-negative value");
    j->speed = speed;
    j->pace_ns = 0;
    job_kick(j);
    return true;
}

CO bool job_cancel(Job *j, bool force, GError **err)
{
    if (!job_accepts(j, &verb_cancel, err))
        return false;
    j->user_paused = false;
    if (!force && j->co && j->drv->stop && job_is_ready(j)) {
        j->drv->stop(j);
        job_kick(j);
        return true;
    }
    j->is_cancelled = true;
    if (j->co) {
        job_kick(j);
        if (!j->drv->cancel_is_late)
            job_await(j, has_ended);
    } else if (!j->group->is_ending) {
        group_abort(j->group);
    }
    return true;
}

CO bool job_complete(Job *j, GError **err)
{
    if (!job_accepts(j, &verb_complete, err))
        return false;
    if (j->is_cancelled || !j->drv->complete)
        return err_set(err, ENOTSUP, "The active block job '%s' cannot be completed", j->id);
    if (!j->drv->complete(j, err))
        return false;
    job_kick(j);
    return true;
}

CO bool job_finalize(Job *j, GError **err)
{
    if (!job_accepts(j, &verb_finalize, err))
        return false;
    if (!j->group->is_ending)
        group_finalize(j->group);
    return true;
}

CO bool job_dismiss(Job *j, GError **err)
{
    if (!job_accepts(j, &verb_dismiss, err))
        return false;
    job_remove(j);
    return true;
}

CO void jobs_cancel_all(void)
{
    Job *j;

    home_hold();
    while ((j = job_at(0))) {
        if (j->status == JOB_STATUS_CONCLUDED)
            job_remove(j);
        else if (j->is_cancelled || !job_cancel(j, true, NULL))
            co_queue_wait(&gone);
    }
    home_release();
}
