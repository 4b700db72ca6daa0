/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading and checking the header of an image: fixed fields, additional fields, extensions, names.
 *
 *     0         fixed fields, 72 bytes in version 2, at least 104 in version 3
 *               extensions: be32 type, be32 length, data padded to 8; type 0 ends them
 *               name of the backing file
 *     cluster   end of the header's cluster
 *
 * Every field has a legal range, checked before it is used; messages name field and value.
 */
#include "block/formats/qcow2/qcow2.h"
#include <string.h>

CO int qcow2_file_read(Qcow2 *q, uint64_t off, void *buf, size_t len)
{
    uint64_t end = edge_size(q->storage);
    size_t there = off < end ? (size_t)MIN(len, end - off) : 0;
    int r = there ? edge_pread_buf(q->storage, off, buf, there) : 0;

    memset((uint8_t *)buf + there, 0, len - there);
    return r;
}

void qcow2_header_free(Qcow2 *q)
{
    g_free(q->backing_name);
    g_free(q->backing_format);
    g_free(q->data_name);
    if (q->unknown_exts)
        g_byte_array_unref(q->unknown_exts);
    if (q->unknown_fields)
        g_byte_array_unref(q->unknown_fields);
    if (q->head)
        g_byte_array_unref(q->head);
    q->backing_name = q->backing_format = q->data_name = NULL;
    q->unknown_exts = q->unknown_fields = q->head = NULL;
}

void qcow2_set_geometry(Qcow2 *q)
{
    bool extended = q->incompatible & INCOMPAT_EXTENDED_L2;

    q->cluster = UINT64_C(1) << q->cluster_bits;
    q->subs = extended ? SUBCLUSTERS : 1;
    q->sub_bits = extended ? q->cluster_bits - 5 : q->cluster_bits;
    q->entry_bits = extended ? 4 : 3;
    q->l2_bits = q->cluster_bits - q->entry_bits;
    q->refblock_bits = q->cluster_bits + 3 - q->refcount_order;
    q->refcount_max = q->refcount_order == 6
                          ? INT64_MAX : (UINT64_C(1) << qcow2_refcount_bits(q)) - 1;
}

uint64_t qcow2_l1_needed(const Qcow2 *q, uint64_t size)
{
    unsigned bits = q->l2_bits + q->cluster_bits;

    return (size >> bits) + !is_aligned(size, UINT64_C(1) << bits);
}

/* Makes sure that the first @len bytes of the file are in q->head; zeroes past its end. */
static CO bool head_load(Qcow2 *q, size_t len, GError **err)
{
    size_t have = q->head->len;
    int r;

    if (len <= have)
        return true;
    g_byte_array_set_size(q->head, len);
    r = qcow2_file_read(q, have, q->head->data + have, len - have);
    if (r < 0)
        return err_set_errno(err, r, "Could not read the qcow2 header");
    return true;
}

/* ---- fixed fields --------------------------------------------------------------------------- */

static bool check_geometry(Qcow2 *q, const Qcow2Header *h, GError **err)
{
    uint32_t order = be32_get(h->refcount_order);

    q->cluster_bits = be32_get(h->cluster_bits);
    if (q->cluster_bits < QCOW2_CLUSTER_BITS_MIN || q->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
        return err_set(err, EINVAL, "Field cluster_bits is %u, which is not within %d to %d",
                       q->cluster_bits, QCOW2_CLUSTER_BITS_MIN, QCOW2_CLUSTER_BITS_MAX);
    q->refcount_order = q->version == 2 ? 4 : order;
    if (q->refcount_order > 6)
        return err_set(err, EINVAL, "Field refcount_order is %u, more than 6 (64 bits)", order);
    if (q->incompatible & INCOMPAT_EXTENDED_L2 && q->cluster_bits < QCOW2_EXTENDED_BITS_MIN)
        return err_set(err, EINVAL,
                       "Field cluster_bits is %u; extended L2 entries need at least %d",
                       q->cluster_bits, QCOW2_EXTENDED_BITS_MIN);
    qcow2_set_geometry(q);
    return true;
}

/* A table of @len bytes at @off, which must be a multiple of a cluster. */
static bool check_table(Qcow2 *q, const char *name, uint64_t off, uint64_t len, uint64_t max,
                        GError **err)
{
    uint64_t end;

    if (len > max)
        return err_set(err, EFBIG, "The %s has %" PRIu64 " bytes, more than %" PRIu64, name, len,
                       max);
    if (qcow2_within(q, off) || !size_add(off, len, &end) || end > INT64_MAX)
        return err_set(err, EINVAL, "The offset of the %s, 0x%" PRIx64 ", is not that of a cluster",
                       name, off);
    return true;
}

static bool check_tables(Qcow2 *q, const Qcow2Header *h, OpenFlags flags, GError **err)
{
    uint64_t needed;

    q->size = be64_get(h->size);
    q->l1_len = be32_get(h->l1_len);
    q->l1_off = be64_get(h->l1_off);
    q->reftable_off = be64_get(h->reftable_off);
    q->reftable_clusters = be32_get(h->reftable_clusters);
    q->snapshot_count = q->header_snapshots = be32_get(h->snapshot_count);
    q->snapshots_off = be64_get(h->snapshots_off);

    if (q->size > INT64_MAX)
        return err_set(err, EFBIG, "Field size is %" PRIu64 ", more than 2^63 - 1", q->size);
    if (!check_table(q, "active L1 table", q->l1_off, q->l1_len * UINT64_C(8), QCOW2_L1_BYTES_MAX,
                     err) ||
        !check_table(q, "refcount table", q->reftable_off, q->reftable_clusters * q->cluster,
                     QCOW2_REFTABLE_BYTES_MAX, err))
        return false;
    needed = qcow2_l1_needed(q, q->size);
    if (q->l1_len < needed)
        return err_set(err, EINVAL, "Field l1_size is %u; a disk of %" PRIu64 " bytes needs %"
                       PRIu64, q->l1_len, q->size, needed);
    if (!q->reftable_clusters && !(flags & OPEN_CHECK))
        return err_set(err, EINVAL,
                       "Field refcount_table_clusters is 0: the image has no refcounts");
    if (flags & OPEN_CHECK)
        return true;    /* a bad snapshot table is for check to report */
    if (q->snapshot_count > QCOW2_SNAPSHOTS_MAX)
        return err_set(err, EFBIG, "Field nb_snapshots is %u, more than %d", q->snapshot_count,
                       QCOW2_SNAPSHOTS_MAX);
    return !q->snapshot_count || check_table(q, "snapshot table", q->snapshots_off, 0, 0, err);
}

/* Version 3 only: feature bits, length, compression type. @len: bytes of the header. */
static bool check_fields_v3(Qcow2 *q, const Qcow2Header *h, uint32_t len, GError **err)
{
    uint8_t compression = len > 104 ? h->compression : 0;

    q->incompatible = be64_get(h->incompatible);
    q->compatible = be64_get(h->compatible);
    q->autoclear = be64_get(h->autoclear);
    if (len < QCOW2_HEADER_V3_LEN)
        return err_set(err, EINVAL, "Field header_length is %u, less than %d", len,
                       QCOW2_HEADER_V3_LEN);
    if (len > q->cluster)
        return err_set(err, EINVAL, "Field header_length is %u, more than a cluster (%" PRIu64 ")",
                       len, q->cluster);
    if (compression > QCOW2_ZSTD)
        return err_set(err, ENOTSUP, "Field compression_type is %u, which is not known",
                       compression);
    if (!!compression != !!(q->incompatible & INCOMPAT_COMPRESSION))
        return err_set(err, EINVAL, "Field compression_type is %u although its feature bit is %s",
                       compression, compression ? "not set" : "set");
    q->compression = compression;
    return true;
}

static CO bool read_fixed(Qcow2 *q, OpenFlags flags, uint32_t *header_len, GError **err)
{
    Qcow2Header h = {};

    if (edge_size(q->storage) < QCOW2_HEADER_V2_LEN)
        return err_set(err, EINVAL, "The file has only %" PRIu64 " bytes, too few for a header",
                       edge_size(q->storage));
    if (!head_load(q, 4096, err))
        return false;
    memcpy(&h, q->head->data, sizeof(h));
    if (be32_get(h.magic) != QCOW2_MAGIC)
        return err_set(err, EINVAL, "Image is not in qcow2 format");
    q->version = be32_get(h.version);
    if (q->version != 2 && q->version != 3)
        return err_set(err, ENOTSUP, "Field version is %u; known are 2 and 3", q->version);
    if (q->version == 3)
        q->incompatible = be64_get(h.incompatible);
    if (!check_geometry(q, &h, err))
        return false;
    *header_len = q->version == 2 ? QCOW2_HEADER_V2_LEN : be32_get(h.header_len);
    if (q->version == 3 && !check_fields_v3(q, &h, *header_len, err))
        return false;
    q->crypt_method = be32_get(h.crypt_method);
    if (q->crypt_method > QCOW2_CRYPT_LUKS)
        return err_set(err, ENOTSUP, "Field crypt_method is %u, which is not known",
                       q->crypt_method);
    return check_tables(q, &h, flags, err);
}

/* ---- extensions ----------------------------------------------------------------------------- */

static bool ext_string(char **out, const char *what, const uint8_t *data, uint32_t len,
                       uint32_t max, GError **err)
{
    if (len > max)
        return err_set(err, EINVAL, "The header extension '%s' has %u bytes, more than %u", what,
                       len, max);
    g_free(*out);
    *out = g_strndup((const char *)data, len);
    return true;
}

static bool ext_crypt(Qcow2 *q, const uint8_t *data, uint32_t len, GError **err)
{
    if (len != 16)
        return err_set(err, EINVAL, "The encryption header extension has %u bytes, not 16", len);
    q->crypt_off = be64_at(data);
    q->crypt_len = be64_at(data + 8);
    if (q->crypt_method != QCOW2_CRYPT_LUKS)
        return err_set(err, EINVAL, "There is an encryption header, but crypt_method is %u",
                       q->crypt_method);
    return check_table(q, "encryption header", q->crypt_off, q->crypt_len, 64 * MiB, err);
}

/* The directory itself is looked at in bitmap.c. */
static bool ext_bitmaps(Qcow2 *q, const uint8_t *data, uint32_t len, OpenFlags flags, GError **err)
{
    if (q->version < 3 || !(q->autoclear & AUTOCLEAR_BITMAPS)) {
        if (!(flags & (OPEN_CHECK | OPEN_NO_IO)))
            block_warn("Image '%s': a program that does not know bitmaps changed it; all its "
                       "bitmaps are inconsistent", node_filename(q->node));
        return true;
    }
    if (len != 24)
        return err_set(err, EINVAL, "The bitmaps extension has %u bytes, not 24", len);
    if (be32_at(data + 4))
        return err_set(err, EINVAL, "The reserved field of the bitmaps extension is not 0");
    q->bitmap_count = be32_at(data);
    q->bitmap_directory_len = be64_at(data + 8);
    q->bitmap_directory_off = be64_at(data + 16);
    if (!q->bitmap_count || q->bitmap_count > QCOW2_BITMAPS_MAX)
        return err_set(err, EINVAL, "Field nb_bitmaps is %u, which is not within 1 to %d",
                       q->bitmap_count, QCOW2_BITMAPS_MAX);
    if (!q->bitmap_directory_off)
        return err_set(err, EINVAL, "The bitmap directory has the offset 0");
    return check_table(q, "bitmap directory", q->bitmap_directory_off, q->bitmap_directory_len,
                       QCOW2_BITMAP_DIRECTORY_MAX, err);
}

/* @from points at the type; @whole is the length with padding. */
static bool ext_parse(Qcow2 *q, const uint8_t *from, uint32_t whole, OpenFlags flags, GError **err)
{
    uint32_t type = be32_at(from), len = be32_at(from + 4);
    const uint8_t *data = from + 8;

    switch (type) {
    case EXT_BACKING_FORMAT:
        return ext_string(&q->backing_format, "backing format", data, len, 63, err);
    case EXT_DATA_FILE:
        return ext_string(&q->data_name, "data file", data, len, QCOW2_NAME_MAX, err);
    case EXT_FEATURE_NAMES:
        return true;
    case EXT_CRYPT_HEADER:
        return ext_crypt(q, data, len, err);
    case EXT_BITMAPS:
        return ext_bitmaps(q, data, len, flags, err);
    default:
        g_byte_array_append(q->unknown_exts, from, whole);
        return true;
    }
}

/* The names that the image itself gives to its feature bits, for a message. */
static void name_features(const uint8_t *names, uint32_t len, uint64_t bits, GString *out)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        const char *name = NULL;

        if (!(bits >> bit & 1))
            continue;
        for (uint32_t i = 0; i + 48 <= len && !name; i += 48)
            if (names[i] == 0 && names[i + 1] == bit)
                name = (const char *)names + i + 2;
        if (out->len)
            g_string_append(out, ", ");
        if (name)
            g_string_append_printf(out, "%.46s", name);
        else
            g_string_append_printf(out, "incompatible feature bit %u", bit);
    }
}

static bool refuse_features(Qcow2 *q, const uint8_t *names, uint32_t len, GError **err)
{
    uint64_t unknown = q->incompatible & ~(uint64_t)INCOMPAT_KNOWN;
    g_autoptr(GString) text = g_string_new(NULL);

    if (!unknown)
        return true;
    name_features(names, len, unknown, text);
    return err_set(err, ENOTSUP, "The image uses features that are not known here: %s", text->str);
}

/* Walks [@at, @end) of the file. */
static CO bool read_extensions(Qcow2 *q, uint64_t at, uint64_t end, OpenFlags flags, GError **err)
{
    uint64_t names_at = 0;
    uint32_t names_len = 0;

    while (at + 8 <= end) {
        uint32_t type, len;
        uint64_t whole;

        if (!head_load(q, at + 8, err))
            return false;
        type = be32_at(q->head->data + at);
        len = be32_at(q->head->data + at + 4);
        if (type == EXT_END)
            break;
        whole = 8 + round_up(len, 8);
        if (len > end - at - 8)
            return err_set(err, EINVAL, "The header extension 0x%08x has %u bytes, more than there "
                           "is room for", type, len);
        if (!head_load(q, MIN(at + whole, end), err))
            return false;
        if (type == EXT_FEATURE_NAMES) {
            names_at = at + 8;
            names_len = len;
        }
        if (!(q->incompatible & ~(uint64_t)INCOMPAT_KNOWN) &&
            !ext_parse(q, q->head->data + at, MIN(whole, end - at), flags, err))
            return false;
        at += whole;
    }
    return refuse_features(q, q->head->data + names_at, names_len, err);
}

static CO bool read_backing_name(Qcow2 *q, uint64_t off, uint32_t len, uint32_t header_len,
                                 GError **err)
{
    if (!off)
        return true;
    if (off < header_len || off > q->cluster || len > QCOW2_NAME_MAX || len > q->cluster - off)
        return err_set(err, EINVAL, "The name of the backing file, %u bytes at 0x%" PRIx64
                       ", is too long or not in the first cluster behind the header", len, off);
    if (!head_load(q, off + len, err))
        return false;
    q->backing_off = off;
    if (len)
        q->backing_name = g_strndup((char *)q->head->data + off, len);
    return true;
}

CO bool qcow2_header_read(Qcow2 *q, OpenFlags flags, GError **err)
{
    uint64_t backing_off, end;
    uint32_t header_len = 0, backing_len;

    q->head = g_byte_array_new();
    q->unknown_exts = g_byte_array_new();
    q->unknown_fields = g_byte_array_new();
    if (!read_fixed(q, flags, &header_len, err))
        return false;
    backing_off = be64_at(q->head->data + 8);
    backing_len = be32_at(q->head->data + 16);
    end = backing_off && backing_off < q->cluster ? backing_off : q->cluster;
    if (!head_load(q, header_len, err))
        return false;
    if (header_len > sizeof(Qcow2Header))
        g_byte_array_append(q->unknown_fields, q->head->data + sizeof(Qcow2Header),
                            header_len - sizeof(Qcow2Header));
    if (!read_extensions(q, header_len, end, flags, err) ||
        !read_backing_name(q, backing_off, backing_len, header_len, err))
        return false;
    if (q->crypt_method == QCOW2_CRYPT_LUKS && !q->crypt_off)
        return err_set(err, EINVAL,
                       "The image is encrypted with LUKS but has no encryption header");
    if (q->autoclear & AUTOCLEAR_DATA_RAW && !qcow2_has_data_file(q))
        return err_set(err, EINVAL, "Feature bit 'raw external data' is set without a data file");
    return true;
}
