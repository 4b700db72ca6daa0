/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A decoder on its way through a compressed file, see the header. */
#include "block/decoding.h"
#include "io/loop.h"
#include "io/pool.h"

enum {
    INPUT_LEN = 256 << 10,
    SPACING = 4 << 20,          /* bytes of content between places, until there are too many */
    PLACES_MAX = 1 << 16,
    PLACES_MAX_WINDOWS = 1024,  /* of 32 KiB each */
};

/* ---- places --------------------------------------------------------------------------------- */

void places_init(Places *s, const Codec *codec)
{
    s->points = g_array_new(false, false, sizeof(CodecPoint));
    s->spacing = SPACING;
    s->max = codec->has_windows ? PLACES_MAX_WINDOWS : PLACES_MAX;
}

void places_clear(Places *s)
{
    for (guint i = 0; i < s->points->len; i++)
        g_free(g_array_index(s->points, CodecPoint, i).window);
    g_array_unref(s->points);
}

/* Drops every second place, so that the index never takes more than its share of memory. */
static void places_thin(Places *s)
{
    guint kept = 0;

    for (guint i = 0; i < s->points->len; i++) {
        CodecPoint *p = &g_array_index(s->points, CodecPoint, i);

        if (i % 2)
            g_free(p->window);
        else
            g_array_index(s->points, CodecPoint, kept++) = *p;
    }
    g_array_set_size(s->points, kept);
    s->spacing *= 2;
}

/* Is @out so far after the last place that it is worth another one? */
static bool place_is_due(const Places *s, uint64_t out)
{
    guint count = s->points->len;

    return out >= (count ? g_array_index(s->points, CodecPoint, count - 1).out : 0) + s->spacing;
}

void places_add(Places *s, const CodecPoint *p)
{
    if (!place_is_due(s, p->out)) {
        g_free(p->window);
        return;
    }
    if (s->points->len == s->max)
        places_thin(s);
    g_array_append_val(s->points, *p);
}

/* How many places are at or before @out. */
static guint places_before(const Places *s, uint64_t out)
{
    guint low = 0, high = s->points->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;

        if (g_array_index(s->points, CodecPoint, middle).out <= out)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

CodecPoint places_find(const Places *s, uint64_t out)
{
    guint before = places_before(s, out);

    return before ? g_array_index(s->points, CodecPoint, before - 1) : (CodecPoint){ 0 };
}

bool places_next(const Places *s, uint64_t out, CodecPoint *next)
{
    guint before = places_before(s, out);

    if (before == s->points->len)
        return false;
    *next = g_array_index(s->points, CodecPoint, before);
    return true;
}

/* ---- decoding ------------------------------------------------------------------------------- */

void decoding_stop(Decoding *d)
{
    if (d->decoder)
        d->codec->decoder_free(d->decoder);
    d->decoder = NULL;
}

void decoding_free(Decoding *d)
{
    decoding_stop(d);
    g_clear_pointer(&d->input, g_free);
}

int decoding_start(Decoding *d, void *state, const CodecPoint *p)
{
    decoding_stop(d);
    d->decoder = d->codec->decoder_new(state, p);
    d->out_at = p->out;
    d->in_at = p->in;
    d->input_len = 0;
    d->stop_in = UINT64_MAX;
    d->place = *p;
    d->place.window = NULL;
    return d->decoder ? 0 : -ENOMEM;
}

void decoding_give_input(Decoding *d, uint8_t *input, size_t len)
{
    g_free(d->input);
    d->input = input;
    d->input_room = d->input_len = len;
    d->input_at = 0;
}

typedef struct {
    Decoding *d;
    uint8_t *out;
    size_t out_len, made;
} Step;

/*
 * The decoder has come to a place: remembers it if that is worth it, stops there if that is asked.
 */
static int place_reached(Decoding *d)
{
    CodecPoint p = { .out = d->out_at, .in = d->in_at };
    bool is_due = d->places && place_is_due(d->places, p.out);

    if (!d->codec->point_save || (d->codec->has_windows && !is_due))
        return CODEC_MORE;
    if (!d->codec->point_save(d->decoder, &p))
        return -ENOMEM;
    d->place = p;
    d->place.window = NULL;
    if (is_due)
        places_add(d->places, &p);
    return p.in >= d->stop_in ? CODEC_PLACE : CODEC_MORE;
}

/* Decodes what input there is. In a worker. */
static int step_run(void *arg)
{
    Step *s = arg;
    Decoding *d = s->d;

    for (int idle = 0; s->made < s->out_len;) {
        CodecBuffers b = { d->input + d->input_at, d->input_len,
                           s->out + s->made, s->out_len - s->made, false };
        int r = d->codec->decode(d->decoder, &b);
        size_t used = d->input_len - b.in_len, made = s->out_len - s->made - b.out_len;

        d->input_at += used;
        d->input_len -= used;
        d->in_at += used;
        d->out_at += made;
        s->made += made;
        if (r == CODEC_MORE && b.is_point)
            r = place_reached(d);
        if (r != CODEC_MORE)
            return r;
        /* One call without progress may be a change of state. After two, input is short or bad. */
        idle = used || made ? 0 : idle + 1;
        if (idle > 1)
            return d->input_len ? -EIO : CODEC_MORE;
    }
    return CODEC_MORE;
}

/* Reads more of the file. 1: there is no more. */
static CO int input_fill(Decoding *d)
{
    uint64_t left = edge_size(d->file) - MIN(d->in_at, edge_size(d->file));

    if (!left)
        return 1;
    if (d->input_room < INPUT_LEN) {
        g_free(d->input);
        d->input_room = 0;
        d->input = g_try_malloc(INPUT_LEN);
        if (!d->input)
            return -ENOMEM;
        d->input_room = INPUT_LEN;
    }
    d->input_at = 0;
    d->input_len = MIN(left, INPUT_LEN);
    return edge_pread_buf(d->file, d->in_at, d->input, d->input_len);
}

CO int decoding_run(Decoding *d, uint8_t *out, size_t len, size_t *made)
{
    Step s = { .d = d, .out = out, .out_len = len };
    int r = CODEC_MORE;

    while (r == CODEC_MORE && s.made < len) {
        /* Before the first read there is no buffer, and decoders are promised one. */
        if (d->input)
            r = loop_is_alone() ? step_run(&s) : pool_compute(step_run, &s);
        if (r == CODEC_MORE && s.made < len && (r = input_fill(d)) > 0)
            r = d->codec->may_end && d->codec->may_end(d->decoder) ? CODEC_END : -EIO;
    }
    *made = s.made;
    return r;
}
