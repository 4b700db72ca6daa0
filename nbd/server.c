/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A server: who listens, the life of its clients, its end.
 *
 * The handshake of a client runs in a coroutine that ends with it. Serving starts in a new one,
 * maybe on another loop: the stack of the first has been in many places, while that of a client
 * which only waits shall cost no more than a page.
 */
#include "nbd/internal.h"
#include "io/net.h"
#include "util/err.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MS = 1000000,
    ACCEPT_PAUSE_MS = 100,           /* when there are no descriptors or no memory */
    CUT_MS = NBD_STOP_MS - 1000,     /* clients that took no answer until then are cut off ... */
    CUT_EARLIER_MS = 2500,           /* ... or so much earlier if they are many, a ms for each */
    /* who has taken no answers for so long then will not, either */
    STUCK_MS = 2000,
};

/* ---- clients --------------------------------------------------------------------------------- */

void nbd_report(NbdClient *c, const char *fmt, ...)
{
    const NbdServerConfig *config = &c->server->config;
    g_autofree char *text = NULL, *line = NULL;
    va_list ap;

    if (!config->report)
        return;
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    line = g_strdup_printf("%s: %s", c->peer, text);
    config->report(config->opaque, line);
}

int64_t nbd_handshake_deadline(const NbdClient *c)
{
    int64_t limit = c->server->config.handshake_ns;

    return limit ? c->since_ns + limit : 0;
}

static void cut_now(NbdClient *c)
{
    c->stop_receiving = true;
    c->broken = true;
    detached_call_cancel(c->admission);
    channel_shutdown(c->channel);
}

void nbd_client_cut(NbdClient *c)
{
    nbd_client_order(c, cut_now);
}

/* The server ends. The end of its stream is what wakes a receiver; answers can still leave. */
static void leave_now(NbdClient *c)
{
    int64_t since = c->answers.since_ns;
    bool stuck = since && clock_now_ns() - since > (int64_t)STUCK_MS * MS;

    if (!c->served || stuck) {
        cut_now(c);
        return;
    }
    c->stop_receiving = true;
    shutdown(channel_fd(c->channel), SHUT_RD);
}

static void move_now(NbdClient *c)
{
    c->must_move = true;
    if (c->awaits)
        channel_interrupt_wait(c->channel);
}

void nbd_client_follow(NbdClient *c)
{
    if (c->served && c->at != c->export->at)
        nbd_client_order(c, move_now);
}

static void client_unlink(NbdClient *c)
{
    NbdServer *s = c->server;

    if (c->prev)
        c->prev->next = c->next;
    else
        s->clients = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->n_clients--;
}

/* Nothing of @c runs any more. */
static void client_end(NbdClient *c)
{
    NbdServer *s = c->server;
    bool served = c->served;

    g_assert(!c->held);
    client_unlink(c);
    channel_free(c->channel);
    nbd_contexts_forget(c);
    nbd_client_forget_size(c);
    nbd_export_unref(c->export);
    nbd_loop_unref(c->at);
    g_free(c->peer);
    g_free(c);
    co_queue_wake_all(&s->room);
    if (s->stopper && !s->clients)
        co_wake(s->stopper);
    if (s->config.client_left)
        s->config.client_left(s->config.opaque, served);
}

static void client_paused(Mail *m)
{
    NbdClient *c = (NbdClient *)((char *)m - offsetof(NbdClient, has_paused));

    c->runs = false;
    nbd_client_go_on(c);
}

/* On the loop where it is served, until it leaves or is to go to another one. */
static CO void client_serve(void *arg)
{
    NbdClient *c = arg;
    NbdLoop *at = c->at;

    at->n_clients++;
    nbd_receive(c);
    while (c->in_flight || c->sending)
        co_queue_wait(&c->room);
    if (!--at->n_clients)
        nbd_buffers_trim(&at->buffers);
    c->has_paused.deliver = client_paused;
    loop_post(c->server->own->loop, &c->has_paused);
}

/* Lets @c be served where its export says. Nothing of it runs. */
static void client_resume(NbdClient *c)
{
    NbdLoop *before = c->at;

    c->must_move = c->moves = false;
    c->runs = true;
    c->at = nbd_loop_ref(c->export->at);
    nbd_loop_unref(before);
    if (c->at->thread)
        loop_call(c->at->loop, client_serve, c);
    else
        co_start(client_serve, c);
}

void nbd_client_go_on(NbdClient *c)
{
    if (c->runs || c->orders)
        return;
    if (c->moves && !c->stop_receiving) {
        client_resume(c);
        return;
    }
    nbd_report(c, "left");
    client_end(c);
}

static CO void client_greet(void *arg)
{
    NbdClient *c = arg;
    g_autoptr(GError) err = NULL;

    channel_set_deadline(c->channel, nbd_handshake_deadline(c));
    if (!nbd_handshake(c, &err)) {
        nbd_report(c, "%s", err ? err->message : "left in the handshake");
        client_end(c);
        return;
    }
    channel_set_deadline(c->channel, 0);
    c->served = true;
    nbd_report(c, "uses export '%s'", c->export->name);
    client_resume(c);
}

void nbd_server_serve(NbdServer *s, int fd)
{
    NbdClient *c = g_new0(NbdClient, 1);

    net_set_nodelay(fd);
    c->server = s;
    c->at = nbd_loop_ref(s->own);
    c->channel = channel_new_socket(fd);
    c->peer = net_peer_text(fd);
    c->since_ns = clock_now_ns();
    c->done_tail = &c->done;
    c->runs = true;
    c->next = s->clients;
    if (c->next)
        c->next->prev = c;
    s->clients = c;
    s->n_clients++;
    co_start(client_greet, c);
}

/* ---- listening ------------------------------------------------------------------------------- */

typedef struct {
    NbdServer *server;
    Channel *channel; /* only to wait for its descriptor, and to stop that */
} Listener;

static bool server_is_full(const NbdServer *s)
{
    return s->n_clients >= s->clients_max ||
           (s->config.max_clients && s->n_clients >= s->config.max_clients);
}

/* Takes a client if one is there. What goes wrong with one must not keep out the others. */
static CO void accept_one(NbdServer *s, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0)
        nbd_server_serve(s, fd);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        co_sleep(ACCEPT_PAUSE_MS * MS);
}

static CO void listener_run(void *arg)
{
    g_autofree Listener *l = arg;
    NbdServer *s = l->server;

    while (!s->stopping) {
        if (server_is_full(s))
            co_queue_wait(&s->room);
        else if (channel_wait_readable(l->channel, 0) < 0)
            break;
        else if (!s->stopping && !server_is_full(s))
            accept_one(s, channel_fd(l->channel));
    }
}

void nbd_server_listen(NbdServer *s, int fd)
{
    Listener *l = g_new(Listener, 1);
    /* Not as a socket: shutting that down would end it for other processes that have it too. */
    Channel *channel = channel_new_fd(fd);

    *l = (Listener){ s, channel };
    g_ptr_array_add(s->listeners, channel);
    co_group_start(&s->accepting, listener_run, l);
}

/* ---- life ------------------------------------------------------------------------------------ */

NbdServer *nbd_server_new(const NbdServerConfig *config)
{
    NbdServer *s = g_new0(NbdServer, 1);

    s->config = *config;
    if (config->tls)
        tls_creds_ref(config->tls);
    s->authz = g_strdup(config->tls_authz);
    s->exports = g_ptr_array_new();
    s->listeners = g_ptr_array_new_with_free_func((GDestroyNotify)channel_free);
    nbd_ledger_init(s);
    nbd_loops_init(s);
    return s;
}

static CO void server_free(NbdServer *s)
{
    nbd_loops_clear(s);
    nbd_ledger_clear(s);
    g_ptr_array_unref(s->listeners);
    g_ptr_array_unref(s->exports);
    if (s->config.tls)
        tls_creds_unref(s->config.tls);
    g_free(s->authz);
    g_free(s);
}

/* Waits for all clients to have left; the stubborn are cut off. */
static CO void clients_leave(NbdServer *s)
{
    int64_t deadline = clock_now_ns() + (int64_t)(CUT_MS - MIN(s->n_clients, CUT_EARLIER_MS)) * MS;

    for (NbdClient *c = s->clients; c; c = c->next)
        nbd_client_order(c, leave_now);
    s->stopper = co_self();
    while (s->clients) {
        bool late = co_sleep(deadline - clock_now_ns());

        for (NbdClient *c = s->clients; late && c; c = c->next)
            nbd_client_cut(c);
        if (late)
            deadline = INT64_MAX;
    }
    s->stopper = NULL;
}

CO bool nbd_server_stop(NbdServer *s)
{
    bool ok;

    s->stopping = true;
    for (guint i = 0; i < s->listeners->len; i++)
        channel_shutdown(s->listeners->pdata[i]);
    co_queue_wake_all(&s->room);
    clients_leave(s);
    co_group_wait(&s->accepting);
    for (guint i = 0; i < s->exports->len; i++)
        nbd_export_unref(s->exports->pdata[i]);
    co_group_wait(&s->closing);
    ok = !s->flush_failed;
    server_free(s);
    return ok;
}

/* ---- looking at it --------------------------------------------------------------------------- */

unsigned nbd_server_clients(const NbdServer *s)
{
    return s->n_clients;
}

void nbd_server_foreach_client(const NbdServer *s,
                               void (*fn)(const NbdClientStatus *st, void *arg), void *arg)
{
    int64_t now = clock_now_ns();

    g_assert(!s->loops->len);
    for (const NbdClient *c = s->clients; c; c = c->next) {
        NbdClientStatus st = {
            .peer = c->peer,
            .identity = channel_tls_peer(c->channel),
            .export_name = c->export ? c->export->name : NULL,
            .requests = c->requests,
            .bytes_read = c->bytes_read,
            .bytes_written = c->bytes_written,
            .in_flight = c->in_flight,
            .connected_ns = now - c->since_ns,
        };

        fn(&st, arg);
    }
}
