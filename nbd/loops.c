/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loops on which clients are served: the server's own, and those of iothreads on which
 * exported nodes live. A thread stays until the last client has left its loop, even if its object
 * is deleted.
 */
#include "nbd/internal.h"

static NbdLoop *loop_new(NbdServer *s, Loop *loop, LoopThread *thread)
{
    NbdLoop *l = g_new0(NbdLoop, 1);

    l->server = s;
    l->loop = loop;
    l->thread = thread;
    l->scratch = g_malloc(NBD_SCRATCH_LEN);
    l->buffers.left = &s->buffers_left;
    return l;
}

static void loop_free(NbdLoop *l)
{
    while (l->free_tasks) {
        NbdTask *t = l->free_tasks;

        l->free_tasks = t->next;
        g_free(t);
    }
    nbd_buffers_trim(&l->buffers);
    g_free(l->scratch);
    g_free(l);
}

void nbd_loops_init(NbdServer *s)
{
    s->own = loop_new(s, loop_self(), NULL);
    s->own->refs = 1;
    s->loops = g_ptr_array_new();
}

void nbd_loops_clear(NbdServer *s)
{
    g_assert(s->own->refs == 1 && !s->loops->len);
    loop_free(s->own);
    g_ptr_array_unref(s->loops);
}

NbdLoop *nbd_loop_ref(NbdLoop *l)
{
    l->refs++;
    return l;
}

NbdLoop *nbd_loop_of(NbdServer *s, IoThread *thread)
{
    LoopThread *t = thread ? iothread_thread(thread) : NULL;
    NbdLoop *l;

    if (!t)
        return nbd_loop_ref(s->own);
    for (guint i = 0; i < s->loops->len; i++) {
        l = s->loops->pdata[i];
        if (l->thread == t)
            return nbd_loop_ref(l);
    }
    l = loop_new(s, loop_thread_loop(t), loop_thread_ref(t));
    g_ptr_array_add(s->loops, l);
    return nbd_loop_ref(l);
}

static CO void nothing(void *arg)
{
}

/*
 * Returns when all loops have had a turn. A request that runs on one of them and has found its
 * nodes on another, which they have left by now, is mailed there by then. The loop that gets it
 * lives until it has been answered, but not for mail that comes later.
 */
static CO void loops_take_turn(const NbdServer *s)
{
    g_autoptr(GPtrArray) loops = g_ptr_array_new();

    for (guint i = 0; i < s->loops->len; i++)
        g_ptr_array_add(loops, nbd_loop_ref(s->loops->pdata[i]));
    for (guint i = 0; i < loops->len; i++) {
        NbdLoop *l = loops->pdata[i];

        loop_call_wait(l->loop, nothing, NULL);
        nbd_loop_unref(l);
    }
}

/* No client and no export is there any more. */
static CO void loop_close(void *arg)
{
    NbdLoop *l = arg;
    LoopThread *thread = l->thread;

    loops_take_turn(l->server);
    loop_free(l);
    loop_thread_stop(thread);
}

void nbd_loop_unref(NbdLoop *l)
{
    if (--l->refs)
        return;
    g_ptr_array_remove_fast(l->server->loops, l);
    co_group_start(&l->server->closing, loop_close, l);
}

/* ---- what the server's loop has to say to clients on others ---------------------------------- */

/* Mailed there and back: coroutines for all clients at once would take much memory. */
typedef struct {
    Mail mail; /* first */
    NbdClient *client;
    void (*fn)(NbdClient *c);
} Order;

static void order_obeyed(Mail *m)
{
    g_autofree Order *o = (Order *)m;

    o->client->orders--;
    nbd_client_go_on(o->client);
}

static void order_obey(Mail *m)
{
    Order *o = (Order *)m;

    o->fn(o->client);
    m->deliver = order_obeyed;
    loop_post(o->client->server->own->loop, m);
}

void nbd_client_order(NbdClient *c, void (*fn)(NbdClient *c))
{
    Order *o;

    if (c->at->loop == loop_self()) {
        fn(c);
        return;
    }
    g_assert(loop_self() == c->server->own->loop);
    o = g_new(Order, 1);
    *o = (Order){ { .deliver = order_obey }, c, fn };
    c->orders++;
    loop_post(c->at->loop, &o->mail);
}
