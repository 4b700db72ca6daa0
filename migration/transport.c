/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/transport.h"
#include "io/aio.h"
#include "io/co-lock.h"
#include "migration/sockets.h"
#include "util/err.h"
#include "util/fd.h"
#include "util/given-fd.h"
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct Transport {
    char *uri;
    MigSockets sockets;
    Channel *channel; /* NULL: it is not open */
    pid_t command;    /* 0: none */
    bool is_socket, is_sending, is_interrupted;
    /* to whose loop .channel, .is_interrupted, .writing belong; NULL: the main one */
    Loop *lent_to;
    CoMutex writing;
    unsigned told;    /* how often that loop was told to interrupt it; main loop */
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

static NetKind net_kind(Kind kind)
{
    return kind == KIND_TCP ? NET_INET : kind == KIND_UNIX ? NET_UNIX : NET_VSOCK;
}

static bool is_address(Kind kind)
{
    return kind == KIND_TCP || kind == KIND_UNIX || kind == KIND_VSOCK;
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
        return mig_address_read(net_kind(kind), rest, &a, err);
    }
}

/* ---- what is no address ---------------------------------------------------------------------- */

static bool is_socket(int fd)
{
    int type;
    socklen_t len = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
}

/* Goes on over @fd, which it takes. */
static CO bool use_fd(Transport *t, int fd, GError **err)
{
    t->is_socket = is_socket(fd);
    if (t->is_socket)
        t->channel = mig_sockets_protect(&t->sockets, channel_new_socket(fd), !t->is_sending, err);
    else if (t->sockets.creds)
        err_set(err, ENOTSUP, "'%s' leads to no socket, and TLS needs one", t->uri);
    else
        t->channel = channel_new_fd(fd);
    if (!t->channel && !t->is_socket)
        close(fd);
    return t->channel;
}

/* The descriptor whose number @name is, or -1. */
static int numbered_fd(const char *name)
{
    char *end;
    long number = strtol(name, &end, 10);

    return !*end && number >= 0 && number <= INT_MAX && fcntl(number, F_GETFD) >= 0 ? number : -1;
}

TransportLead transport_lead(const char *uri)
{
    const char *rest = NULL;
    Kind kind = kind_of(uri, &rest);
    int fd;

    if (kind != KIND_FD)
        return is_address(kind) ? TRANSPORT_SOCKET : TRANSPORT_ONE_WAY;
    fd = named_fd_find(rest);
    if (fd < 0)
        fd = numbered_fd(rest);
    return fd < 0 ? TRANSPORT_ABSENT : is_socket(fd) ? TRANSPORT_SOCKET : TRANSPORT_ONE_WAY;
}

static CO bool open_fd(Transport *t, const char *name, GError **err)
{
    int fd = named_fd_take(name);

    if (fd < 0)
        fd = fcntl(numbered_fd(name), F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, EBADF, "There is no file descriptor '%s'", name);
    return use_fd(t, fd, err);
}

static CO bool open_file(Transport *t, const char *path, GError **err)
{
    int fd = t->is_sending ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
                           : open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_set_errno(err, errno, "Cannot open '%s'", path);
    return use_fd(t, fd, err);
}

static void leave_parent(gpointer unused)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
}

static CO bool start_command(Transport *t, const char *command, GError **err)
{
    const char *argv[] = { "/bin/sh", "-c", command, NULL };
    GPid pid;
    int fd;

    if (!g_spawn_async_with_pipes(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
                                  leave_parent, NULL, &pid, t->is_sending ? &fd : NULL,
                                  t->is_sending ? NULL : &fd, NULL, err))
        return false;
    t->command = pid;
    return use_fd(t, fd, err);
}

static CO bool open_other(Transport *t, Kind kind, const char *rest, GError **err)
{
    switch (kind) {
    case KIND_FD:
        return open_fd(t, rest, err);
    case KIND_FILE:
        return open_file(t, rest, err);
    default:
        return start_command(t, rest, err);
    }
}

/* ---- making them ----------------------------------------------------------------------------- */

Transport *transport_new(const char *uri, bool is_sending, const TransportTls *tls)
{
    Transport *t = g_new0(Transport, 1);
    const char *rest = NULL;
    Kind kind = kind_of(uri, &rest);

    t->uri = g_strdup(uri);
    t->is_sending = is_sending;
    if (is_address(kind))
        mig_address_read(net_kind(kind), rest, &t->sockets.address, NULL);
    else
        t->sockets.address.kind = NET_FD;
    if (tls && tls->creds) {
        t->sockets.creds = tls_creds_ref(tls->creds);
        t->sockets.hostname = g_strdup(tls->hostname);
        t->sockets.authz = g_strdup(tls->authz);
    }
    return t;
}

CO bool transport_listen(Transport *t, unsigned more, json_t **addresses,
                         void (*dropped)(const GError *why), GError **err)
{
    const char *rest = NULL;

    *addresses = NULL;
    if (!is_address(kind_of(t->uri, &rest)))
        return true;
    t->sockets.expects_more = more;
    t->sockets.dropped = dropped;
    *addresses = mig_sockets_listen(&t->sockets, 1 + more, err);
    return *addresses;
}

CO Channel *transport_open_more(Transport *t, GError **err)
{
    return t->is_sending ? mig_sockets_connect(&t->sockets, err)
                         : mig_sockets_accept(&t->sockets, err);
}

CO bool transport_open(Transport *t, GError **err)
{
    const char *rest = NULL;
    Kind kind = kind_of(t->uri, &rest);

    if (is_address(kind)) {
        t->is_socket = true;
        t->channel = transport_open_more(t, err);
        t->sockets.first = t->channel;
    } else {
        open_other(t, kind, rest, err);
    }
    if (t->channel && t->is_interrupted)
        return err_set_errno(err, -ECANCELED, "Not connected");
    return t->channel;
}

bool transport_takes_more(const char *uri)
{
    const char *rest = NULL;

    return is_address(kind_of(uri, &rest));
}

void transport_stop_listening(Transport *t)
{
    mig_sockets_stop_listening(&t->sockets);
}

bool transport_is_listening(const Transport *t)
{
    return t->sockets.listeners;
}

CO void transport_drop(Transport *t)
{
    channel_free(t->channel);
    t->sockets.first = t->channel = NULL;
    t->sockets.is_interrupted = t->is_interrupted = false;
}

void transport_set_known(Transport *t, bool is_known)
{
    if (transport_is_listening(t))
        channel_set_deadline(t->channel, is_known ? 0 : mig_sockets_deadline());
}

/* ---- using them ------------------------------------------------------------------------------ */

CO ssize_t transport_read(void *opaque, void *buf, size_t len)
{
    Transport *t = opaque;

    /* There may be data always, and others have to run: who cancels, for example. */
    co_yield();
    return t->is_interrupted ? -ECANCELED : channel_read(t->channel, buf, len);
}

static CO int write_here(Transport *t, const struct iovec *iov, int niov)
{
    int r;

    CO_LOCKED(&t->writing);
    r = t->is_interrupted ? -ECANCELED : channel_writev_all(t->channel, iov, niov);
    return r < 0 && t->is_interrupted ? -ECANCELED : r;
}

typedef struct {
    Transport *t;
    const struct iovec *iov;
    int niov, r;
} Write;

static CO void write_there(void *arg)
{
    Write *w = arg;

    w->r = write_here(w->t, w->iov, w->niov);
}

CO int transport_writev(void *opaque, const struct iovec *iov, int niov)
{
    Transport *t = opaque;
    Write w = { t, iov, niov, 0 };

    if (!t->lent_to || t->lent_to == loop_self())
        return write_here(t, iov, niov);
    loop_call_wait(t->lent_to, write_there, &w);
    return w.r;
}

CO int transport_write(void *opaque, const void *buf, size_t len)
{
    struct iovec iov = { (void *)buf, len };

    return transport_writev(opaque, &iov, 1);
}

static CO void nothing(void *arg)
{
}

CO void transport_lend(Transport *t, Loop *loop)
{
    unsigned seen;

    /* Calls come to a loop in their order: after one more, none that uses the transport is left. */
    if (t->lent_to && !loop)
        do {
            seen = t->told;
            loop_call_wait(t->lent_to, nothing, NULL);
        } while (seen != t->told);
    t->lent_to = loop;
}

bool transport_is_socket(const Transport *t)
{
    return t->is_socket;
}

static CO void interrupt_there(void *arg)
{
    transport_interrupt(arg);
}

void transport_interrupt(Transport *t)
{
    if (t->lent_to && t->lent_to != loop_self()) {
        t->told++;
        loop_call(t->lent_to, interrupt_there, t);
        return;
    }
    t->is_interrupted = true;
    mig_sockets_interrupt(&t->sockets);
    if (t->channel)
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
    if (t->is_sending && !t->is_socket && !t->command && t->channel) {
        int synced = aio_fdatasync(AIO_THREADS, channel_fd(t->channel));

        r = synced < 0 && synced != -EINVAL && synced != -EROFS && !r ? synced : r;
    }
    channel_free(t->channel);
    t->sockets.first = t->channel = NULL;
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
    mig_sockets_clear(&t->sockets);
    g_free(t->uri);
    g_free(t);
}
