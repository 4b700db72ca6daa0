/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kind socket: a server that takes one client at a time, others wait in the backlog; or a client,
 * which may connect again and again.
 */
#include "crypto/authz.h"
#include "io/admit.h"
#include "io/net.h"
#include "monitor/backend.h"
#include "util/err.h"
#include "util/fd.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define SECOND_NS INT64_C(1000000000)

enum { BACKLOG = 16, HANDSHAKE_S = 10, ACCEPT_PAUSE_MS = 100 };

typedef struct {
    NetAddress address;
    bool is_server, nodelay;
    int64_t reconnect_ns;   /* 0: never */
    TlsCreds *creds;        /* NULL: in clear */
    char *authz;            /* id of the object that admits clients; NULL: everybody */
    GPtrArray *listeners;   /* of Channel, only to wait for their descriptors; NULL: none yet */
    bool is_greeting;       /* a client is in its TLS handshake */
    Channel *greeted;       /* that client */
    DetachedCall *asked;    /* whether it is welcome */
    NetAttempt attempt;     /* of a client to connect */
    Co *pausing;            /* a client before its next attempt */
    bool was_told;          /* that connecting failed */
    char *connection;       /* of those connected: both ends, for people; NULL: none */
} Socket;

/* ---- names ----------------------------------------------------------------------------------- */

static char *address_name(const Socket *s)
{
    const NetAddress *a = &s->address;
    const char *server = s->is_server ? ",server=on" : "";

    switch (a->kind) {
    case NET_UNIX:
        return g_strdup_printf("unix:%s%s%s%s", a->path, a->abstract ? ",abstract=on" : "",
                               a->abstract && !a->loose ? ",tight=on" : "", server);
    case NET_VSOCK:
        return g_strdup_printf("vsock:%s:%s", a->host, a->port);
    case NET_FD:
        return g_strdup_printf("fd:%s%s", a->path, server);
    default:
        return g_strdup_printf("tcp:%s:%s%s", a->host, a->port, server);
    }
}

static char *socket_filename(const Chardev *c)
{
    const Socket *s = c->state;
    g_autofree char *name = address_name(s);

    if (!c->is_open)
        return g_strconcat("disconnected:", name, NULL);
    return g_strdup(s->connection ? s->connection : name);
}

/* Host and port of @addr as text, IPv6 in brackets. Caller frees. */
static char *end_text(const struct sockaddr_storage *addr, socklen_t len)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getnameinfo((const struct sockaddr *)addr, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV))
        return g_strdup("unknown");
    return g_strdup_printf(addr->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/*
 * What @fd connects, for people: both ends of TCP, the path of a Unix socket. NULL: nothing is
 * known.
 */
static char *connection_name(const Socket *s, int fd)
{
    struct sockaddr_storage near_end, far_end;
    socklen_t near_len = sizeof(near_end), far_len = sizeof(far_end);
    g_autofree char *near_text = NULL, *far_text = NULL;

    if (getsockname(fd, (struct sockaddr *)&near_end, &near_len) < 0 ||
        getpeername(fd, (struct sockaddr *)&far_end, &far_len) < 0 ||
        (near_end.ss_family != AF_INET && near_end.ss_family != AF_INET6))
        return NULL;
    near_text = end_text(&near_end, near_len);
    far_text = end_text(&far_end, far_len);
    return g_strdup_printf("tcp:%s%s <-> %s", near_text, s->is_server ? ",server=on" : "",
                           far_text);
}

/* ---- a connection ---------------------------------------------------------------------------- */

/* Makes @channel speak TLS, and looks whether the peer is welcome. */
static CO bool socket_start_tls(Socket *s, Channel *channel, GError **err)
{
    int64_t deadline = clock_now_ns() + HANDSHAKE_S * SECOND_NS;
    const char *host = s->is_server || s->address.kind != NET_INET ? NULL : s->address.host;
    bool ok;

    channel_set_deadline(channel, deadline);
    ok = channel_start_tls(channel, s->creds, host, err) &&
         (!s->authz || channel_admit_peer(channel, s->authz, deadline, &s->asked, err));
    channel_set_deadline(channel, 0);
    return ok;
}

/* Hands connected socket @fd, which is taken, to the user of @c. False with @err: it is closed. */
static CO bool socket_connected(Chardev *c, int fd, GError **err)
{
    Socket *s = c->state;
    g_autoptr(Channel) channel = NULL;
    bool is_unix = s->address.kind == NET_UNIX;
    Channel *both;

    if (s->nodelay)
        net_set_nodelay(fd);
    g_free(s->connection);
    s->connection = connection_name(s, fd);
    channel = channel_new_socket(fd);
    s->greeted = channel;
    if (s->creds && !socket_start_tls(s, channel, err)) {
        s->greeted = NULL;
        return false;
    }
    s->greeted = NULL;
    if (c->closing)
        return err_set_errno(err, ECANCELED, "Not connected");
    if (!s->creds && (is_unix || s->address.kind == NET_FD))
        channel_accept_fds(channel);
    both = g_steal_pointer(&channel);
    chardev_connected(c, both, both);
    return true;
}

/* ---- servers --------------------------------------------------------------------------------- */

/* Takes a client from @listener if one is there. */
static CO void accept_one(Chardev *c, int listener)
{
    Socket *s = c->state;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        s->is_greeting = true;
        /* A client that fails here is disconnected; nobody else needs to know. */
        socket_connected(c, fd, NULL);
        s->is_greeting = false;
        co_queue_wake_all(&c->changed);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        s->pausing = co_self();
        co_sleep(ACCEPT_PAUSE_MS * (SECOND_NS / 1000));
        s->pausing = NULL;
    }
}

typedef struct {
    Chardev *chardev;
    Channel *channel;
} Listener;

static CO void listener_run(void *arg)
{
    g_autofree Listener *l = arg;
    Chardev *c = l->chardev;
    Socket *s = c->state;

    while (!c->closing) {
        if (c->is_open || s->is_greeting)
            co_queue_wait(&c->changed);
        else if (channel_wait_readable(l->channel, 0) < 0)
            break;
        else if (!c->closing && !c->is_open && !s->is_greeting)
            accept_one(c, channel_fd(l->channel));
    }
}

static CO void server_run(Chardev *c)
{
    Socket *s = c->state;
    CoGroup group = { 0 };

    for (guint i = 0; i < s->listeners->len; i++) {
        Listener *l = g_new(Listener, 1);

        *l = (Listener){ c, s->listeners->pdata[i] };
        co_group_start(&group, listener_run, l);
    }
    co_group_wait(&group);
}

/* Replaces names in the address by numbers: with port 0 the system has chosen the port. */
static void learn_address(Socket *s, int fd)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (s->address.kind != NET_INET || getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ||
        getnameinfo((const struct sockaddr *)&addr, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV))
        return;
    g_free(s->address.host);
    g_free(s->address.port);
    s->address.host = g_strdup(host);
    s->address.port = g_strdup(port);
}

static CO bool server_open(Socket *s, GError **err)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));

    s->listeners = g_ptr_array_new_with_free_func((GDestroyNotify)channel_free);
    if (!net_listen(&s->address, BACKLOG, fds, err))
        return false;
    learn_address(s, g_array_index(fds, int, 0));
    /* Not as sockets: shutting one down would end it for other processes that have it too. */
    for (guint i = 0; i < fds->len; i++)
        g_ptr_array_add(s->listeners, channel_new_fd(g_array_index(fds, int, i)));
    return true;
}

/* ---- clients --------------------------------------------------------------------------------- */

static CO bool client_connect(Chardev *c, GError **err)
{
    Socket *s = c->state;
    int fd = net_connect_attempt(&s->address, 0, &s->attempt, err);

    return fd >= 0 && socket_connected(c, fd, err);
}

static CO void client_pause(Chardev *c)
{
    Socket *s = c->state;

    if (c->closing)
        return;
    s->pausing = co_self();
    co_sleep(s->reconnect_ns);
    s->pausing = NULL;
}

static CO void client_run(Chardev *c)
{
    Socket *s = c->state;

    while (!c->closing) {
        g_autoptr(GError) err = NULL;

        if (c->is_open) {
            chardev_wait_closed(c);
            if (!s->reconnect_ns)
                return;
            client_pause(c);
        } else if (client_connect(c, &err)) {
            s->was_told = false;
        } else {
            if (!s->was_told && !c->closing)
                fprintf(stderr, "%s: Unable to connect character device %s: %s\n", g_get_prgname(),
                        c->id, err->message);
            s->was_told = true;
            client_pause(c);
        }
    }
}

/* ---- both ------------------------------------------------------------------------------------ */

static bool check_options(const json_t *data, const Socket *s, GError **err)
{
    static const char *const none[] = { "telnet", "tn3270", "websocket" };
    const json_t *addr = json_get(data, "addr");
    bool is_unix = !strcmp(json_get_str(addr, "type", ""), "unix");

    for (size_t i = 0; i < G_N_ELEMENTS(none); i++)
        if (json_get_bool(data, none[i], false))
            return err_set(err, ENOTSUP, "Character devices do not speak %s", none[i]);
    if (s->reconnect_ns < 0)
        return err_set(err, EINVAL, "'reconnect' is a number of seconds that is not negative");
    if (s->is_server && s->reconnect_ns)
        return err_set(err, EINVAL, "'reconnect' option is incompatible with socket in server "
                       "listen mode");
    if (!s->is_server && json_has(data, "wait"))
        return err_set(err, EINVAL, "'wait' option is incompatible with socket in client connect "
                       "mode");
    if (s->authz && !json_has(data, "tls-creds"))
        return err_set(err, EINVAL, "'tls_authz' option requires 'tls_creds' option");
    if (s->authz && !s->is_server)
        return err_set(err, EINVAL, "'tls-authz' decides about clients, so it is for servers");
    return !is_unix || s->address.path[0] ||
           err_set(err, EINVAL, "A Unix socket needs a path");
}

static CO bool socket_open(Chardev *c, const json_t *data, GError **err)
{
    Socket *s = c->state;
    const char *creds = json_get_str(data, "tls-creds", NULL);
    int64_t reconnect = json_get_int(data, "reconnect", 0);

    s->is_server = json_get_bool(data, "server", true);
    s->nodelay = json_get_bool(data, "nodelay", false);
    s->reconnect_ns = MIN(reconnect, INT64_MAX / SECOND_NS) * SECOND_NS;
    s->authz = g_strdup(json_get_str(data, "tls-authz", NULL));
    if (!net_address_read(json_get(data, "addr"), &s->address, err) || !check_options(data, s, err))
        return false;
    if (creds) {
        s->creds = tls_creds_find(creds, s->is_server ? TLS_SERVER : TLS_CLIENT, err);
        if (!s->creds)
            return false;
    }
    if (s->authz && !authz_exists(s->authz, err))
        return false;
    if (s->is_server)
        return server_open(s, err);
    return s->reconnect_ns || client_connect(c, err);
}

static CO void socket_run(Chardev *c)
{
    const Socket *s = c->state;

    if (s->is_server)
        server_run(c);
    else
        client_run(c);
}

static void socket_interrupt(Chardev *c)
{
    Socket *s = c->state;

    for (guint i = 0; s->listeners && i < s->listeners->len; i++)
        channel_shutdown(s->listeners->pdata[i]);
    net_attempt_cancel(&s->attempt);
    detached_call_cancel(s->asked);
    if (s->greeted)
        channel_shutdown(s->greeted);
    if (s->pausing)
        co_wake(s->pausing);
}

static void socket_close(Chardev *c)
{
    Socket *s = c->state;
    bool has_file = s->is_server && s->address.kind == NET_UNIX && !s->address.abstract;

    if (has_file && s->listeners && s->listeners->len)
        unlink(s->address.path);
    g_clear_pointer(&s->listeners, g_ptr_array_unref);
    g_clear_pointer(&s->creds, tls_creds_unref);
    net_address_clear(&s->address);
    g_free(s->authz);
    g_free(s->connection);
}

const ChardevDriver backend_socket = {
    .name = "socket",
    .state_size = sizeof(Socket),
    .open = socket_open,
    .run = socket_run,
    .interrupt = socket_interrupt,
    .close = socket_close,
    .filename = socket_filename,
};
