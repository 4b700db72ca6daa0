/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing the header so that a power cut leaves the old one or the new one.
 *
 * A sector of 512 bytes is written whole or not at all. All fixed fields lie in the first sector,
 * so a change of fields is one write. What lies behind the first sector (the table of feature
 * names, long names) is changed in three steps with a flush after each:
 *
 *     1. first sector as before, its extensions ending before those behind the sector
 *     2. everything behind the first sector; the backing file's name moves to a free place
 *     3. first sector as it shall be
 *
 * The first sector refers to the old name of the backing file until the last step: it is kept where
 * it is, or moved out of the way of longer extensions before.
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

/* Where the backing file's name goes: where the old one is not, so that it stays readable. */
static uint32_t place_backing_name(const Qcow2 *q, uint32_t exts_end)
{
    uint32_t len = strlen(q->backing_name);
    uint32_t old = q->backing_off, old_end = old;
    uint32_t at = exts_end;

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

static GByteArray *head_build(const Qcow2 *q, bool names, uint32_t *backing_off)
{
    GByteArray *out = g_byte_array_new();
    uint32_t name_len = q->backing_name ? strlen(q->backing_name) : 0, exts_end;
    uint8_t fields[sizeof(Qcow2Header)] = {};

    g_byte_array_set_size(out, q->version == 2 ? QCOW2_HEADER_V2_LEN : sizeof(Qcow2Header));
    if (q->version > 2)
        g_byte_array_append(out, q->unknown_fields->data, q->unknown_fields->len);
    put_exts(q, out, names);
    *backing_off = name_len ? place_backing_name(q, out->len) : 0;
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
    GByteArray *out = head_build(q, q->version > 2, backing_off);

    if (out->len > q->cluster) {
        g_byte_array_unref(out);
        out = head_build(q, false, backing_off);
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

/*
 * The first sector in the file with its extensions cut where they leave it; false if one that must
 * not be missed would go.
 */
static bool head_shorten(const Qcow2 *q, uint8_t *sector)
{
    bool v2 = be32_at(q->head->data + 4) == 2;
    uint32_t at = v2 ? QCOW2_HEADER_V2_LEN : be32_at(q->head->data + 100);
    uint32_t keep = at;

    memcpy(sector, q->head->data, SECTOR);
    while (at + 8 <= q->head->len && be32_at(q->head->data + at) != EXT_END) {
        uint32_t type = be32_at(q->head->data + at);
        uint64_t end = at + 8 + round_up(be32_at(q->head->data + at + 4), 8);

        if (end + 8 > SECTOR || type == EXT_FEATURE_NAMES) {
            if (type != EXT_FEATURE_NAMES)
                return false;
        } else {
            memmove(sector + keep, q->head->data + at, end - at);
            keep += end - at;
        }
        if (end > q->head->len)
            break;
        at = end;
    }
    if (keep + 8 > SECTOR)
        return false;
    memset(sector + keep, 0, SECTOR - keep);
    return true;
}

static bool tail_differs(const GByteArray *a, const GByteArray *old)
{
    return a->len > SECTOR &&
           (a->len > old->len || memcmp(a->data + SECTOR, old->data + SECTOR, a->len - SECTOR));
}

static CO int head_write_steps(Qcow2 *q, const GByteArray *head)
{
    uint8_t sector[SECTOR];
    int r = 0;

    if (tail_differs(head, q->head)) {
        /* The name of the old backing file may lie in the first sector: then it cannot be cut. */
        bool name_here = q->backing_off && q->backing_off < SECTOR;

        if (!name_here && head_shorten(q, sector))
            r = edge_pwrite_buf(q->storage, 0, sector, SECTOR);
        if (r >= 0)
            r = qcow2_barrier(q);
        if (r >= 0)
            r = edge_pwrite_buf(q->storage, SECTOR, head->data + SECTOR, head->len - SECTOR);
        if (r >= 0)
            r = qcow2_barrier(q);
    }
    return r < 0 ? r : edge_pwrite_buf(q->storage, 0, head->data, SECTOR);
}

/* True if writing @head would destroy the old name before the first sector refers to another. */
static bool old_name_in_way(const Qcow2 *q, const GByteArray *head)
{
    uint32_t from, end;

    return old_name_behind(q, &from, &end) && from < head->len &&
           memcmp(q->head->data + from, head->data + from, MIN(end, head->len) - from);
}

/* Moves the old name, as it is, to where @head does not reach. -ENOSPC: the cluster is full. */
static CO int old_name_move(Qcow2 *q, const GByteArray *head)
{
    uint32_t len = be32_at(q->head->data + 16), have = q->head->len;
    uint32_t to = round_up(MAX(have, head->len), 8);
    int r;

    if (to + len > q->cluster)
        return -ENOSPC;
    g_byte_array_set_size(q->head, to + len);
    memset(q->head->data + have, 0, to - have);
    memcpy(q->head->data + to, q->head->data + q->backing_off, len);
    r = edge_pwrite_buf(q->storage, have, q->head->data + have, to + len - have);
    if (r >= 0)
        r = qcow2_barrier(q);
    if (r < 0) {
        g_byte_array_set_size(q->head, have);
        return r;
    }
    be64_put(q->head->data + 8, to);
    r = edge_pwrite_buf(q->storage, 0, q->head->data, SECTOR);
    if (r >= 0)
        r = qcow2_barrier(q);
    if (r < 0)
        be64_put(q->head->data + 8, q->backing_off);
    else
        q->backing_off = to;
    return r;
}

/* The header as it shall be, when nothing it would overwrite is needed still. NULL with *@r. */
static CO GByteArray *head_make(Qcow2 *q, uint32_t *backing_off, int *r)
{
    GByteArray *head = qcow2_head_build(q, backing_off);

    *r = head ? 0 : -ENOSPC;
    if (!head || !old_name_in_way(q, head))
        return head;
    *r = old_name_move(q, head);
    g_byte_array_unref(head);
    if (*r < 0 && *r != -ENOSPC)
        return NULL;
    /* Without the names of features there is room again. */
    head = *r < 0 ? head_build(q, false, backing_off) : qcow2_head_build(q, backing_off);
    *r = !head || head->len > q->cluster || old_name_in_way(q, head) ? -ENOSPC : 0;
    if (*r < 0 && head)
        g_clear_pointer(&head, g_byte_array_unref);
    return head;
}

CO int qcow2_header_write(Qcow2 *q)
{
    CO_LOCKED(&q->head_lock);
    uint32_t backing_off = q->backing_off;
    bool stale = q->head_stale || q->head->len < SECTOR;
    int r = 0;
    GByteArray *head = stale ? head_make(q, &backing_off, &r) : head_patch(q);

    if (!head)
        return r;
    r = head_write_steps(q, head);
    if (r < 0) {
        g_byte_array_unref(head);
        return r;
    }
    g_byte_array_unref(q->head);
    q->head = head;
    q->backing_off = backing_off;
    q->head_stale = false;
    return 0;
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
