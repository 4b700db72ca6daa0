/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several decoders at a time in one file, see the header. */
#include "block/decode-ahead.h"
#include "io/memory.h"
#include "io/pool.h"
#include <string.h>

enum {
    FILLED_LEN = 1 << 20,
    FILLED_MAX = 32,            /* of one piece */
    PIECES_MAX = 8,
    SCAN_LEN = 1 << 20,         /* bytes of the file that are searched for a place at a time */
    SCAN_MAX = 2 << 20,         /* and at most: more than any block of bzip2 has */
};

/* What a piece may take, its decoder included: the dictionaries of xz and zstd are large. */
#define PIECE_MEMORY ((uint64_t)320 << 20)

typedef struct {
    size_t len;
    uint8_t data[FILLED_LEN];
} Filled;

/* ---- pieces --------------------------------------------------------------------------------- */

Piece *piece_new(const Codec *codec, void *state, Edge *file, Places *places, const CodecPoint *p)
{
    Piece *piece = g_try_new0(Piece, 1);

    if (!piece)
        return NULL;
    piece->d = (Decoding){ .codec = codec, .file = file, .places = places };
    piece->start = *p;
    piece->start.window = NULL;
    if (decoding_start(&piece->d, state, p) == 0)
        return piece;
    g_free(piece);
    return NULL;
}

void piece_drop(Piece *p)
{
    if (!p)
        return;
    p->dropped = true;
    if (p->running)
        return;
    decoding_free(&p->d);
    g_queue_clear_full(&p->filled, g_free);
    g_free(p);
}

/* Decodes ahead until enough waits to be read. */
static CO void piece_run(void *arg)
{
    Piece *p = arg;

    while (!p->dropped && p->result == CODEC_MORE && p->filled.length < FILLED_MAX) {
        Filled *f = g_try_new(Filled, 1);

        if (!f)
            break;
        p->result = decoding_run(&p->d, f->data, FILLED_LEN, &f->len);
        g_queue_push_tail(&p->filled, f);
        co_queue_wake_all(&p->changed);
    }
    p->running = false;
    co_queue_wake_all(&p->changed);
    if (p->dropped)
        piece_drop(p);
}

/* Moves what was decoded ahead to @out. Bytes. */
static size_t filled_take(Piece *p, uint8_t *out, size_t len)
{
    Filled *f = g_queue_peek_head(&p->filled);
    size_t now = MIN(len, f->len - p->taken);

    memcpy(out, f->data + p->taken, now);
    p->taken += now;
    if (p->taken == f->len) {
        g_free(g_queue_pop_head(&p->filled));
        p->taken = 0;
    }
    return now;
}

/* What was decoded ahead has been read: the decoder learns what came before it. */
static int piece_settle(Piece *p)
{
    const Codec *codec = p->d.codec;
    int r = codec->join ? codec->join(p->d.decoder, &p->at) : 0;

    p->settled = true;
    p->d.out_at += p->at.out - p->start.out;
    if (r < 0 || p->result != CODEC_PLACE)
        return r;
    p->d.place = (CodecPoint){ .out = p->d.out_at, .in = p->d.in_at };
    return codec->point_save(p->d.decoder, &p->d.place) ? 0 : -ENOMEM;
}

CO int piece_read(Piece *p, uint8_t *out, size_t len, size_t *made)
{
    size_t now = 0;
    int r = 0;

    *made = 0;
    while (*made < len && (p->running || p->filled.length)) {
        if (p->filled.length)
            *made += filled_take(p, out + *made, len - *made);
        else
            co_queue_wait(&p->changed);
    }
    if (*made == len)
        return CODEC_MORE;
    if (p->is_ahead && !p->settled)
        r = piece_settle(p);
    if (r < 0 || p->result != CODEC_MORE)
        return r < 0 ? r : p->result;
    r = decoding_run(&p->d, out + *made, len - *made, &now);
    *made += now;
    return r;
}

void piece_go_on(Piece *p, uint64_t stop_in)
{
    p->result = CODEC_MORE;
    p->d.stop_in = stop_in;
}

/* ---- places --------------------------------------------------------------------------------- */

/* Part of the file, from the start of a piece on. */
typedef struct {
    uint8_t *bytes;
    size_t len;
} Input;

/* Reads more of the file that begins with @p. False: there is no more, or no more is looked at. */
static CO bool input_more(const Ahead *a, const CodecPoint *p, Input *in)
{
    uint64_t at = p->in + in->len, size = edge_size(a->file);
    size_t now = at < size ? MIN(size - at, SCAN_LEN) : 0;
    uint8_t *bytes = now && in->len < SCAN_MAX ? g_try_realloc(in->bytes, in->len + now) : NULL;

    if (!bytes)
        return false;
    in->bytes = bytes;
    if (edge_pread_buf(a->file, at, bytes + in->len, now) < 0)
        return false;
    in->len += now;
    return true;
}

/* Keeps what was read of the file after the start of the next place. */
static void tail_keep(Ahead *a, const CodecPoint *p, const Input *in, const CodecPoint *next)
{
    uint64_t skip = next->in - p->in;

    a->tail_in = next->in;
    a->tail_len = skip < in->len ? in->len - skip : 0;
    a->tail = a->tail_len ? g_try_malloc(a->tail_len) : NULL;
    if (a->tail)
        memcpy(a->tail, in->bytes + skip, a->tail_len);
    else
        a->tail_len = 0;
}

static void tail_drop(Ahead *a)
{
    g_clear_pointer(&a->tail, g_free);
    a->tail_len = 0;
}

/* Finds the place after @p. @in gets what had to be read for it. */
static CO void next_find(Ahead *a, const CodecPoint *p, Input *in)
{
    CodecPoint next = { 0 };
    int r = 0;

    a->has_next = a->places && places_next(a->places, p->out, &a->next);
    if (a->places || !a->codec->next)
        return;
    if (a->tail_in == p->in)
        *in = (Input){ g_steal_pointer(&a->tail), a->tail_len };
    tail_drop(a);
    do
        r = a->codec->next(a->state, p, in->bytes, in->len, &next);
    while (r == 0 && input_more(a, p, in));
    if (r <= 0 || next.in >= edge_size(a->file))
        return;
    tail_keep(a, p, in, &next);
    a->next = next;
    a->has_next = true;
}

/* ---- ahead ---------------------------------------------------------------------------------- */

void ahead_init(Ahead *a, const Codec *codec, void *state, Edge *file)
{
    unsigned cpus = pool_cpus();

    *a = (Ahead){ .codec = codec, .state = state, .file = file };
    if (cpus > 1 && memory_limit() / 4 >= PIECE_MEMORY)
        a->max = memory_shares(MIN(cpus + 1, PIECES_MAX), PIECE_MEMORY);
}

/* Starts a piece at the next place. False: no memory. */
static CO bool piece_start_ahead(Ahead *a)
{
    CodecPoint start = a->next;
    Piece *p = piece_new(a->codec, a->state, a->file, NULL, &start);
    Input in = { 0 };

    if (!p)
        return false;
    next_find(a, &start, &in);
    if (in.len)
        decoding_give_input(&p->d, in.bytes, in.len);
    else
        g_free(in.bytes);
    p->d.stop_in = a->has_next ? a->next.in : a->places ? UINT64_MAX : 0;
    p->is_ahead = p->running = true;
    g_queue_push_tail(&a->pieces, p);
    co_group_start(&a->running, piece_run, p);
    return true;
}

CO void ahead_fill(Ahead *a, const CodecPoint *from)
{
    if (!a->pieces.length && a->max) {
        Input in = { 0 };

        next_find(a, from, &in);
        g_free(in.bytes);
    }
    while (a->has_next && a->pieces.length < a->max)
        if (!piece_start_ahead(a))
            break;
}

uint64_t ahead_first(const Ahead *a)
{
    const Piece *p = g_queue_peek_head((GQueue *)&a->pieces);

    return p ? p->start.in : UINT64_MAX;
}

/* Does @p start at @at, as far as is known, and can it be used? */
static bool piece_fits(const Piece *p, const CodecPoint *at)
{
    return p->start.in == at->in && p->start.bits == at->bits &&
           !p->start.extra == !at->extra && (!p->start.out || p->start.out == at->out) &&
           p->result != -ENOMEM;
}

Piece *ahead_take(Ahead *a, const CodecPoint *at)
{
    Piece *p;

    while ((p = g_queue_peek_head(&a->pieces)) && p->start.in <= at->in) {
        g_queue_pop_head(&a->pieces);
        if (piece_fits(p, at)) {
            p->at = *at;
            return p;
        }
        piece_drop(p);
    }
    return NULL;
}

void ahead_drop(Ahead *a)
{
    g_queue_clear_full(&a->pieces, (GDestroyNotify)piece_drop);
    tail_drop(a);
    a->has_next = false;
}

CO void ahead_wait(Ahead *a)
{
    co_group_wait(&a->running);
}
