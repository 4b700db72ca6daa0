/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the clients of a server hold of its memory, where that is limited: a process that takes more
 * than it may is killed or aborts, and with it everybody's work.
 *
 * A client that needs memory waits until there is some. When that takes too long, the client that
 * holds most is cut off: it may be one that never sends its data or never takes its answers.
 */
#include "nbd/internal.h"
#include "io/memory.h"
#include <stdatomic.h>

enum {
    MS = 1000000,
    PATIENCE_MS = 1000,
    LOOK_MS = 100,
    PART = 4,                       /* of the limit is for clients */
    HELD_MIN = 4 << 20,
    TASK_TOUCHED = 16 << 10,        /* what a coroutine and its task take ... */
    TASK_ADDRESSES = 320 << 10,     /* ... and of address space */
    CLIENT_TLS = 128 << 10,         /* a session */
};

void nbd_ledger_init(NbdServer *s)
{
    uint64_t limit = memory_limit();
    bool by_addresses = limit < memory_limit_with_cache();
    uint64_t each;

    s->held_max = limit == UINT64_MAX ? UINT64_MAX : MAX(limit / PART, HELD_MIN);
    s->task_cost = by_addresses ? TASK_ADDRESSES : TASK_TOUCHED;
    each = MAX(s->task_cost, s->config.tls ? CLIENT_TLS : 0);
    s->clients_max = MIN(s->held_max / each, UINT_MAX);
    s->bytes_max = MIN(NBD_BYTES_MAX, s->held_max / 2);
}

static NbdClient *greediest(const NbdServer *s)
{
    NbdClient *most = NULL;

    for (NbdClient *c = s->clients; c; c = c->next)
        if (!c->broken && c->held && (!most || c->held > most->held))
            most = c;
    return most;
}

/*
 * Wakes those who wait, so that they notice how long it has been, and that there is memory which
 * clients on other loops gave back.
 */
static CO void look_after(void *arg)
{
    NbdLoop *l = arg;

    while (!co_queue_is_empty(&l->memory)) {
        co_sleep((int64_t)LOOK_MS * MS);
        co_queue_wake_all(&l->memory);
    }
}

static void cut_greedy(NbdClient *c)
{
    if (!c->held)
        return;
    nbd_report(c, "holds %zu bytes while memory is short: cut off", (size_t)c->held);
    nbd_client_cut(c);
    co_queue_wake_all(&c->room);
}

/* Somebody has waited for too long. */
typedef struct {
    NbdServer *server;
    size_t wanted;
} Shortage;

/* May clients hold @n bytes more than @held? One may always have what it needs, alone. */
static bool has_room(const NbdServer *s, uint64_t held, size_t n)
{
    return !held || held + n <= s->held_max;
}

/* On the server's loop, where it may be over by now. */
static CO void cut_greediest(void *arg)
{
    const Shortage *x = arg;
    NbdServer *s = x->server;
    int64_t now = clock_now_ns();
    NbdClient *c = NULL;

    if (!has_room(s, s->held, x->wanted) && now - s->cut_ns > (int64_t)LOOK_MS * MS)
        c = greediest(s);
    if (!c)
        return;
    s->cut_ns = now;
    nbd_client_order(c, cut_greedy);
}

static CO void wait_for_memory(NbdLoop *l)
{
    if (!l->looking.running)
        co_group_start(&l->looking, look_after, l);
    co_queue_wait(&l->memory);
}

bool nbd_memory_try(NbdClient *c, size_t n)
{
    NbdServer *s = c->server;
    uint64_t held = s->held;

    do {
        if (!has_room(s, held, n))
            return false;
    } while (!atomic_compare_exchange_weak(&s->held, &held, held + n));
    c->held += n;
    return true;
}

CO bool nbd_memory_take(NbdClient *c, size_t n)
{
    Shortage x = { c->server, n };
    int64_t patient_until = clock_now_ns() + (int64_t)PATIENCE_MS * MS;

    while (!c->stop_receiving) {
        if (nbd_memory_try(c, n))
            return true;
        if (clock_now_ns() <= patient_until) {
            wait_for_memory(c->at);
        } else {
            loop_call_wait(c->server->own->loop, cut_greediest, &x);
            patient_until = clock_now_ns() + (int64_t)LOOK_MS * MS;
        }
    }
    return false;
}

void nbd_memory_add(NbdClient *c, size_t n)
{
    c->held += n;
    c->server->held += n;
}

void nbd_memory_give(NbdClient *c, size_t n)
{
    c->held -= n;
    c->server->held -= n;
    if (n)
        co_queue_wake_all(&c->at->memory);
}
