/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reference counted: the thread and the caller each have one. An eventfd tells that the call ended.
 */
#include "io/detached-call.h"
#include "io/internal.h"
#include "io/thread.h"
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct DetachedCall {
    atomic_uint refs;
    int (*fn)(void *arg);
    void *arg;
    GDestroyNotify free_arg;
    int result;         /* the thread's until @ended */
    atomic_bool ended;  /* before @done is written to */
    int failure;        /* a positive errno: it could not be started */
    int done;           /* eventfd */
    PollWait *wait;     /* home loop only; NULL: nobody waits now */
    bool cancelled;     /* home loop only */
};

void detached_call_end(DetachedCall *e)
{
    if (!e || atomic_fetch_sub(&e->refs, 1) > 1)
        return;
    e->free_arg(e->arg);
    if (e->done >= 0)
        close(e->done);
    g_free(e);
}

static void *detached_call_main(void *arg)
{
    DetachedCall *e = arg;

    e->result = e->fn(e->arg);
    e->ended = true;
    eventfd_write(e->done, 1);
    detached_call_end(e);
    return NULL;
}

DetachedCall *detached_call_start(int (*fn)(void *arg), void *arg, GDestroyNotify free_arg)
{
    DetachedCall *e = g_new0(DetachedCall, 1);
    pthread_t t;

    *e = (DetachedCall){
        .refs = 2,
        .fn = fn,
        .arg = arg,
        .free_arg = free_arg,
        .done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
    };
    e->failure = e->done < 0 ? errno : thread_start(&t, "detached call", detached_call_main, e);
    if (e->failure)
        e->refs = 1;
    else
        pthread_detach(t);
    return e;
}

int detached_call_wait(DetachedCall *e, int64_t deadline_ns, int *result)
{
    PollWait w;
    int r;

    if (e->failure)
        return -e->failure;
    if (e->cancelled)
        return -ECANCELED;
    e->wait = &w;
    /* To look at @ended lets us see what @fn wrote, which a descriptor alone does not promise. */
    do {
        r = poll_wait(&w, e->done, POLLIN, deadline_ns);
    } while (r >= 0 && !e->ended);
    e->wait = NULL;
    if (r < 0)
        return r;
    *result = e->result;
    return 0;
}

void detached_call_cancel(DetachedCall *e)
{
    if (!e)
        return;
    e->cancelled = true;
    if (e->wait)
        poll_wait_cancel(e->wait, -ECANCELED);
}
