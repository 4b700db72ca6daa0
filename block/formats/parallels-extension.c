/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The format extension: a cluster of
 *
 *     0     signature, MD5 of what follows
 *     24    features: magic, flags, length (24 bytes), data; up to one whose magic is 0
 *
 * The only known feature is a dirty bitmap: size, UUID, granularity, and for each cluster of its
 * bits the sector where it is, or ALL_CLEAR or ALL_SET. See docs/spec/parallels.md.
 */
#include "block/formats/mapped.h"
#include "block/formats/parallels.h"
#include "util/endian.h"
#include <inttypes.h>
#include <string.h>

enum {
    SECTOR = 512,
    EXT_HEAD = 24,
    MD5_AT = 8,
    MD5_LEN = 16,
    ALL_CLEAR = 0,
    ALL_SET = 1,
};

/* Of all bitmaps together, so that what a file of any size claims takes bounded memory. */
#define BITS_MAX (UINT64_C(1) << 36)

#define EXT_MAGIC UINT64_C(0xAB234CEF23DCEA87)
#define EXT_BITMAP UINT64_C(0x20385FAE252CB34A)
#define EXT_NECESSARY UINT64_C(1)

typedef struct {
    le64 magic, flags;
    le32 len, unused;
} Feature;
G_STATIC_ASSERT(sizeof(Feature) == EXT_HEAD);

typedef struct {
    le64 size;          /* sectors */
    uint8_t id[16];
    le32 granularity;   /* sectors */
    le32 l1_len;        /* entries of eight bytes, which follow */
} Bitmap;
G_STATIC_ASSERT(sizeof(Bitmap) == 32);

typedef struct {
    Node *node;
    const ParallelsDisk *disk;
    bool load;
    uint64_t clusters;      /* with bits, of all bitmaps */
    uint64_t bits;          /* of all bitmaps */
} Reader;

/* Loads cluster @i of the bits of @b, whose entry in the table is @entry. */
static CO int bits_load(Reader *rd, DirtyBitmap *b, uint32_t i, uint64_t entry, uint8_t *buf)
{
    Edge *file = node_edge(rd->node, ROLE_STORAGE);
    uint64_t per_cluster = rd->disk->cluster * 8, first = i * per_cluster, at, end;
    uint64_t count = MIN(per_cluster, hbitmap_bits(b->bits) - first);
    int r;

    if (entry == ALL_SET)
        hbitmap_set(b->bits, first, count);
    if (entry <= ALL_SET)
        return 0;
    if (!size_mul(entry, SECTOR, &at) || !size_add(at, rd->disk->cluster, &end) ||
        end > edge_size(file))
        return -EINVAL;
    /* Otherwise a small file that lists one cluster repeatedly could cost unbounded memory. */
    if (++rd->clusters > edge_size(file) / rd->disk->cluster)
        return -EINVAL;
    r = edge_pread_buf(file, at, buf, rd->disk->cluster);
    if (r >= 0)
        hbitmap_load(b->bits, first, buf, rd->disk->cluster);
    return r;
}

static CO bool bitmap_load(Reader *rd, const Bitmap *head, const uint8_t *table, GError **err)
{
    g_autofree char *name = uuid_text(head->id);
    g_autofree uint8_t *buf = g_try_malloc(rd->disk->cluster);
    DirtyBitmap *b = dirty_find(rd->node, name);
    uint64_t granularity = le32_get(head->granularity) * UINT64_C(512);

    if (granularity > UINT32_MAX)
        return err_set(err, ENOTSUP, "Bitmap '%s' has granules of %" PRIu64
                       " bytes, which is too large", name, granularity);
    if (b && b->granularity != granularity)
        return err_set(err, EINVAL, "Bitmap '%s' has another granularity than before", name);
    rd->bits += div_round_up(node_size(rd->node), granularity);
    if (rd->bits > BITS_MAX)
        return err_set(err, EFBIG, "The bitmaps of the image are too large");
    b = b ? b : dirty_add(rd->node, name, (uint32_t)granularity, err);
    if (!b || !buf)
        return b ? err_set_errno(err, ENOMEM, "Could not read bitmap '%s'", name) : false;
    hbitmap_clear(b->bits, 0, hbitmap_bits(b->bits));
    for (uint32_t i = 0; i < le32_get(head->l1_len); i++) {
        int r = bits_load(rd, b, i, le64_at(table + i * sizeof(le64)), buf);

        if (r < 0)
            return err_set_errno(err, r, "Could not read bitmap '%s'", name);
    }
    return true;
}

static CO bool bitmap_read(Reader *rd, const uint8_t *data, uint64_t len, GError **err)
{
    uint64_t granularity, bytes;
    Bitmap b;

    if (len < sizeof(b))
        return err_set(err, EINVAL, "A bitmap of the extension has %" PRIu64 " bytes", len);
    memcpy(&b, data, sizeof(b));
    granularity = le32_get(b.granularity);
    if (!is_power_of_2(granularity))
        return err_set(err, EINVAL, "A bitmap of the extension has a granularity of %" PRIu64
                       " sectors", granularity);
    bytes = div_round_up(div_round_up(le64_get(b.size), granularity), 8);
    if (le64_get(b.size) != rd->disk->sectors ||
        le32_get(b.l1_len) != div_round_up(bytes, rd->disk->cluster) ||
        (len - sizeof(b)) / 8 < le32_get(b.l1_len))
        return err_set(err, EINVAL, "A bitmap of the extension is for %" PRIu64
                       " sectors and has %u clusters", le64_get(b.size), le32_get(b.l1_len));
    return !rd->load || bitmap_load(rd, &b, data + sizeof(b), err);
}

/* Features in @len bytes at @p. */
static CO bool features_read(Reader *rd, const uint8_t *p, uint64_t len, GError **err)
{
    while (len >= sizeof(Feature)) {
        Feature f;
        uint64_t size;

        memcpy(&f, p, sizeof(f));
        if (!le64_get(f.magic))
            return true;
        size = round_up(le32_get(f.len), 8);
        p += sizeof(f);
        len -= sizeof(f);
        if (size > len)
            return err_set(err, EINVAL, "A feature of the extension has %u bytes, of which %" PRIu64
                           " are there", le32_get(f.len), len);
        if (le64_get(f.magic) == EXT_BITMAP) {
            if (!bitmap_read(rd, p, le32_get(f.len), err))
                return false;
        } else if (le64_get(f.flags) & EXT_NECESSARY) {
            return err_set(err, ENOTSUP, "The extension has the unknown feature 0x%" PRIx64
                           ", without which the image must not be used", le64_get(f.magic));
        }
        p += size;
        len -= size;
    }
    return err_set(err, EINVAL, "The list of features in the extension has no end");
}

static bool md5_is(const uint8_t *data, size_t len, const uint8_t wanted[MD5_LEN])
{
    GChecksum *md5 = g_checksum_new(G_CHECKSUM_MD5);
    uint8_t sum[MD5_LEN];
    gsize sum_len = sizeof(sum);

    g_checksum_update(md5, data, (gssize)len);
    g_checksum_get_digest(md5, sum, &sum_len);
    g_checksum_free(md5);
    return !memcmp(sum, wanted, sizeof(sum));
}

CO bool parallels_extension_read(Node *n, const ParallelsDisk *disk, uint64_t off, bool load,
                                 GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Reader rd = { .node = n, .disk = disk, .load = load };
    uint64_t have = edge_size(file), sector = off / SECTOR;
    g_autofree uint8_t *ext = NULL;
    int r;

    if (off > have || disk->cluster > have - off || disk->cluster < 2 * EXT_HEAD)
        return err_set(err, EINVAL, "The extension at sector %" PRIu64
                       " is not inside the file", sector);
    ext = g_try_malloc(disk->cluster);
    r = ext ? edge_pread_buf(file, off, ext, disk->cluster) : -ENOMEM;
    if (r < 0)
        return err_set_errno(err, r, "Could not read the extension");
    if (le64_at(ext) != EXT_MAGIC)
        return err_set(err, EINVAL, "The extension at sector %" PRIu64 " has no signature", sector);
    if (!md5_is(ext + EXT_HEAD, disk->cluster - EXT_HEAD, ext + MD5_AT))
        return err_set(err, EINVAL, "The extension at sector %" PRIu64
                       " has a wrong checksum", sector);
    return features_read(&rd, ext + EXT_HEAD, disk->cluster - EXT_HEAD, err);
}
