/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -c and -d: the kernel as a client of ours, over a pair of sockets. */
#include "io/pool.h"
#include "nbd/kernel.h"
#include "qemu-nbd/job.h"
#include "tools/complain.h"
#include "util/err.h"
#include "util/fd.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

enum { HANDSHAKE_SECONDS = 10 };

struct Device {
    NbdDevice kernel;
    NbdKernelExport export;
    int sock;        /* what the kernel is given */
    bool serve;      /* attached by ioctl: a worker lives in the kernel */
    bool attached;
    CoGroup workers; /* that call for the kernel */
    GError *err;     /* of the last of them */
};

/* ---- workers of the pool --------------------------------------------------------------------- */

static int attach_work(void *arg)
{
    Device *d = arg;

    return nbd_device_attach(&d->kernel, d->sock, &d->export, &d->serve, &d->err) ? 0 : -1;
}

static int serve_work(void *arg)
{
    Device *d = arg;

    return nbd_device_serve(&d->kernel, NULL) ? 0 : -1;
}

static int scan_work(void *arg)
{
    Device *d = arg;

    nbd_device_scan(&d->kernel);
    return 0;
}

static CO void serve_run_worker(void *arg)
{
    pool_run(serve_work, arg);
}

static CO void scan_run_worker(void *arg)
{
    pool_run(scan_work, arg);
}

/* ---- starting -------------------------------------------------------------------------------- */

/* The socket of a client of @s that has taken export @name, or -1 with @err. */
static CO int client_socket(NbdServer *s, const char *name, NbdOffer *offer, GError **err)
{
    g_autoptr(Channel) channel = NULL;
    int ends[2], fd;
    NbdHandshake h;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        err_set_errno(err, errno, "Cannot make a pair of sockets");
        return -1;
    }
    channel = channel_new_socket(ends[1]);
    channel_set_deadline(channel, clock_now_ns() + HANDSHAKE_SECONDS * INT64_C(1000000000));
    nbd_server_serve(s, ends[0]);
    /* The kernel knows simple replies only, so nothing else is agreed on. */
    if (!nbd_handshake_start(&h, channel, NULL, NULL, err) ||
        !nbd_handshake_go(&h, name, offer, err))
        return -1;
    fd = fcntl(channel_fd(channel), F_DUPFD_CLOEXEC, 0);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
}

static CO bool device_attach(Device *d, const Job *j, NbdServer *s, GError **err)
{
    g_auto(NbdOffer) offer = { 0 };

    d->sock = client_socket(s, j->name ? j->name : "", &offer, err);
    if (d->sock < 0 || !nbd_kernel_export(&offer, &d->export, err))
        return false;
    if (pool_run(attach_work, d) < 0) {
        g_propagate_error(err, g_steal_pointer(&d->err));
        return false;
    }
    return true;
}

Device *device_start(const Job *j, NbdServer *s)
{
    Device *d = g_new0(Device, 1);
    g_autoptr(GError) err = NULL;

    d->sock = d->kernel.fd = -1;
    if (!nbd_device_find(&d->kernel, j->device, &err) || !device_attach(d, j, s, &err)) {
        complain_err(err);
        device_stop(d);
        return NULL;
    }
    d->attached = true;
    if (d->serve)
        co_group_start(&d->workers, serve_run_worker, d);
    /* Partitions show once somebody opens the device; that reads from it, so we cannot wait. */
    co_group_start(&d->workers, scan_run_worker, d);
    if (j->verbose)
        fprintf(stderr, "NBD device %s is now connected to %s\n", j->device, j->file);
    return d;
}

void device_stop(Device *d)
{
    if (!d)
        return;
    if (d->attached)
        nbd_device_detach(&d->kernel, NULL);
    if (d->sock >= 0)
        close(d->sock);
    co_group_wait(&d->workers);
    nbd_device_close(&d->kernel);
    g_clear_error(&d->err);
    g_free(d);
}

/* ---- -d -------------------------------------------------------------------------------------- */

bool device_disconnect(const char *path)
{
    g_autoptr(GError) err = NULL;
    NbdDevice d;
    bool ok = nbd_device_find(&d, path, &err);

    if (ok) {
        ok = nbd_device_detach(&d, &err);
        nbd_device_close(&d);
    }
    if (!ok)
        return complain_err(err);
    printf("%s disconnected\n", path);
    return true;
}
