/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compressed files read at any offset, see the header. */
#include "block/compressed.h"
#include "block/decode-ahead.h"
#include <inttypes.h>
#include <string.h>

enum {
    CHUNK = 1 << 20,            /* bytes of content that are decoded and kept together */
    CHUNKS_KEPT = 8,
    GRANULE = CHUNK / 16,       /* of what is known to be zero */
    ZEROES_MAX = 4 << 20,       /* chunks of which that is remembered */
    ZEROES_AHEAD = 64,          /* chunks that one question about zeroes decodes at most */
    IN_A_ROW = 2,               /* chunks after which decoding ahead begins */
    IN_A_ROW_GAP = 8,           /* chunks that are left out between two: they are zero */
};

#define SIZE_UNKNOWN UINT64_MAX

/* What is known of a chunk: a bit for each granule that is zero, and whether it was looked at. */
enum { CHUNK_ZERO = 0xffff, CHUNK_KNOWN = 1 << 16 };

typedef struct {
    uint64_t index;
    uint8_t *data;              /* CHUNK bytes; NULL: unused */
    uint64_t used;              /* counts up */
} Kept;

struct Compressed {
    const Codec *codec;
    void *state;
    Edge *file;
    CoMutex lock;               /* whoever decodes */
    uint64_t size;              /* SIZE_UNKNOWN: not known yet */
    uint64_t seen;              /* bytes of content that were decoded once */
    Places places;
    GArray *zeroes;             /* of uint32_t, by chunk */
    Kept kept[CHUNKS_KEPT];
    uint64_t uses;

    Piece *piece;               /* what decodes; NULL: nothing does */
    Ahead ahead;
    CodecPoint place;           /* the last one that it has come by */
    uint64_t out_at, in_at;     /* where it has come to; @in_at: about */
    uint64_t asked;             /* index of the chunk that was asked for last */
    unsigned in_a_row;          /* chunks that were asked for one after the other */
};

Compressed *compressed_new(const Codec *codec, void *state, Edge *file)
{
    Compressed *c = g_new0(Compressed, 1);

    c->codec = codec;
    c->state = state;
    c->file = file;
    c->size = SIZE_UNKNOWN;
    places_init(&c->places, codec);
    c->zeroes = g_array_new(false, true, sizeof(uint32_t));
    ahead_init(&c->ahead, codec, state, file);
    return c;
}

static void decoder_drop(Compressed *c)
{
    ahead_drop(&c->ahead);
    piece_drop(g_steal_pointer(&c->piece));
}

CO void compressed_free(Compressed *c)
{
    if (!c)
        return;
    decoder_drop(c);
    ahead_wait(&c->ahead);
    places_clear(&c->places);
    g_array_unref(c->zeroes);
    for (int i = 0; i < CHUNKS_KEPT; i++)
        g_free(c->kept[i].data);
    g_free(c);
}

void compressed_add_point(Compressed *c, const CodecPoint *p)
{
    places_add(&c->places, p);
}

void compressed_set_size(Compressed *c, uint64_t size)
{
    c->size = size;
}

void compressed_know_points(Compressed *c)
{
    c->ahead.places = &c->places;
}

/* Bytes of content as far as they are known. */
static uint64_t compressed_seen(const Compressed *c)
{
    return c->size == SIZE_UNKNOWN ? c->seen : c->size;
}

/* ---- decoding ------------------------------------------------------------------------------- */

/* The last place at or before @out. */
static bool point_find(const Compressed *c, uint64_t out, CodecPoint *found)
{
    if (c->codec->locate)
        return c->codec->locate(c->state, out, found);
    *found = places_find(&c->places, out);
    return true;
}

/* Decodes from @p on, by the decoder that is there already if one has decoded ahead from it. */
static int decoder_start(Compressed *c, const CodecPoint *p)
{
    piece_drop(c->piece);
    c->piece = ahead_take(&c->ahead, p);
    if (!c->piece)
        c->piece = piece_new(c->codec, c->state, c->file, &c->places, p);
    c->place = *p;
    c->out_at = p->out;
    c->in_at = p->in;
    return c->piece ? 0 : -ENOMEM;
}

/* The decoder has stopped at a place: another one may have decoded what follows. */
static void place_passed(Compressed *c)
{
    Piece *next = ahead_take(&c->ahead, &c->piece->d.place);

    c->place = c->piece->d.place;
    if (!next) {
        piece_go_on(c->piece, ahead_first(&c->ahead));
        return;
    }
    compressed_add_point(c, &c->place);
    piece_drop(c->piece);
    c->piece = next;
}

/* What follows the end of a decoder: the next one where the file has an index. */
static CO int decoder_go_on(Compressed *c)
{
    CodecPoint next;

    if (!c->codec->locate || c->out_at == c->size)
        return CODEC_END;
    if (!c->codec->locate(c->state, c->out_at, &next) || next.out != c->out_at)
        return -EIO;
    return decoder_start(c, &next);
}

/* Decodes up to @len bytes; fewer only at the end of the content. *@made says how many. */
static CO int decode(Compressed *c, uint8_t *out, size_t len, size_t *made)
{
    int r = CODEC_MORE;

    *made = 0;
    while (r == CODEC_MORE && *made < len) {
        size_t now;

        r = piece_read(c->piece, out + *made, len - *made, &now);
        *made += now;
        c->out_at += now;
        if (!c->piece->is_ahead || c->piece->settled) {
            c->place = c->piece->d.place;
            c->in_at = c->piece->d.in_at;
        }
        if (r == CODEC_PLACE) {
            place_passed(c);
            r = CODEC_MORE;
        } else if (r == CODEC_END) {
            r = decoder_go_on(c);
        }
    }
    if (r < 0)
        decoder_drop(c);
    return MIN(r, 0);
}

/* Lets other decoders begin with what is going to be read, once reading goes forward. */
static CO void decode_ahead(Compressed *c)
{
    if (c->in_a_row < IN_A_ROW || !c->piece || c->out_at >= c->size)
        return;
    ahead_fill(&c->ahead, &c->place);
    if (!c->piece->is_ahead || c->piece->settled)
        c->piece->d.stop_in = ahead_first(&c->ahead);
}

/* Nothing may follow the last byte that the size allows. */
static CO int end_check(Compressed *c)
{
    uint8_t more;
    size_t made;
    int r = decode(c, &more, 1, &made);

    return r == 0 && made ? -EIO : r;
}

/* ---- chunks --------------------------------------------------------------------------------- */

static Kept *kept_find(Compressed *c, uint64_t index)
{
    for (int i = 0; i < CHUNKS_KEPT; i++)
        if (c->kept[i].data && c->kept[i].index == index)
            return &c->kept[i];
    return NULL;
}

/* The chunk that was used longest ago, to be replaced. NULL: no memory. */
static Kept *kept_oldest(Compressed *c)
{
    Kept *oldest = &c->kept[0];

    for (int i = 0; i < CHUNKS_KEPT; i++)
        if (!c->kept[i].data || (oldest->data && c->kept[i].used < oldest->used))
            oldest = &c->kept[i];
    if (!oldest->data)
        oldest->data = g_try_malloc(CHUNK);
    return oldest->data ? oldest : NULL;
}

static void zeroes_learn(Compressed *c, const Kept *k)
{
    uint32_t zeroes = CHUNK_KNOWN;

    for (int i = 0; i < CHUNK / GRANULE; i++)
        if (buffer_is_zero(k->data + i * GRANULE, GRANULE))
            zeroes |= 1 << i;
    if (k->index >= ZEROES_MAX)
        return;
    if (k->index >= c->zeroes->len)
        g_array_set_size(c->zeroes, k->index + 1);
    g_array_index(c->zeroes, uint32_t, k->index) = zeroes;
}

static uint32_t zeroes_known(const Compressed *c, uint64_t index)
{
    return index < c->zeroes->len ? g_array_index(c->zeroes, uint32_t, index) : 0;
}

/*
 * Decodes from where the decoder is to the end of a chunk, and keeps that if it is whole. *@made:
 * bytes, 0 at the end of the content.
 */
static CO int chunk_decode(Compressed *c, size_t *made)
{
    uint64_t within = c->out_at % CHUNK, at = c->out_at;
    size_t len = MIN(CHUNK - within, c->size - at);
    Kept *k = kept_oldest(c);
    int r;

    *made = 0;
    if (!k)
        return -ENOMEM;
    k->index = SIZE_UNKNOWN;    /* of no chunk until it is whole */
    r = len ? decode(c, k->data + within, len, made) : 0;
    if (r == 0 && c->size != SIZE_UNKNOWN)
        r = *made < len ? -EIO : c->out_at == c->size && len ? end_check(c) : 0;
    if (r == 0)
        decode_ahead(c);
    c->seen = MAX(c->seen, c->out_at);
    if (r < 0 || within || !*made)
        return r;
    memset(k->data + *made, 0, CHUNK - *made);
    k->index = at / CHUNK;
    k->used = ++c->uses;
    zeroes_learn(c, k);
    return 0;
}

/* Puts the decoder at or before @out: where it is, unless a place is nearer. */
static CO int decoder_seek(Compressed *c, uint64_t out)
{
    CodecPoint p;

    if (!point_find(c, out, &p))
        return -EIO;
    if (c->piece && c->out_at <= out && c->out_at >= p.out)
        return 0;
    decoder_drop(c);
    return decoder_start(c, &p);
}

/* Chunk @index is asked for: does reading go forward? */
static void order_watch(Compressed *c, uint64_t index)
{
    if (index != c->asked)
        c->in_a_row = index > c->asked && index - c->asked <= IN_A_ROW_GAP ? c->in_a_row + 1 : 0;
    c->asked = index;
}

/* Chunk @index, decoded. */
static CO int chunk_get(Compressed *c, uint64_t index, Kept **out)
{
    Kept *k = kept_find(c, index);
    size_t made;
    int r = 0;

    order_watch(c, index);
    if (!k)
        r = decoder_seek(c, index * CHUNK);
    while (r == 0 && !k) {
        r = chunk_decode(c, &made);
        k = kept_find(c, index);
        if (r == 0 && !k && !made)
            r = -EIO;
    }
    if (r < 0)
        return r;
    k->used = ++c->uses;
    *out = k;
    return 0;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Reads on until @wanted bytes of the content are known, or all. */
static CO int read_on(Compressed *c, uint64_t wanted)
{
    size_t made = 1;
    int r = c->size == SIZE_UNKNOWN ? decoder_seek(c, c->seen) : 0;

    while (r == 0 && c->size == SIZE_UNKNOWN && c->seen < wanted) {
        c->in_a_row = IN_A_ROW;
        r = chunk_decode(c, &made);
        if (r == 0 && !made)
            c->size = c->seen;
        else if (r == 0 && c->seen >= NODE_SIZE_MAX)
            r = -EFBIG;
    }
    return r;
}

CO bool compressed_learn_size(Compressed *c, uint64_t wanted, GError **err)
{
    CO_LOCKED(&c->lock);
    int r = read_on(c, wanted);

    return r == 0 ||
           err_set_errno(err, r, "Could not decode the compressed data before byte %" PRIu64
                         " of the file", c->in_at);
}

CO int compressed_pread(Compressed *c, uint64_t off, Span buf)
{
    CO_LOCKED(&c->lock);

    while (buf.len) {
        uint64_t index = off / CHUNK, within = off % CHUNK, len = MIN(buf.len, CHUNK - within);
        Span part = span_slice(buf, 0, len);
        Kept *k;
        int r;

        if (off >= c->size || (zeroes_known(c, index) & CHUNK_ZERO) == CHUNK_ZERO) {
            span_zero(part);
        } else {
            r = chunk_get(c, index, &k);
            if (r < 0)
                return r;
            span_write(part, k->data + within);
        }
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return 0;
}

/* What is known of the chunk at @off, looked at now if it is not and @look. 0: not known. */
static CO int zeroes_at(Compressed *c, uint64_t off, bool look, uint32_t *zeroes)
{
    uint64_t index = off / CHUNK;
    Kept *k;
    int r;

    *zeroes = zeroes_known(c, index);
    if (*zeroes || !look || index >= ZEROES_MAX)
        return 0;
    r = chunk_get(c, index, &k);
    *zeroes = zeroes_known(c, index);
    return r;
}

CO int compressed_extent(Compressed *c, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    CO_LOCKED(&c->lock);
    uint64_t at = off, end = off + len;
    bool zero = false;

    *e = (Extent){ .len = len, .flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_COMPRESSED };
    for (unsigned looked = 0; precise && at < end && at < c->size;) {
        uint32_t zeroes;
        bool is_zero;
        int r = zeroes_at(c, at, at == off || (zero && looked++ < ZEROES_AHEAD), &zeroes);

        if (r < 0)
            return r;
        is_zero = zeroes >> at % CHUNK / GRANULE & 1;
        if (at == off)
            zero = is_zero;
        if (at != off && (!zeroes || is_zero != zero))
            break;
        at += GRANULE - at % GRANULE;
    }
    if (at > off)
        e->len = at >= c->size ? len : MIN(at, end) - off;
    if (zero)
        e->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
    return 0;
}

/* ---- drivers -------------------------------------------------------------------------------- */

static Compressed *content_of(Node *n)
{
    return *(Compressed **)node_state(n);
}

CO void compressed_node_close(Node *n)
{
    compressed_free(content_of(n));
}

CO int compressed_node_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return compressed_pread(content_of(n), off, buf);
}

CO int compressed_node_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    return compressed_extent(content_of(n), off, len, precise, e);
}

static CO bool size_settle(Compressed *c, const json_t *options, bool later, GError **err)
{
    uint64_t given = json_get_int(options, "size", 0);

    if (!json_has(options, "size"))
        return compressed_learn_size(c, later ? CHUNK : UINT64_MAX, err);
    if (c->size != SIZE_UNKNOWN && c->size != given)
        return err_set(err, EINVAL, "The content has %" PRIu64 " bytes, not the %" PRIu64
                       " of option 'size'", c->size, given);
    c->size = given;
    return true;
}

CO bool compressed_node_open(Node *n, Compressed *c, const json_t *options, OpenFlags flags,
                             GError **err)
{
    if (!size_settle(c, options, flags & OPEN_SIZE_LATER, err)) {
        compressed_free(c);
        return false;
    }
    node_set_size(n, compressed_seen(c));
    *(Compressed **)node_state(n) = c;
    return true;
}

CO bool compressed_node_learn_size(Node *n, uint64_t wanted, SizeLearned *l, GError **err)
{
    Compressed *c = content_of(n);

    if (!compressed_learn_size(c, wanted, err))
        return false;
    node_set_size(n, compressed_seen(c));
    *l = (SizeLearned){ .is_final = c->size != SIZE_UNKNOWN, .at = c->in_at,
                        .of = edge_size(c->file) };
    return true;
}

CO void compressed_node_drain(Node *n)
{
    ahead_wait(&content_of(n)->ahead);
}

const char *const compressed_strong_options[] = { "size", NULL };
