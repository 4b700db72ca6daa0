/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Object iothread: a thread with a loop of its own, for who is told to work there. */
#include "io/iothread.h"
#include "qapi/object.h"
#include "util/err.h"

enum { WORKERS_MAX = 64 };

extern const ObjectClass object_iothread;

struct IoThread {
    LoopThread *thread;
    unsigned users;
};

/* What a loop is told, in its own thread. */
typedef struct {
    int64_t poll_ns;
    int64_t max_batch;
} Tuning;

static CO void tune(void *arg)
{
    g_autofree Tuning *t = arg;

    loop_poll_at_most(t->poll_ns);
    loop_limit_batch((unsigned)MIN(t->max_batch, UINT_MAX));
}

static bool number_is_fine(const json_t *props, const char *name, GError **err)
{
    return json_get_int(props, name, 0) >= 0 ||
           err_set(err, EINVAL, "%s value must be in range [0, 9223372036854775807]", name);
}

static bool props_are_fine(const json_t *props, GError **err)
{
    int64_t least = json_get_int(props, "thread-pool-min", 0);
    int64_t most = json_get_int(props, "thread-pool-max", WORKERS_MAX);
    static const char *const numbers[] = { "poll-max-ns",   "poll-grow",       "poll-shrink",
                                           "aio-max-batch", "thread-pool-min", "thread-pool-max" };

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (!number_is_fine(props, numbers[i], err))
            return false;
    if (least > most)
        return err_set(err, EINVAL, "bad thread-pool-min/thread-pool-max values");
    if (least != 0 || most != WORKERS_MAX)
        return err_set(err, ENOTSUP, "Workers are shared by all threads of this process: "
                       "thread-pool-min can only be 0 and thread-pool-max %d", WORKERS_MAX);
    if (json_get_int(props, "poll-grow", 0) || json_get_int(props, "poll-shrink", 0))
        return err_set(err, ENOTSUP, "Polling is on or off here and of one length: poll-grow and "
                       "poll-shrink can only be 0");
    return true;
}

static const char *const iothread_changeable[] = { "poll-max-ns", NULL };

static bool iothread_change(void *state, json_t *props, GError **err)
{
    const IoThread *t = state;
    Tuning *tuning;

    if (!props_are_fine(props, err))
        return false;
    tuning = g_new(Tuning, 1);
    tuning->poll_ns = json_get_int(props, "poll-max-ns", LOOP_POLL_NS);
    tuning->max_batch = json_get_int(props, "aio-max-batch", 0);
    loop_call(loop_thread_loop(t->thread), tune, tuning);
    return true;
}

static bool iothread_create(void *state, const char *id, json_t *props, GError **err)
{
    IoThread *t = state;

    if (!props_are_fine(props, err))
        return false;
    t->thread = loop_thread_start(id, err);
    return t->thread && iothread_change(state, props, err);
}

static void iothread_destroy(void *state)
{
    IoThread *t = state;

    if (t->thread)
        loop_thread_stop(t->thread);
}

static bool iothread_is_used(const void *state)
{
    return ((const IoThread *)state)->users;
}

IoThread *iothread_find(const char *id)
{
    return object_find(id, &object_iothread, NULL);
}

Loop *iothread_loop(const IoThread *t)
{
    return loop_thread_loop(t->thread);
}

LoopThread *iothread_thread(const IoThread *t)
{
    return t->thread;
}

void iothread_use(IoThread *t)
{
    t->users++;
}

void iothread_drop(IoThread *t)
{
    t->users--;
}

const ObjectClass object_iothread = {
    .name = "iothread",
    .state_size = sizeof(IoThread),
    .props = "IothreadProperties",
    .defaults = "{'poll-max-ns': " G_STRINGIFY(LOOP_POLL_NS) ", 'thread-pool-max': 64}",
    .changeable = iothread_changeable,
    .change = iothread_change,
    .create = iothread_create,
    .destroy = iothread_destroy,
    .is_used = iothread_is_used,
};
