/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One request: is it right, what it does, what it answers. Each runs as a coroutine of its own. */
#include "nbd/internal.h"
#include "util/size.h"
#include "util/trace.h"
#include <inttypes.h>
#include <string.h>

enum {
    PIECE = 128 << 20,        /* long effects are cut, see nbd_task_pause */
    CACHE_PIECE = 256 << 10,  /* bytes read ahead at once */
    STATUS_PAYLOAD_MAX = 8 + 4 * (NBD_BITMAPS_MAX + NBD_ID_BITMAP),
};

/* ---- taking and giving back ------------------------------------------------------------------ */

NbdTask *nbd_task_take(NbdClient *c)
{
    NbdLoop *at = c->at;
    NbdTask *t = at->free_tasks;

    if (t)
        at->free_tasks = t->next;
    else
        t = g_new(NbdTask, 1);
    t->client = c;
    t->refusal = 0;
    t->payload = 0;
    t->buf = NULL;
    t->buf_len = 0;
    t->held = 0;
    t->more = NULL;
    c->in_flight++;
    return t;
}

void nbd_task_give(NbdTask *t)
{
    NbdClient *c = t->client;
    NbdLoop *at = c->at;

    nbd_buffer_give(&at->buffers, t->buf, t->buf_len);
    c->bytes -= t->buf_len;
    nbd_memory_give(c, t->held);
    if (t->more) {
        g_free(t->more);
        if (t->iov != t->few)
            g_free(t->iov);
    }
    c->in_flight--;
    t->next = at->free_tasks;
    at->free_tasks = t;
    co_queue_wake_all(&c->room);
}

/* ---- checking -------------------------------------------------------------------------------- */

void nbd_task_refuse(NbdTask *t, int error, const char *reason)
{
    t->refusal = error;
    t->reason = reason;
}

/* The flags that mean something with command @type. */
static unsigned flags_known(const NbdTask *t)
{
    NbdReplyStyle style = t->client->style;
    unsigned known = NBD_CMD_FLAG_FUA; /* is to be accepted everywhere */

    switch (t->type) {
    case NBD_CMD_READ:
        return known | (style >= NBD_STRUCTURED ? NBD_CMD_FLAG_DF : 0);
    case NBD_CMD_WRITE:
        return known | (style == NBD_EXTENDED ? NBD_CMD_FLAG_PAYLOAD_LEN : 0);
    case NBD_CMD_WRITE_ZEROES:
        return known | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
    case NBD_CMD_BLOCK_STATUS:
        return known | NBD_CMD_FLAG_REQ_ONE |
               (style == NBD_EXTENDED ? NBD_CMD_FLAG_PAYLOAD_LEN : 0);
    default:
        return known;
    }
}

static bool changes_data(uint16_t type)
{
    return type == NBD_CMD_WRITE || type == NBD_CMD_TRIM || type == NBD_CMD_WRITE_ZEROES;
}

static void check_range(NbdTask *t)
{
    uint64_t size = t->client->size;

    if (t->offset <= size && t->length <= size - t->offset)
        return;
    nbd_task_refuse(t, t->type == NBD_CMD_WRITE || t->type == NBD_CMD_WRITE_ZEROES ? -ENOSPC
                                                                                  : -EINVAL,
                    "The request reaches past the end of the export");
}

static void check_status(NbdTask *t)
{
    if (t->payload > STATUS_PAYLOAD_MAX || (t->payload && (t->payload < 8 || t->payload % 4)))
        nbd_task_refuse(t, -EINVAL, "This is no list of contexts");
    else if (t->payload)
        return; /* its length is in the payload */
    else if (t->flags & NBD_CMD_FLAG_PAYLOAD_LEN)
        nbd_task_refuse(t, -EINVAL, "The payload is missing");
    else if (!t->client->contexts)
        nbd_task_refuse(t, -EINVAL, "No metadata context was chosen");
    else if (!t->length)
        nbd_task_refuse(t, -EINVAL, "The length must not be zero");
    else
        check_range(t);
}

void nbd_task_check(NbdTask *t)
{
    const NbdExport *e = t->client->export;

    if (e->removed)
        nbd_task_refuse(t, -ESHUTDOWN, "The export is being removed");
    else if (t->type > NBD_CMD_BLOCK_STATUS)
        nbd_task_refuse(t, -EINVAL, "There is no such command");
    else if (t->flags & ~flags_known(t))
        nbd_task_refuse(t, -EINVAL, "A flag does not belong to this command");
    else if (e->read_only && changes_data(t->type))
        nbd_task_refuse(t, -EPERM, "The export is read-only");
    else if ((t->type == NBD_CMD_READ && t->length > NBD_PAYLOAD_MAX) ||
             t->payload > NBD_PAYLOAD_MAX)
        nbd_task_refuse(t, -EINVAL, "More data than a request may have");
    else if (t->type == NBD_CMD_WRITE && t->length && !t->payload)
        nbd_task_refuse(t, -EINVAL, "The payload is missing");
    else if (t->type == NBD_CMD_BLOCK_STATUS)
        check_status(t);
    else if (t->type != NBD_CMD_FLUSH)
        check_range(t);
}

/* ---- carrying out ---------------------------------------------------------------------------- */

CO int nbd_task_pause(const NbdTask *t)
{
    co_yield();
    return t->client->broken || t->client->stop_receiving ? -ESHUTDOWN : 0;
}

static ReqFlags fua_of(const NbdTask *t)
{
    return t->flags & NBD_CMD_FLAG_FUA ? REQ_FUA : 0;
}

static CO int task_read(NbdTask *t)
{
    Handle *h = t->client->export->handle;
    int r;

    t->client->bytes_read += t->length;
    if (t->client->style != NBD_SIMPLE && !(t->flags & NBD_CMD_FLAG_DF))
        return nbd_task_read_sparse(t);
    r = handle_pread(h, t->offset, span_of(t->buf, t->length), 0);
    if (r == 0)
        nbd_reply_data(t);
    return r;
}

static CO int task_write(NbdTask *t)
{
    t->client->bytes_written += t->length;
    return handle_pwrite(t->client->export->handle, t->offset, span_of(t->buf, t->length),
                         fua_of(t));
}

static CO int zero_piece(NbdTask *t, uint64_t off, uint64_t len)
{
    return handle_zero(t->client->export->handle, off, len,
                       fua_of(t) | (t->flags & NBD_CMD_FLAG_NO_HOLE ? 0 : REQ_MAY_UNMAP) |
                           (t->flags & NBD_CMD_FLAG_FAST_ZERO ? REQ_NO_FALLBACK : 0));
}

static CO int trim_piece(NbdTask *t, uint64_t off, uint64_t len)
{
    return handle_discard(t->client->export->handle, off, len);
}

/* Applies @piece to the range of @t, PIECE bytes at a time. */
static CO int task_effect(NbdTask *t, CO int (*piece)(NbdTask *t, uint64_t off, uint64_t len))
{
    int r = 0;

    for (uint64_t done = 0; done < t->length && r == 0; done += PIECE) {
        if (done)
            r = nbd_task_pause(t);
        if (r == 0)
            r = piece(t, t->offset + done, MIN(PIECE, t->length - done));
    }
    return r;
}

static CO int task_trim(NbdTask *t)
{
    int r = task_effect(t, trim_piece);

    return r == 0 && t->flags & NBD_CMD_FLAG_FUA ? handle_flush(t->client->export->handle) : r;
}

CO int nbd_task_extent(const NbdTask *t, uint64_t at, bool precise, Extent *e, int *above)
{
    int r = handle_extent_above(t->client->export->handle, t->offset + at, t->length - at, precise,
                                e, above);

    return r == 0 && !e->len ? -EIO : r;
}

/* Reads what will be asked for, so that it is in the caches below. Of holes there is nothing. */
static CO int task_cache(NbdTask *t)
{
    Handle *h = t->client->export->handle;
    int r = 0;

    for (uint64_t done = 0, n; done < t->length && r == 0; done += n) {
        uint64_t off = t->offset + done;
        Extent e;

        r = nbd_task_extent(t, done, true, &e, NULL);
        if (r < 0)
            return r;
        n = e.flags & EXTENT_ZERO ? e.len : MIN(e.len, t->buf_len);
        if (!(e.flags & EXTENT_ZERO))
            r = handle_pread(h, off, span_of(t->buf, n), 0);
        if (r == 0)
            r = nbd_task_pause(t);
    }
    return r;
}

uint64_t nbd_task_room(const NbdTask *t)
{
    return t->type == NBD_CMD_READ    ? t->length
           : t->type == NBD_CMD_CACHE ? MIN(t->length, CACHE_PIECE)
                                      : 0;
}

size_t nbd_task_answer_max(const NbdTask *t)
{
    return t->type == NBD_CMD_BLOCK_STATUS && !t->refusal ? NBD_STATUS_MAX : 0;
}

/* The length and the contexts that the payload of a BLOCK_STATUS asks for. */
static CO int task_status_selected(NbdTask *t)
{
    const uint8_t *p = t->buf;
    uint64_t chosen = t->client->contexts, wanted = 0;

    for (const uint8_t *id = p + 8; id < p + t->payload; id += 4) {
        uint32_t n = be32_at(id);

        if (n >= 64 || !(chosen >> n & 1)) {
            nbd_task_refuse(t, -EINVAL, "A metadata context was not chosen in the handshake");
            return t->refusal;
        }
        wanted |= UINT64_C(1) << n;
    }
    t->length = be64_at(p);
    check_range(t);
    if (!t->length)
        nbd_task_refuse(t, -EINVAL, "The length must not be zero");
    return t->refusal ? t->refusal : nbd_task_status(t, wanted);
}

/* 0 with the reply made if there is data in it, or a negative errno. */
static CO int task_execute(NbdTask *t)
{
    switch (t->type) {
    case NBD_CMD_READ:
        return t->length ? task_read(t) : 0;
    case NBD_CMD_WRITE:
        return t->length ? task_write(t) : 0;
    case NBD_CMD_FLUSH:
        return handle_flush(t->client->export->handle);
    case NBD_CMD_TRIM:
        return task_trim(t);
    case NBD_CMD_CACHE:
        return task_cache(t);
    case NBD_CMD_WRITE_ZEROES:
        return task_effect(t, zero_piece);
    default:
        return t->payload ? task_status_selected(t) : nbd_task_status(t, t->client->contexts);
    }
}

static CO void task_run(void *arg)
{
    NbdTask *t = arg;
    int r;

    t->niov = 0;
    r = t->refusal ? t->refusal : task_execute(t);
    if (r < 0)
        nbd_reply_error(t, r, t->refusal ? t->reason : g_strerror(-r));
    else if (!t->niov)
        nbd_reply_done(t);
    TRACE(nbd_reply, "%s cookie=0x%" PRIx64 " result=%d", t->client->peer, t->cookie, r);
    nbd_reply_send(t);
}

CO void nbd_task_start(NbdTask *t)
{
    TRACE(nbd_request, "%s type=%u flags=0x%x cookie=0x%" PRIx64 " off=%" PRIu64 " len=%" PRIu64,
          t->client->peer, t->type, t->flags, t->cookie, t->offset, t->length);
    t->client->requests++;
    co_start_now(task_run, t);
}
