/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file is written front to back: in the flattened form its pieces tell where they belong, so
 * that it fits through a pipe. Descriptors and data of pages are collected in two such pieces at a
 * time.
 */
#include "system/dump-kdump.h"
#include "system/debug.h"
#include "system/dump-notes.h"
#include "util/endian.h"
#include "util/module.h"
#include "util/size.h"
#include "migration/ram.h"
#include <string.h>
#include <zlib.h>

enum {
    PAGE = KDUMP_PAGE, FLAT_HEADER = 4096, PIECE_BYTES = 1 << 20, DESCRIPTOR = 24,
    HEADER = 464, HEADER_VERSION = 6, UTSNAME_MACHINE = 12 + 4 * 65, TIME = 408,
    STATUS = 424, SUB_HEADER = 104, WITHOUT_ZEROES = 1, ZLIB = 1,
};

/* Bytes for consecutive places of the file. */
typedef struct {
    uint64_t at;       /* of the first that is kept */
    GByteArray *kept;
    const char *what;
} Piece;

typedef struct {
    const Machine *m;
    const GArray *segments;
    const KdumpPacker *packer;
    void *work;                 /* the packer's */
    CO bool (*put)(const void *data, size_t len, const char *what, GError **err);
    CO bool (*progress)(uint64_t bytes, GError **err);
    uint64_t pages, end_page;   /* that are written; behind the last */
    uint64_t bitmap_bytes;      /* of one of both bitmaps */
    Piece descriptors, data;
} Kdump;

static const DumpSegment *segment_at(const Kdump *k, guint i)
{
    return &g_array_index(k->segments, DumpSegment, i);
}

/* ---- the flattened form ---------------------------------------------------------------------- */

static CO bool put_start(const Kdump *k, GError **err)
{
    uint8_t head[FLAT_HEADER] = "makedumpfile";

    be64_put(head + 16, 1);     /* type */
    be64_put(head + 24, 1);     /* version */
    return k->put(head, sizeof(head), "start flat header", err);
}

static CO bool put_at(const Kdump *k, uint64_t at, const void *data, size_t len, const char *what,
                      GError **err)
{
    uint8_t head[16];

    be64_put(head, at);
    be64_put(head + 8, len);
    return k->put(head, sizeof(head), what, err) && k->put(data, len, what, err);
}

static CO bool put_end(const Kdump *k, GError **err)
{
    uint8_t head[16];

    memset(head, 0xff, sizeof(head));
    return k->put(head, sizeof(head), "end flat header", err);
}

static CO bool piece_flush(const Kdump *k, Piece *p, GError **err)
{
    if (!p->kept->len)
        return true;
    if (!put_at(k, p->at, p->kept->data, p->kept->len, p->what, err))
        return false;
    p->at += p->kept->len;
    g_byte_array_set_size(p->kept, 0);
    return true;
}

static CO bool piece_add(const Kdump *k, Piece *p, const void *data, size_t len, GError **err)
{
    g_byte_array_append(p->kept, data, len);
    return p->kept->len < PIECE_BYTES || piece_flush(k, p, err);
}

/* ---- headers --------------------------------------------------------------------------------- */

static uint64_t notes_end(const GByteArray *notes)
{
    return round_up(PAGE + SUB_HEADER + notes->len, PAGE);
}

static CO bool put_headers(const Kdump *k, const GByteArray *notes, GError **err)
{
    uint8_t head[HEADER] = "KDUMP   ", sub[SUB_HEADER] = { 0 };

    le32_put(head + 8, HEADER_VERSION);
    memcpy(head + UTSNAME_MACHINE, "x86_64", 6);
    le32_put(head + STATUS, k->packer->flag);
    le32_put(head + STATUS + 4, PAGE);
    le32_put(head + STATUS + 8, notes_end(notes) / PAGE - 1);
    le32_put(head + STATUS + 12, 2 * k->bitmap_bytes / PAGE);
    le32_put(head + STATUS + 16, MIN(k->end_page, UINT32_MAX));
    le32_put(head + STATUS + 36, k->m->vcpus->len);
    le32_put(sub + 8, WITHOUT_ZEROES);
    le64_put(sub + 48, PAGE + SUB_HEADER);
    le64_put(sub + 56, notes->len);
    le64_put(sub + 96, k->end_page);
    return put_at(k, 0, head, sizeof(head), "header", err) &&
           put_at(k, PAGE, sub, sizeof(sub), "header", err) &&
           put_at(k, PAGE + SUB_HEADER, notes->data, notes->len, "notes", err);
}

static void set_bits(uint8_t *bits, uint64_t first, uint64_t end)
{
    for (uint64_t i = first; i < end; i++)
        bits[i / 8] |= 1 << i % 8;
}

/* Which pages there are, and which of them are in the file: all. */
static CO bool put_bitmaps(const Kdump *k, uint64_t at, GError **err)
{
    g_autofree uint8_t *bits = g_malloc0(k->bitmap_bytes);

    for (guint i = 0; i < k->segments->len; i++) {
        const DumpSegment *s = segment_at(k, i);

        set_bits(bits, s->start / PAGE, (s->start + s->size) / PAGE);
    }
    return put_at(k, at, bits, k->bitmap_bytes, "bitmap", err) &&
           put_at(k, at + k->bitmap_bytes, bits, k->bitmap_bytes, "bitmap", err);
}

/* ---- compression ----------------------------------------------------------------------------- */

static size_t zlib_pack(void *work, const uint8_t *page, uint8_t *packed)
{
    uLongf len = KDUMP_PACKED_MAX;

    return compress2(packed, &len, page, PAGE, Z_BEST_SPEED) == Z_OK ? len : 0;
}

static const KdumpPacker zlib_packer = { .flag = ZLIB, .pack = zlib_pack };

const KdumpPacker *kdump_packer(DumpGuestMemoryFormat format)
{
    g_autoptr(GError) unused = NULL;

    switch (format) {
    case DUMP_GUEST_MEMORY_FORMAT_KDUMP_ZLIB:
        return &zlib_packer;
    case DUMP_GUEST_MEMORY_FORMAT_KDUMP_LZO:
        return module_load("lzo", &unused);
    case DUMP_GUEST_MEMORY_FORMAT_KDUMP_SNAPPY:
        return module_load("snappy", &unused);
    default:
        return NULL;
    }
}

/* ---- pages ----------------------------------------------------------------------------------- */

static CO bool add_page(Kdump *k, uint64_t at, uint32_t len, uint32_t flags, GError **err)
{
    uint8_t d[DESCRIPTOR] = { 0 };

    le64_put(d, at);
    le32_put(d + 8, len);
    le32_put(d + 12, flags);
    return piece_add(k, &k->descriptors, d, sizeof(d), err);
}

/* @zeroes: where the page of zeroes is, which all such pages share. */
static CO bool put_page(Kdump *k, const uint8_t *page, uint64_t zeroes, GError **err)
{
    uint8_t packed[KDUMP_PACKED_MAX];
    uint64_t at = k->data.at + k->data.kept->len;
    size_t len;

    if (ram_is_zero(page, PAGE))
        return add_page(k, zeroes, PAGE, 0, err);
    len = k->packer->pack(k->work, page, packed);
    if (len && len < PAGE)
        return add_page(k, at, len, k->packer->flag, err) &&
               piece_add(k, &k->data, packed, len, err);
    return add_page(k, at, PAGE, 0, err) && piece_add(k, &k->data, page, PAGE, err);
}

static CO bool put_segment(Kdump *k, const DumpSegment *s, uint64_t zeroes, GError **err)
{
    const uint8_t *host = debug_range(k->m, s->start, s->size);

    for (uint64_t at = 0; at < s->size;) {
        uint64_t end = MIN(at + PIECE_BYTES, s->size), begin = at;

        for (; at < end; at += PAGE)
            if (!put_page(k, host + at, zeroes, err))
                return false;
        if (!k->progress(end - begin, err))
            return false;
    }
    return true;
}

static CO bool put_pages(Kdump *k, uint64_t at, GError **err)
{
    static const uint8_t nothing[PAGE];
    uint64_t zeroes = at + k->pages * DESCRIPTOR;
    bool ok;

    k->descriptors = (Piece){ at, g_byte_array_new(), "page descriptors" };
    k->data = (Piece){ zeroes, g_byte_array_new(), "pages" };
    ok = piece_add(k, &k->data, nothing, PAGE, err);
    for (guint i = 0; i < k->segments->len && ok; i++)
        ok = put_segment(k, segment_at(k, i), zeroes, err);
    ok = ok && piece_flush(k, &k->descriptors, err) && piece_flush(k, &k->data, err);
    g_byte_array_unref(k->descriptors.kept);
    g_byte_array_unref(k->data.kept);
    return ok;
}

/* ---- all ------------------------------------------------------------------------------------- */

CO bool kdump_write(const Machine *m, const GArray *segments, const KdumpPacker *packer,
                    CO bool (*put)(const void *data, size_t len, const char *what, GError **err),
                    CO bool (*progress)(uint64_t bytes, GError **err), GError **err)
{
    g_autofree void *work = packer->work ? g_malloc(packer->work) : NULL;
    Kdump k = { .m = m, .segments = segments, .packer = packer, .work = work, .put = put,
                .progress = progress };
    GByteArray *notes = g_byte_array_new();
    uint64_t at;
    bool ok;

    for (guint i = 0; i < segments->len; i++) {
        const DumpSegment *s = segment_at(&k, i);

        k.pages += s->size / PAGE;
        k.end_page = MAX(k.end_page, (s->start + s->size) / PAGE);
    }
    k.bitmap_bytes = round_up(div_round_up(k.end_page, 8), PAGE);
    dump_put_notes(notes, m);
    at = notes_end(notes);
    ok = put_start(&k, err) && put_headers(&k, notes, err) && put_bitmaps(&k, at, err) &&
         put_pages(&k, at + 2 * k.bitmap_bytes, err) && put_end(&k, err);
    g_byte_array_unref(notes);
    return ok;
}
