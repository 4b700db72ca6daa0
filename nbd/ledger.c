/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the clients of a server hold of its memory, where that is limited: a process that takes more
 * than it may is killed or aborts, and with it everybody's work.
 *
 * A client that needs memory waits until there is some. All that wait are in one list, whatever
 * loop they are on, and whoever gives memory back passes it on to the first. A task takes all that
 * it needs at once, so none that holds memory waits for more; what it waits for is the image, or
 * its client. Where a client has sent next to nothing of its data, or taken next to nothing of its
 * answers, for too long while others wait, the one of these that holds most is cut off.
 */
#include "nbd/internal.h"
#include "io/memory.h"
#include <stdatomic.h>
#include <stddef.h>

enum {
    MS = 1000000,
    PATIENCE_MS = 1000,
    LOOK_MS = 100,
    LEAVING_MS = 3000,              /* for so long whoever was cut off is expected to leave */
    SHORTAGE_MS = 500,              /* nobody has looked for so long: another one begins */
    PROGRESS = 64 << 10,            /* bytes that a client has to send or take in that time ... */
    PROGRESS_SHARE = 16,            /* ... or such a part of what it holds, if that is more */
    PART = 4,                       /* of the limit is for clients */
    PART_KEPT = 8,                  /* of that, at most, for free buffers ... */
    PART_INBOXES = 8,               /* ... and for requests that were received and wait */
    BUFFERS_KEPT = 128 << 20,       /* bytes of free buffers, if memory is plentiful */
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
    s->buffers_left = MIN(s->held_max / PART_KEPT, BUFFERS_KEPT);
    s->inboxes_max = s->held_max / PART_INBOXES;
    s->waits_tail = &s->waits;
    pthread_mutex_init(&s->memory, NULL);
}

void nbd_ledger_clear(NbdServer *s)
{
    g_assert(!s->held && !s->waits);
    pthread_mutex_destroy(&s->memory);
}

size_t nbd_inbox_max(const NbdServer *s)
{
    uint64_t kept = s->inboxes;

    return CLAMP(s->inboxes_max - MIN(kept, s->inboxes_max), NBD_SCRATCH_MIN, NBD_SCRATCH_LEN);
}

/* ---- giving and taking ----------------------------------------------------------------------- */

/* On the stack of a coroutine that waits for memory. */
struct NbdMemoryWait {
    Mail mail;            /* tells it that it has what it wants */
    NbdMemoryWait *next;  /* in the server's list */
    NbdClient *client;
    size_t wanted;
    Co *co;
    bool granted;         /* and no longer in the list */
    bool told;            /* and the mail has come; its own loop only */
};

/*
 * May clients hold @n bytes more than @held? One may always have what it needs, alone, whatever
 * inboxes there are: these wait for memory themselves.
 */
static bool has_room(const NbdServer *s, uint64_t held, size_t n)
{
    return held <= s->inboxes || held + n <= s->held_max;
}

static bool take_now(NbdClient *c, size_t n)
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

static void wait_is_over(Mail *m)
{
    NbdMemoryWait *w = (NbdMemoryWait *)((char *)m - offsetof(NbdMemoryWait, mail));

    w->told = true;
    co_wake(w->co);
}

static void list_remove(NbdServer *s, NbdMemoryWait **at)
{
    NbdMemoryWait *w = *at;

    *at = w->next;
    if (s->waits_tail == &w->next)
        s->waits_tail = at;
    s->n_waits--;
}

/* Those who wait get memory in turn, as far as there is some. With the lock. */
static void serve_in_turn(NbdServer *s)
{
    NbdMemoryWait *w;

    while ((w = s->waits) && take_now(w->client, w->wanted)) {
        list_remove(s, &s->waits);
        w->granted = true;
        loop_post(w->client->at->loop, &w->mail); /* it ends no earlier than that comes */
    }
}

bool nbd_memory_try(NbdClient *c, size_t n)
{
    return !c->server->n_waits && take_now(c, n);
}

void nbd_memory_add_inbox(NbdClient *c, size_t n)
{
    /* first: what is held besides these must not seem to be nothing later */
    c->server->inboxes += n;
    c->held += n;
    c->server->held += n;
}

void nbd_memory_give(NbdClient *c, size_t n)
{
    NbdServer *s = c->server;

    c->held -= n;
    s->held -= n;
    /* Whoever begins to wait is counted before it looks at what is held. */
    if (!s->n_waits)
        return;
    pthread_mutex_lock(&s->memory);
    serve_in_turn(s);
    pthread_mutex_unlock(&s->memory);
}

void nbd_memory_give_inbox(NbdClient *c, size_t n)
{
    c->server->inboxes -= n;
    nbd_memory_give(c, n);
}

/* ---- when it takes long ---------------------------------------------------------------------- */

/*
 * Notes whether bytes went that way, @moved so far. True: next to none while that was too long, for
 * a client that holds @held. @anew: nobody has looked for some time.
 */
static bool look_at(NbdAwaited *a, uint64_t moved, size_t held, int64_t now, bool anew)
{
    int64_t since = a->since_ns;

    if (anew || !a->seen_ns || moved - a->moved >= MAX(PROGRESS, held / PROGRESS_SHARE)) {
        a->moved = moved;
        a->seen_ns = now;
    }
    return since && now - MAX(since, a->seen_ns) >= (int64_t)PATIENCE_MS * MS;
}

/*
 * Of those who keep the server waiting the one that holds most; NULL: there is none. *@leaving gets
 * the bytes of those who have been cut off a moment ago, but still hold them. Whose image does not
 * answer keeps its own for longer, but does not keep others from being cut off.
 */
static NbdClient *greediest(NbdServer *s, uint64_t *leaving)
{
    int64_t now = clock_now_ns();
    bool anew = now - s->looked_ns > (int64_t)SHORTAGE_MS * MS;
    NbdClient *most = NULL;

    s->looked_ns = now;
    *leaving = 0;
    for (NbdClient *c = s->clients; c; c = c->next) {
        bool gives_none = look_at(&c->data, channel_received(c->channel), c->held, now, anew);
        bool takes_none = look_at(&c->answers, channel_sent(c->channel), c->held, now, anew);

        if (c->cut_ns)
            *leaving += now - c->cut_ns < (int64_t)LEAVING_MS * MS ? c->held : 0;
        else if ((gives_none || takes_none) && c->held > (most ? most->held : 0))
            most = c;
    }
    return most;
}

static void cut_greedy(NbdClient *c)
{
    nbd_report(c, "holds %zu bytes while memory is short: cut off", (size_t)c->held);
    nbd_client_cut(c);
    co_queue_wake_all(&c->room);
}

static bool wait_is_first(NbdServer *s, const NbdMemoryWait *w)
{
    bool first;

    pthread_mutex_lock(&s->memory);
    first = s->waits == w;
    pthread_mutex_unlock(&s->memory);
    return first;
}

/* On the server's loop, where memory may no longer be short. */
static CO void look_for_greedy(void *arg)
{
    const NbdMemoryWait *w = arg;
    NbdServer *s = w->client->server;
    uint64_t leaving, held;
    NbdClient *c;

    if (!wait_is_first(s, w))
        return;
    c = greediest(s, &leaving);
    held = s->held;
    if (!c || has_room(s, held - MIN(held, leaving), w->wanted))
        return;
    c->cut_ns = clock_now_ns();
    nbd_client_order(c, cut_greedy);
}

static void wait_begin(NbdServer *s, NbdMemoryWait *w)
{
    pthread_mutex_lock(&s->memory);
    *s->waits_tail = w;
    s->waits_tail = &w->next;
    s->n_waits++;
    serve_in_turn(s);
    pthread_mutex_unlock(&s->memory);
}

/* False: @w has been given its memory. */
static bool wait_give_up(NbdServer *s, NbdMemoryWait *w)
{
    NbdMemoryWait **at = &s->waits;
    bool granted;

    pthread_mutex_lock(&s->memory);
    granted = w->granted;
    if (!granted) {
        while (*at != w)
            at = &(*at)->next;
        list_remove(s, at);
        serve_in_turn(s); /* the next may want less */
    }
    pthread_mutex_unlock(&s->memory);
    return !granted;
}

CO bool nbd_memory_take(NbdClient *c, size_t n)
{
    NbdServer *s = c->server;
    NbdMemoryWait w = { { .deliver = wait_is_over }, .client = c, .wanted = n, .co = co_self() };

    if (c->stop_receiving)
        return false;
    wait_begin(s, &w);
    while (!w.told) {
        bool late = co_sleep((int64_t)LOOK_MS * MS);

        if (c->stop_receiving && wait_give_up(s, &w))
            return false;
        if (late && wait_is_first(s, &w))
            loop_call_wait(s->own->loop, look_for_greedy, &w);
    }
    return true;
}
