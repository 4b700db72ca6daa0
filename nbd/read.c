/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads whose answer may leave out holes. Of a long read the layers below are asked first what is
 * there, and only data is read; of a short one it is cheaper to read and look.
 */
#include "nbd/internal.h"
#include "util/size.h"
#include <string.h>

enum {
    SHORT_READ = 64 << 10,
    PIECES_MAX = 64, /* of one answer; what is behind them is taken for data */
};

/* Part of a read, from its offset on. */
typedef struct {
    uint32_t start, len;
    bool hole;
} Piece;

typedef struct {
    Piece at[PIECES_MAX];
    unsigned n;
} Pieces;

static void pieces_add(Pieces *p, uint32_t start, uint32_t len, bool hole)
{
    Piece *last = p->n ? &p->at[p->n - 1] : NULL;

    if (last && last->hole == hole)
        last->len += len;
    else
        p->at[p->n++] = (Piece){ start, len, hole };
}

/* Finds out what the range of @t is made of. */
static CO int pieces_find(NbdTask *t, Pieces *p)
{
    p->n = 0;
    for (uint64_t done = 0; done < t->length;) {
        Extent e = { .len = t->length - done };

        if (p->n < PIECES_MAX - 1) {
            int r = nbd_task_extent(t, done, true, &e, NULL);

            if (r < 0)
                return r;
        }
        pieces_add(p, done, e.len, e.flags & EXTENT_ZERO);
        done += e.len;
    }
    return 0;
}

/* The head of the chunk for @piece; a hole is no more than that. Returns its length. */
static size_t piece_head(const NbdTask *t, const Piece *piece, bool last, uint8_t *head)
{
    size_t n;

    if (!piece->hole) {
        n = nbd_chunk_head(t, head, NBD_REPLY_TYPE_OFFSET_DATA, last, 8 + (uint64_t)piece->len);
        be64_put(head + n, t->offset + piece->start);
        return n + 8;
    }
    n = nbd_chunk_head(t, head, NBD_REPLY_TYPE_OFFSET_HOLE, last, sizeof(NbdHole));
    be64_put(head + n, t->offset + piece->start);
    be32_put(head + n + 8, piece->len);
    return n + sizeof(NbdHole);
}

static void reply_hole(NbdTask *t)
{
    const Piece all = { 0, t->length, true };

    t->few[0] = (struct iovec){ t->head, piece_head(t, &all, true, t->head) };
    t->iov = t->few;
    t->niov = 1;
}

static CO int read_pieces(NbdTask *t, const Pieces *p)
{
    for (unsigned i = 0; i < p->n; i++) {
        const Piece *piece = &p->at[i];
        int r = piece->hole
                    ? 0
                    : handle_pread(t->client->export->handle, t->offset + piece->start,
                                   span_of((uint8_t *)t->buf + piece->start, piece->len), 0);

        if (r < 0)
            return r;
    }
    return 0;
}

static void reply_pieces(NbdTask *t, const Pieces *p)
{
    uint8_t *head = t->more = g_malloc(p->n * NBD_REPLY_HEAD);

    t->iov = g_new(struct iovec, 2 * p->n);
    t->niov = 0;
    for (unsigned i = 0; i < p->n; i++, head += NBD_REPLY_HEAD) {
        const Piece *piece = &p->at[i];
        size_t n = piece_head(t, piece, i == p->n - 1, head);

        t->iov[t->niov++] = (struct iovec){ head, n };
        if (!piece->hole)
            t->iov[t->niov++] = (struct iovec){ (uint8_t *)t->buf + piece->start, piece->len };
    }
}

static CO int read_long(NbdTask *t)
{
    Pieces p;
    int r = pieces_find(t, &p);

    if (r == 0)
        r = read_pieces(t, &p);
    if (r < 0)
        return r;
    if (p.n > 1)
        reply_pieces(t, &p);
    else if (p.at[0].hole)
        reply_hole(t);
    else
        nbd_reply_data(t);
    return 0;
}

static CO int read_short(NbdTask *t)
{
    int r = handle_pread(t->client->export->handle, t->offset, span_of(t->buf, t->length), 0);

    if (r < 0)
        return r;
    if (buffer_is_zero(t->buf, t->length))
        reply_hole(t);
    else
        nbd_reply_data(t);
    return 0;
}

CO int nbd_task_read_sparse(NbdTask *t)
{
    return t->length <= SHORT_READ ? read_short(t) : read_long(t);
}
