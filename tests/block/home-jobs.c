/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs on images that live on iothreads and move, while coroutines of all loops write: what the
 * images hold afterwards.
 */
#include "block/home.h"
#include "block/internal.h"
#include "block/jobs/kinds.h"
#include "io/co-lock.h"
#include "qapi/object.h"
#include "tests/lib/harness.h"
#include <string.h>

enum { SIZE = 6 << 20, BLOCK = 4096, WORKERS = 6, AREA = SIZE / WORKERS, BLOCKS = AREA / BLOCK };
/*
 * Of the blocks of each area. The others are left to the jobs, of which some copy what is touched.
 */
enum { TOUCHED = BLOCKS / 4 };
enum { OF_BASE = 7, OF_MIDDLE = 8, SLOW = 1, QUICK = 0, ROUNDS = 12 };

#define MS INT64_C(1000000)

/* ---- images ---------------------------------------------------------------------------------- */

static char *image_make(const char *name)
{
    g_autofree char *path = test_path(name);
    g_autoptr(json_t) opts = json_pack("{s:i}", "size", SIZE);
    g_autoptr(GError) err = NULL;

    image_create(path, "qcow2", opts, &err);
    g_assert_no_error(err);
    return g_steal_pointer(&path);
}

static json_t *image_options(const char *name, json_t *backing)
{
    g_autofree char *path = image_make(name);

    return json_pack("{s:s, s:s, s:{s:s, s:s}, s:o}", "driver", "qcow2", "node-name", name, "file",
                     "driver", "file", "filename", path, "backing", backing);
}

/* A user that shares everything. Takes @options. */
static CO Handle *image_open(json_t *options, unsigned needs)
{
    g_autoptr(GError) err = NULL;
    Handle *first = handle_open(NULL, options, OPEN_RDWR | OPEN_UNMAP, &err), *h;

    g_assert_no_error(err);
    h = handle_new(handle_node(first), HANDLE_USER, needs, ACCESS_ALL, &err);
    g_assert_no_error(err);
    handle_close(first);
    return h;
}

static CO void fill(Handle *h, uint64_t off, uint64_t len, int value)
{
    g_autofree uint8_t *data = g_malloc(len);

    memset(data, value, len);
    g_assert_cmpint(handle_pwrite(h, off, span_of(data, len), 0), ==, 0);
}

/* Of the middle layer. */
static bool is_in_middle(uint64_t off)
{
    return off >= SIZE / 4 && off < SIZE / 4 * 3;
}

static uint8_t at_first(uint64_t off)
{
    return is_in_middle(off) ? OF_MIDDLE : OF_BASE;
}

/* "top" over "middle" over "base". */
static CO Handle *chain_open(void)
{
    json_t *base = image_options("base", json_null());
    json_t *middle = image_options("middle", json_deep_copy(base)), *top;
    Handle *h = image_open(base, ACCESS_READ | ACCESS_WRITE);

    fill(h, 0, SIZE, OF_BASE);
    handle_close(h);
    top = image_options("top", json_deep_copy(middle));
    h = image_open(middle, ACCESS_READ | ACCESS_WRITE);
    fill(h, SIZE / 4, SIZE / 2, OF_MIDDLE);
    handle_close(h);
    return image_open(top, ACCESS_READ | ACCESS_WRITE);
}

/* ---- writing from all loops ------------------------------------------------------------------ */

static const char *const threads[] = { "one", NULL, "two" };

static Loop *loop_of(const char *thread)
{
    return iothread_loop(iothread_find(thread));
}

typedef struct {
    Handle *h;
    unsigned index;
    _Atomic bool *is_over;
    uint8_t model[BLOCKS];
} Worker;

static CO void block_check(const Worker *w, unsigned i)
{
    uint8_t found[BLOCK];

    g_assert_cmpint(handle_pread(w->h, w->index * AREA + i * BLOCK, span_of(found, BLOCK), 0), ==,
                    0);
    for (int at = 0; at < BLOCK; at++)
        g_assert_cmpuint(found[at], ==, w->model[i]);
}

static CO void worker_run(void *arg)
{
    Worker *w = arg;
    g_autoptr(GRand) rand = g_rand_new_with_seed(w->index);

    for (unsigned i = 0; i < BLOCKS; i++)
        w->model[i] = at_first(w->index * AREA + i * BLOCK);
    while (!*w->is_over) {
        unsigned i = g_rand_int_range(rand, 0, TOUCHED), kind = g_rand_int_range(rand, 0, 16);
        uint64_t off = w->index * AREA + i * BLOCK;

        w->model[i] = kind ? g_rand_int_range(rand, 0, 256) : 0;
        if (kind)
            fill(w->h, off, BLOCK, w->model[i]);
        else
            g_assert_cmpint(handle_zero(w->h, off, BLOCK, REQ_MAY_UNMAP), ==, 0);
        block_check(w, g_rand_int_range(rand, 0, TOUCHED));
        if (kind == 1)
            g_assert_cmpint(handle_flush(w->h), ==, 0);
        co_sleep(MS / 2);
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        block_check(w, i);
}

static CO void worker_there(void *arg)
{
    const char *thread = threads[((const Worker *)arg)->index % G_N_ELEMENTS(threads)];

    loop_call_wait(thread ? loop_of(thread) : loop_self(), worker_run, arg);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

typedef struct {
    Handle *h;
    Handle *target;             /* NULL: the job needs none */
} Disk;

typedef CO bool StartFn(const Disk *d, JobArgs how, GError **err);

static CO bool start_mirror(const Disk *d, JobArgs how, GError **err)
{
    MirrorArgs args = {
        .job = how, .source = handle_node(d->h), .target = handle_node(d->target),
        .sync = MIRROR_SYNC_MODE_FULL,
    };

    return mirror_start(&args, err);
}

static CO bool start_active_mirror(const Disk *d, JobArgs how, GError **err)
{
    MirrorArgs args = {
        .job = how, .source = handle_node(d->h), .target = handle_node(d->target),
        .sync = MIRROR_SYNC_MODE_FULL, .copy_mode = MIRROR_COPY_MODE_WRITE_BLOCKING,
    };

    return mirror_start(&args, err);
}

static CO bool start_resumable_mirror(const Disk *d, JobArgs how, GError **err)
{
    MirrorArgs args = {
        .job = how, .source = handle_node(d->h), .target = handle_node(d->target),
        .sync = MIRROR_SYNC_MODE_FULL, .resume = "r",
    };

    return mirror_start(&args, err);
}

static CO bool start_active_commit(const Disk *d, JobArgs how, GError **err)
{
    CommitArgs args = {
        .job = how,
        .active = handle_node(d->h),
        .top = handle_node(d->h),
        .base = node_find("base"),
    };

    return commit_active_start(&args, err);
}

static CO bool start_commit(const Disk *d, JobArgs how, GError **err)
{
    CommitArgs args = {
        .job = how,
        .active = handle_node(d->h),
        .top = node_find("middle"),
        .base = node_find("base"),
    };

    return commit_start(&args, err);
}

static CO bool start_stream(const Disk *d, JobArgs how, GError **err)
{
    StreamArgs args = { .job = how, .node = handle_node(d->h) };

    return stream_start(&args, err);
}

static CO bool start_backup(const Disk *d, JobArgs how, GError **err)
{
    BackupArgs args = {
        .job = how, .source = handle_node(d->h), .target = handle_node(d->target),
        .sync = MIRROR_SYNC_MODE_FULL,
    };
    Edit *edit = edit_begin();
    bool ok;
    Job *j = backup_new(&args, edit, &ok, err);

    ok = ok && edit_commit(edit, err);
    edit_free(edit);
    if (ok)
        job_start(j);
    return ok;
}

static CO void move_to(Handle *h, const char *thread)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Edit) edit = edit_begin();

    edit_set_iothread(edit, handle_node(h), thread ? iothread_find(thread) : NULL);
    edit_commit(edit, &err);
    g_assert_no_error(err);
}

static CO void await_home(Handle *h, Loop *loop)
{
    while (handle_home(h) != loop)
        co_yield();
}

typedef CO bool VerbFn(Job *j, GError **err);

/* As a command would. */
static CO void tell(VerbFn *verb)
{
    g_autoptr(GError) err = NULL;

    home_hold();
    verb(job_find("j"), &err);
    g_assert_no_error(err);
    home_release();
}

static CO bool hurry(Job *j, GError **err)
{
    return job_set_speed(j, QUICK, err);
}

/* The job may copy a piece now, and waits very long then. */
static CO bool go_a_step(Job *j, GError **err)
{
    return job_set_speed(j, SLOW, err);
}

static CO JobStatus status(void)
{
    JobStatus status;

    home_hold();
    status = job_find("j")->status;
    g_assert_no_error(job_find("j")->error);
    home_release();
    return status;
}

static CO void await_status(JobStatus wanted)
{
    while (status() != wanted) {
        g_assert_cmpint(status(), !=, JOB_STATUS_NULL);
        co_sleep(5 * MS);
    }
}

/* Commands and moves, while the job goes on step by step on whatever loop its nodes are. */
static CO void bother(const Disk *d)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        const char *thread = threads[(i + 1) % G_N_ELEMENTS(threads)];

        g_assert_cmpint(status(), <, JOB_STATUS_WAITING);
        move_to(d->h, thread);
        await_home(d->h, thread ? loop_of(thread) : loop_self());
        if (d->target)
            await_home(d->target, handle_home(d->h));
        if (i % 4 == 1)
            tell(job_pause);
        if (i % 4 == 2)
            tell(job_resume);
        if (i % 2)
            tell(go_a_step);
        co_sleep(5 * MS);
    }
}

typedef struct {
    StartFn *start;
    bool has_target;
    bool is_completed;          /* by command, once it is ready */
    bool is_of_a_moment;        /* the target shows that of its beginning */
} Kind;

static CO void job_begin(const Disk *d, const Kind *k)
{
    JobArgs how = { .id = "j", .auto_finalize = true, .has_speed = true, .speed = SLOW };
    g_autoptr(GError) err = NULL;

    home_hold();
    g_assert_true(k->start(d, how, &err));
    home_release();
}

static CO void job_end(const Kind *k)
{
    tell(hurry);
    if (k->is_completed) {
        await_status(JOB_STATUS_READY);
        co_sleep(20 * MS);
        tell(job_complete);
    }
    await_status(JOB_STATUS_CONCLUDED);
    g_assert_no_error(job_find("j")->error);
    tell(job_dismiss);
}

static CO void shows_the_beginning(Handle *target)
{
    g_autoptr(GError) err = NULL;
    uint8_t found[BLOCK];

    g_assert_true(handle_require(target, ACCESS_READ, &err));
    for (uint64_t off = 0; off < SIZE; off += BLOCK) {
        g_assert_cmpint(handle_pread(target, off, span_of(found, BLOCK), 0), ==, 0);
        for (int at = 0; at < BLOCK; at++)
            g_assert_cmpuint(found[at], ==, at_first(off));
    }
}

static CO Disk disk_open(const Kind *k)
{
    g_autoptr(GError) err = NULL;
    Disk d = { .h = chain_open() };

    object_add_text("iothread,id=one", &err);
    g_assert_no_error(err);
    object_add_text("iothread,id=two", &err);
    g_assert_no_error(err);
    if (k->has_target)
        d.target = image_open(image_options("target", json_null()), 0);
    move_to(d.h, "one");
    return d;
}

static CO void run(const Kind *k)
{
    _Atomic bool is_over = false;
    g_autofree Worker *w = g_new0(Worker, WORKERS);
    CoGroup workers = {};
    Disk d = disk_open(k);

    job_begin(&d, k);
    for (unsigned i = 0; i < WORKERS; i++) {
        w[i] = (Worker){ .h = d.h, .index = i, .is_over = &is_over };
        co_group_start(&workers, worker_there, &w[i]);
    }
    bother(&d);
    job_end(k);
    co_sleep(10 * MS);
    is_over = true;
    co_group_wait(&workers);
    if (k->is_of_a_moment)
        shows_the_beginning(d.target);
    handle_close(d.h);
    handle_close(d.target);
    object_delete_all();
}

/* ---- tests ----------------------------------------------------------------------------------- */

static CO void test_mirror(void)
{
    run(&(Kind){ start_mirror, .has_target = true, .is_completed = true });
}

static CO void test_active_mirror(void)
{
    run(&(Kind){ start_active_mirror, .has_target = true, .is_completed = true });
}

static CO void test_resumable_mirror(void)
{
    run(&(Kind){ start_resumable_mirror, .has_target = true, .is_completed = true });
}

static CO void test_active_commit(void)
{
    run(&(Kind){ start_active_commit, .is_completed = true });
}

static CO void test_commit(void)
{
    run(&(Kind){ start_commit });
}

static CO void test_stream(void)
{
    run(&(Kind){ start_stream });
}

static CO void test_backup(void)
{
    run(&(Kind){ start_backup, .has_target = true, .is_of_a_moment = true });
}

const Test tests[] = {
    { "/home-jobs/mirror", test_mirror },
    { "/home-jobs/mirror-write-blocking", test_active_mirror },
    { "/home-jobs/mirror-resumable", test_resumable_mirror },
    { "/home-jobs/commit-active", test_active_commit },
    { "/home-jobs/commit", test_commit },
    { "/home-jobs/stream", test_stream },
    { "/home-jobs/backup", test_backup },
    {}
};
