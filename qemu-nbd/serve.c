/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of the server: everything opened, clients served, signals obeyed, everything closed. */
#include "crypto/authz.h"
#include "io/channel.h"
#include "qemu-nbd/job.h"
#include "tools/complain.h"
#include "tools/daemon.h"
#include "util/err.h"
#include "util/printable.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>

typedef struct {
    const Job *job;
    NbdServer *server;
    Channel *signals;
    Device *device; /* -c; NULL: none */
    bool stop;
} Service;

/* ---- what the server tells ------------------------------------------------------------------- */

static void service_stop(Service *s)
{
    s->stop = true;
    channel_shutdown(s->signals);
}

static void on_client_left(void *opaque, bool served)
{
    Service *s = opaque;

    if (served && !s->job->persistent && !nbd_server_clients(s->server))
        service_stop(s);
}

static void on_report(void *opaque, const char *text)
{
    g_autofree char *shown = printable(text);

    fprintf(stderr, "%s: %s\n", tool_name(), shown);
}

/* ---- signals --------------------------------------------------------------------------------- */

static sigset_t obeyed; /* signals that come by descriptor */

void serve_block_signals(void)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, 0 };

    daemon_take_signals(signals, &obeyed);
}

static void print_client(const NbdClientStatus *st, void *arg)
{
    g_autofree char *name = st->export_name ? g_strescape(st->export_name, NULL) : NULL;
    g_autofree char *who = st->identity ? g_strescape(st->identity, NULL) : NULL;

    fprintf(stderr, "client %s%s%s%s export %s%s%s requests %" PRIu64 " read %" PRIu64
            " written %" PRIu64 " in-flight %u seconds %" PRIu64 "\n",
            st->peer, who ? " identity \"" : "", who ? who : "", who ? "\"" : "", name ? "\"" : "",
            name ? name : "-", name ? "\"" : "", st->requests, st->bytes_read, st->bytes_written,
            st->in_flight, st->connected_ns / 1000000000);
}

/* Until the service is to end. */
static CO void signals_obey(Service *s)
{
    struct signalfd_siginfo info;

    while (!s->stop && channel_read(s->signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo != SIGUSR1)
            return;
        nbd_server_foreach_client(s->server, print_client, NULL);
    }
}

/* ---- setting up ------------------------------------------------------------------------------ */

/* Fills in what concerns TLS. False: complained. */
static bool tls_config(const Job *j, NbdServerConfig *config)
{
    g_autoptr(GError) err = NULL;

    if (!j->tls_creds)
        return true;
    config->tls = tls_creds_find(j->tls_creds, TLS_SERVER, &err);
    if (config->tls && !j->tls_anonymous && !tls_creds_authenticate(config->tls))
        err_set(&err, EINVAL, "Credentials '%s' are anonymous: anybody could be in between; "
                "--tls-anonymous takes them all the same", j->tls_creds);
    if (!err && j->tls_authz)
        authz_exists(j->tls_authz, &err);
    return !err || complain_err(err);
}

/* Opens what is exported on sockets @fds, and lets clients in. False: complained. */
static CO bool service_start(Service *s, const GArray *fds)
{
    const Job *j = s->job;

    if (!images_export(j, s->server) || !daemon_write_pid(j))
        return false;
    for (guint i = 0; i < fds->len; i++)
        nbd_server_listen(s->server, g_array_index(fds, int, i));
    if (j->device && !(s->device = device_start(j, s->server)))
        return false;
    daemon_ready(j->verbose);
    return true;
}

static CO bool service_run(Service *s)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    /* Clients that come before the images are open wait in the backlog. */
    bool listens = listen_open(s->job, fds);
    bool ok = listens && service_start(s, fds);

    if (ok)
        signals_obey(s);
    if (listens)
        listen_end(s->job);
    device_stop(s->device);
    if (!nbd_server_stop(s->server))
        ok = complain("The last data of an image could not be written");
    return ok;
}

CO void serve_run(void *arg)
{
    Job *j = arg;
    g_autoptr(Channel) signals = NULL;
    Service s = { .job = j };
    NbdServerConfig config = {
        .max_clients = j->shared,
        .handshake_ns = (int64_t)j->handshake_limit * 1000000000,
        .idle_ns = (int64_t)j->idle_limit * 1000000000,
        .tls_optional = j->tls_optional,
        .tls_authz = j->tls_authz,
        .client_left = on_client_left,
        .report = j->verbose ? on_report : NULL,
        .opaque = &s,
    };

    s.signals = signals = channel_new_fd(signalfd(-1, &obeyed, SFD_NONBLOCK | SFD_CLOEXEC));
    j->exit_code = 1;
    if (tls_config(j, &config)) {
        s.server = nbd_server_new(&config);
        j->exit_code = service_run(&s) ? 0 : 1;
    }
    if (config.tls)
        tls_creds_unref(config.tls);
}
