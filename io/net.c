/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Socket addresses. A NetAddress stands for one or more system addresses (Place), each of which can
 * be connected to or listened on.
 */
#include "io/net.h"
#include "io/aio.h"
#include "io/detached-call.h"
#include "io/internal.h"
#include "util/err.h"
#include "util/fd.h"
#include "util/given-fd.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

enum { PLACES_MAX = 64, BACKLOG_PAUSE_NS = 20 * 1000 * 1000 };

/* One system address. */
typedef struct {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_vm vm;
        struct sockaddr_storage room;
    } addr;
    socklen_t len;
} Place;

void net_address_clear(NetAddress *a)
{
    g_free(a->host);
    g_free(a->port);
    g_free(a->path);
    *a = (NetAddress){ 0 };
}

char *net_address_text(const NetAddress *a)
{
    switch (a->kind) {
    case NET_UNIX:
        return g_strdup_printf("unix:%s%s", a->abstract ? "@" : "", a->path);
    case NET_VSOCK:
        return g_strdup_printf("vsock:%s:%s", a->host, a->port);
    case NET_FD:
        return g_strdup_printf("fd:%s", a->path);
    default:
        return g_strdup_printf(strchr(a->host, ':') ? "[%s]:%s" : "%s:%s", a->host, a->port);
    }
}

/* ---- from an address to places --------------------------------------------------------------- */

/* A name look-up, which may outlive who asked for it. */
typedef struct {
    char *host, *port; /* @host NULL: every address */
    struct addrinfo hints, *found;
    int error;         /* errno of EAI_SYSTEM */
} Lookup;

static int lookup_family(const NetAddress *a)
{
    if (a->ipv4 != a->ipv6)
        return a->ipv4 ? AF_INET : AF_INET6;
    return AF_UNSPEC;
}

static Lookup *lookup_new(const NetAddress *a, bool passive)
{
    Lookup *l = g_new(Lookup, 1);

    *l = (Lookup){
        .host = passive && !*a->host ? NULL : g_strdup(a->host),
        .port = g_strdup(a->port),
        .hints = {
            .ai_family = lookup_family(a),
            .ai_socktype = SOCK_STREAM,
            .ai_flags = (passive ? AI_PASSIVE : 0) |
                        (a->numeric ? AI_NUMERICHOST | AI_NUMERICSERV : 0),
        },
    };
    return l;
}

static void lookup_free(void *p)
{
    Lookup *l = p;

    if (l->found)
        freeaddrinfo(l->found);
    g_free(l->host);
    g_free(l->port);
    g_free(l);
}

static int lookup_work(void *arg)
{
    Lookup *l = arg;
    int r = getaddrinfo(l->host, l->port, &l->hints, &l->found);

    l->error = r == EAI_SYSTEM ? errno : EHOSTUNREACH;
    return r;
}

/* getaddrinfo(3) takes the lowest 16 bits of a larger number. */
static bool port_check(const char *port, GError **err)
{
    char *end;

    if (g_ascii_strtoull(port, &end, 10) <= UINT16_MAX || *end)
        return true;
    return err_set(err, EINVAL, "Port '%s' is larger than %d", port, UINT16_MAX);
}

static CO bool places_of_inet(const NetAddress *a, bool passive, int64_t deadline_ns, NetAttempt *t,
                              GArray *places, GError **err)
{
    g_autofree char *text = net_address_text(a);
    g_autoptr(DetachedCall) e = NULL;
    Lookup *l;
    int found, r;

    if (!port_check(a->port, err))
        return false;
    l = lookup_new(a, passive);
    t->lookup = e = detached_call_start(lookup_work, l, lookup_free);
    r = detached_call_wait(e, deadline_ns, &found);
    t->lookup = NULL;
    if (r < 0)
        return err_set_errno(err, r, "Cannot find the address '%s'", text);
    if (found)
        return err_set(err, l->error, "Cannot find the address '%s': %s", text,
                       found == EAI_SYSTEM ? g_strerror(l->error) : gai_strerror(found));
    for (struct addrinfo *i = l->found; i && places->len < PLACES_MAX; i = i->ai_next) {
        Place p = { .len = i->ai_addrlen };

        memcpy(&p.addr, i->ai_addr, MIN(i->ai_addrlen, sizeof(p.addr)));
        g_array_append_val(places, p);
    }
    return true;
}

static bool places_of_unix(const NetAddress *a, GArray *places, GError **err)
{
    Place p = { .addr.un.sun_family = AF_UNIX };
    size_t room = sizeof(p.addr.un.sun_path), len = strlen(a->path);
    size_t lead = a->abstract ? 1 : 0;

    if (!len || len + 1 > room)
        return err_set(err, ENAMETOOLONG, "A socket path has 1 to %zu bytes, '%s' has %zu",
                       room - 1, a->path, len);
    memcpy(p.addr.un.sun_path + lead, a->path, len);
    p.len = a->abstract && !a->loose ? offsetof(struct sockaddr_un, sun_path) + lead + len
                                     : sizeof(p.addr.un);
    g_array_append_val(places, p);
    return true;
}

/* A whole number of 32 bits. */
static bool number_parse(const char *what, const char *text, uint32_t *out, GError **err)
{
    char *end;
    uint64_t v;

    errno = 0;
    v = g_ascii_strtoull(text, &end, 10);
    if (errno || end == text || *end || v > UINT32_MAX || !g_ascii_isdigit(*text))
        return err_set(err, EINVAL, "The %s must be a number of 32 bits, not '%s'", what, text);
    *out = v;
    return true;
}

static bool places_of_vsock(const NetAddress *a, GArray *places, GError **err)
{
    Place p = { .addr.vm.svm_family = AF_VSOCK, .len = sizeof(p.addr.vm) };

    if (!number_parse("context id", a->host, &p.addr.vm.svm_cid, err) ||
        !number_parse("port", a->port, &p.addr.vm.svm_port, err))
        return false;
    g_array_append_val(places, p);
    return true;
}

static CO bool places_of(const NetAddress *a, bool passive, int64_t deadline_ns, NetAttempt *t,
                         GArray *places, GError **err)
{
    switch (a->kind) {
    case NET_UNIX:
        return places_of_unix(a, places, err);
    case NET_VSOCK:
        return places_of_vsock(a, places, err);
    default:
        return places_of_inet(a, passive, deadline_ns, t, places, err);
    }
}

static int place_socket(const NetAddress *a, const Place *p)
{
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(p->addr.any.sa_family, type,
                    a->kind == NET_INET && a->mptcp ? IPPROTO_MPTCP : 0);

    return fd < 0 ? -errno : fd;
}

static void socket_option(int fd, int level, int name)
{
    int on = 1;

    setsockopt(fd, level, name, &on, sizeof(on));
}

void net_set_nodelay(int fd)
{
    socket_option(fd, IPPROTO_TCP, TCP_NODELAY);
}

/* ---- NET_FD ---------------------------------------------------------------------------------- */

/* The descriptor that @a numbers, duplicated, or names, taken; -1 with @err. */
static int fd_given(const NetAddress *a, GError **err)
{
    uint32_t number;
    int fd;

    if (!g_ascii_isdigit(*a->path)) {
        fd = named_fd_take(a->path);
        if (fd < 0)
            err_set(err, ENOENT, "There is no descriptor named '%s'", a->path);
        return fd;
    }
    if (!number_parse("descriptor", a->path, &number, err))
        return -1;
    fd = fcntl(number, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        err_set_errno(err, errno, "Cannot use descriptor %s", a->path);
    return fd;
}

/* The same if it is a stream socket. */
static int fd_duplicate(const NetAddress *a, GError **err)
{
    autofd int fd = fd_given(a, err);
    int type;
    socklen_t len = sizeof(type);

    if (fd < 0)
        return -1;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM) {
        err_set(err, EBADF, "Descriptor %s is not an open stream socket", a->path);
        return -1;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd_steal(&fd);
}

/* ---- connecting ------------------------------------------------------------------------------ */

static bool is_writable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };

    return poll(&p, 1, 0) != 0;
}

/*
 * Waits until @fd is connected, or not. 0 or a negative errno. A ring tells what woke it and does
 * not look again: for vsock that is, long before the answer, the buffer of the request becoming
 * free.
 */
static CO int attempt_wait(NetAttempt *t, int fd, int64_t deadline_ns)
{
    PollWait w;
    int r;

    t->wait = &w;
    do {
        r = poll_wait(&w, fd, POLLOUT, deadline_ns);
    } while (r >= 0 && !is_writable(fd));
    t->wait = NULL;
    return MIN(r, 0);
}

void net_attempt_cancel(NetAttempt *t)
{
    t->cancelled = true;
    detached_call_cancel(t->lookup);
    if (t->wait)
        poll_wait_cancel(t->wait, -ECANCELED);
}

/*
 * Begins to connect: 0 or a negative errno. A Unix socket whose backlog is full refuses at once,
 * and nothing tells when it is not full any more.
 */
static CO int connect_begin(int fd, const Place *p, int64_t deadline_ns, const NetAttempt *t)
{
    while (connect(fd, &p->addr.any, p->len) < 0) {
        if (errno != EAGAIN || p->addr.any.sa_family != AF_UNIX)
            return -errno;
        if (deadline_ns && clock_now_ns() >= deadline_ns)
            return -ETIMEDOUT;
        co_sleep(BACKLOG_PAUSE_NS);
        if (t->cancelled)
            return -ECANCELED;
    }
    return 0;
}

/* A connected socket or a negative errno. */
static CO int place_connect(const NetAddress *a, const Place *p, int64_t deadline_ns, NetAttempt *t)
{
    autofd int fd = place_socket(a, p);
    int r = 0;
    socklen_t len = sizeof(r);

    if (fd < 0)
        return fd;
    r = connect_begin(fd, p, deadline_ns, t);
    if (r < 0) {
        if (r != -EINPROGRESS && r != -EINTR)
            return r;
        r = attempt_wait(t, fd, deadline_ns);
        if (r < 0)
            return r;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &r, &len) < 0)
            return -errno;
        if (r)
            return -r;
    }
    return fd_steal(&fd);
}

int net_connect(const NetAddress *a, int64_t deadline_ns, GError **err)
{
    NetAttempt t = { 0 };

    return net_connect_attempt(a, deadline_ns, &t, err);
}

int net_connect_attempt(const NetAddress *a, int64_t deadline_ns, NetAttempt *t, GError **err)
{
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(Place));
    g_autofree char *text = net_address_text(a);
    int fd = -EHOSTUNREACH;

    if (a->kind == NET_FD)
        return fd_duplicate(a, err);
    if (!places_of(a, false, deadline_ns, t, places, err))
        return -1;
    for (guint i = 0; i < places->len && fd < 0 && !t->cancelled; i++)
        fd = place_connect(a, &g_array_index(places, Place, i), deadline_ns, t);
    if (fd < 0 && t->cancelled)
        fd = -ECANCELED;
    if (fd < 0) {
        err_set_errno(err, fd, "Cannot connect to '%s'", text);
        return -1;
    }
    if (a->keep_alive)
        socket_option(fd, SOL_SOCKET, SO_KEEPALIVE);
    return fd;
}

/* ---- listening ------------------------------------------------------------------------------- */

static void place_set_port(Place *p, uint16_t port)
{
    if (p->addr.any.sa_family == AF_INET6)
        p->addr.in6.sin6_port = htons(port);
    else
        p->addr.in.sin_port = htons(port);
}

static uint16_t place_port(const Place *p)
{
    return ntohs(p->addr.any.sa_family == AF_INET6 ? p->addr.in6.sin6_port : p->addr.in.sin_port);
}

/* Makes room at @path, where an earlier server may have left its socket. 0 or a negative errno. */
static int socket_path_free(const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    /* Anything else may be what somebody wants to keep. */
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    return unlink(path) < 0 ? -errno : 0;
}

/* A listening socket or a negative errno. */
static int place_listen(const NetAddress *a, const Place *p, int backlog)
{
    autofd int fd = place_socket(a, p);

    if (fd < 0)
        return fd;
    if (a->kind == NET_INET) {
        socket_option(fd, SOL_SOCKET, SO_REUSEADDR);
        /* Of "every address" there is one for each family: neither is to take the other's. */
        if (p->addr.any.sa_family == AF_INET6)
            socket_option(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    } else if (a->kind == NET_UNIX && !a->abstract) {
        int r = socket_path_free(a->path);

        if (r < 0)
            return r;
    }
    if (bind(fd, &p->addr.any, p->len) < 0 || listen(fd, backlog) < 0)
        return -errno;
    return fd_steal(&fd);
}

/* The same on the first free port from the place's own to @a->to. */
static int place_listen_range(const NetAddress *a, Place *p, int backlog)
{
    int fd = place_listen(a, p, backlog);

    if (a->kind != NET_INET)
        return fd;
    for (int port = place_port(p) + 1; fd == -EADDRINUSE && port <= a->to; port++) {
        place_set_port(p, port);
        fd = place_listen(a, p, backlog);
    }
    return fd;
}

bool net_listen(const NetAddress *a, int backlog, GArray *fds, GError **err)
{
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(Place));
    NetAttempt t = { 0 };
    guint before = fds->len;
    int failure = -EADDRNOTAVAIL;

    if (a->kind == NET_FD) {
        int fd = fd_duplicate(a, err);

        if (fd >= 0)
            g_array_append_val(fds, fd);
        return fd >= 0;
    }
    if (!places_of(a, true, 0, &t, places, err))
        return false;
    for (guint i = 0; i < places->len; i++) {
        int fd = place_listen_range(a, &g_array_index(places, Place, i), backlog);

        if (fd >= 0)
            g_array_append_val(fds, fd);
        else if (fd != -EAFNOSUPPORT || failure == -EADDRNOTAVAIL)
            failure = fd;
    }
    if (fds->len == before) {
        g_autofree char *text = net_address_text(a);

        if (failure == -EEXIST)
            return err_set(err, EEXIST, "Cannot listen on '%s': what is there is no socket, and is "
                           "left alone", text);
        return err_set_errno(err, failure, "Cannot listen on '%s'", text);
    }
    return true;
}

char *net_peer_text(int fd)
{
    Place p = { .len = sizeof(p.addr) };
    char host[NI_MAXHOST], port[8];

    if (getpeername(fd, &p.addr.any, &p.len) < 0)
        return g_strdup("unknown");
    if (p.addr.any.sa_family == AF_UNIX)
        return g_strdup("unix");
    if (p.addr.any.sa_family == AF_VSOCK)
        return g_strdup_printf("vsock:%u:%u", p.addr.vm.svm_cid, p.addr.vm.svm_port);
    if (getnameinfo(&p.addr.any, p.len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV))
        return g_strdup("unknown");
    return g_strdup_printf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}
