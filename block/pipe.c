/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that are written front to back, see the header. */
#include "block/pipe.h"
#include "block/internal.h"
#include "io/co-lock.h"
#include "io/loop.h"
#include "io/pool.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int fd;
    int error;              /* of an earlier write: then nothing can be put right any more */
    uint64_t at, end;       /* bytes written, and to be written */
    bool is_complete;       /* all of the disk was written */
    const PipeFormat *format; /* NULL: none of its own */
    void *format_state;
    CoMutex lock;           /* writes, in the order in which they came */
    uint8_t *used;          /* see pipe_set_clusters; NULL: offsets are the pipe's */
    unsigned cluster_bits;
    uint64_t cluster;       /* the last one that was looked up */
    uint64_t cluster_at;    /* where that lies in the pipe */
} Pipe;

typedef struct {
    int fd;
    const uint8_t *buf;
    size_t len;
} PipeWrite;

/* Whoever shares the descriptor may have made it one that does not wait. */
static int write_all(void *arg)
{
    PipeWrite *w = arg;
    struct pollfd p = { .fd = w->fd, .events = POLLOUT };

    while (w->len) {
        ssize_t n = write(w->fd, w->buf, w->len);

        if (n < 0 && errno == EAGAIN)
            poll(&p, 1, -1);
        else if (n < 0 && errno != EINTR)
            return -errno;
        w->buf += MAX(n, 0);
        w->len -= MAX(n, 0);
    }
    return 0;
}

static CO int put(Pipe *p, const void *buf, size_t len)
{
    PipeWrite w = { p->fd, buf, len };

    if (!p->error)
        p->error = loop_is_alone() ? write_all(&w) : pool_run(write_all, &w);
    p->at += len;
    return p->error;
}

static CO int put_zeroes(Pipe *p, uint64_t end)
{
    int r = p->error;

    while (r == 0 && p->at < end)
        r = put(p, zero_bytes, MIN(end - p->at, ZEROES_LEN));
    return r;
}

/* Writes @buf at @off of the pipe. */
static CO int put_at(Pipe *p, uint64_t off, Span buf)
{
    int r = off < p->at ? -ESPIPE : put_zeroes(p, off);

    while (r == 0 && buf.len) {
        size_t len;
        void *piece = span_head(buf, &len);

        r = put(p, piece, len);
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

/* Where cluster @i of the disk lies. Clusters are asked for in order. */
static bool cluster_place(Pipe *p, uint64_t i, uint64_t *at)
{
    for (; p->cluster < i; p->cluster++)
        if (pipe_cluster_is_used(p->used, p->cluster))
            p->cluster_at += UINT64_C(1) << p->cluster_bits;
    *at = p->cluster_at;
    return p->cluster == i && pipe_cluster_is_used(p->used, i);
}

static CO int pipe_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Pipe *p = node_state(n);
    CO_LOCKED(&p->lock);
    int r = 0;

    if (p->format && p->format->write)
        return p->error ? p->error : p->format->write(p->format_state, off, buf);
    if (!p->used)
        return put_at(p, off, buf);
    while (r == 0 && buf.len) {
        uint64_t cluster = UINT64_C(1) << p->cluster_bits, within = off % cluster;
        uint64_t len = MIN(buf.len, cluster - within), at;

        r = -EIO;
        if (cluster_place(p, off >> p->cluster_bits, &at))
            r = put_at(p, at + within, span_slice(buf, 0, len));
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

static CO int pipe_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return -ESPIPE;
}

/* What is left out are zeroes. */
static bool pipe_has_zero_init(Node *n)
{
    return true;
}

static CO bool pipe_inactivate(Node *n, GError **err)
{
    Pipe *p = node_state(n);
    CO_LOCKED(&p->lock);
    int r = put_zeroes(p, p->end);

    if (r == 0 && p->is_complete && p->format)
        r = p->format->finish(p->format_state);
    p->is_complete = false;
    return r == 0 || err_set_errno(err, r, "Could not write to the pipe");
}

static CO void pipe_close(Node *n)
{
    Pipe *p = node_state(n);

    g_free(p->used);
    if (p->format)
        p->format->free(p->format_state);
}

static const BlockDriver block_pipe = {
    .name = "pipe",
    .kind = BLK_PROTOCOL,
    .state_size = sizeof(Pipe),
    .pread = pipe_pread,
    .pwrite = pipe_pwrite,
    .has_zero_init = pipe_has_zero_init,
    .inactivate = pipe_inactivate,
    .close = pipe_close,
};

static Pipe *pipe_of(Handle *h)
{
    return node_state(handle_node(h));
}

CO Handle *pipe_open(int fd, GError **err)
{
    g_autoptr(Node) n = node_new(&block_pipe, NULL, err);

    if (!n)
        return NULL;
    ((Pipe *)node_state(n))->fd = fd;
    n->flags = OPEN_RDWR;
    n->filename = g_strdup("-");
    n->options = json_object();
    n->is_open = true;
    n->state = NODE_ACTIVE;
    node_set_size(n, NODE_SIZE_MAX);
    node_refresh_limits(n);
    return handle_new(n, HANDLE_USER, ACCESS_WRITE, ACCESS_ALL, err);
}

void pipe_set_end(Handle *pipe, uint64_t end)
{
    pipe_of(pipe)->end = end;
    pipe_of(pipe)->is_complete = true;
}

void pipe_set_format(Handle *pipe, const PipeFormat *format, void *state)
{
    pipe_of(pipe)->format = format;
    pipe_of(pipe)->format_state = state;
}

uint64_t pipe_length(Handle *pipe)
{
    return pipe_of(pipe)->at;
}

CO int pipe_append(Handle *pipe, const void *buf, size_t len)
{
    return put(pipe_of(pipe), buf, len);
}

void pipe_set_clusters(Handle *pipe, uint8_t *used, unsigned cluster_bits, uint64_t start)
{
    Pipe *p = pipe_of(pipe);

    p->used = used;
    p->cluster_bits = cluster_bits;
    p->cluster_at = start;
}

CO uint8_t *pipe_used_clusters(const PipeSource *s, unsigned cluster_bits, uint64_t *count)
{
    uint64_t clusters = div_round_up(s->size, UINT64_C(1) << cluster_bits), len;
    uint8_t *used = g_try_malloc0(clusters / 8 + 1);

    *count = 0;
    for (uint64_t off = 0; used && off < s->size; off += len) {
        bool zero;

        len = s->size - off;
        zero = s->is_zero(s->arg, off, &len);
        for (uint64_t i = off >> cluster_bits; !zero && i <= (off + len - 1) >> cluster_bits; i++) {
            *count += !pipe_cluster_is_used(used, i);
            used[i / 8] |= 1 << i % 8;
        }
    }
    return used;
}
