/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Growing images of Bochs, read only.
 *
 *     0       header, 512 bytes
 *     header  catalog: an le32 per extent of the disk, which one of the file it is, or ABSENT
 *     data    extents: a bitmap of the sectors that are there, then all sectors, each in whole
 *             sectors
 *
 * The catalog is read at open and never changes. See docs/spec/bochs.md.
 */
#include "block/driver.h"
#include "util/endian.h"
#include <inttypes.h>
#include <string.h>

enum {
    SECTOR = 512, VERSION_1 = 0x10000, VERSION_2 = 0x20000,
    CATALOG_MAX = 1 << 20, EXTENT_MAX = 8 << 20,
};
#define ABSENT UINT32_MAX

typedef struct {
    char magic[32], type[16], subtype[16];
    le32 version, header_len, catalog, bitmap, extent;
    union {
        struct {
            le64 size;
        } one;
        struct {
            le32 time;
            le64 size;
        } two;
    } disk;
    uint8_t pad[416];
} BochsHeader;
G_STATIC_ASSERT(sizeof(BochsHeader) == SECTOR);

typedef struct {
    le32 *catalog;
    uint32_t entries;
    uint64_t extent;        /* bytes */
    uint64_t bitmap;        /* bytes that it takes, in whole sectors */
    uint64_t data;          /* bytes; where the extents begin */
} Bochs;

static int bochs_probe(const uint8_t *head, size_t len, const char *filename)
{
    const BochsHeader *h = (const BochsHeader *)(const void *)head;

    if (len < sizeof(*h) || strncmp(h->magic, "Bochs Virtual HD Image", sizeof(h->magic)) ||
        strncmp(h->type, "Redolog", sizeof(h->type)) ||
        strncmp(h->subtype, "Growing", sizeof(h->subtype)))
        return 0;
    return le32_get(h->version) == VERSION_1 || le32_get(h->version) == VERSION_2 ? 100 : 0;
}

static bool header_check(Bochs *b, const BochsHeader *h, uint64_t file, uint64_t *size,
                         GError **err)
{
    uint64_t header = le32_get(h->header_len), bitmap = le32_get(h->bitmap);

    *size =
        le32_get(h->version) == VERSION_1 ? le64_get(h->disk.one.size) : le64_get(h->disk.two.size);
    b->entries = le32_get(h->catalog);
    b->extent = le32_get(h->extent);
    if (b->extent < SECTOR || b->extent % SECTOR || b->extent > EXTENT_MAX)
        return err_set(err, EINVAL,
                       "Extents of %" PRIu64 " bytes cannot be: %d to %d can, in whole sectors",
                       b->extent, SECTOR, EXTENT_MAX);
    if (b->entries > CATALOG_MAX || *size > b->entries * b->extent)
        return err_set(err, EINVAL,
                       "A catalog of %" PRIu32 " entries cannot be that of a disk of %" PRIu64
                       " bytes",
                       b->entries, *size);
    if (bitmap < div_round_up(b->extent / SECTOR, 8) || bitmap > b->extent + SECTOR)
        return err_set(err, EINVAL, "Bitmaps of %" PRIu64 " bytes are none of extents of %" PRIu64,
                       bitmap, b->extent);
    b->bitmap = round_up(bitmap, SECTOR);
    b->data = header + b->entries * sizeof(le32);
    if (header < SECTOR || b->data > file)
        return err_set(err, EINVAL, "The catalog is not in the file");
    return true;
}

static CO bool image_read(Node *n, Edge *file, GError **err)
{
    Bochs *b = node_state(n);
    BochsHeader h;
    uint64_t size;
    int r = edge_pread_buf(file, 0, &h, sizeof(h));

    if (r < 0)
        return err_set_errno(err, r, "Could not read the header");
    if (!bochs_probe((uint8_t *)&h, sizeof(h), NULL))
        return err_set(err, EINVAL, "This is no growing image of Bochs");
    if (!header_check(b, &h, edge_size(file), &size, err))
        return false;
    b->catalog = g_new(le32, MAX(b->entries, 1));
    r = edge_pread_buf(file, le32_get(h.header_len), b->catalog, b->entries * sizeof(le32));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the catalog");
    node_set_size(n, round_down(size, SECTOR));
    return true;
}

static CO bool bochs_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Bochs *b = node_state(n);
    Edge *file;

    if (!node_fall_back_read_only(n, "Images of Bochs can only be read", err))
        return false;
    file = node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err);
    if (file && image_read(n, file, err))
        return true;
    g_clear_pointer(&b->catalog, g_free);
    return false;
}

static CO void bochs_close(Node *n)
{
    Bochs *b = node_state(n);

    g_clear_pointer(&b->catalog, g_free);
}

/*
 * Is sector @s of the extent at @at there? Then also *@run of them, up to @max, are; else they are
 * not.
 */
static CO int sectors_find(Edge *file, uint64_t at, uint64_t s, uint64_t max, uint64_t *run)
{
    uint8_t bits[64];
    uint64_t first = s / 8, len = MIN(sizeof(bits), div_round_up(s + max, 8) - first);
    int r = edge_pread_buf(file, at + first, bits, len);
    bool there;

    if (r < 0)
        return r;
    there = bits[0] >> s % 8 & 1;
    for (*run = 1; *run < max; ++*run) {
        uint64_t i = s % 8 + *run;

        if (i / 8 >= len || (bits[i / 8] >> i % 8 & 1) != there)
            break;
    }
    return there;
}

/* A part of one extent of the disk, whole sectors. */
static CO int extent_read(Bochs *b, Edge *file, uint32_t index, uint64_t within, Span buf)
{
    uint64_t at = b->data + index * (b->bitmap + b->extent);

    if (at > edge_size(file) || b->bitmap > edge_size(file) - at)
        return -EIO;
    while (buf.len) {
        uint64_t run, len;
        int r = sectors_find(file, at, within / SECTOR, buf.len / SECTOR, &run);

        if (r < 0)
            return r;
        len = run * SECTOR;
        if (r)
            r = edge_pread(file, at + b->bitmap + within, span_slice(buf, 0, len), 0);
        else
            span_zero(span_slice(buf, 0, len));
        if (r < 0)
            return r;
        within += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return 0;
}

static CO int bochs_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Bochs *b = node_state(n);
    int r = 0;

    while (buf.len && r == 0) {
        uint64_t within = off % b->extent, len = MIN(buf.len, b->extent - within);
        uint32_t index = le32_get(b->catalog[off / b->extent]);

        if (index == ABSENT)
            span_zero(span_slice(buf, 0, len));
        else
            r = extent_read(b, node_edge(n, ROLE_STORAGE), index, within, span_slice(buf, 0, len));
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

static void bochs_refresh_limits(Node *n)
{
    node_limits(n)->request_alignment = SECTOR;
}

const BlockDriver block_bochs = {
    .name = "bochs",
    .kind = BLK_FORMAT,
    .state_size = sizeof(Bochs),
    .probe = bochs_probe,
    .open = bochs_open,
    .close = bochs_close,
    .pread = bochs_pread,
    .refresh_limits = bochs_refresh_limits,
};
