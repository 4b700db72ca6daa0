/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a server sends back: simple replies, and chunks of structured or extended ones. Every
 * offset, length and count is compared with what was asked before anything is believed or written.
 *
 *     chunk        must
 *     data, hole   lie inside of the read, not be empty, not overlap what came; all of it must
 *                  have come with the last chunk, unless an error was told
 *     status       be of our context, come once, hold whole runs none of which is empty or begins
 *                  past what was asked for, and one run only where one was asked for
 *     error        tell an error, inside of the request; not more than ERRORS_MAX of them
 *     none         be empty and the last
 */
#include "nbd/client-internal.h"
#include <errno.h>

enum {
    ERRORS_MAX = 64,              /* error chunks in answer to one request */
    STATUS_MAX = 8 << 20,         /* bytes of one block status */
    DIRECT_MIN = NBD_INPUT_LEN / 4, /* data from this length on is not received by way of input */
};

/* The head of a chunk, whatever its size on the wire. */
typedef struct {
    uint16_t flags, type;
    uint64_t len; /* bytes that follow */
} Chunk;

/* ---- input ----------------------------------------------------------------------------------- */

static size_t input_len(const NbdConn *c)
{
    return c->input_end - c->input_at;
}

/* As channel_read. */
static CO ssize_t expect_and_read(Channel *c, void *buf, size_t len)
{
    ssize_t n;

    while ((n = channel_try_read(c, buf, len)) == -EAGAIN) {
        int r = channel_expect(c, 0);

        if (r < 0)
            return r;
    }
    return n;
}

/* Receives more, behind what there is. */
static CO int input_more(NbdConn *c)
{
    ssize_t n;

    if (c->input_at) {
        memmove(c->input, c->input + c->input_at, input_len(c));
        c->input_end -= c->input_at;
        c->input_at = 0;
    }
    n = expect_and_read(c->channel, c->input + c->input_end, NBD_INPUT_LEN - c->input_end);
    if (n <= 0)
        return n < 0 ? n : -EPIPE;
    c->input_end += n;
    return 0;
}

/* @len bytes, at most NBD_INPUT_LEN, in place; valid until the next call. NULL with *@result. */
static CO const void *input_peek(NbdConn *c, size_t len, int *result)
{
    while (input_len(c) < len) {
        *result = input_more(c);
        if (*result < 0)
            return NULL;
    }
    return c->input + c->input_at;
}

static CO const void *input_take(NbdConn *c, size_t len, int *result)
{
    const void *p = input_peek(c, len, result);

    if (p)
        c->input_at += len;
    return p;
}

static CO int input_skip(NbdConn *c, uint64_t len)
{
    while (len) {
        size_t now = MIN(len, input_len(c));
        int r = now ? 0 : input_more(c);

        if (r < 0)
            return r;
        c->input_at += now;
        len -= now;
    }
    return 0;
}

/* Moves what there is into the start of @to; returns the rest of @to. */
static Span input_move(NbdConn *c, Span to)
{
    size_t now = MIN(to.len, input_len(c));

    if (now)
        span_write(span_slice(to, 0, now), c->input + c->input_at);
    c->input_at += now;
    return span_slice(to, now, to.len - now);
}

/* Fills @to. */
static CO int input_read(NbdConn *c, Span to)
{
    to = input_move(c, to);
    while (to.len) {
        size_t piece;
        void *p = span_head(to, &piece);

        if (piece >= DIRECT_MIN) {
            ssize_t n = channel_read(c->channel, p, piece);

            if (n <= 0)
                return n < 0 ? n : -EPIPE;
            to = span_slice(to, n, to.len - n);
        } else {
            int r = input_more(c);

            if (r < 0)
                return r;
            to = input_move(c, to);
        }
    }
    return 0;
}

/* Receives data into the memory of @q. */
static CO int data_read(NbdConn *c, NbdCall *q, uint64_t at, uint64_t len)
{
    int r;

    q->pinned_by_receiver = true;
    r = input_read(c, span_slice(q->buf, at, len));
    q->pinned_by_receiver = false;
    return r;
}

/* ---- errors ---------------------------------------------------------------------------------- */

static int errno_of(uint32_t error)
{
    switch (error) {
    case NBD_EPERM:
        return -EPERM;
    case NBD_EIO:
        return -EIO;
    case NBD_ENOMEM:
        return -ENOMEM;
    case NBD_ENOSPC:
        return -ENOSPC;
    case NBD_EOVERFLOW:
        return -EOVERFLOW;
    case NBD_ENOTSUP:
        return -ENOTSUP;
    case NBD_ESHUTDOWN:
        return -ESHUTDOWN;
    default:
        return -EINVAL;
    }
}

/* The answer to @q makes no sense. */
static int call_is_bad(NbdCall *q)
{
    q->is_bad = true;
    return -EPROTO;
}

static NbdCall *call_find(NbdConn *c, uint64_t cookie)
{
    NbdCall *q = c->calls[cookie % NBD_CALLS_MAX];

    /* What was not sent, or is just being sent for the first time, may be answered early. */
    return q && q->cookie == cookie && !q->answered && (q->sent || q->pinned_by_sender) ? q : NULL;
}

/* ---- simple replies -------------------------------------------------------------------------- */

static CO int simple_receive(NbdConn *c)
{
    int r = 0;
    const NbdSimpleReply *s = input_take(c, sizeof(*s), &r);
    NbdCall *q;

    if (!s)
        return r;
    q = call_find(c, be64_get(s->cookie));
    if (!q)
        return -EPROTO;
    /* Chunks and a simple reply do not mix; reads and block status are for chunks if agreed. */
    if (c->extended || q->coverage.n || q->error_chunks || q->has_status ||
        q->type == NBD_CMD_BLOCK_STATUS || (c->structured && q->type == NBD_CMD_READ))
        return call_is_bad(q);
    if (be32_get(s->error))
        q->error = errno_of(be32_get(s->error));
    else if (q->type == NBD_CMD_READ)
        r = data_read(c, q, 0, q->len);
    if (r == 0)
        nbd_call_answered(c, q);
    return r;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* Is [@off, @off + @len) inside of @q and new? Takes it as come. */
static bool call_cover(NbdCall *q, uint64_t off, uint64_t len)
{
    return len && off >= q->off && off - q->off < q->len && len <= q->len - (off - q->off) &&
           coverage_add(&q->coverage, off - q->off, len);
}

static CO int chunk_data(NbdConn *c, NbdCall *q, const Chunk *k)
{
    int r = 0;
    const be64 *off;
    uint64_t at;

    if (q->type != NBD_CMD_READ || k->len <= sizeof(*off) || k->len - sizeof(*off) > q->len)
        return call_is_bad(q);
    off = input_take(c, sizeof(*off), &r);
    if (!off)
        return r;
    at = be64_get(*off);
    if (!call_cover(q, at, k->len - sizeof(*off)))
        return call_is_bad(q);
    return data_read(c, q, at - q->off, k->len - sizeof(*off));
}

static CO int chunk_hole(NbdConn *c, NbdCall *q, const Chunk *k)
{
    int r = 0;
    const NbdHole *hole;
    uint64_t at, len;

    if (q->type != NBD_CMD_READ || k->len != sizeof(*hole))
        return call_is_bad(q);
    hole = input_take(c, sizeof(*hole), &r);
    if (!hole)
        return r;
    at = be64_get(hole->offset);
    len = be32_get(hole->length);
    if (!call_cover(q, at, len))
        return call_is_bad(q);
    span_zero(span_slice(q->buf, at - q->off, len));
    return 0;
}

/*
 * Takes one run, which begins @at bytes from the start of the request; false if it makes no sense.
 * A server that told no block sizes may count in bytes. The last run may be longer than was asked
 * for.
 */
static bool run_take(const NbdConn *c, NbdCall *q, uint64_t at, NbdRun run)
{
    uint32_t align = c->offer.has_blocks ? c->offer.block_min : 1;

    if (!run.len || at >= q->len || (run.len % align && c->offer.size % align == 0))
        return false;
    if (q->n_runs < q->max_runs)
        q->runs[q->n_runs++] = run;
    return true;
}

static CO int chunk_runs(NbdConn *c, NbdCall *q, uint64_t count, bool wide)
{
    size_t size = wide ? sizeof(NbdExtentExt) : sizeof(NbdExtent);
    uint64_t at = 0;

    for (uint64_t i = 0; i < count; i++) {
        int r = 0;
        const void *p = input_take(c, size, &r);
        const NbdExtentExt *ext = p;
        const NbdExtent *e = p;
        NbdRun run;

        if (!p)
            return r;
        run = wide ? (NbdRun){ be64_get(ext->length), be64_get(ext->flags) }
                   : (NbdRun){ be32_get(e->length), be32_get(e->flags) };
        if (!run_take(c, q, at, run))
            return call_is_bad(q);
        at += MIN(run.len, q->len - at);
    }
    return 0;
}

static CO int chunk_status(NbdConn *c, NbdCall *q, const Chunk *k, bool wide)
{
    size_t head = wide ? 8 : 4, size = wide ? sizeof(NbdExtentExt) : sizeof(NbdExtent);
    uint64_t count;
    const uint8_t *p;
    int r = 0;

    if (q->type != NBD_CMD_BLOCK_STATUS || wide != c->extended || q->has_status ||
        k->len < head + size || k->len > STATUS_MAX || (k->len - head) % size)
        return call_is_bad(q);
    p = input_take(c, head, &r);
    if (!p)
        return r;
    count = (k->len - head) / size;
    if (be32_at(p) != c->context_id || (wide && be32_at(p + 4) && be32_at(p + 4) != count) ||
        (q->flags & NBD_CMD_FLAG_REQ_ONE && count != 1))
        return call_is_bad(q);
    q->has_status = true;
    return chunk_runs(c, q, count, wide);
}

static CO int chunk_error(NbdConn *c, NbdCall *q, const Chunk *k)
{
    bool has_offset = k->type == NBD_REPLY_TYPE_ERROR_OFFSET;
    size_t tail = has_offset ? sizeof(be64) : 0;
    int r = 0;
    const NbdErrorChunk *e;
    size_t text;
    const be64 *off;

    if (k->len < sizeof(*e) + tail || k->len > sizeof(*e) + NBD_STRING_MAX + tail ||
        ++q->error_chunks > ERRORS_MAX)
        return call_is_bad(q);
    e = input_take(c, sizeof(*e), &r);
    if (!e)
        return r;
    text = be16_get(e->length);
    /* Errors of kinds we do not know may go on in ways we do not know. */
    if (!be32_get(e->error) || text > k->len - sizeof(*e) - tail ||
        (text < k->len - sizeof(*e) - tail &&
         (has_offset || k->type == NBD_REPLY_TYPE_ERROR)))
        return call_is_bad(q);
    if (!q->error)
        q->error = errno_of(be32_get(e->error));
    r = input_skip(c, k->len - sizeof(*e) - tail);
    if (r < 0 || !has_offset)
        return r;
    off = input_take(c, sizeof(*off), &r);
    if (!off)
        return r;
    return be64_get(*off) < q->off || be64_get(*off) - q->off >= q->len ? call_is_bad(q) : 0;
}

static CO int chunk_payload(NbdConn *c, NbdCall *q, const Chunk *k)
{
    switch (k->type) {
    case NBD_REPLY_TYPE_NONE:
        return k->len || !(k->flags & NBD_REPLY_FLAG_DONE) ? call_is_bad(q) : 0;
    case NBD_REPLY_TYPE_OFFSET_DATA:
        return chunk_data(c, q, k);
    case NBD_REPLY_TYPE_OFFSET_HOLE:
        return chunk_hole(c, q, k);
    case NBD_REPLY_TYPE_BLOCK_STATUS:
        return chunk_status(c, q, k, false);
    case NBD_REPLY_TYPE_BLOCK_STATUS_EXT:
        return chunk_status(c, q, k, true);
    default:
        return k->type & NBD_REPLY_TYPE_ERROR_BIT ? chunk_error(c, q, k) : call_is_bad(q);
    }
}

/* The last chunk has come: is all there that must be? */
static bool call_is_complete(const NbdCall *q)
{
    if (q->error)
        return true;
    if (q->type == NBD_CMD_READ)
        return coverage_is_whole(&q->coverage, q->len);
    return q->type != NBD_CMD_BLOCK_STATUS || q->has_status;
}

static CO int chunk_receive(NbdConn *c, uint64_t cookie, const Chunk *k)
{
    NbdCall *q = call_find(c, cookie);
    int r;

    if (!q)
        return -EPROTO;
    r = chunk_payload(c, q, k);
    if (r < 0 || !(k->flags & NBD_REPLY_FLAG_DONE))
        return r;
    if (!call_is_complete(q))
        return call_is_bad(q);
    nbd_call_answered(c, q);
    return 0;
}

static CO int structured_receive(NbdConn *c)
{
    int r = 0;
    const NbdStructuredReply *s = input_take(c, sizeof(*s), &r);
    Chunk k;

    if (!s)
        return r;
    if (!c->structured || c->extended)
        return -EPROTO;
    k = (Chunk){ be16_get(s->flags), be16_get(s->type), be32_get(s->length) };
    return chunk_receive(c, be64_get(s->cookie), &k);
}

static CO int extended_receive(NbdConn *c)
{
    int r = 0;
    const NbdExtendedReply *e = input_take(c, sizeof(*e), &r);
    NbdCall *q;
    Chunk k;

    if (!e)
        return r;
    q = call_find(c, be64_get(e->cookie));
    if (!c->extended || !q)
        return -EPROTO;
    if (be64_get(e->offset) != q->off)
        return call_is_bad(q);
    k = (Chunk){ be16_get(e->flags), be16_get(e->type), be64_get(e->length) };
    return chunk_receive(c, q->cookie, &k);
}

int nbd_answer_receive(NbdConn *c)
{
    int r = 0;
    const be32 *magic;

    c->between_answers = true;
    magic = input_peek(c, sizeof(*magic), &r);
    c->between_answers = false;
    if (!magic)
        return r;
    switch (be32_get(*magic)) {
    case NBD_SIMPLE_REPLY_MAGIC:
        return simple_receive(c);
    case NBD_STRUCTURED_REPLY_MAGIC:
        return structured_receive(c);
    case NBD_EXTENDED_REPLY_MAGIC:
        return extended_receive(c);
    default:
        return -EPROTO;
    }
}
