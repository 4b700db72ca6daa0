/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing the header so that a power cut leaves the old one or the new one.
 *
 * A sector of 512 bytes is written whole or not at all. The first one has all fixed fields and says
 * where extensions and the backing file's name lie, so a change within it is one write. What lies
 * behind it (long names, the table of feature names, in files of other programs any extension) is
 * written before. Where that would change bytes that the first sector in the file still refers to,
 * the header steps aside:
 *
 *     1. a copy of all extensions and the name behind everything, the new header included
 *     2. first sector as before, referring to the copy
 *     3. everything behind the first sector as it shall be
 *     4. first sector as it shall be
 *
 * with a flush after each but the last. If the extensions do not fit into the first sector, step 2
 * leads to the copy by an extension with feature names, whose content is a help only: it covers
 * everything between. Whoever opens the image after a cut there finds a valid header.
 *
 * Extensions that must not be missed come first, so that they lie in the first sector.
 */
#include "block/formats/qcow2/qcow2.h"
#include <string.h>

enum { SECTOR = 512 };

static void put_ext(GByteArray *out, uint32_t type, const void *data, uint32_t len)
{
    uint8_t head[8];
    static const uint8_t padding[8];

    be32_put(head, type);
    be32_put(head + 4, len);
    g_byte_array_append(out, head, sizeof(head));
    g_byte_array_append(out, data, len);
    g_byte_array_append(out, padding, round_up(len, 8) - len);
}

static void put_feature_names(GByteArray *out)
{
    static const struct {
        uint8_t type, bit;
        char name[46];
    } names[] = {
        { 0, 0, "dirty bit" },         { 0, 1, "corrupt bit" },
        { 0, 2, "external data file" }, { 0, 3, "compression type" },
        { 0, 4, "extended L2 entries" }, { 1, 0, "lazy refcounts" },
        { 2, 0, "bitmaps" },           { 2, 1, "raw external data" },
    };

    G_STATIC_ASSERT(sizeof(names[0]) == 48);
    put_ext(out, EXT_FEATURE_NAMES, names, sizeof(names));
}

static void put_bitmaps(const Qcow2 *q, GByteArray *out)
{
    uint8_t data[24] = {};

    be32_put(data, q->bitmap_count);
    be64_put(data + 8, q->bitmap_directory_len);
    be64_put(data + 16, q->bitmap_directory_off);
    put_ext(out, EXT_BITMAPS, data, sizeof(data));
}

static void put_crypt(const Qcow2 *q, GByteArray *out)
{
    uint8_t data[16];

    be64_put(data, q->crypt_off);
    be64_put(data + 8, q->crypt_len);
    put_ext(out, EXT_CRYPT_HEADER, data, sizeof(data));
}

/* The names are a help only: left out where a header is tight. */
static void put_exts(const Qcow2 *q, GByteArray *out, bool names)
{
    if (q->data_name)
        put_ext(out, EXT_DATA_FILE, q->data_name, strlen(q->data_name));
    if (q->crypt_off)
        put_crypt(q, out);
    if (q->backing_format)
        put_ext(out, EXT_BACKING_FORMAT, q->backing_format, strlen(q->backing_format));
    if (q->bitmap_count)
        put_bitmaps(q, out);
    g_byte_array_append(out, q->unknown_exts->data, q->unknown_exts->len);
    if (names)
        put_feature_names(out);
    put_ext(out, EXT_END, NULL, 0);
}

/* Sets the fields at @head from @q; what is not ours stays. */
static void put_fields(const Qcow2 *q, uint8_t *head, uint32_t backing_off, bool long_header)
{
    Qcow2Header h;
    size_t len = q->version == 2 ? QCOW2_HEADER_V2_LEN
                                 : long_header ? sizeof(h) : QCOW2_HEADER_V3_LEN;

    memcpy(&h, head, sizeof(h));
    be32_set(&h.magic, QCOW2_MAGIC);
    be32_set(&h.version, q->version);
    be64_set(&h.backing_off, backing_off);
    be32_set(&h.backing_len, q->backing_name ? strlen(q->backing_name) : 0);
    be32_set(&h.cluster_bits, q->cluster_bits);
    be64_set(&h.size, q->size);
    be32_set(&h.crypt_method, q->crypt_method);
    be32_set(&h.l1_len, q->l1_len);
    be64_set(&h.l1_off, q->l1_off);
    be64_set(&h.reftable_off, q->reftable_off);
    be32_set(&h.reftable_clusters, q->reftable_clusters);
    be32_set(&h.snapshot_count, q->header_snapshots);
    be64_set(&h.snapshots_off, q->snapshots_off);
    be64_set(&h.incompatible, q->incompatible);
    be64_set(&h.compatible, q->compatible);
    be64_set(&h.autoclear, q->autoclear);
    be32_set(&h.refcount_order, q->refcount_order);
    if (long_header) {
        be32_set(&h.header_len, sizeof(h) + q->unknown_fields->len);
        h.compression = q->compression;
    }
    memcpy(head, &h, len);
}

/*
 * Where the backing file's name goes: where the old one is not, so that it stays readable; @settle:
 * right behind the extensions.
 */
static uint32_t place_backing_name(const Qcow2 *q, uint32_t exts_end, bool settle)
{
    uint32_t len = strlen(q->backing_name);
    uint32_t old = q->backing_off, old_end = old;
    uint32_t at = exts_end;

    if (settle)
        return at;
    if (old)
        old_end += be32_at(q->head->data + 16);
    if (old >= exts_end && old_end - old == len && old_end <= q->head->len &&
        !memcmp(q->head->data + old, q->backing_name, len))
        return old;
    if (old < at + len && at < old_end && round_up(old_end, 8) + len <= q->cluster)
        at = round_up(old_end, 8);
    return at;
}

/* The name in the file, where it lies behind the first sector: [*@from, *@end), or nothing. */
static bool old_name_behind(const Qcow2 *q, uint32_t *from, uint32_t *end)
{
    if (!q->backing_off || q->head->len < SECTOR)
        return false;
    *from = MAX(q->backing_off, SECTOR);
    *end = MIN(q->backing_off + be32_at(q->head->data + 16), q->head->len);
    return *from < *end;
}

/* Old and new name side by side, if the old one is in the way of nothing. */
static void keep_old_name(const Qcow2 *q, GByteArray *out, uint32_t exts_end, uint32_t backing_off)
{
    uint32_t from, end;

    if (old_name_behind(q, &from, &end) && from >= exts_end && from < out->len &&
        (!backing_off || end <= backing_off))
        memcpy(out->data + from, q->head->data + from, MIN(end, out->len) - from);
}

static GByteArray *head_build(const Qcow2 *q, bool names, bool settle, uint32_t *backing_off)
{
    GByteArray *out = g_byte_array_new();
    uint32_t name_len = q->backing_name ? strlen(q->backing_name) : 0, exts_end;
    uint8_t fields[sizeof(Qcow2Header)] = {};

    g_byte_array_set_size(out, q->version == 2 ? QCOW2_HEADER_V2_LEN : sizeof(Qcow2Header));
    if (q->version > 2)
        g_byte_array_append(out, q->unknown_fields->data, q->unknown_fields->len);
    put_exts(q, out, names);
    *backing_off = name_len ? place_backing_name(q, out->len, settle) : 0;
    put_fields(q, fields, *backing_off, q->version > 2);
    memcpy(out->data, fields, q->version == 2 ? QCOW2_HEADER_V2_LEN : sizeof(Qcow2Header));
    exts_end = out->len;
    g_byte_array_set_size(out, MAX(MAX(exts_end, *backing_off + name_len), SECTOR));
    memset(out->data + exts_end, 0, out->len - exts_end);
    keep_old_name(q, out, exts_end, *backing_off);
    if (name_len)
        memcpy(out->data + *backing_off, q->backing_name, name_len);
    return out;
}

GByteArray *qcow2_head_build(const Qcow2 *q, uint32_t *backing_off)
{
    GByteArray *out = head_build(q, q->version > 2, false, backing_off);

    if (out->len > q->cluster) {
        g_byte_array_unref(out);
        out = head_build(q, false, false, backing_off);
    }
    if (out->len > q->cluster)
        g_clear_pointer(&out, g_byte_array_unref);
    return out;
}

/* The header in the file with only its fields changed. */
static GByteArray *head_patch(const Qcow2 *q)
{
    GByteArray *out = g_byte_array_new();
    bool is_long = q->version > 2 && be32_at(q->head->data + 100) > QCOW2_HEADER_V3_LEN;

    g_byte_array_append(out, q->head->data, q->head->len);
    put_fields(q, out->data, q->backing_off, is_long);
    if (is_long)
        memcpy(out->data + 100, q->head->data + 100, 4);
    return out;
}

/* ---- what the first sector in the file refers to -------------------------------------------- */

/* Bytes from the start of the file. */
typedef struct {
    uint32_t exts_from, exts_end;    /* extensions with the mark of their end */
    uint32_t name_from, name_end;    /* of the backing file; equal: there is none */
} Parts;

static Parts head_parts(const Qcow2 *q)
{
    const uint8_t *head = q->head->data;
    bool v2 = be32_at(head + 4) == 2;
    Parts p = { .exts_from = v2 ? QCOW2_HEADER_V2_LEN : be32_at(head + 100) };
    uint64_t at = p.exts_from, end = q->cluster;

    if (q->backing_off) {
        p.name_from = q->backing_off;
        p.name_end = MIN(q->backing_off + be32_at(head + 16), q->head->len);
        end = q->backing_off;
    }
    end = MIN(end, q->head->len);
    while (at + 8 <= end && be32_at(head + at) != EXT_END)
        at += 8 + round_up((uint64_t)be32_at(head + at + 4), 8);
    p.exts_end = MIN(at + 8, end);
    return p;
}

static bool range_differs(const Qcow2 *q, const GByteArray *head, uint64_t from, uint64_t end)
{
    from = MAX(from, SECTOR);
    end = MIN(end, MIN(head->len, q->head->len));
    return from < end && memcmp(q->head->data + from, head->data + from, end - from);
}

/* The content of feature names may change: it is a help only. */
static bool exts_differ(const Qcow2 *q, const GByteArray *head, const Parts *p)
{
    uint64_t at = p->exts_from;

    while (at + 8 <= p->exts_end && be32_at(q->head->data + at) != EXT_END) {
        uint64_t end = at + 8 + round_up((uint64_t)be32_at(q->head->data + at + 4), 8);
        bool names = be32_at(q->head->data + at) == EXT_FEATURE_NAMES;

        if (range_differs(q, head, at, names ? at + 8 : end))
            return true;
        at = end;
    }
    return range_differs(q, head, at, p->exts_end);
}

/* Would writing @head behind the first sector change what that sector refers to? */
static bool is_in_way(const Qcow2 *q, const GByteArray *head)
{
    Parts p = head_parts(q);

    return exts_differ(q, head, &p) || range_differs(q, head, p.name_from, p.name_end);
}

/* ---- stepping aside ------------------------------------------------------------------------- */

/* All extensions in the file but the names of features, without the mark of their end. */
static GByteArray *exts_needed(const Qcow2 *q, const Parts *p)
{
    GByteArray *out = g_byte_array_new();
    uint64_t at = p->exts_from;

    while (at + 8 <= p->exts_end && be32_at(q->head->data + at) != EXT_END) {
        uint64_t end = at + 8 + round_up((uint64_t)be32_at(q->head->data + at + 4), 8);

        if (be32_at(q->head->data + at) != EXT_FEATURE_NAMES)
            g_byte_array_append(out, q->head->data + at, MIN(end, p->exts_end) - at);
        g_byte_array_set_size(out, round_up(out->len, 8));
        at = end;
    }
    return out;
}

/* In the sector: no extension here, go on at @to. */
static void put_skip(uint8_t *sector, uint32_t from, uint32_t to)
{
    memset(sector + from, 0, SECTOR - from);
    be32_put(sector + from, EXT_FEATURE_NAMES);
    be32_put(sector + from + 4, to - from - 8);
}

/*
 * The header of the file with all that its first sector refers to at *@from or behind, which is
 * behind @keep_free. NULL: there is no room.
 */
static GByteArray *aside_build(const Qcow2 *q, uint32_t keep_free, uint32_t *from)
{
    Parts p = head_parts(q);
    g_autoptr(GByteArray) exts = exts_needed(q, &p);
    uint32_t name_len = p.name_end - p.name_from, at, end;
    bool fits = p.exts_from + exts->len + 8 <= SECTOR;
    GByteArray *out;

    at = *from = round_up(MAX(keep_free, MAX(p.exts_end, p.name_end)), 8);
    end = at + (fits ? 0 : exts->len + 8) + name_len;
    if (end > q->cluster || p.exts_from + 8 > SECTOR)
        return NULL;
    out = g_byte_array_new();
    g_byte_array_append(out, q->head->data, MIN(q->head->len, end));
    if (end > q->head->len) {
        g_byte_array_set_size(out, end);
        memset(out->data + q->head->len, 0, end - q->head->len);
    }
    memset(out->data + at, 0, end - at);
    if (fits)
        memset(out->data + p.exts_from, 0, SECTOR - p.exts_from);
    else
        put_skip(out->data, p.exts_from, at);
    if (exts->len)
        memcpy(out->data + (fits ? p.exts_from : at), exts->data, exts->len);
    if (name_len)
        memcpy(out->data + end - name_len, q->head->data + p.name_from, name_len);
    be64_put(out->data + 8, name_len ? end - name_len : 0);
    return out;
}

static void head_take(Qcow2 *q, GByteArray *head, uint32_t backing_off)
{
    g_byte_array_unref(q->head);
    q->head = head;
    q->backing_off = backing_off;
}

/* Writes @head from byte @from on, durably; its first sector does not refer to what was there. */
static CO int tail_write(Qcow2 *q, const GByteArray *head, uint32_t from)
{
    int r = 0;

    q->tail_unknown = true;
    if (head->len > from)
        r = edge_pwrite_buf(q->storage, from, head->data + from, head->len - from);
    return r < 0 ? r : qcow2_barrier(q);
}

/* Frees the bytes below @len that lie behind the first sector. 1: done, 0: no room, or -errno. */
static CO int step_aside(Qcow2 *q, uint32_t len)
{
    uint32_t from = 0;
    GByteArray *aside = aside_build(q, len, &from);
    int r;

    if (!aside)
        return 0;
    r = tail_write(q, aside, MIN(from, q->head->len));
    if (r >= 0)
        r = edge_pwrite_buf(q->storage, 0, aside->data, SECTOR);
    if (r >= 0)
        r = qcow2_barrier(q);
    if (r < 0) {
        g_byte_array_unref(aside);
        return r;
    }
    head_take(q, aside, be64_at(aside->data + 8));
    return 1;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* *@head as it shall be, in the way of nothing. 1: done, 0: no room, or a negative errno. */
static CO int head_try(Qcow2 *q, bool names, GByteArray **head, uint32_t *backing_off)
{
    bool settle = false;

    for (;;) {
        g_autoptr(GByteArray) built = head_build(q, names, settle, backing_off);
        int r;

        if (built->len > q->cluster)
            return 0;
        if (!is_in_way(q, built)) {
            *head = g_steal_pointer(&built);
            return 1;
        }
        r = settle ? 0 : step_aside(q, built->len);
        if (r <= 0)
            return r;
        settle = true;
    }
}

/* The same; -ENOSPC if it does not fit into a cluster, even without the names of features. */
static CO int head_make(Qcow2 *q, GByteArray **head, uint32_t *backing_off)
{
    int r = q->version > 2 ? head_try(q, true, head, backing_off) : 0;

    if (!r)
        r = head_try(q, false, head, backing_off);
    return r ? MIN(r, 0) : -ENOSPC;
}

static bool tail_differs(const Qcow2 *q, const GByteArray *head)
{
    return head->len > SECTOR && (q->tail_unknown || head->len > q->head->len ||
                                  range_differs(q, head, SECTOR, head->len));
}

/* Extensions or names changed. */
static CO int head_rebuild(Qcow2 *q)
{
    g_autoptr(GByteArray) head = NULL;
    uint32_t backing_off = 0;
    int r = head_make(q, &head, &backing_off);

    if (r >= 0 && tail_differs(q, head))
        r = tail_write(q, head, SECTOR);
    if (r >= 0)
        r = edge_pwrite_buf(q->storage, 0, head->data, SECTOR);
    if (r < 0)
        return r;
    head_take(q, g_steal_pointer(&head), backing_off);
    q->head_stale = q->tail_unknown = false;
    return 0;
}

CO int qcow2_header_write(Qcow2 *q)
{
    CO_LOCKED(&q->head_lock);
    g_autoptr(GByteArray) head = NULL;
    int r;

    if (q->head_stale || q->head->len < SECTOR)
        return head_rebuild(q);
    head = head_patch(q);
    r = edge_pwrite_buf(q->storage, 0, head->data, SECTOR);
    if (r >= 0)
        head_take(q, g_steal_pointer(&head), q->backing_off);
    return r;
}

CO int qcow2_header_switch(Qcow2 *q, bool *done)
{
    int r = qcow2_header_write(q);

    *done = r >= 0;
    return r < 0 ? r : qcow2_barrier(q);
}

CO int qcow2_header_write_sync(Qcow2 *q)
{
    bool done;

    return qcow2_header_switch(q, &done);
}

CO int qcow2_mark_dirty(Qcow2 *q)
{
    int r;

    if (!q->lazy_refcounts || q->incompatible & INCOMPAT_DIRTY)
        return 0;
    q->incompatible |= INCOMPAT_DIRTY;
    r = qcow2_header_write_sync(q);
    if (r < 0)
        q->incompatible &= ~(uint64_t)INCOMPAT_DIRTY;
    return r;
}
