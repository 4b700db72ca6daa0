/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/sockets.h"
#include "io/admit.h"
#include "util/err.h"
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Whoever waits for connections looks this often whether any can still come. */
#define LOOK_NS INT64_C(200000000)
/* How long a client that has connected may take to show that it is a source. */
#define SILENCE_NS INT64_C(10000000000)

/* ---- addresses ------------------------------------------------------------------------------- */

static bool split_port(const char *text, NetAddress *a, GError **err)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;

    if (!colon || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")])
        return err_set(err, EINVAL, "'%s' is not HOST:PORT", text);
    a->host = len >= 2 && *text == '[' && text[len - 1] == ']' ? g_strndup(text + 1, len - 2)
                                                              : g_strndup(text, len);
    a->port = g_strdup(colon + 1);
    return true;
}

bool mig_address_read(NetKind kind, const char *text, NetAddress *a, GError **err)
{
    a->kind = kind;
    if (kind != NET_UNIX)
        return split_port(text, a, err);
    a->path = g_strdup(text);
    return *text || err_set(err, EINVAL, "The path of the socket is empty");
}

static json_t *address_of(int fd, const NetAddress *a)
{
    json_t *o = json_object();
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);
    char host[128], port[16];

    if (a->kind == NET_UNIX) {
        json_put_str(o, "type", "unix");
        json_put_str(o, "path", a->path);
        return o;
    }
    json_put_str(o, "type", a->kind == NET_VSOCK ? "vsock" : "inet");
    if (a->kind == NET_INET && getsockname(fd, (struct sockaddr *)&at, &len) == 0 &&
        getnameinfo((struct sockaddr *)&at, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        json_put_str(o, "host", host);
        json_put_str(o, "port", port);
    } else {
        json_put_str(o, a->kind == NET_VSOCK ? "cid" : "host", a->host);
        json_put_str(o, "port", a->port);
    }
    return o;
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static CO bool start_tls(MigSockets *s, Channel *c, bool is_server, GError **err)
{
    const char *host = s->hostname ? s->hostname
                       : s->address.kind == NET_INET ? s->address.host : NULL;

    return channel_start_tls(c, s->creds, is_server ? NULL : host, err) &&
           (!is_server || !s->authz || channel_admit_peer(c, s->authz, 0, &s->asked, err));
}

CO Channel *mig_sockets_protect(MigSockets *s, Channel *c, bool is_server, GError **err)
{
    bool ok;

    if (!s->creds)
        return c;
    s->greeted = c;
    ok = start_tls(s, c, is_server, err);
    s->greeted = NULL;
    if (ok && !s->is_interrupted)
        return c;
    if (ok)
        err_set_errno(err, -ECANCELED, "TLS was not set up");
    channel_free(c);
    return NULL;
}

/* ---- connecting and listening ---------------------------------------------------------------- */

CO Channel *mig_sockets_connect(MigSockets *s, GError **err)
{
    int fd = net_connect_attempt(&s->address, 0, &s->attempt, err);

    return fd >= 0 ? mig_sockets_protect(s, channel_new_socket(fd), false, err) : NULL;
}

CO json_t *mig_sockets_listen(MigSockets *s, unsigned connections, GError **err)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    json_t *addresses;

    if (!net_listen(&s->address, connections, fds, err))
        return NULL;
    addresses = json_array();
    s->listeners = g_ptr_array_new_with_free_func((GDestroyNotify)channel_free);
    for (guint i = 0; i < fds->len; i++) {
        int fd = g_array_index(fds, int, i);

        json_array_append_new(addresses, address_of(fd, &s->address));
        g_ptr_array_add(s->listeners, channel_new_socket(fd));
    }
    return addresses;
}

void mig_sockets_stop_listening(MigSockets *s)
{
    g_clear_pointer(&s->listeners, g_ptr_array_unref);
}

/* The source has gone, so nobody else will connect. */
static bool is_abandoned(const MigSockets *s)
{
    struct pollfd p = { .events = POLLRDHUP };

    if (!s->first)
        return false;
    p.fd = channel_fd(s->first);
    return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

/* The next connection to one of the listening sockets; -1 with @err. */
static CO int accept_any(MigSockets *s, GError **err)
{
    while (!s->is_interrupted) {
        if (is_abandoned(s)) {
            err_set(err, EPIPE, "The source closed the main connection before it had made the "
                    "other ones: see its query-migrate for the reason");
            return -1;
        }
        for (guint i = 0; i < s->listeners->len; i++) {
            int fd = accept4(channel_fd(s->listeners->pdata[i]), NULL, NULL,
                             SOCK_CLOEXEC | SOCK_NONBLOCK);

            if (fd >= 0)
                return fd;
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                err_set_errno(err, errno, "Cannot accept the source's connection");
                mig_sockets_stop_listening(s);
                return -1;
            }
        }
        /* Only a name that stands for several addresses has more than one. */
        if (s->listeners->len == 1)
            channel_wait_readable(s->listeners->pdata[0], clock_now_ns() + LOOK_NS);
        else
            co_sleep(5000000);
    }
    err_set_errno(err, -ECANCELED, "No source has connected");
    return -1;
}

/*
 * A source begins to send at once, except that one with several channels connects all of them
 * first. 0 or a negative errno.
 */
static CO int await_first_bytes(MigSockets *s, Channel *c, int64_t deadline)
{
    int r;

    if (!s->first && s->expects_more)
        return 0;
    s->greeted = c;
    r = channel_wait_readable(c, deadline);
    s->greeted = NULL;
    return s->is_interrupted ? -ECANCELED : r;
}

int64_t mig_sockets_deadline(void)
{
    return clock_now_ns() + SILENCE_NS;
}

static CO Channel *greet(MigSockets *s, int fd, GError **err)
{
    int64_t deadline = mig_sockets_deadline();
    Channel *c = channel_new_socket(fd);
    int r;

    channel_set_deadline(c, deadline);
    c = mig_sockets_protect(s, c, true, err);
    r = c ? await_first_bytes(s, c, deadline) : 0;
    if (r < 0) {
        err_set_errno(err, r, "The client has connected but sends nothing");
        channel_free(c);
        return NULL;
    }
    if (c)
        channel_set_deadline(c, 0);
    return c;
}

CO Channel *mig_sockets_accept(MigSockets *s, GError **err)
{
    for (;;) {
        g_autoptr(GError) why = NULL;
        int fd = accept_any(s, err);
        Channel *c = fd >= 0 ? greet(s, fd, &why) : NULL;

        if (c || fd < 0)
            return c;
        if (s->is_interrupted) {
            g_propagate_error(err, g_steal_pointer(&why));
            return NULL;
        }
        s->dropped(why);
    }
}

/* ---- ends ------------------------------------------------------------------------------------ */

void mig_sockets_interrupt(MigSockets *s)
{
    s->is_interrupted = true;
    net_attempt_cancel(&s->attempt);
    detached_call_cancel(s->asked);
    if (s->greeted)
        channel_shutdown(s->greeted);
    if (s->listeners && s->listeners->len == 1)
        channel_interrupt_wait(s->listeners->pdata[0]);
}

void mig_sockets_clear(MigSockets *s)
{
    mig_sockets_stop_listening(s);
    net_address_clear(&s->address);
    tls_creds_unref(s->creds);
    g_free(s->hostname);
    g_free(s->authz);
}
