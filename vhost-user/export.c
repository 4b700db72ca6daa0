/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kind of export that is a disk to another process' virtual machine: vhost-user-blk. */
#include "block/driver.h"
#include "block/export.h"
#include "io/iothread.h"
#include "io/net.h"
#include "util/err.h"
#include "vhost-user/internal.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1, ACCEPT_PAUSE_MS = 100, QUEUE_SIZE = 128 };

/* Guests make names of it, under which they find their disks again. */
#define DISK_ID "vhost_user_blk"

typedef struct {
    Export *export;
    VirtioDisk disk;
    bool writeback;      /* as clients find it */
    Channel *listener;
    char *socket_path;   /* removed at the end; NULL: it has another address */
    Channel *client;     /* NULL: there is none */
    Loop *loop;          /* on which clients are served; the rest is looked at there only */
    CoGroup running;
    bool ending;
    _Atomic bool is_used; /* any thread */
} VhostExport;

/* ---- clients --------------------------------------------------------------------------------- */

static CO void serve_client(VhostExport *v, int fd)
{
    v->client = channel_new_socket(fd);
    v->is_used = true;
    v->disk.writeback = v->writeback;
    vhost_session_run(&v->disk, v->export->id, v->client);
    g_clear_pointer(&v->client, channel_free);
    v->is_used = false;
}

/* One client at a time: others wait until it leaves. */
static CO void listen_run(void *arg)
{
    VhostExport *v = arg;

    while (!v->ending && channel_wait_readable(v->listener, 0) >= 0 && !v->ending) {
        int fd = accept4(channel_fd(v->listener), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0)
            serve_client(v, fd);
        else if (errno != EAGAIN && errno != EINTR)
            co_sleep(ACCEPT_PAUSE_MS * INT64_C(1000000));
    }
}

static CO void listen_start(void *arg)
{
    VhostExport *v = arg;

    co_group_start(&v->running, listen_run, v);
}

static CO void listen_stop(void *arg)
{
    VhostExport *v = arg;

    v->ending = true;
    channel_shutdown(v->listener);
    if (v->client)
        channel_shutdown(v->client);
}

static CO void listen_wait(void *arg)
{
    VhostExport *v = arg;

    co_group_wait(&v->running);
    g_clear_pointer(&v->listener, channel_free);
}

/* ---- coming and going ------------------------------------------------------------------------ */

static CO void export_close(VhostExport *v)
{
    g_autoptr(GError) err = NULL;

    g_clear_pointer(&v->listener, channel_free);
    if (v->socket_path)
        unlink(v->socket_path);
    if (!handle_close_err(v->disk.handle, &err))
        block_warn("%s", err->message);
    g_free(v->socket_path);
    g_free(v);
}

static CO bool export_listen(VhostExport *v, const json_t *options, GError **err)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    g_auto(NetAddress) address = { 0 };

    if (!net_address_read(json_get(options, "addr"), &address, err))
        return false;
    if (address.kind != NET_UNIX && address.kind != NET_FD)
        return err_set(err, EINVAL, "addr.type must be 'unix' or 'fd': other sockets cannot share "
                       "the guest's memory");
    if (!net_listen(&address, BACKLOG, fds, err))
        return false;
    /* Not as a socket: shutting that down would end it for other processes that have it too. */
    v->listener = channel_new_fd(g_array_index(fds, int, 0));
    if (address.kind == NET_UNIX && !address.abstract)
        v->socket_path = g_strdup(address.path);
    return true;
}

static bool read_options(VirtioDisk *d, const json_t *options, GError **err)
{
    int64_t queues = json_get_int(options, "num-queues", 1);
    int64_t block = json_get_int(options, "logical-block-size", 0);

    if (queues < 1 || queues > VHOST_QUEUES_MAX)
        return err_set(err, EINVAL, "num-queues must be 1 to %d, not %" PRId64, VHOST_QUEUES_MAX,
                       queues);
    if (block < 0 || block > INT32_MAX || (json_get(options, "logical-block-size") && !block))
        return err_set(err, EINVAL, "logical-block-size must be a power of two from 512 to 2 MiB, "
                       "not %" PRId64, block);
    d->queues = queues;
    d->logical_block_size = block;
    return virtio_disk_check(d, err);
}

static CO void *vhost_add(Export *e, const json_t *options, Handle *h, GError **err)
{
    VhostExport *v = g_new0(VhostExport, 1);

    v->export = e;
    v->loop = e->iothread ? iothread_loop(e->iothread) : loop_self();
    v->writeback = !json_get_bool(options, "writethrough", false);
    v->disk = (VirtioDisk){
        .handle = h,
        .id = DISK_ID,
        .queue_size = QUEUE_SIZE,
        .offers_discard = true,
        .offers_zeroes = true,
        .offers_writeback = true,
    };
    if (read_options(&v->disk, options, err) && export_listen(v, options, err)) {
        loop_call_wait(v->loop, listen_start, v);
        return v;
    }
    export_close(v);
    return NULL;
}

static bool vhost_is_used(const Export *e)
{
    return ((VhostExport *)e->state)->is_used;
}

static CO void export_end(void *arg)
{
    VhostExport *v = arg;
    Export *e = v->export;

    loop_call_wait(v->loop, listen_wait, v);
    export_close(v);
    export_gone(e);
}

static CO void vhost_remove(Export *e, bool hard)
{
    VhostExport *v = e->state;

    loop_call_wait(v->loop, listen_stop, v);
    co_start(export_end, v);
}

const ExportDriver export_vhost_user_blk = {
    .type = "vhost-user-blk",
    .add = vhost_add,
    .is_used = vhost_is_used,
    .remove = vhost_remove,
};
