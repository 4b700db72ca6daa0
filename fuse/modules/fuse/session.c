/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mounts, and requests as they come out of the kernel: one coroutine receives, each request is a
 * task with a coroutine that is entered at once, and that libfuse's operations run and wait in.
 *
 * All this runs on the loop where the image lives. To go to another the receiver pauses: it ends
 * once the tasks have, and is started there by the loop that mounted the file. Requests that come
 * meanwhile wait in the kernel.
 */
#include "block/driver.h"
#include "fuse/modules/fuse/internal.h"
#include "io/pool.h"
#include "util/err.h"
#include "util/module.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

extern const FuseModule ferry_module_fuse;

enum {
    PAGE = 4096,
    HEADERS = 80,      /* of a read or write request: the data of a write follows */
    TASKS_MAX = 128,   /* requests under way; what is over stays in the kernel */
    SPARE_MAX = 8,     /* tasks that keep their memory while they have nothing to do */
    TURN_MAX = 64,     /* requests that are received before others have their turn */
};

/* ---- tasks ----------------------------------------------------------------------------------- */

static FuseTask *task_new(FuseFile *f)
{
    FuseTask *t = f->spare;
    char *memory;

    if (t) {
        f->spare = t->next;
        f->n_spare--;
        return t;
    }
    memory = aligned_alloc(PAGE, PAGE + FUSE_DATA_MAX + PAGE);
    if (!memory)
        return NULL;
    t = g_new0(FuseTask, 1);
    t->file = f;
    t->memory = memory;
    t->data = memory + PAGE;
    t->request = t->data - HEADERS;
    return t;
}

static void task_free(FuseTask *t)
{
    free(t->memory);
    g_free(t);
}

static void task_done(FuseTask *t)
{
    FuseFile *f = t->file;

    if (f->n_spare == SPARE_MAX) {
        task_free(t);
        return;
    }
    t->next = f->spare;
    f->spare = t;
    f->n_spare++;
}

static CO void task_run(void *arg)
{
    FuseTask *t = arg;
    FuseFile *f = t->file;
    struct fuse_buf buf = { .size = t->len, .mem = t->request };

    f->entered = t;
    fuse_session_process_buf(f->session, &buf);
    task_done(t);
    f->n_tasks--;
    co_queue_wake_all(&f->less);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* One request into @t; 0, or a negative errno: -ENODEV when the kernel has ended the mount. */
static ssize_t receive(FuseFile *f, FuseTask *t)
{
    for (;;) {
        ssize_t n = channel_try_read(f->channel, t->request, HEADERS + FUSE_DATA_MAX + PAGE);

        /* The request was taken back before we had it. */
        if (n == -ENOENT)
            continue;
        t->len = MAX(n, 0);
        return n < 0 ? n : n == 0 ? -ENODEV : 0;
    }
}

/* Receives and starts what is there without waiting. */
static CO int receive_all(FuseFile *f)
{
    for (unsigned i = 0; i < TURN_MAX && f->n_tasks < TASKS_MAX; i++) {
        FuseTask *t = task_new(f);
        int r = t ? receive(f, t) : -ENOMEM;

        if (r < 0) {
            if (t)
                task_done(t);
            return r;
        }
        f->n_tasks++;
        co_start_now(task_run, t);
    }
    return 0;
}

/* ---- where it is served ---------------------------------------------------------------------- */

static void file_go_on(FuseFile *f);

static void file_paused(Mail *m)
{
    FuseFile *f = (FuseFile *)((char *)m - offsetof(FuseFile, paused));

    f->runs = false;
    file_go_on(f);
}

/* On the loop where requests are served, until it is to pause or the kernel has ended the mount. */
static CO void serve(void *arg)
{
    FuseFile *f = arg;
    int r = 0;

    while (!f->must_pause && !f->ended) {
        r = receive_all(f);
        /* Without memory there is some again when a task ends. */
        if (f->n_tasks == TASKS_MAX || (r == -ENOMEM && f->n_tasks))
            co_queue_wait(&f->less);
        else if (r == -EAGAIN || r == -ENOMEM)
            r = channel_expect(f->channel, 0);
        else if (r == 0)
            co_yield();
        else
            f->ended = true;
    }
    while (f->n_tasks)
        co_queue_wait(&f->less);
    f->paused.deliver = file_paused;
    loop_post(f->own, &f->paused);
}

static void pause_told(Mail *m)
{
    FuseFile *f = (FuseFile *)((char *)m - offsetof(FuseFile, pause));

    f->is_pausing = false;
    file_go_on(f);
}

static void pause_now(Mail *m)
{
    FuseFile *f = (FuseFile *)((char *)m - offsetof(FuseFile, pause));

    f->must_pause = true;
    channel_interrupt_wait(f->channel);
    co_queue_wake_all(&f->less);
    m->deliver = pause_told;
    loop_post(f->own, m);
}

static void file_pause(FuseFile *f)
{
    if (!f->runs || f->is_pausing)
        return;
    f->is_pausing = true;
    f->pause.deliver = pause_now;
    loop_post(f->at, &f->pause);
}

/* Drops the references to threads but for the one that is needed next. */
static void threads_leave(FuseFile *f)
{
    for (guint i = f->threads->len; i-- > 0;) {
        LoopThread *t = f->threads->pdata[i];

        if (t != f->wanted || f->stopping) {
            g_ptr_array_remove_index_fast(f->threads, i);
            loop_thread_stop(t);
        }
    }
}

/* If nothing of it runs: it is served where it is to be, unless it has ended. */
static void file_go_on(FuseFile *f)
{
    if (f->runs || f->is_pausing)
        return;
    if (f->stopping) {
        co_queue_wake_all(&f->rest);
        return;
    }
    if (f->ended) {
        f->config.ended(f->config.opaque);
        return;
    }
    threads_leave(f);
    f->must_pause = false;
    f->runs = true;
    f->at = f->wanted ? loop_thread_loop(f->wanted) : f->own;
    if (f->at == f->own)
        co_start(serve, f);
    else
        loop_call(f->at, serve, f);
}

static void file_follow(FuseFile *f, IoThread *thread)
{
    f->wanted = thread ? iothread_thread(thread) : NULL;
    if (f->wanted && !g_ptr_array_find(f->threads, f->wanted, NULL))
        g_ptr_array_add(f->threads, loop_thread_ref(f->wanted));
    if (f->at != (f->wanted ? loop_thread_loop(f->wanted) : f->own))
        file_pause(f);
}

/* ---- mounting -------------------------------------------------------------------------------- */

static void file_free(FuseFile *f)
{
    FuseTask *t;

    while ((t = f->spare)) {
        f->spare = t->next;
        task_free(t);
    }
    if (f->session)
        fuse_session_destroy(f->session);
    g_ptr_array_unref(f->threads);
    g_free(f->path);
    g_free(f);
}

/* What libfuse has to say is a warning of the program. */
static G_GNUC_PRINTF(2, 0) void log_line(enum fuse_log_level level, const char *fmt, va_list ap)
{
    g_autofree char *text = g_strdup_vprintf(fmt, ap);

    if (level <= FUSE_LOG_WARNING)
        block_warn("%s", g_strchomp(text));
}

/* In a worker: libfuse may start a program and wait for it. */
static int session_mount(void *arg)
{
    FuseFile *f = arg;

    return fuse_session_mount(f->session, f->path) == 0 ? 0 : -EIO;
}

static int session_unmount(void *arg)
{
    FuseFile *f = arg;

    fuse_session_unmount(f->session);
    return 0;
}

/* Mounts with or without other users; leaves no session when that fails. */
static CO bool mount_with(FuseFile *f, bool others)
{
    g_autofree char *options = g_strdup_printf("default_permissions,max_read=%d%s", FUSE_DATA_MAX,
                                               others ? ",allow_other" : "");
    char *argv[] = { (char *)"ferry", (char *)"-o", options, NULL };
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);

    f->session = fuse_session_new(&args, &fuse_ops, sizeof(fuse_ops), f);
    fuse_opt_free_args(&args);
    if (f->session && pool_run(session_mount, f) == 0)
        return true;
    if (f->session)
        fuse_session_destroy(f->session);
    f->session = NULL;
    return false;
}

static CO FuseFile *file_mount(const FuseConfig *config, GError **err)
{
    FuseFile *f = g_new0(FuseFile, 1);

    fuse_set_log_func(log_line);
    f->config = *config;
    f->path = g_strdup(config->path);
    f->own = loop_self();
    f->threads = g_ptr_array_new();
    f->mode = S_IFREG | S_IRUSR | (config->writable ? S_IWUSR : 0);
    f->uid = getuid();
    f->gid = getgid();
    if (!(config->others != FUSE_OTHERS_OFF && mount_with(f, true)) &&
        !(config->others != FUSE_OTHERS_ON && mount_with(f, false))) {
        err_set(err, EIO, "'%s' cannot be mounted by FUSE%s", config->path,
                config->others == FUSE_OTHERS_ON && getuid()
                    ? "; allow-other=on needs user_allow_other in /etc/fuse.conf" : "");
        file_free(f);
        return NULL;
    }
    f->channel = channel_new_fd(fcntl(fuse_session_fd(f->session), F_DUPFD_CLOEXEC, 3));
    file_go_on(f);
    return f;
}

static CO void file_unmount(FuseFile *f)
{
    f->stopping = true;
    file_pause(f);
    while (f->runs || f->is_pausing)
        co_queue_wait(&f->rest);
    channel_free(f->channel);
    pool_run(session_unmount, f);
    threads_leave(f); /* file_follow may have been called until now */
    file_free(f);
}

MODULE_EXPORT const FuseModule ferry_module_fuse = {
    .mount = file_mount,
    .follow = file_follow,
    .unmount = file_unmount,
};
