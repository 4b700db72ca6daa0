/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compressed files read at any offset, see the header. */
#include "block/compressed.h"
#include "io/co-lock.h"
#include "io/loop.h"
#include "io/pool.h"
#include <inttypes.h>
#include <string.h>

enum {
    CHUNK = 1 << 20,            /* bytes of content that are decoded and kept together */
    CHUNKS_KEPT = 8,
    GRANULE = CHUNK / 16,       /* of what is known to be zero */
    ZEROES_MAX = 4 << 20,       /* chunks of which that is remembered */
    ZEROES_AHEAD = 64,          /* chunks that one question about zeroes decodes at most */
    INPUT_LEN = 256 << 10,
    POINTS_MAX = 1024,
    SPACING = 4 << 20,          /* bytes of content between places, until there are too many */
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
    GArray *points;             /* of CodecPoint, by offset */
    uint64_t spacing;
    GArray *zeroes;             /* of uint32_t, by chunk */
    Kept kept[CHUNKS_KEPT];
    uint64_t uses;

    void *decoder;              /* NULL: none */
    uint64_t out_at, in_at;     /* where it has come to */
    uint8_t *input;             /* read, not decoded: @input_len bytes from @input_at */
    size_t input_at, input_len;
};

Compressed *compressed_new(const Codec *codec, void *state, Edge *file)
{
    Compressed *c = g_new0(Compressed, 1);

    c->codec = codec;
    c->state = state;
    c->file = file;
    c->size = SIZE_UNKNOWN;
    c->points = g_array_new(false, false, sizeof(CodecPoint));
    c->spacing = SPACING;
    c->zeroes = g_array_new(false, true, sizeof(uint32_t));
    c->input = g_malloc(INPUT_LEN);
    return c;
}

static void decoder_drop(Compressed *c)
{
    if (c->decoder)
        c->codec->decoder_free(c->decoder);
    c->decoder = NULL;
}

void compressed_free(Compressed *c)
{
    if (!c)
        return;
    decoder_drop(c);
    for (guint i = 0; i < c->points->len; i++)
        g_free(g_array_index(c->points, CodecPoint, i).window);
    g_array_unref(c->points);
    g_array_unref(c->zeroes);
    for (int i = 0; i < CHUNKS_KEPT; i++)
        g_free(c->kept[i].data);
    g_free(c->input);
    g_free(c);
}

void compressed_set_size(Compressed *c, uint64_t size)
{
    c->size = size;
}

uint64_t compressed_size(const Compressed *c)
{
    return c->size;
}

/* ---- places --------------------------------------------------------------------------------- */

/* Drops every second place, so that the index never takes more than its share of memory. */
static void points_thin(Compressed *c)
{
    guint kept = 0;

    for (guint i = 0; i < c->points->len; i++) {
        CodecPoint *p = &g_array_index(c->points, CodecPoint, i);

        if (i % 2)
            g_free(p->window);
        else
            g_array_index(c->points, CodecPoint, kept++) = *p;
    }
    g_array_set_size(c->points, kept);
    c->spacing *= 2;
}

/* Is @out so far after the last place that it is worth another one? */
static bool point_is_due(const Compressed *c, uint64_t out)
{
    guint count = c->points->len;

    return out >= (count ? g_array_index(c->points, CodecPoint, count - 1).out : 0) + c->spacing;
}

void compressed_add_point(Compressed *c, const CodecPoint *p)
{
    if (!point_is_due(c, p->out)) {
        g_free(p->window);
        return;
    }
    if (c->points->len == POINTS_MAX)
        points_thin(c);
    g_array_append_val(c->points, *p);
}

/* The last place at or before @out. */
static bool point_find(const Compressed *c, uint64_t out, CodecPoint *found)
{
    guint low = 0, high = c->points->len;

    if (c->codec->locate)
        return c->codec->locate(c->state, out, found);
    while (low < high) {
        guint middle = low + (high - low) / 2;

        if (g_array_index(c->points, CodecPoint, middle).out <= out)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low ? g_array_index(c->points, CodecPoint, low - 1) : (CodecPoint){ 0 };
    return true;
}

/* ---- decoding ------------------------------------------------------------------------------- */

static int decoder_start(Compressed *c, const CodecPoint *p)
{
    decoder_drop(c);
    c->decoder = c->codec->decoder_new(c->state, p);
    c->out_at = p->out;
    c->in_at = p->in;
    c->input_len = 0;
    return c->decoder ? 0 : -ENOMEM;
}

typedef struct {
    Compressed *c;
    uint8_t *out;
    size_t out_len, made;
} Step;

/* Remembers the place that the decoder has come to, if the last one is far enough away. */
static int point_found(Compressed *c)
{
    CodecPoint p = { .out = c->out_at, .in = c->in_at };

    if (!c->codec->point_save || !point_is_due(c, p.out))
        return 0;
    if (!c->codec->point_save(c->decoder, &p))
        return -ENOMEM;
    compressed_add_point(c, &p);
    return 0;
}

/* Decodes what input there is. CODEC_END, CODEC_MORE or a negative errno. In a worker. */
static int step_run(void *arg)
{
    Step *s = arg;
    Compressed *c = s->c;

    for (int idle = 0; s->made < s->out_len;) {
        CodecBuffers b = { c->input + c->input_at, c->input_len,
                           s->out + s->made, s->out_len - s->made, false };
        int r = c->codec->decode(c->decoder, &b);
        size_t used = c->input_len - b.in_len, made = s->out_len - s->made - b.out_len;

        c->input_at += used;
        c->input_len -= used;
        c->in_at += used;
        c->out_at += made;
        s->made += made;
        if (r == CODEC_MORE && b.is_point)
            r = point_found(c);
        if (r != CODEC_MORE)
            return r;
        /* One call without progress may be a change of state. After two, input is short or bad. */
        idle = used || made ? 0 : idle + 1;
        if (idle > 1)
            return c->input_len ? -EIO : CODEC_MORE;
    }
    return CODEC_MORE;
}

/* Reads more of the file. 1: there is no more. */
static CO int input_fill(Compressed *c)
{
    uint64_t left = edge_size(c->file) - MIN(c->in_at, edge_size(c->file));

    if (!left)
        return 1;
    c->input_at = 0;
    c->input_len = MIN(left, INPUT_LEN);
    return edge_pread_buf(c->file, c->in_at, c->input, c->input_len);
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
    Step s = { .c = c, .out = out, .out_len = len };
    int r = 0;

    while (r == 0 && s.made < len) {
        r = loop_is_alone() ? step_run(&s) : pool_compute(step_run, &s);
        if (r == CODEC_END)
            r = decoder_go_on(c);
        else if (r == CODEC_MORE && s.made < len && (r = input_fill(c)) > 0)
            r = c->codec->may_end && c->codec->may_end(c->decoder) ? CODEC_END : -EIO;
    }
    *made = s.made;
    if (r < 0)
        decoder_drop(c);
    return MIN(r, 0);
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
    if (c->decoder && c->out_at <= out && c->out_at >= p.out)
        return 0;
    return decoder_start(c, &p);
}

/* Chunk @index, decoded. */
static CO int chunk_get(Compressed *c, uint64_t index, Kept **out)
{
    Kept *k = kept_find(c, index);
    size_t made;
    int r = 0;

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

CO bool compressed_scan(Compressed *c, GError **err)
{
    CO_LOCKED(&c->lock);
    size_t made = 1;
    int r = decoder_start(c, &(CodecPoint){ 0 });

    while (r == 0 && made && c->out_at < NODE_SIZE_MAX)
        r = chunk_decode(c, &made);
    if (r == 0 && made)
        r = -EFBIG;
    if (r < 0)
        return err_set_errno(err, r, "Could not decode the compressed data before byte %" PRIu64
                             " of the file", c->in_at);
    c->size = c->out_at;
    return true;
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

CO bool compressed_settle(Compressed *c, const json_t *options, GError **err)
{
    uint64_t given = json_get_int(options, "size", 0);

    if (!json_has(options, "size"))
        return c->size != SIZE_UNKNOWN || compressed_scan(c, err);
    if (c->size != SIZE_UNKNOWN && c->size != given)
        return err_set(err, EINVAL, "The content has %" PRIu64 " bytes, not the %" PRIu64
                       " of option 'size'", c->size, given);
    c->size = given;
    return true;
}

CO bool compressed_node_open(Node *n, const Codec *codec, const json_t *options, GError **err)
{
    Compressed *c = compressed_new(codec, NULL, node_edge(n, ROLE_STORAGE));

    if (!compressed_settle(c, options, err)) {
        compressed_free(c);
        return false;
    }
    node_set_size(n, c->size);
    *(Compressed **)node_state(n) = c;
    return true;
}

const char *const compressed_strong_options[] = { "size", NULL };
