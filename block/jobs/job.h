/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs: long work on images that goes on while commands are obeyed.
 *
 *     created -> running <-> paused          its coroutine is in .run
 *                   |
 *                 ready <-> standby          mirrors: until it is completed or cancelled
 *                   |
 *                waiting                     .run has succeeded; others of its group have not yet
 *                   |
 *                pending                     waits for job-finalize unless auto-finalize is on
 *                   |        .prepare, which may fail, of all jobs of the group, then .commit
 *               concluded                    waits for job-dismiss unless auto-dismiss is on
 *                   |
 *                  null                      gone
 *
 * From any state before concluded a failure or a cancellation leads to aborting, where .abort is
 * called; if jobs complete as a group, for all of them. In the end .clean lets go of everything.
 *
 * A kind of job is one constant JobDriver at the end of its file. Main loop only, except where it
 * says otherwise, and in what runs by home_work(), which has the job for itself: commands wait for
 * its end.
 */
#ifndef BLOCK_JOBS_JOB_H
#define BLOCK_JOBS_JOB_H

#include "block/block.h"
#include "block/edit.h"
#include "gen/qmp.h"
#include "io/co-lock.h"
#include "util/err.h"
#include "util/hold.h"

typedef struct Job Job;
typedef struct JobGroup JobGroup;

typedef struct {
    JobType type;
    size_t state_size;      /* zeroed memory for job_state */
    bool is_block;          /* shown by query-block-jobs, with BLOCK_JOB_ events */
    bool cancel_is_late;    /* job-cancel answers before the job has ended */
    bool starts_paused;     /* shown so for a moment, as by the reference */
    bool starts_at_once;    /* the first part of .run is done when the command answers */
    bool any_loop;          /* .run uses its nodes by requests and home_work() only */
    /*
     * The work, on the main loop. No request of the job is in flight when it returns. Its nodes may
     * live on an iothread if @any_loop; they do not in the operations below.
     */
    CO bool (*run)(Job *j, GError **err);
    /* The change of the graph that ends the job, an edit. NULL: none. */
    CO bool (*prepare)(Job *j, GError **err);
    CO void (*commit)(Job *j);  /* cannot fail. NULL: nothing */
    CO void (*abort)(Job *j);   /* instead of commit; the job may not have run. NULL: nothing */
    CO void (*clean)(Job *j);   /* after either: frees the state's content. NULL: nothing */
    /* Asked to complete. NULL: it completes by itself. */
    bool (*complete)(Job *j, GError **err);
    /* Asked to stop without force while ready: completes in another way. NULL: it is cancelled. */
    void (*stop)(Job *j);
    /* Brings @done and @total up to date. NULL: they are. */
    void (*progress)(Job *j);
} JobDriver;

struct Job {
    const JobDriver *drv;
    char *id;
    void *state;            /* the driver's */
    JobStatus status;
    bool auto_finalize, auto_dismiss;
    _Atomic uint64_t done;  /* bytes; counted on any loop */
    uint64_t total;         /* bytes */
    int64_t speed;          /* bytes a second; 0: no limit */
    int64_t pace_ns;        /* when the next request may start */
    uint64_t rate;          /* bytes a second, of the seconds before @rate_ns */
    uint64_t rate_done;     /* what @done was at @rate_ns */
    int64_t rate_ns;        /* 0: it does not run */
    BlockDeviceIoStatus io_status;
    _Atomic bool user_paused; /* told to pause, or stopped by an error, on any loop */
    bool is_cancelled;
    bool is_busy;           /* not waiting for time to pass, or for its user */
    GError *error;          /* why it failed */
    /* internal: */
    unsigned refs;
    JobGroup *group;
    Co *co;                 /* while in .run */
    bool is_asleep;
    bool is_kicked;         /* woken before it slept */
    GPtrArray *uses;        /* of JobUse */
    /* of Handle, not owned: those of @uses if its nodes may live on any loop */
    GPtrArray *handles;
    GQueue watchers;        /* of Co: commands that wait for another state */
};

/* What all commands that start a job have in common. */
typedef struct {
    const char *id;         /* NULL: ours to choose, which fails where there is no device */
    bool has_speed;
    int64_t speed;
    bool auto_finalize, auto_dismiss;
    JobGroup *group;        /* a reference of the caller's; NULL: one of its own */
} JobArgs;

/* True if @id may become the id of a job. */
bool job_id_check(const char *id, GError **err);
/* A new job in state created; NULL with @err. Ended by job_start or job_drop. */
Job *job_new(const JobDriver *drv, const JobArgs *args, GError **err);
static inline void *job_state(Job *j)
{
    return j->state;
}
/* Ends a job that was not started: .clean is called. @was_complete: all was ready for it. */
CO void job_drop(Job *j, bool was_complete);
CO void job_start(Job *j);
/* The same for @n jobs that begin together. */
CO void jobs_start(Job **list, unsigned n);

/* Node @n is in use by @j until that has ended: commands that would change it are refused. */
void job_use_node(Job *j, Node *n);
/* The same, with a handle of @j's that @edit attaches. */
Handle *job_attach(Job *j, Edit *edit, Node *n, unsigned needs, unsigned shares);
/* Lets go of all nodes and handles. */
CO void job_release_nodes(Job *j);
/* False with @err if a job uses @n. */
bool node_check_idle(const Node *n, GError **err);

/* ---- for .run ------------------------------------------------------------------------------- */

/* True if the job should leave .run: the result does not count. */
static inline bool job_must_end(const Job *j)
{
    return j->is_cancelled;
}
static inline bool job_must_pause(const Job *j)
{
    return j->user_paused && !j->is_cancelled;
}
/* With no request in flight: pauses as long as the user wants. */
CO void job_pause_point(Job *j);
/* Waits @ns, less if something is to be looked at: cancelled, paused, completed. */
CO void job_sleep(Job *j, int64_t ns);
/* Nanoseconds until the speed allows a request; 0: it does. */
int64_t job_pace_left(Job *j);
/* Waits for that; less if something is to be looked at. True: it is allowed. */
CO bool job_pace_wait(Job *j);
/* A request of @len bytes starts. */
void job_pace_add(Job *j, uint64_t len);
/* From state running to ready. */
CO void job_set_ready(Job *j);
/*
 * What to do about a request that failed with @error, a positive errno: tells the user, and with
 * BLOCK_ERROR_ACTION_STOP pauses the job. On any loop.
 */
BlockErrorAction job_error(Job *j, BlockdevOnError policy, bool is_read, int error);
/* Lets @j look at what has changed. On any loop. */
void job_kick(Job *j);

/* ---- for commands --------------------------------------------------------------------------- */

Job *job_find(const char *id);
Job *job_at(unsigned i);    /* NULL behind the last; the one made last first */
void job_refresh_progress(Job *j);
bool job_is_ready(const Job *j);
/* Bytes a second of late. False: not known. */
bool job_rate(const Job *j, uint64_t *rate);
bool job_pause(Job *j, GError **err);
bool job_resume(Job *j, GError **err);
CO bool job_set_speed(Job *j, int64_t speed, GError **err);
CO bool job_cancel(Job *j, bool force, GError **err);
CO bool job_complete(Job *j, GError **err);
CO bool job_finalize(Job *j, GError **err);
CO bool job_dismiss(Job *j, GError **err);
/* Ends all jobs. */
CO void jobs_cancel_all(void);

/* ---- groups --------------------------------------------------------------------------------- */

/* Jobs that complete together or not at all. */
JobGroup *job_group_new(void);
void job_group_unref(JobGroup *g);

#endif
