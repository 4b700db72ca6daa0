/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/transport.h"
#include "io/aio.h"
#include "util/err.h"
#include "util/fd.h"
#include "util/given-fd.h"
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct Transport {
    Channel *channel;
    pid_t command;   /* 0: none */
    bool is_socket, is_sending, is_interrupted;
};

typedef enum { KIND_NONE, KIND_TCP, KIND_UNIX, KIND_VSOCK, KIND_FD, KIND_EXEC, KIND_FILE } Kind;

static Kind kind_of(const char *uri, const char **rest)
{
    static const struct {
        const char *name;
        Kind kind;
    } kinds[] = {
        { "tcp:", KIND_TCP }, { "unix:", KIND_UNIX }, { "vsock:", KIND_VSOCK }, { "fd:", KIND_FD },
        { "exec:", KIND_EXEC }, { "file:", KIND_FILE },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (g_str_has_prefix(uri, kinds[i].name)) {
            *rest = uri + strlen(kinds[i].name);
            return kinds[i].kind;
        }
    return KIND_NONE;
}

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

static bool read_address(Kind kind, const char *rest, NetAddress *a, GError **err)
{
    if (kind == KIND_UNIX) {
        a->kind = NET_UNIX;
        a->path = g_strdup(rest);
        return *rest || err_set(err, EINVAL, "The path of the socket is empty");
    }
    a->kind = kind == KIND_TCP ? NET_INET : NET_VSOCK;
    return split_port(rest, a, err);
}

bool transport_check(const char *uri, GError **err)
{
    const char *rest;
    g_auto(NetAddress) a = { 0 };
    Kind kind = kind_of(uri, &rest);

    switch (kind) {
    case KIND_NONE:
        return err_set(err, EINVAL, "Parameter 'uri' expects a valid migration protocol");
    case KIND_FD:
    case KIND_EXEC:
    case KIND_FILE:
        return *rest || err_set(err, EINVAL, "'%s' lacks what it leads to", uri);
    default:
        return read_address(kind, rest, &a, err);
    }
}

/* ---- making them ----------------------------------------------------------------------------- */

static Transport *transport_new(int fd, bool is_sending)
{
    Transport *t = g_new0(Transport, 1);
    int type;
    socklen_t len = sizeof(type);

    t->is_socket = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
    t->is_sending = is_sending;
    t->channel = t->is_socket ? channel_new_socket(fd) : channel_new_fd(fd);
    return t;
}

static Transport *open_fd(const char *name, bool is_sending, GError **err)
{
    char *end;
    int fd = named_fd_take(name);
    long number = strtol(name, &end, 10);

    if (fd < 0 && !*end && number >= 0 && number <= INT_MAX)
        fd = fcntl(number, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0)
        return transport_new(fd, is_sending);
    err_set(err, EBADF, "There is no file descriptor '%s'", name);
    return NULL;
}

static Transport *open_file(const char *path, bool is_sending, GError **err)
{
    int fd = is_sending ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
                        : open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        return transport_new(fd, is_sending);
    err_set_errno(err, errno, "Cannot open '%s'", path);
    return NULL;
}

static void leave_parent(gpointer unused)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
}

static Transport *start_command(const char *command, bool is_sending, GError **err)
{
    const char *argv[] = { "/bin/sh", "-c", command, NULL };
    Transport *t;
    GPid pid;
    int fd;

    if (!g_spawn_async_with_pipes(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, leave_parent,
                                  NULL, &pid, is_sending ? &fd : NULL, is_sending ? NULL : &fd, NULL,
                                  err))
        return NULL;
    t = transport_new(fd, is_sending);
    t->command = pid;
    return t;
}

static CO Transport *connect_socket(Kind kind, const char *rest, GError **err)
{
    g_auto(NetAddress) a = { 0 };
    int fd = read_address(kind, rest, &a, err) ? net_connect(&a, 0, err) : -1;

    return fd >= 0 ? transport_new(fd, true) : NULL;
}

static bool is_socket(Kind kind)
{
    return kind != KIND_NONE && kind != KIND_FD && kind != KIND_FILE && kind != KIND_EXEC;
}

/* What @uri, of a kind that is no socket, names. @sends: a stream is written there; else read. */
static CO Transport *open_other(Kind kind, const char *uri, const char *rest, bool sends,
                                GError **err)
{
    switch (kind) {
    case KIND_FD:
        return open_fd(rest, sends, err);
    case KIND_FILE:
        return open_file(rest, sends, err);
    case KIND_EXEC:
        return start_command(rest, sends, err);
    default:
        transport_check(uri, err);
        return NULL;
    }
}

CO Transport *transport_connect(const char *uri, GError **err)
{
    const char *rest = NULL;
    Kind kind = kind_of(uri, &rest);

    return is_socket(kind) ? connect_socket(kind, rest, err)
                           : open_other(kind, uri, rest, true, err);
}

/* ---- waiting for somebody -------------------------------------------------------------------- */

static json_t *address_of(int fd, const NetAddress *a)
{
    g_autofree char *text = NULL;
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

/* The one of @fds to which somebody has connected, accepted; -1 with @err. */
static CO int accept_any(const GArray *fds, GError **err)
{
    for (;;) {
        for (guint i = 0; i < fds->len; i++) {
            int fd = accept4(g_array_index(fds, int, i), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

            if (fd >= 0)
                return fd;
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                err_set_errno(err, errno, "Cannot accept a connection");
                return -1;
            }
        }
        /* Only a name that stands for several addresses has more than one. */
        if (fds->len == 1)
            aio_poll(g_array_index(fds, int, 0), POLLIN, 0);
        else
            co_sleep(5000000);
    }
}

static CO Transport *accept_socket(Kind kind, const char *rest,
                                   void (*listening)(void *opaque, json_t *addresses), void *opaque,
                                   GError **err)
{
    g_auto(NetAddress) a = { 0 };
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    json_t *addresses = json_array();
    int fd = -1;

    if (read_address(kind, rest, &a, err) && net_listen(&a, 1, fds, err)) {
        for (guint i = 0; i < fds->len; i++)
            json_array_append_new(addresses, address_of(g_array_index(fds, int, i), &a));
        if (listening)
            listening(opaque, json_incref(addresses));
        fd = accept_any(fds, err);
    }
    json_decref(addresses);
    for (guint i = 0; i < fds->len; i++)
        close(g_array_index(fds, int, i));
    return fd >= 0 ? transport_new(fd, false) : NULL;
}

CO Transport *transport_accept(const char *uri, void (*listening)(void *opaque, json_t *addresses),
                               void *opaque, GError **err)
{
    const char *rest = NULL;
    Kind kind = kind_of(uri, &rest);

    return is_socket(kind) ? accept_socket(kind, rest, listening, opaque, err)
                           : open_other(kind, uri, rest, false, err);
}

/* ---- using them ------------------------------------------------------------------------------ */

CO ssize_t transport_read(void *opaque, void *buf, size_t len)
{
    Transport *t = opaque;

    return t->is_interrupted ? -ECANCELED : channel_read(t->channel, buf, len);
}

CO int transport_write(void *opaque, const void *buf, size_t len)
{
    Transport *t = opaque;
    int r = t->is_interrupted ? -ECANCELED : channel_write_all(t->channel, buf, len);

    return r < 0 && t->is_interrupted ? -ECANCELED : r;
}

bool transport_is_socket(const Transport *t)
{
    return t->is_socket;
}

void transport_interrupt(Transport *t)
{
    t->is_interrupted = true;
    channel_shutdown(t->channel);
    if (t->command)
        kill(t->command, SIGTERM);
}

/* Commands are few, and their end is near once their input has ended. */
static CO int wait_command(Transport *t)
{
    int status;
    pid_t r;

    while ((r = waitpid(t->command, &status, WNOHANG)) == 0)
        co_sleep(2000000);
    t->command = 0;
    return r > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

CO int transport_finish(Transport *t)
{
    int r = t->is_interrupted ? -ECANCELED : 0;

    /* A file is on the disk before anybody relies on it. */
    if (t->is_sending && !t->is_socket && !t->command) {
        int synced = aio_fdatasync(AIO_THREADS, channel_fd(t->channel));

        r = synced < 0 && synced != -EINVAL && synced != -EROFS && !r ? synced : r;
    }
    channel_free(t->channel);
    t->channel = NULL;
    if (t->command) {
        int ended = wait_command(t);

        r = r ? r : ended;
    }
    return r;
}

CO void transport_free(Transport *t)
{
    if (!t)
        return;
    if (t->channel || t->command)
        transport_finish(t);
    g_free(t);
}
