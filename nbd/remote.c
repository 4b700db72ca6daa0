/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections to an export, kept up: when one is lost, a coroutine of its own, the connector, tries
 * to make it again until it succeeds, all is closed, or the export is to be used on another loop.
 */
#include "nbd/remote.h"
#include "io/co-lock.h"
#include "util/err.h"
#include "util/trace.h"
#include <errno.h>
#include <string.h>

#define SECOND_NS INT64_C(1000000000)
#define PAUSE_FIRST_NS (SECOND_NS / 10)

enum {
    HANDSHAKE_SECONDS = 60, /* for connecting and handshake together */
    /* Between two attempts, at most. */
    PAUSE_MAX_SECONDS = 16,
    PAUSE_AWAITED_SECONDS = 1, /* at most, while somebody waits for the connection */
};

typedef struct Connection Connection;
struct Connection {
    NbdRemote *remote;
    NbdConn *conn;       /* NULL: none */
    bool connecting;     /* its connector runs */
    NetAttempt attempt;  /* the connector's, while it connects ... */
    Channel *negotiating; /* ... and in its handshake */
    Co *sleeper;         /* the connector, between attempts */
    int64_t pause;       /* nanoseconds after the attempt that fails next */
    int64_t again_ns;    /* no attempt before then */
};

/* A call that waits for a connection. */
typedef struct Waiter Waiter;
struct Waiter {
    Waiter *prev, *next;
    Co *co; /* NULL: woken */
};

struct NbdRemote {
    NbdTarget target;
    NbdOffer offer;
    bool has_context;
    Connection connections[NBD_CONNECTIONS_MAX];
    unsigned n_connections;
    Waiter *waiters;
    unsigned losses;     /* of connections */
    int64_t give_up_ns;  /* without a connection: calls wait for one until then */
    CoGroup connectors;
    bool pausing;        /* connectors are to end */
};

void nbd_target_clear(NbdTarget *t)
{
    net_address_clear(&t->address);
    g_free(t->export_name);
    g_free(t->context);
    tls_creds_unref(t->creds);
    g_free(t->hostname);
    *t = (NbdTarget){ 0 };
}

const NbdOffer *nbd_remote_offer(const NbdRemote *r)
{
    return &r->offer;
}

bool nbd_remote_has_context(const NbdRemote *r)
{
    return r->has_context;
}

unsigned nbd_remote_losses(const NbdRemote *r)
{
    return r->losses;
}

/* ---- connecting ------------------------------------------------------------------------------ */

/* One attempt, over by @deadline_ns. */
static CO NbdConn *connection_attempt(Connection *k, int64_t deadline_ns, GError **err)
{
    const NbdTarget *t = &k->remote->target;
    NbdClientConfig config = {
        .export_name = t->export_name,
        .context = t->context,
        .creds = t->creds,
        .hostname = t->hostname,
    };
    int fd = net_connect_attempt(&t->address, deadline_ns, &k->attempt, err);
    NbdConn *c;

    if (fd < 0)
        return NULL;
    net_set_nodelay(fd);
    k->negotiating = channel_new_socket(fd);
    channel_set_deadline(k->negotiating, deadline_ns);
    if (k->remote->pausing)
        channel_shutdown(k->negotiating);
    c = nbd_conn_new(k->negotiating, &config, err);
    k->negotiating = NULL;
    if (!c) {
        g_autofree char *server = net_address_text(&t->address);

        err_prefix(err, "Server '%s': ", server);
    }
    return c;
}

static void remote_wake_waiters(NbdRemote *r)
{
    for (Waiter *w = r->waiters; w; w = w->next)
        if (w->co) {
            co_wake(w->co);
            w->co = NULL;
        }
}

static void connection_take(Connection *k, NbdConn *c)
{
    TRACE(nbd_connected, "connection %d", (int)(k - k->remote->connections));
    k->conn = c;
    k->pause = PAUSE_FIRST_NS;
    k->again_ns = 0;
    remote_wake_waiters(k->remote);
}

/* Does @now offer what calls made for @before, over @n_connections connections, need? */
static bool offer_suits(const NbdOffer *before, const NbdOffer *now, unsigned n_connections)
{
    unsigned any = NBD_FLAG_ROTATIONAL | NBD_FLAG_READ_ONLY |
                   (n_connections > 1 ? 0 : NBD_FLAG_CAN_MULTI_CONN);
    bool needs_write = !(before->flags & NBD_FLAG_READ_ONLY);

    return now->size == before->size && !(before->flags & ~now->flags & ~any) &&
           !(needs_write && now->flags & NBD_FLAG_READ_ONLY) &&
           now->block_min <= before->block_min && now->block_max >= before->block_max;
}

/*
 * Is @c a connection to what the first one led to? Without the metadata context everything would be
 * taken for data, which in a dirty bitmap means that it is clean.
 */
static bool remote_suits(const NbdRemote *r, const NbdConn *c)
{
    return offer_suits(&r->offer, nbd_conn_offer(c), r->n_connections) &&
           (nbd_conn_has_context(c) || !r->has_context);
}

/* Sleeps until it is time, or connectors are to end. */
static CO void connection_pause(Connection *k, int64_t ns)
{
    k->sleeper = co_self();
    co_sleep(ns);
    k->sleeper = NULL;
}

/* A pause that grows from one attempt to the next. */
static int64_t pause_next(int64_t *pause, bool is_awaited)
{
    int64_t max = (is_awaited ? PAUSE_AWAITED_SECONDS : PAUSE_MAX_SECONDS) * SECOND_NS;
    int64_t now = MIN(*pause, max);

    *pause = now * 2;
    return now;
}

/* The connector. */
static CO void connection_connect(void *arg)
{
    Connection *k = arg;
    NbdRemote *r = k->remote;

    while (!r->pausing && !k->conn) {
        int64_t now = clock_now_ns();
        NbdConn *c;

        if (now < k->again_ns) {
            connection_pause(k, k->again_ns - now);
            continue;
        }
        c = connection_attempt(k, now + HANDSHAKE_SECONDS * SECOND_NS, NULL);
        if (c && remote_suits(r, c)) {
            connection_take(k, c);
            break;
        }
        nbd_conn_free(c);
        now = clock_now_ns();
        k->again_ns = now + pause_next(&k->pause, now < r->give_up_ns);
    }
    k->connecting = false;
}

static void connection_restore(Connection *k)
{
    if (k->connecting || k->remote->pausing)
        return;
    k->connecting = true;
    co_group_start(&k->remote->connectors, connection_connect, k);
}

/* ---- opening and closing --------------------------------------------------------------------- */

/* The first connection, tried for as long as the target says. */
static CO NbdConn *remote_connect(NbdRemote *r, GError **err)
{
    int64_t start = clock_now_ns(), pause = PAUSE_FIRST_NS;
    int64_t limit = r->target.open_ns ? r->target.open_ns : HANDSHAKE_SECONDS * SECOND_NS;
    int64_t deadline = start + limit;

    for (;;) {
        g_autoptr(GError) why = NULL;
        NbdConn *c = connection_attempt(&r->connections[0], deadline, &why);
        int64_t left = deadline - clock_now_ns(), rest;

        if (c)
            return c;
        if (!r->target.open_ns || left <= 0) {
            g_propagate_error(err, g_steal_pointer(&why));
            return NULL;
        }
        rest = pause_next(&pause, true);
        co_sleep(MIN(left, rest));
    }
}

static void offer_copy(NbdOffer *to, const NbdOffer *from)
{
    *to = *from;
    to->name = g_strdup(from->name);
    to->description = g_strdup(from->description);
}

/* Several connections need a server where they agree, and that can be called more than once. */
static bool remote_can_share(const NbdRemote *r)
{
    return r->offer.flags & NBD_FLAG_CAN_MULTI_CONN && r->target.address.kind != NET_FD;
}

NbdRemote *nbd_remote_open(NbdTarget *target, GError **err)
{
    NbdRemote *r = g_new0(NbdRemote, 1);
    NbdConn *c;

    r->target = *target;
    *target = (NbdTarget){ 0 };
    for (unsigned i = 0; i < NBD_CONNECTIONS_MAX; i++)
        r->connections[i] = (Connection){ .remote = r, .pause = PAUSE_FIRST_NS };
    c = remote_connect(r, err);
    if (!c) {
        nbd_remote_close(r);
        return NULL;
    }
    offer_copy(&r->offer, nbd_conn_offer(c));
    r->has_context = nbd_conn_has_context(c);
    connection_take(&r->connections[0], c);
    r->n_connections = remote_can_share(r) ? r->target.connections : 1;
    for (unsigned i = 1; i < r->n_connections; i++)
        connection_restore(&r->connections[i]);
    return r;
}

void nbd_remote_pause(NbdRemote *r)
{
    r->pausing = true;
    for (unsigned i = 0; i < NBD_CONNECTIONS_MAX; i++) {
        if (r->connections[i].sleeper)
            co_wake(r->connections[i].sleeper);
        net_attempt_cancel(&r->connections[i].attempt);
        if (r->connections[i].negotiating)
            channel_shutdown(r->connections[i].negotiating);
    }
    co_group_wait(&r->connectors);
}

void nbd_remote_go_on(NbdRemote *r)
{
    r->pausing = false;
    for (unsigned i = 0; i < r->n_connections; i++) {
        Connection *k = &r->connections[i];

        k->attempt = (NetAttempt){ 0 }; /* which may have been given up */
        if (!k->conn)
            connection_restore(k);
    }
}

void nbd_remote_close(NbdRemote *r)
{
    if (!r)
        return;
    nbd_remote_pause(r);
    for (unsigned i = 0; i < NBD_CONNECTIONS_MAX; i++)
        nbd_conn_free(r->connections[i].conn);
    nbd_target_clear(&r->target);
    nbd_offer_clear(&r->offer);
    g_free(r);
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* The connection with the least to do, NULL if none is connected. */
static Connection *remote_best(NbdRemote *r)
{
    Connection *best = NULL;

    for (unsigned i = 0; i < r->n_connections; i++) {
        Connection *k = &r->connections[i];

        if (k->conn && (!best || nbd_conn_calls(k->conn) < nbd_conn_calls(best->conn)))
            best = k;
    }
    return best;
}

bool nbd_remote_is_up(NbdRemote *r)
{
    return remote_best(r) != NULL;
}

static CO void remote_wait(NbdRemote *r, int64_t ns)
{
    Waiter w = { .co = co_self(), .next = r->waiters };

    if (w.next)
        w.next->prev = &w;
    r->waiters = &w;
    co_sleep(ns);
    if (w.next)
        w.next->prev = w.prev;
    if (w.prev)
        w.prev->next = w.next;
    else
        r->waiters = w.next;
}

/* A connection that is up; waits for one while calls may, and until @give_up_ns. NULL: too late. */
static CO Connection *remote_connection(NbdRemote *r, int64_t give_up_ns)
{
    for (;;) {
        Connection *k = remote_best(r);
        int64_t left;

        if (k)
            return k;
        left = MIN(give_up_ns, r->give_up_ns) - clock_now_ns();
        if (left <= 0)
            return NULL;
        remote_wait(r, left);
    }
}

/* @c, which was @k's, is over: sees to another one. Who made the last call frees it. */
static CO void connection_lost(Connection *k, NbdConn *c)
{
    NbdRemote *r = k->remote;

    if (k->conn == c) {
        TRACE(nbd_lost, "connection %d", (int)(k - r->connections));
        k->conn = NULL;
        r->losses++;
        if (!remote_best(r))
            r->give_up_ns = clock_now_ns() + r->target.reconnect_ns;
        connection_restore(k);
    }
    if (!nbd_conn_calls(c))
        nbd_conn_free(c);
}

/* Clears what an attempt left in @q. */
static void call_reset(NbdCall *q)
{
    *q = (NbdCall){
        .type = q->type,
        .flags = q->flags,
        .off = q->off,
        .len = q->len,
        .buf = q->buf,
        .runs = q->runs,
        .max_runs = q->max_runs,
    };
}

int nbd_remote_call(NbdRemote *r, NbdCall *q, bool *answered, unsigned *losses)
{
    int64_t give_up_ns = INT64_MAX;
    bool ignored;

    answered = answered ? answered : &ignored;
    *answered = false;

    /* With no delay, a lost call may still be made on each of the other connections. */
    for (unsigned attempts = 0;; attempts++) {
        Connection *k = remote_connection(r, give_up_ns);
        NbdConn *c;
        int result;

        if (!k || (attempts > r->n_connections && clock_now_ns() >= give_up_ns))
            return -EIO;
        c = k->conn;
        if (losses)
            *losses = r->losses;
        result = nbd_conn_call(c, q);
        if (nbd_conn_is_over(c))
            connection_lost(k, c);
        *answered = result != NBD_LOST;
        if (*answered)
            return result;
        if (give_up_ns == INT64_MAX)
            give_up_ns = clock_now_ns() + r->target.reconnect_ns;
        call_reset(q);
    }
}
