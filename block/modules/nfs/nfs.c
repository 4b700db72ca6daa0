/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files on servers of NFS version 3 (RFC 1813), many requests at a time.
 *
 * libnfs connects, mounts and opens. Reads, writes and commits bypass its file layer and use single
 * calls of the protocol, because that layer hides the write verifiers. A verifier that has changed
 * means that the server has restarted and may have lost writes that were not committed (4.11).
 *
 * libnfs has one socket, which changes when it reconnects, and tells the events that it waits for;
 * it also has to be called once a second. A PollSet does both.
 */
#include "block/nfs.h"
#include "io/aio.h"
#include "io/poll-set.h"
#include "io/pool.h"
#include "util/err.h"
#include "util/module.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum {
    PIECE_MIN = 512,             /* of data in a call */
    PIECE_MAX = 1 << 20,
    MODE = 0644,                 /* of new files */
    LATER_NS = 100 * 1000 * 1000, /* before a call is repeated after JUKEBOX ("try later") */
};
#define TICK_NS INT64_C(1000000000)

struct NfsFile {
    struct nfs_context *ctx;
    struct rpc_context *rpc;     /* in @ctx */
    struct nfsfh *fh;
    nfs_fh3 handle;              /* in @fh */
    PollSet *set;
    int fd;                      /* that is watched; -1: none */
    int broken;                  /* negative errno of all calls from now on; 0: it works */
    int64_t timeout_ns, deadline_ns;
    int64_t retry_ns;            /* no new connection before that, after one has failed */
    GPtrArray *calls;            /* calls under way that a coroutine waits for */
    size_t read_max, write_max;  /* bytes of data in a call */
    uint64_t allocated;
    bool has_verifier;           /* something is written and not committed yet */
    char verifier[NFS3_WRITEVERFSIZE]; /* of the writes not committed yet */
    uint64_t writes;             /* answered so far */
};

/* A call under way. Freed by whichever ends later: the callback of libnfs, or the wait for it. */
typedef struct {
    NfsFile *file;
    bool done;
    bool answered, abandoned;    /* libnfs has called back; nobody waits any more */
    int error;
    uint64_t off;
    Span buf;                    /* READ, WRITE */
    size_t got;                  /* of @buf */
    uint64_t size;               /* GETATTR */
    bool is_file;
    struct nfsfh *fh;            /* opening */
} Call;

/* ---- waiting --------------------------------------------------------------------------------- */

/*
 * All calls fail from now on. What the kernel has not sent yet is dropped: else a write that has
 * failed might arrive when the network is back, after a later one by another connection.
 */
static void file_break(NfsFile *f, int error)
{
    const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

    f->broken = f->broken ? f->broken : error;
    nfs_set_autoreconnect(f->ctx, 0);
    if (nfs_get_fd(f->ctx) >= 0)
        (void)connect(nfs_get_fd(f->ctx), &nowhere, sizeof(nowhere));
    for (guint i = 0; i < f->calls->len; i++)
        ((Call *)f->calls->pdata[i])->done = true;
    poll_set_changed(f->set);
}

/* What libnfs waits for now. */
static void file_watch(NfsFile *f)
{
    int fd = nfs_get_fd(f->ctx), r = 0;

    if (fd != f->fd && f->fd >= 0)
        poll_set_watch(f->set, f->fd, 0);
    if (fd >= 0)
        r = poll_set_watch(f->set, fd, nfs_which_events(f->ctx) & (POLLIN | POLLOUT));
    f->fd = fd;
    if (r < 0)
        file_break(f, r);
    poll_set_alarm(f->set, clock_now_ns() + TICK_NS);
}

static void on_ready(void *opaque, int fd, unsigned events)
{
    NfsFile *f = opaque;
    struct pollfd now = { .fd = nfs_get_fd(f->ctx), .events = (short)nfs_which_events(f->ctx) };

    if (f->broken)
        return;
    /* This program may have been stopped: an answer that has come meanwhile counts. */
    if (fd < 0 && poll(&now, 1, 0) >= 0)
        events = (unsigned short)now.revents;
    if (events & (POLLERR | POLLHUP)) {
        /* libnfs reconnects at once, which a server that refuses would make a busy loop. */
        if (clock_now_ns() < f->retry_ns) {
            poll_set_watch(f->set, now.fd, 0);
            f->fd = -1;
            poll_set_alarm(f->set, f->retry_ns);
            return;
        }
        f->retry_ns = clock_now_ns() + LATER_NS;
    }
    if (nfs_service(f->ctx, (int)events) < 0)
        file_break(f, -EIO);
    else if (clock_now_ns() > f->deadline_ns)
        file_break(f, -ETIMEDOUT);
    else
        file_watch(f);
}

static Call *call_new(NfsFile *f)
{
    Call *c = g_new0(Call, 1);

    c->file = f;
    return c;
}

/* The answer to @opaque is here. NULL: nobody waits for it any more. */
static Call *call_answer(void *opaque)
{
    Call *c = opaque;

    if (c->abandoned) {
        g_free(c);
        return NULL;
    }
    c->done = c->answered = true;
    c->file->deadline_ns = clock_now_ns() + c->file->timeout_ns;
    poll_set_changed(c->file->set);
    return c;
}

static void call_free(Call *c)
{
    if (c->answered)
        g_free(c);
    else
        c->abandoned = true;
}

/* Waits until @c, which libnfs has accepted, is answered. 0, or a negative errno. */
static CO int call_wait(Call *c)
{
    NfsFile *f = c->file;
    int r;

    if (!f->calls->len)
        f->deadline_ns = clock_now_ns() + f->timeout_ns;
    g_ptr_array_add(f->calls, c);
    file_watch(f);
    /* If @f broke before @c was in @calls nothing else would wake it. */
    c->done = c->done || f->broken;
    r = c->done ? 0 : poll_set_wait(f->set, &c->done);
    if (r < 0)
        file_break(f, r);
    g_ptr_array_remove_fast(f->calls, c);
    return f->broken ? f->broken : c->error;
}

/* Sends @c. 0, or a negative errno; then there will be no callback. */
typedef int Send(NfsFile *f, Call *c);

static void call_send(NfsFile *f, Call *c, Send *send)
{
    c->done = c->answered = false;
    c->error = f->broken ? f->broken : send(f, c);
    c->done = c->answered = c->error < 0;
}

static CO int call_run(NfsFile *f, Call *c, Send *send)
{
    call_send(f, c, send);
    return call_wait(c);
}

/* ---- answers --------------------------------------------------------------------------------- */

static int rpc_errno(int status)
{
    return status == RPC_STATUS_SUCCESS ? 0 : status == RPC_STATUS_TIMEOUT ? -ETIMEDOUT : -EIO;
}

static int nfs_errno(nfsstat3 status)
{
    return status == NFS3_OK ? 0 : status == NFS3ERR_JUKEBOX ? -EAGAIN : nfsstat3_to_errno(status);
}

/* Another verifier: the server has restarted, and may have lost writes that were not committed. */
static void verifier_see(NfsFile *f, const char *verifier)
{
    if (f->has_verifier && memcmp(f->verifier, verifier, sizeof(f->verifier)))
        file_break(f, -EIO);
    memcpy(f->verifier, verifier, sizeof(f->verifier));
}

static void attributes_see(NfsFile *f, const post_op_attr *a)
{
    if (a->attributes_follow)
        f->allocated = a->post_op_attr_u.attributes.used;
}

static void on_read(struct rpc_context *rpc, int status, void *data, void *opaque)
{
    Call *c = call_answer(opaque);
    const READ3res *res = data;
    const READ3resok *ok;

    if (!c || (c->error = rpc_errno(status)) < 0 || (c->error = nfs_errno(res->status)) < 0)
        return;
    ok = &res->READ3res_u.resok;
    if (ok->data.data_len > c->buf.len) {
        c->error = -EIO;
        return;
    }
    c->got = ok->data.data_len;
    span_write(span_slice(c->buf, 0, c->got), ok->data.data_val);
}

static void on_write(struct rpc_context *rpc, int status, void *data, void *opaque)
{
    Call *c = call_answer(opaque);
    const WRITE3res *res = data;
    const WRITE3resok *ok;

    if (c && status == RPC_STATUS_TIMEOUT) /* it may arrive later, after others */
        file_break(c->file, -ETIMEDOUT);
    if (!c || (c->error = rpc_errno(status)) < 0 || (c->error = nfs_errno(res->status)) < 0)
        return;
    ok = &res->WRITE3res_u.resok;
    if (ok->count > c->buf.len) {
        c->error = -EIO;
        return;
    }
    c->got = ok->count;
    c->file->writes++;
    if (ok->committed != FILE_SYNC) {
        verifier_see(c->file, ok->verf);
        c->file->has_verifier = true;
    }
    attributes_see(c->file, &ok->file_wcc.after);
}

static void on_commit(struct rpc_context *rpc, int status, void *data, void *opaque)
{
    Call *c = call_answer(opaque);
    const COMMIT3res *res = data;

    if (!c || (c->error = rpc_errno(status)) < 0 || (c->error = nfs_errno(res->status)) < 0)
        return;
    verifier_see(c->file, res->COMMIT3res_u.resok.verf);
    attributes_see(c->file, &res->COMMIT3res_u.resok.file_wcc.after);
}

static void on_setattr(struct rpc_context *rpc, int status, void *data, void *opaque)
{
    Call *c = call_answer(opaque);
    const SETATTR3res *res = data;

    if (!c || (c->error = rpc_errno(status)) < 0 || (c->error = nfs_errno(res->status)) < 0)
        return;
    attributes_see(c->file, &res->SETATTR3res_u.resok.obj_wcc.after);
}

static void on_getattr(struct rpc_context *rpc, int status, void *data, void *opaque)
{
    Call *c = call_answer(opaque);
    const GETATTR3res *res = data;
    const fattr3 *a;

    if (!c || (c->error = rpc_errno(status)) < 0 || (c->error = nfs_errno(res->status)) < 0)
        return;
    a = &res->GETATTR3res_u.resok.obj_attributes;
    c->is_file = a->type == NF3REG;
    c->size = a->size;
    c->file->allocated = a->used;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static int send_read(NfsFile *f, Call *c)
{
    READ3args a = { .file = f->handle, .offset = c->off, .count = c->buf.len };

    return rpc_nfs3_read_async(f->rpc, on_read, &a, c) < 0 ? -ENOMEM : 0;
}

/* libnfs takes a copy of the data. */
static int send_write(NfsFile *f, Call *c)
{
    size_t len;
    char *head = span_head(c->buf, &len);
    g_autofree char *whole = len < c->buf.len ? g_try_malloc(c->buf.len) : NULL;
    WRITE3args a = { .file = f->handle, .offset = c->off, .count = c->buf.len, .stable = UNSTABLE };

    if (len < c->buf.len && !whole)
        return -ENOMEM;
    if (whole)
        span_read(c->buf, whole);
    a.data.data_len = c->buf.len;
    a.data.data_val = whole ? whole : head;
    return rpc_nfs3_write_async(f->rpc, on_write, &a, c) < 0 ? -ENOMEM : 0;
}

static int send_commit(NfsFile *f, Call *c)
{
    COMMIT3args a = { .file = f->handle };

    return rpc_nfs3_commit_async(f->rpc, on_commit, &a, c) < 0 ? -ENOMEM : 0;
}

static int send_size(NfsFile *f, Call *c)
{
    SETATTR3args a = { .object = f->handle };

    a.new_attributes.size.set_it = 1;
    a.new_attributes.size.set_size3_u.size = c->size;
    return rpc_nfs3_setattr_async(f->rpc, on_setattr, &a, c) < 0 ? -ENOMEM : 0;
}

static int send_getattr(NfsFile *f, Call *c)
{
    GETATTR3args a = { .object = f->handle };

    return rpc_nfs3_getattr_async(f->rpc, on_getattr, &a, c) < 0 ? -ENOMEM : 0;
}

/*
 * Waits for @c, and sends again what the server did not do: it may do less than it was asked for,
 * or want time.
 */
static CO int call_finish(NfsFile *f, Call *c, Send *send)
{
    int64_t end_ns = clock_now_ns() + f->timeout_ns;
    int r = call_wait(c);

    while (r == -EAGAIN || (r == 0 && c->got < c->buf.len)) {
        if (r == 0 && !c->got)
            return -EIO;        /* READ: the file has become shorter */
        if (r < 0 && clock_now_ns() > end_ns)
            return -ETIMEDOUT;
        if (r < 0)
            co_sleep(LATER_NS);
        c->off += c->got;
        c->buf = span_slice(c->buf, c->got, c->buf.len - c->got);
        c->got = 0;
        r = call_run(f, c, send);
    }
    return r;
}

/* A call without data. */
static CO int simple_run(NfsFile *f, Call *c, Send *send)
{
    call_send(f, c, send);
    return call_finish(f, c, send);
}

/* @send for each piece of @buf at a time. */
static CO int pieces_run(NfsFile *f, uint64_t off, Span buf, size_t piece, Send *send)
{
    size_t n = (buf.len + piece - 1) / piece;
    g_autofree Call **calls = g_new(Call *, n);
    int result = 0;

    for (size_t i = 0; i < n; i++) {
        calls[i] = call_new(f);
        calls[i]->off = off + i * piece;
        calls[i]->buf = span_slice(buf, i * piece, MIN(piece, buf.len - i * piece));
        call_send(f, calls[i], send);
    }
    for (size_t i = 0; i < n; i++) {
        int r = call_finish(f, calls[i], send);

        result = result ? result : r;
        call_free(calls[i]);
    }
    return result;
}

static CO int file_read(void *file, uint64_t off, Span buf)
{
    NfsFile *f = file;

    return pieces_run(f, off, buf, f->read_max, send_read);
}

static CO int file_write(void *file, uint64_t off, Span buf)
{
    NfsFile *f = file;

    return pieces_run(f, off, buf, f->write_max, send_write);
}

static CO int file_sync(void *file)
{
    NfsFile *f = file;
    Call *c = call_new(f);
    uint64_t writes = f->writes;
    int r = simple_run(f, c, send_commit);

    /* The COMMIT need not cover writes that were answered while it was under way. */
    if (r == 0 && f->writes == writes)
        f->has_verifier = false;
    call_free(c);
    return r;
}

static CO int file_resize(void *file, uint64_t size)
{
    NfsFile *f = file;
    Call *c = call_new(f);
    int r;

    c->size = size;
    r = simple_run(f, c, send_size);
    call_free(c);
    return r;
}

static uint64_t file_allocated(NfsFile *f)
{
    return f->allocated;
}

/* ---- opening --------------------------------------------------------------------------------- */

typedef struct {
    const char *host;
    GPtrArray *addresses;        /* numbers */
} Lookup;

/* In a worker: looking up names takes time. 0 or a code of getaddrinfo. */
static int lookup_run(void *arg)
{
    Lookup *l = arg;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int r = getaddrinfo(l->host, NULL, &hints, &found);

    for (struct addrinfo *a = found; a; a = a->ai_next) {
        char text[NI_MAXHOST];

        if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) ==
            0)
            g_ptr_array_add(l->addresses, g_strdup(text));
    }
    if (found)
        freeaddrinfo(found);
    return r;
}

static void on_opened(int status, struct nfs_context *ctx, void *data, void *opaque)
{
    Call *c = call_answer(opaque);

    if (!c)
        return;
    c->error = status < 0 ? status : 0;
    c->fh = status < 0 ? NULL : data;
}

/* Fails with libnfs's message about the call that ended with @r; it may have none. */
static bool file_fail(NfsFile *f, int r, GError **err)
{
    const char *text = nfs_get_error(f->ctx);

    if (f->broken || !text || !*text)
        return err_set_errno(err, r, "the server does not answer");
    return err_set(err, -r, "%s", text);
}

/* Waits for @c, a call of libnfs's file layer that returned @taken; below 0 it failed. Frees @c. */
static CO bool open_wait(NfsFile *f, Call *c, int taken, struct nfsfh **fh, GError **err)
{
    int r;

    if (taken < 0) {
        c->answered = c->done = true;
        c->error = -EIO;
    }
    r = call_wait(c);
    if (fh)
        *fh = c->fh;
    call_free(c);
    return r == 0 || file_fail(f, r, err);
}

static CO bool file_mount(NfsFile *f, const NfsConfig *config, const char *address, GError **err)
{
    g_autofree char *folder = g_path_get_dirname(config->path);
    Call *c;

    f->fd = -1;
    f->broken = 0;
    f->ctx = nfs_init_context();
    if (!f->ctx)
        return err_set(err, ENOMEM, "no connection");
    f->rpc = nfs_get_rpc_context(f->ctx);
    if (config->user)
        nfs_set_uid(f->ctx, *config->user);
    if (config->group)
        nfs_set_gid(f->ctx, *config->group);
    if (config->tcp_syn_count)
        nfs_set_tcp_syncnt(f->ctx, (int)config->tcp_syn_count);
    nfs_set_debug(f->ctx, (int)config->debug);
    c = call_new(f);
    if (!open_wait(f, c, nfs_mount_async(f->ctx, address, folder, on_opened, c), NULL, err))
        return false;
    /* Reconnect without limit: the deadline ends that. */
    nfs_set_autoreconnect(f->ctx, -1);
    return true;
}

static void file_unmount(NfsFile *f)
{
    if (f->fd >= 0)
        poll_set_watch(f->set, f->fd, 0);
    if (f->ctx)
        nfs_destroy_context(f->ctx);
    f->ctx = NULL;
}

/* By the first address of the server that answers. */
static CO bool file_connect(NfsFile *f, const NfsConfig *config, GError **err)
{
    g_autoptr(GPtrArray) addresses = g_ptr_array_new_with_free_func(g_free);
    Lookup l = { config->host, addresses };
    int r = pool_run(lookup_run, &l);

    if (r || !addresses->len)
        return err_set(err, ENOENT, "'%s': %s", config->host, gai_strerror(r));
    for (guint i = 0; i < addresses->len; i++) {
        g_clear_error(err);
        if (file_mount(f, config, addresses->pdata[i], err))
            return true;
        file_unmount(f);
    }
    return false;
}

static CO bool file_look(NfsFile *f, uint64_t *size, GError **err)
{
    Call *c = call_new(f);
    bool is_file;
    int r;

    /* libnfs-raw.h: struct nfs_fh has the layout of the protocol's nfs_fh3. */
    f->handle = *(const nfs_fh3 *)nfs_get_fh(f->fh);
    r = simple_run(f, c, send_getattr);
    is_file = c->is_file;
    *size = c->size;
    call_free(c);
    if (r < 0)
        return file_fail(f, r, err);
    return is_file || err_set(err, EINVAL, "it is not a regular file");
}

static CO bool file_take(NfsFile *f, const NfsConfig *config, uint64_t *size, GError **err)
{
    g_autofree char *base = g_path_get_basename(config->path), *name = g_strconcat("/", base, NULL);
    Call *c = call_new(f);
    int r;

    if (config->create)
        r = nfs_creat_async(f->ctx, name, MODE, on_opened, c);
    else
        r = nfs_open_async(f->ctx, name, config->write ? O_RDWR : O_RDONLY, on_opened, c);
    if (!open_wait(f, c, r, &f->fh, err) || !file_look(f, size, err))
        return false;
    f->read_max = CLAMP(nfs_get_readmax(f->ctx), PIECE_MIN, PIECE_MAX);
    f->write_max = CLAMP(nfs_get_writemax(f->ctx), PIECE_MIN, PIECE_MAX);
    if (!config->create || !*size)
        return true;
    r = file_resize(f, 0);
    *size = 0;
    return r == 0 || file_fail(f, r, err);
}

static CO void file_close(void *file)
{
    NfsFile *f = file;

    if (f->fh) {
        Call *c = call_new(f);
        int taken = nfs_close_async(f->ctx, f->fh, on_opened, c);

        if (f->broken && taken == 0)
            call_free(c);       /* nobody will answer */
        else
            open_wait(f, c, taken, NULL, NULL);
    }
    file_unmount(f);
    poll_set_free(f->set);
    g_ptr_array_free(f->calls, true);
    g_free(f);
}

static CO NfsFile *file_open(const NfsConfig *config, uint64_t *size, GError **err)
{
    NfsFile *f = g_new0(NfsFile, 1);

    f->fd = -1;
    f->timeout_ns = config->timeout_s * INT64_C(1000000000);
    f->calls = g_ptr_array_new();
    f->set = poll_set_new(on_ready, f, err);
    if (f->set && file_connect(f, config, err) && file_take(f, config, size, err))
        return f;
    file_close(f);
    return NULL;
}

MODULE_EXPORT const NfsModule ferry_module_nfs = {
    .open = file_open,
    .file = {
        .read = file_read,
        .write = file_write,
        .sync = file_sync,
        .resize = file_resize,
        .close = file_close,
    },
    .allocated = file_allocated,
};
