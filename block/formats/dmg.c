/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disk images of macOS (UDIF), read only.
 *
 *     data      chunks, each compressed by itself
 *     list      XML with tables in base64 (or, in old images, a resource fork with the same tables)
 *     trailer   512 bytes: where the others are
 *
 * Chunks are sorted by where they are in the disk when the image is opened. What none has reads as
 * zeroes. See docs/spec/dmg.md.
 */
#include "block/driver.h"
#include "block/inflate.h"
#include "block/zlib-stream.h"
#include "io/pool.h"
#include "util/endian.h"
#include "util/module.h"
#include "util/ranges.h"
#include <inttypes.h>
#include <string.h>

enum {
    TRAILER_LEN = 512,
    SECTOR = 512,
    LIST_MAX = 64 << 20,        /* bytes */
    CHUNK_MAX = 64 << 20,       /* bytes of a compressed chunk, before and after */
    TABLE_HEAD = 204, ENTRY_LEN = 40,
};

typedef enum {
    CHUNK_ZERO = 0, CHUNK_RAW = 1, CHUNK_IGNORED = 2,
    CHUNK_ADC = (int)0x80000004, CHUNK_ZLIB = (int)0x80000005, CHUNK_BZIP2 = (int)0x80000006,
    CHUNK_LZFSE = (int)0x80000007, CHUNK_LZMA = (int)0x80000008,
} ChunkKind;

typedef struct {
    uint64_t off, len;      /* bytes of the disk; for ranges_find */
    ChunkKind kind;
    uint64_t at, stored;    /* bytes of the file */
} Chunk;

typedef struct {
    GArray *chunks;         /* of Chunk */
    ZlibStreams *streams;
    const InflateModule *bzip2, *lzma; /* NULL: not needed, or not here */
    uint8_t *kept;          /* content of chunk @kept_chunk; NULL: none yet */
    const Chunk *kept_chunk;
} Dmg;

/* The content tells nothing; less sure than any signature. */
static int dmg_probe(const uint8_t *head, size_t len, const char *filename)
{
    return filename && strlen(filename) > strlen(".dmg") && g_str_has_suffix(filename, ".dmg") ? 2
                                                                                               : 0;
}

/* ---- tables --------------------------------------------------------------------------------- */

static bool is_compressed(ChunkKind k)
{
    return k == CHUNK_ADC || k == CHUNK_ZLIB || k == CHUNK_BZIP2 || k == CHUNK_LZFSE ||
           k == CHUNK_LZMA;
}

/* Adds what entry @e of a table describes; @first: the sector at which the table begins. */
static bool entry_add(Dmg *d, const uint8_t *e, uint64_t first, uint64_t base, GError **err)
{
    Chunk c = { .kind = (ChunkKind)be32_at(e), .stored = be64_at(e + 32) };
    uint64_t end;

    if (c.kind != CHUNK_ZERO && c.kind != CHUNK_RAW && c.kind != CHUNK_IGNORED &&
        !is_compressed(c.kind))
        return true;    /* a comment, or the end */
    if (!size_add(be64_at(e + 8), first, &c.off) || !size_mul(c.off, SECTOR, &c.off) ||
        !size_mul(be64_at(e + 16), SECTOR, &c.len) || !size_add(c.off, c.len, &end) ||
        end > INT64_MAX || !size_add(be64_at(e + 24), base, &c.at) ||
        !size_add(c.at, c.stored, &end) || end > INT64_MAX)
        return err_set(err, EINVAL, "A chunk is at an impossible place");
    if (is_compressed(c.kind) && (c.len > CHUNK_MAX || c.stored > CHUNK_MAX))
        return err_set(err, EINVAL,
                       "A chunk has %" PRIu64 " bytes, compressed %" PRIu64 "; at most %d can be "
                       "read",
                       c.len, c.stored, CHUNK_MAX);
    if (c.len)
        g_array_append_val(d->chunks, c);
    return true;
}

/* A table of chunks; anything else is passed over. */
static bool table_add(Dmg *d, const uint8_t *t, uint64_t len, uint64_t base, GError **err)
{
    uint64_t first;

    if (len < TABLE_HEAD || memcmp(t, "mish", 4))
        return true;
    first = be64_at(t + 8);
    for (uint64_t i = 0; i < (len - TABLE_HEAD) / ENTRY_LEN; i++)
        if (!entry_add(d, t + TABLE_HEAD + i * ENTRY_LEN, first, base, err))
            return false;
    return true;
}

static bool xml_parse(Dmg *d, char *xml, uint64_t base, GError **err)
{
    for (char *p = xml; (p = strstr(p, "<data>"));) {
        char *end = strstr(p, "</data>");
        g_autofree uint8_t *table = NULL;
        gsize len;

        if (!end)
            return err_set(err, EINVAL, "The list of chunks is cut off");
        *end = '\0';
        table = g_base64_decode(p + strlen("<data>"), &len);
        if (!table_add(d, table, len, base, err))
            return false;
        p = end + 1;
    }
    return true;
}

/* Offset of the resources; there, each has its length in front. */
static bool fork_parse(Dmg *d, const uint8_t *fork, uint64_t len, uint64_t base, GError **err)
{
    uint64_t at, end;

    if (len < 16)
        return err_set(err, EINVAL, "The resource fork is too short");
    at = be32_at(fork);
    end = at + be32_at(fork + 8);
    if (end > len)
        return err_set(err, EINVAL, "The resource fork is cut off");
    while (at + 4 <= end) {
        uint64_t now = be32_at(fork + at);

        at += 4;
        if (now > end - at)
            return err_set(err, EINVAL, "A resource is cut off");
        if (!table_add(d, fork + at, now, base, err))
            return false;
        at += now;
    }
    return true;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* [@at, @at + @len) of the file with a zero byte after it; the caller frees. NULL with @err. */
static CO char *list_read(Edge *file, uint64_t at, uint64_t len, GError **err)
{
    g_autofree char *list = NULL;
    int r;

    if (len > LIST_MAX || at > edge_size(file) || len > edge_size(file) - at) {
        err_set(err, EINVAL,
                "The list of chunks, %" PRIu64 " bytes at %" PRIu64 ", is not in the file", len,
                at);
        return NULL;
    }
    list = g_try_malloc(len + 1);
    r = list ? edge_pread_buf(file, at, list, len) : -ENOMEM;
    if (r < 0) {
        err_set_errno(err, r, "Could not read the list of chunks");
        return NULL;
    }
    list[len] = '\0';
    return g_steal_pointer(&list);
}

static CO bool lists_parse(Dmg *d, Edge *file, const uint8_t *trailer, GError **err)
{
    uint64_t base = be64_at(trailer + 24), fork_len = be64_at(trailer + 48),
             xml_len = be64_at(trailer + 224);
    g_autofree char *list = NULL;

    if (fork_len) {
        list = list_read(file, be64_at(trailer + 40), fork_len, err);
        return list && fork_parse(d, (uint8_t *)list, fork_len, base, err);
    }
    if (!xml_len)
        return err_set(err, EINVAL, "The image has no list of chunks");
    list = list_read(file, be64_at(trailer + 216), xml_len, err);
    return list && xml_parse(d, list, base, err);
}

static gint chunk_compare(gconstpointer a, gconstpointer b)
{
    const Chunk *one = a, *other = b;

    return one->off < other->off ? -1 : one->off > other->off;
}

static bool chunks_check(Dmg *d, GError **err)
{
    g_array_sort(d->chunks, chunk_compare);
    for (guint i = 1; i < d->chunks->len; i++) {
        const Chunk *c = &g_array_index(d->chunks, Chunk, i);

        if (c[-1].off + c[-1].len > c->off)
            return err_set(err, EINVAL, "Chunks overlap at byte %" PRIu64 " of the disk", c->off);
    }
    return true;
}

static bool has_kind(const Dmg *d, ChunkKind kind)
{
    for (guint i = 0; i < d->chunks->len; i++)
        if (g_array_index(d->chunks, Chunk, i).kind == kind)
            return true;
    return false;
}

/* Loads what chunks need; says what will not be readable. */
static void codecs_load(Node *n, Dmg *d)
{
    const char *name = node_filename(node_storage(n));
    g_autoptr(GError) no_bzip2 = NULL, no_lzma = NULL;

    if (has_kind(d, CHUNK_BZIP2) && !(d->bzip2 = module_load("bzip2", &no_bzip2)))
        block_warn("'%s' has parts compressed by bzip2: %s", name, no_bzip2->message);
    if (has_kind(d, CHUNK_LZMA) && !(d->lzma = module_load("lzma", &no_lzma)))
        block_warn("'%s' has parts compressed by lzma: %s", name, no_lzma->message);
    if (has_kind(d, CHUNK_LZFSE))
        block_warn("'%s' has parts compressed by lzfse, which cannot be read here yet", name);
}

/*
 * Sizes of files are known in sectors, so the trailer begins somewhere in the sector before the
 * last.
 */
static CO bool trailer_read(Edge *file, uint8_t *trailer, GError **err)
{
    uint8_t end[2 * TRAILER_LEN] = { 0 };
    uint64_t len = MIN(edge_size(file), sizeof(end));
    int r = edge_pread_buf(file, edge_size(file) - len, end, len);

    if (r < 0)
        return err_set_errno(err, r, "Could not read the trailer");
    for (uint64_t at = 0; at + TRAILER_LEN <= len; at++)
        if (!memcmp(end + at, "koly", 4) && be32_at(end + at + 8) == TRAILER_LEN) {
            memcpy(trailer, end + at, TRAILER_LEN);
            return true;
        }
    return err_set(err, EINVAL, "The file has no trailer of a disk image of macOS");
}

static CO bool image_read(Node *n, Edge *file, GError **err)
{
    Dmg *d = node_state(n);
    uint8_t trailer[TRAILER_LEN] = { 0 };
    uint64_t size;

    if (!trailer_read(file, trailer, err))
        return false;
    d->chunks = g_array_new(false, false, sizeof(Chunk));
    if (!lists_parse(d, file, trailer, err) || !chunks_check(d, err))
        return false;
    if (!size_mul(be64_at(trailer + 492), SECTOR, &size) || size > INT64_MAX)
        return err_set(err, EFBIG, "The disk has an impossible size of %" PRIu64 " sectors",
                       be64_at(trailer + 492));
    if (!size && d->chunks->len) {
        const Chunk *last = &g_array_index(d->chunks, Chunk, d->chunks->len - 1);

        size = last->off + last->len;
    }
    node_set_size(n, size);
    codecs_load(n, d);
    d->streams = zlib_streams_new();
    return true;
}

static void free_all(Dmg *d)
{
    if (d->chunks)
        g_array_unref(d->chunks);
    zlib_streams_free(d->streams);
    g_free(d->kept);
    *d = (Dmg){ 0 };
}

static CO bool dmg_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Edge *file;

    if (!node_fall_back_read_only(n, "Disk images of macOS can only be read", err))
        return false;
    file = node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err);
    if (file && image_read(n, file, err))
        return true;
    free_all(node_state(n));
    return false;
}

static CO void dmg_close(Node *n)
{
    free_all(node_state(n));
}

/* ---- reading -------------------------------------------------------------------------------- */

/*
 * Apple Data Compression: a byte with the highest bit is a number of bytes to take as they are;
 * others say how much to repeat of what there was, and from how far back.
 */
static int adc_inflate(const uint8_t *in, size_t len, uint8_t *out, size_t out_len)
{
    size_t i = 0, o = 0;

    while (i < len && o < out_len) {
        uint8_t b = in[i];
        size_t count, back, used;

        if (b & 0x80) {
            count = (b & 0x7f) + 1;
            if (count > len - i - 1 || count > out_len - o)
                return -EIO;
            memcpy(out + o, in + i + 1, count);
            i += count + 1;
            o += count;
            continue;
        }
        used = b & 0x40 ? 3 : 2;
        if (used > len - i)
            return -EIO;
        count = b & 0x40 ? (b & 0x3f) + 4 : (b >> 2 & 0xf) + 3;
        back = b & 0x40 ? (size_t)in[i + 1] << 8 | in[i + 2] : (size_t)(b & 3) << 8 | in[i + 1];
        if (back >= o || count > out_len - o)
            return -EIO;
        for (size_t k = 0; k < count; k++, o++)
            out[o] = out[o - back - 1];
        i += used;
    }
    return o == out_len ? 0 : -EIO;
}

typedef struct {
    const InflateModule *module;
    const uint8_t *in;
    uint8_t *out;
    size_t len, out_len;
} InflateJob;

static int inflate_job(void *arg)
{
    InflateJob *j = arg;

    return j->module->inflate(j->in, j->len, j->out, j->out_len);
}

static CO int codec_inflate(const InflateModule *m, const Chunk *c, const uint8_t *in, uint8_t *out)
{
    InflateJob j = { .module = m, .in = in, .len = c->stored, .out = out, .out_len = c->len };

    return m ? pool_compute(inflate_job, &j) : -ENOTSUP;
}

static CO int zlib_inflate(Dmg *d, const Chunk *c, const uint8_t *in, uint8_t *out)
{
    size_t made;
    int r = zlib_stream_inflate(d->streams, in, c->stored, out, c->len, &made);

    return r == 0 && made != c->len ? -EIO : r;
}

static CO int content_inflate(Dmg *d, const Chunk *c, const uint8_t *in, uint8_t *out)
{
    switch (c->kind) {
    case CHUNK_ADC:
        return adc_inflate(in, c->stored, out, c->len);
    case CHUNK_ZLIB:
        return zlib_inflate(d, c, in, out);
    case CHUNK_BZIP2:
        return codec_inflate(d->bzip2, c, in, out);
    case CHUNK_LZMA:
        return codec_inflate(d->lzma, c, in, out);
    default:
        return -ENOTSUP;
    }
}

/* All of compressed chunk @c in memory of the caller's. */
static CO int chunk_inflate(Dmg *d, Edge *file, const Chunk *c, uint8_t **out)
{
    g_autofree uint8_t *in = NULL, *all = NULL;
    int r;

    if (c->at > edge_size(file) || c->stored > edge_size(file) - c->at)
        return -EIO;
    in = g_try_malloc(MAX(c->stored, 1));
    all = g_try_malloc(c->len);
    if (!in || !all)
        return -ENOMEM;
    r = edge_pread_buf(file, c->at, in, c->stored);
    if (r < 0)
        return r;
    r = content_inflate(d, c, in, all);
    if (r == 0)
        *out = g_steal_pointer(&all);
    return r;
}

static CO int compressed_read(Dmg *d, Edge *file, const Chunk *c, uint64_t within, Span buf)
{
    if (!d->kept || d->kept_chunk != c) {
        uint8_t *all = NULL;
        int r = chunk_inflate(d, file, c, &all);

        if (r < 0)
            return r;
        g_free(d->kept);
        d->kept = all;
        d->kept_chunk = c;
    }
    span_write(buf, d->kept + within);
    return 0;
}

/* Bytes that a chunk of the file's own lacks of those of the disk are zero. */
static CO int raw_read(Edge *file, const Chunk *c, uint64_t within, Span buf)
{
    uint64_t there = within < c->stored ? MIN(buf.len, c->stored - within) : 0;

    span_zero(span_slice(buf, there, buf.len - there));
    return there ? edge_pread(file, c->at + within, span_slice(buf, 0, there), 0) : 0;
}

static CO int dmg_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Dmg *d = node_state(n);
    Edge *file = node_edge(n, ROLE_STORAGE);
    int r = 0;

    while (buf.len && r == 0) {
        const Chunk *c = ranges_find(d->chunks, off);
        bool gap = !c || off < c->off;
        uint64_t len = MIN(buf.len, !c ? buf.len : gap ? c->off - off : c->off + c->len - off);
        Span part = span_slice(buf, 0, len);

        if (gap || c->kind == CHUNK_ZERO || c->kind == CHUNK_IGNORED)
            span_zero(part);
        else if (c->kind == CHUNK_RAW)
            r = raw_read(file, c, off - c->off, part);
        else
            r = compressed_read(d, file, c, off - c->off, part);
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

const BlockDriver block_dmg = {
    .name = "dmg",
    .kind = BLK_FORMAT,
    .state_size = sizeof(Dmg),
    .probe = dmg_probe,
    .open = dmg_open,
    .close = dmg_close,
    .pread = dmg_pread,
};
