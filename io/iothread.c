/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Object iothread: a thread with a loop of its own, for who is told to work there. */
#include "io/loop.h"
#include "util/object.h"

typedef struct {
    LoopThread *thread;
} IoThread;

static bool iothread_create(void *state, const char *id, json_t *props, GError **err)
{
    IoThread *t = state;

    t->thread = loop_thread_start(id, err);
    return t->thread != NULL;
}

static void iothread_destroy(void *state)
{
    IoThread *t = state;

    if (t->thread)
        loop_thread_stop(t->thread);
}

static const ObjectProp iothread_props[] = { {} };

const ObjectClass object_iothread = {
    .name = "iothread",
    .state_size = sizeof(IoThread),
    .props = iothread_props,
    .create = iothread_create,
    .destroy = iothread_destroy,
};
