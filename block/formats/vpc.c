/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VHD, the images of Virtual PC, Hyper-V and Azure; called vpc as the reference does. Dynamic and fixed.
 *
 *     dynamic                                     fixed
 *     0       copy of the footer                  0     the disk
 *     512     header                              end   footer
 *     table   a be32 per block: its first sector, or FREE
 *     blocks  each a bitmap of its sectors, then its data
 *     end     footer
 *
 * The table is in memory while there is I/O, and what changes of it is written by flushes: first the data and
 * the footer at the new end; then, when that is durable, the table. Meanwhile the copy of the footer in front
 * keeps the image whole. See docs/spec/vpc.md.
 */
#include "block/formats/mapped.h"
#include "gen/schema.h"
#include "io/co-lock.h"
#include "util/endian.h"
#include <inttypes.h>
#include <string.h>
#include <time.h>

enum {
    SECTOR = 512,
    VPC_FIXED = 2,
    VPC_DYNAMIC = 3,
    VPC_DIFFERENCING = 4,
    VPC_FEATURES = 2,           /* always set */
    VPC_VERSION = 0x10000,
    VPC_TABLE_OFF = 3 * SECTOR, /* of new images */
    VPC_BLOCK = 2 << 20,        /* of new images */
    VPC_CHUNK = 1 << 20,
    VPC_EPOCH = 946684800,      /* 2000-01-01, in seconds since 1970 */
};

#define VPC_FREE UINT32_MAX
#define VPC_NOWHERE UINT64_MAX              /* offset of what there is not */
#define VPC_SECTORS_MAX UINT64_C(0xff000000) /* 2040 GiB */
#define VPC_CHS_MAX (UINT64_C(65535) * 16 * 255)
#define VPC_CREATOR "qemu"                  /* size by geometry */
#define VPC_CREATOR_EXACT "qem2"

typedef struct {
    char cookie[8];         /* "conectix" */
    be32 features, version;
    be64 header_off;        /* of the dynamic header */
    be32 time;              /* seconds since 2000 */
    char creator[4];
    be32 creator_version;
    char creator_os[4];
    be64 original_size, size; /* bytes */
    be16 cylinders;
    uint8_t heads, sectors;
    be32 kind;              /* VPC_FIXED, ... */
    be32 checksum;          /* complement of the sum of all bytes but these */
    uint8_t uuid[16];
    uint8_t saved, rest[427];
} VpcFooter;
G_STATIC_ASSERT(sizeof(VpcFooter) == SECTOR);

typedef struct {
    char cookie[8];         /* "cxsparse" */
    be64 data_off;          /* unused */
    be64 table_off;
    be32 version, entries, block, checksum;
    uint8_t parent_uuid[16];
    be32 parent_time, reserved;
    uint8_t parent_name[512], parent_locators[192], rest[256];
} VpcHeader;
G_STATIC_ASSERT(sizeof(VpcHeader) == 2 * SECTOR);

typedef enum { SIZE_BY_CREATOR, SIZE_BY_CHS, SIZE_CURRENT } SizeRule;

typedef struct {
    VpcFooter footer;
    uint32_t kind;
    uint64_t table_off;
    uint32_t entries, block, bitmap;    /* bytes of a block, of its bitmap */
    be32 *table;            /* NULL without I/O, and for fixed images */
    uint64_t end;           /* bytes; behind all that the table has: the next block, then the footer */
    uint64_t fresh;         /* bytes; the file has nothing from here on but what we wrote */
    uint64_t limit;         /* bytes; blocks that end behind it are not in the file */
    uint8_t *full;          /* a bit per block whose bitmap is known to be all ones */
    uint32_t dirty, dirty_end; /* entries that the file does not have yet */
    CoMutex lock;           /* allocation, and writing the table */
} Vpc;

static int vpc_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 8 && !memcmp(head, "conectix", 8) ? 100 : 0;
}

/* The checksum of @len bytes of a structure, its field counted as zero. */
static uint32_t checksum(const void *data, size_t len, be32 field)
{
    const uint8_t *p = data;
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum += p[i];
    for (size_t i = 0; i < sizeof(field); i++)
        sum -= field.b[i];
    return ~sum;
}

static bool footer_is_good(const VpcFooter *f)
{
    return !memcmp(f->cookie, "conectix", 8) &&
           checksum(f, sizeof(*f), f->checksum) == be32_get(f->checksum);
}

/* ---- opening -------------------------------------------------------------------------------- */

static uint64_t geometry_sectors(const VpcFooter *f)
{
    return (uint64_t)be16_get(f->cylinders) * f->heads * f->sectors;
}

/*
 * Virtual PC and Virtual Server go by the geometry, Hyper-V and later programs by the size. A size
 * that no geometry can express counts in any case.
 */
static uint64_t disk_size(const VpcFooter *f, SizeRule rule)
{
    static const char by_size[][5] = { "win ", VPC_CREATOR_EXACT, "d2v ", "tap\0", "CTXS" };
    uint64_t by_chs = geometry_sectors(f) * SECTOR, size = be64_get(f->size);

    if (rule != SIZE_BY_CREATOR)
        return rule == SIZE_CURRENT ? size : by_chs;
    for (size_t i = 0; i < G_N_ELEMENTS(by_size); i++)
        if (!memcmp(f->creator, by_size[i], sizeof(f->creator)))
            return size;
    return geometry_sectors(f) >= VPC_CHS_MAX ? size : by_chs;
}

/* The footer counts; if it is damaged, its copy in front does. */
static CO bool vpc_read_footer(Node *n, Edge *file, GError **err)
{
    Vpc *s = node_state(n);
    uint64_t size = edge_size(file);
    VpcFooter *f = &s->footer;
    int r = edge_pread_buf(file, 0, f, sizeof(*f));

    if (size < sizeof(*f))
        return err_set(err, EINVAL, "'%s' is too small for a VHD image", node_filename(n));
    if (r >= 0 && (!footer_is_good(f) || be32_get(f->kind) == VPC_FIXED))
        r = edge_pread_buf(file, size - sizeof(*f), f, sizeof(*f));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the footer of '%s'", node_filename(n));
    if (!footer_is_good(f))
        return err_set(err, EINVAL, "'%s' is no VHD image, or its footer is damaged", node_filename(n));
    s->kind = be32_get(f->kind);
    if (s->kind == VPC_DIFFERENCING)
        return err_set(err, ENOTSUP, "'%s' is a differencing VHD image, which cannot be read",
                       node_filename(n));
    if (s->kind != VPC_FIXED && s->kind != VPC_DYNAMIC)
        return err_set(err, ENOTSUP, "'%s' is a VHD image of unknown kind %u", node_filename(n), s->kind);
    return true;
}

static CO bool vpc_read_header(Node *n, Edge *file, GError **err)
{
    Vpc *s = node_state(n);
    uint64_t off = be64_get(s->footer.header_off), have = edge_size(file), end;
    VpcHeader h;
    int r;

    if (!size_add(off, sizeof(h), &end) || end > have)
        return err_set(err, EINVAL, "The header of '%s' at byte %" PRIu64 " is past the end of the file",
                       node_filename(n), off);
    r = edge_pread_buf(file, off, &h, sizeof(h));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the header of '%s'", node_filename(n));
    if (memcmp(h.cookie, "cxsparse", 8))
        return err_set(err, EINVAL, "The header of '%s' has no signature", node_filename(n));
    s->table_off = be64_get(h.table_off);
    s->entries = be32_get(h.entries);
    s->block = be32_get(h.block);
    if (!is_power_of_2(s->block) || s->block < SECTOR)
        return err_set(err, EINVAL, "'%s' has blocks of %u bytes, which is no power of two from %d on",
                       node_filename(n), s->block, SECTOR);
    s->bitmap = round_up(div_round_up(s->block / SECTOR, 8), SECTOR);
    if (!size_add(s->table_off, UINT64_C(4) * s->entries, &s->end) || s->end > have ||
        s->table_off < sizeof(VpcFooter))
        return err_set(err, EINVAL, "The table of '%s', %u entries at byte %" PRIu64
                       ", is not inside the file of %" PRIu64 " bytes", node_filename(n), s->entries,
                       s->table_off, have);
    s->end = round_up(s->end, SECTOR);
    return true;
}

static bool vpc_take_size(Node *n, SizeRule rule, uint64_t have, GError **err)
{
    const Vpc *s = node_state(n);
    uint64_t size = disk_size(&s->footer, rule);

    if (size > VPC_SECTORS_MAX * SECTOR)
        return err_set(err, EFBIG, "The disk of '%s' has %" PRIu64 " bytes, more than is possible",
                       node_filename(n), size);
    size = round_up(size, SECTOR);
    if (s->kind == VPC_FIXED && size > have - sizeof(VpcFooter))
        return err_set(err, EINVAL, "The disk of '%s' has %" PRIu64 " bytes, the file only %" PRIu64,
                       node_filename(n), size, have);
    if (s->kind == VPC_DYNAMIC && size > (uint64_t)s->entries * s->block)
        return err_set(err, EINVAL, "The disk of '%s' has %" PRIu64 " bytes, more than its %u blocks of "
                       "%u bytes", node_filename(n), size, s->entries, s->block);
    node_set_size(n, size);
    return true;
}

static uint64_t entry_off(uint32_t entry)
{
    return (uint64_t)entry * SECTOR;
}

static CO bool vpc_read_table(Node *n, Edge *file, bool writable, GError **err)
{
    Vpc *s = node_state(n);
    uint64_t have = edge_size(file), last = s->end;
    size_t len = (size_t)s->entries * sizeof(be32);
    int r;

    s->table = g_try_malloc(MAX(len, 1));
    s->full = g_try_malloc0(s->entries / 8 + 1);
    r = s->table && s->full ? edge_pread_buf(file, s->table_off, s->table, len) : -ENOMEM;
    if (r < 0)
        return err_set_errno(err, r, "Could not read the table of '%s'", node_filename(n));
    for (uint32_t i = 0; i < s->entries; i++) {
        uint32_t e = be32_get(s->table[i]);

        if (e != VPC_FREE)
            last = MAX(last, entry_off(e) + s->bitmap + s->block);
    }
    if (writable && last > have)
        return err_set(err, EINVAL, "'%s' was cut off: the file of %" PRIu64 " bytes has blocks up to byte "
                       "%" PRIu64, node_filename(n), have, last);
    s->end = last;
    s->fresh = s->limit = have;
    return true;
}

/* Reads all that the file says; what is in memory of an earlier time counts no more. */
static CO bool vpc_load(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    const char *rule = json_get_str(o, "force_size_calc", NULL);
    Vpc *s = node_state(n);

    g_free(s->table);
    g_free(s->full);
    *s = (Vpc){};
    if (!vpc_read_footer(n, file, err) || (s->kind == VPC_DYNAMIC && !vpc_read_header(n, file, err)))
        return false;
    if (!vpc_take_size(n, !rule ? SIZE_BY_CREATOR : !strcmp(rule, "chs") ? SIZE_BY_CHS : SIZE_CURRENT,
                       edge_size(file), err))
        return false;
    return s->kind == VPC_FIXED || flags & OPEN_NO_IO ||
           vpc_read_table(n, file, !node_is_read_only(n), err);
}

static CO bool vpc_activate(Node *n, GError **err)
{
    return vpc_load(n, node_options(n), node_flags(n), err);
}

static CO void vpc_close(Node *n)
{
    Vpc *s = node_state(n);

    g_clear_pointer(&s->table, g_free);
    g_clear_pointer(&s->full, g_free);
}

static CO bool vpc_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    if (node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err) && vpc_load(n, o, flags, err))
        return true;
    vpc_close(n);
    return false;
}

/* ---- the table ------------------------------------------------------------------------------ */

/* Free blocks side by side are one run; others lie apart in the file, by their bitmaps. */
static CO int vpc_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Vpc *s = node_state(n);
    uint64_t i, end;
    uint32_t entry;

    e->host = edge_node(node_edge(n, ROLE_STORAGE));
    if (s->kind == VPC_FIXED) {
        e->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_HOST | EXTENT_RECURSE;
        e->len = len;
        e->host_off = off;
        return 0;
    }
    if (!s->table)
        return -EPERM;
    i = off / s->block;
    end = div_round_up(off + len, s->block);
    entry = be32_get(s->table[i]);
    if (entry == VPC_FREE) {
        while (i + 1 < end && be32_get(s->table[i + 1]) == VPC_FREE)
            i++;
        e->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
    } else {
        e->host_off = entry_off(entry) + s->bitmap + off % s->block;
        if (entry_off(entry) < round_up(s->table_off + UINT64_C(4) * s->entries, SECTOR) ||
            e->host_off - off % s->block + s->block > s->limit)
            return -EIO;
        e->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_HOST;
    }
    e->len = MIN((i + 1) * s->block - off, len);
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* All of the bitmap of block @i, which is at @at. */
static CO int vpc_fill_bitmap(Node *n, uint32_t i, uint64_t at)
{
    Vpc *s = node_state(n);
    g_autofree uint8_t *ones = g_malloc(s->bitmap);
    int r;

    memset(ones, 0xff, s->bitmap);
    r = edge_pwrite_buf(node_edge(n, ROLE_STORAGE), at, ones, s->bitmap);
    if (r >= 0)
        s->full[i / 8] |= 1u << i % 8;
    return r;
}

/* Gives block @i a place, where the footer is now. */
static CO int vpc_allocate_block(Node *n, uint32_t i)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Vpc *s = node_state(n);
    uint64_t at = s->end, data = at + s->bitmap;
    int r = 0;

    if (at / SECTOR >= VPC_FREE)
        return -ENOSPC;
    /* The place has old data if the table that pointed there got lost in a crash. */
    if (data < s->fresh)
        r = edge_zero(file, data, MIN(s->block, s->fresh - data), REQ_MAY_UNMAP);
    if (r >= 0)
        r = vpc_fill_bitmap(n, i, at);
    if (r < 0)
        return r;
    /* Others see the new block only when it is whole: nothing waits from here on. */
    be32_set(&s->table[i], at / SECTOR);
    s->end = data + s->block;
    s->limit = MAX(s->limit, s->end);
    s->dirty = s->dirty == s->dirty_end ? i : MIN(s->dirty, i);
    s->dirty_end = MAX(s->dirty_end, i + 1);
    return 0;
}

/* Makes all of [@off, @off + @len) ready for data: each block has a place, and its bitmap says so. */
static CO int vpc_allocate(Node *n, uint64_t off, uint64_t len)
{
    Vpc *s = node_state(n);
    uint32_t end = div_round_up(off + len, s->block);
    int r = 0;

    CO_LOCKED(&s->lock);
    for (uint32_t i = off / s->block; i < end && r >= 0; i++) {
        if (be32_get(s->table[i]) == VPC_FREE)
            r = vpc_allocate_block(n, i);
        else if (!(s->full[i / 8] & 1u << i % 8))
            r = vpc_fill_bitmap(n, i, entry_off(be32_get(s->table[i])));
    }
    return r;
}

/* A bitmap of another program may say that nothing is there; an entry out of range has none to write. */
static CO int vpc_prepare(Node *n, uint64_t off, uint64_t len)
{
    Vpc *s = node_state(n);

    for (uint64_t i = off / s->block; i <= (off + len - 1) / s->block; i++) {
        uint64_t at = MAX(i * s->block, off);
        Extent e = {};
        int r = s->full[i / 8] & 1u << i % 8 ? 0 : vpc_extent(n, at, 1, false, &e);

        if (r >= 0 && !(s->full[i / 8] & 1u << i % 8))
            r = vpc_allocate(n, at, 1);
        if (r < 0)
            return r;
    }
    return 0;
}

static CO int vpc_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Vpc *s = node_state(n);
    int r = s->kind == VPC_DYNAMIC ? vpc_prepare(n, off, buf.len) : 0;

    return r < 0 ? r : mapped_pwrite(n, off, buf, flags, vpc_allocate);
}

static CO int vpc_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    return mapped_zero(n, off, len, flags, vpc_allocate);
}

static CO int vpc_flush(Node *n)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Vpc *s = node_state(n);
    uint32_t from, to;
    int r;

    CO_LOCKED(&s->lock);
    if (s->dirty == s->dirty_end)
        return 0;
    r = edge_pwrite_buf(file, s->end, &s->footer, sizeof(s->footer));
    if (r >= 0)
        r = edge_flush(file);
    if (r < 0)
        return r;
    from = round_down(s->dirty, SECTOR / 4);
    to = MIN(round_up(s->dirty_end, SECTOR / 4), s->entries);
    r = edge_pwrite_buf(file, s->table_off + UINT64_C(4) * from, s->table + from, (to - from) * UINT64_C(4));
    if (r >= 0)
        s->dirty = s->dirty_end = 0;
    return r;
}

static CO bool vpc_inactivate(Node *n, GError **err)
{
    int r = vpc_flush(n);

    if (r >= 0)
        r = edge_flush(node_edge(n, ROLE_STORAGE));
    return r >= 0 || err_set_errno(err, r, "The table of '%s' could not be written", node_filename(n));
}

/* ---- what is known -------------------------------------------------------------------------- */

static CO int vpc_info(Node *n, NodeInfo *info)
{
    const Vpc *s = node_state(n);

    info->cluster_size = s->kind == VPC_DYNAMIC ? s->block : 0;
    info->subcluster_size = SECTOR; /* the file has holes where a block was not written to */
    return 0;
}

static CO int vpc_missing_end(Node *n, bool quick, uint64_t *bytes)
{
    const Vpc *s = node_state(n);
    uint64_t have = edge_size(node_edge(n, ROLE_STORAGE));

    *bytes = s->table && have < s->end && s->dirty == s->dirty_end ? s->end - have : 0;
    return 0;
}

static bool vpc_has_zero_init(Node *n)
{
    const Vpc *s = node_state(n);

    return s->kind == VPC_DYNAMIC || node_has_zero_init(edge_node(node_edge(n, ROLE_STORAGE)));
}

/* ---- creating ------------------------------------------------------------------------------- */

typedef struct {
    uint32_t cylinders, heads, sectors;
} Geometry;

/* The geometry for a disk of about @total sectors, by the specification's appendix. */
static Geometry geometry_for(uint64_t total)
{
    Geometry g = { .heads = 16, .sectors = 255 };
    uint64_t tracks;

    total = MIN(total, VPC_CHS_MAX);
    if (total > UINT64_C(65535) * 16 * 63) {
        tracks = total / g.sectors;
    } else {
        g.sectors = 17;
        tracks = total / g.sectors;
        g.heads = MAX((tracks + 1023) / 1024, 4);
        if (tracks >= g.heads * UINT64_C(1024) || g.heads > 16) {
            g.sectors = 31;
            g.heads = 16;
            tracks = total / g.sectors;
        }
        if (tracks >= g.heads * UINT64_C(1024)) {
            g.sectors = 63;
            g.heads = 16;
            tracks = total / g.sectors;
        }
    }
    g.cylinders = tracks / g.heads;
    return g;
}

static uint64_t geometry_total(Geometry g)
{
    return (uint64_t)g.cylinders * g.heads * g.sectors;
}

/* The geometry and the size of a new disk of at least *@total sectors. */
static Geometry choose_geometry(uint64_t *total, bool exact)
{
    Geometry g = { 65535, 16, 255 };

    if (exact || *total > VPC_CHS_MAX)
        return g;
    g = geometry_for(*total);
    for (uint64_t i = 1; geometry_total(g) < *total; i++)
        g = geometry_for(*total + i);
    *total = geometry_total(g);
    return g;
}

static void make_footer(VpcFooter *f, uint64_t size, Geometry g, bool is_fixed, bool exact)
{
    *f = (VpcFooter){
        .features = be32_of(VPC_FEATURES),
        .version = be32_of(VPC_VERSION),
        .header_off = be64_of(is_fixed ? VPC_NOWHERE : sizeof(*f)),
        .time = be32_of((uint32_t)(time(NULL) - VPC_EPOCH)),
        .creator_version = be32_of(0x00050003),
        .original_size = be64_of(size),
        .size = be64_of(size),
        .cylinders = be16_of(g.cylinders),
        .heads = g.heads,
        .sectors = g.sectors,
        .kind = be32_of(is_fixed ? VPC_FIXED : VPC_DYNAMIC),
    };
    memcpy(f->cookie, "conectix", sizeof(f->cookie));
    memcpy(f->creator, exact ? VPC_CREATOR_EXACT : VPC_CREATOR, sizeof(f->creator));
    memcpy(f->creator_os, "Wi2k", sizeof(f->creator_os));
    uuid_make_be(f->uuid);
    be32_set(&f->checksum, checksum(f, sizeof(*f), f->checksum));
}

static CO int write_new_table(Handle *file, uint64_t len)
{
    g_autofree uint8_t *ones = g_malloc(MIN(MAX(len, 1), VPC_CHUNK));
    int r = 0;

    memset(ones, 0xff, MIN(len, VPC_CHUNK));
    for (uint64_t at = 0; at < len && r >= 0; at += VPC_CHUNK)
        r = handle_pwrite(file, VPC_TABLE_OFF + at, span_of(ones, MIN(len - at, VPC_CHUNK)), 0);
    return r;
}

static CO int write_new_dynamic(Handle *file, const VpcFooter *f, uint64_t table_len)
{
    VpcHeader h = {
        .data_off = be64_of(VPC_NOWHERE),
        .table_off = be64_of(VPC_TABLE_OFF),
        .version = be32_of(VPC_VERSION),
        .entries = be32_of(div_round_up(be64_get(f->size), VPC_BLOCK)),
        .block = be32_of(VPC_BLOCK),
    };
    int r;

    memcpy(h.cookie, "cxsparse", sizeof(h.cookie));
    be32_set(&h.checksum, checksum(&h, sizeof(h), h.checksum));
    r = handle_pwrite(file, 0, span_of_const(f, sizeof(*f)), 0);
    if (r >= 0)
        r = handle_pwrite(file, sizeof(*f), span_of(&h, sizeof(h)), 0);
    return r < 0 ? r : write_new_table(file, table_len);
}

static CO bool vpc_create(const char *filename, json_t *opts, GError **err)
{
    uint64_t total = div_round_up((uint64_t)json_get_int(opts, "size", 0), SECTOR), len, table_len;
    const char *kind = json_get_str(opts, "subformat", "dynamic");
    bool exact = json_get_bool(opts, "force_size", false), is_fixed = !strcmp(kind, "fixed");
    Prealloc prealloc = PREALLOC_OFF;
    g_autoptr(Handle) file = NULL;
    VpcFooter f;
    Geometry g;
    int r;

    if (!is_fixed && strcmp(kind, "dynamic"))
        return err_set(err, EINVAL, "Option 'subformat' is 'dynamic' or 'fixed', not '%s'", kind);
    if (total > VPC_SECTORS_MAX)
        return err_set(err, EFBIG, "A VHD image has at most %" PRIu64 " bytes",
                       VPC_SECTORS_MAX * SECTOR);
    g = choose_geometry(&total, exact);
    make_footer(&f, total * SECTOR, g, is_fixed, exact);
    table_len = round_up(4 * div_round_up(total * SECTOR, VPC_BLOCK), SECTOR);
    len = is_fixed ? total * SECTOR : VPC_TABLE_OFF + table_len;
    file = file_create(filename, opts, 0, err);
    if (!file)
        return false;
    (void)prealloc_parse(json_get_str(json_get(opts, "#protocol"), "preallocation", "off"), &prealloc);
    if (!handle_resize(file, len + sizeof(f), false, is_fixed ? prealloc : PREALLOC_OFF, err))
        return false;
    r = is_fixed ? 0 : write_new_dynamic(file, &f, table_len);
    if (r >= 0)
        r = handle_pwrite(file, len, span_of(&f, sizeof(f)), 0);
    if (r >= 0)
        r = handle_flush(file);
    return r >= 0 || err_set_errno(err, r, "Could not write the new image '%s'", filename);
}

static const char *const vpc_strong_options[] = { "force_size_calc", NULL };

const BlockDriver block_vpc = {
    .name = "vpc",
    .stays = "vpc",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .state_size = sizeof(Vpc),
    .zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .strong_options = vpc_strong_options,
    .probe = vpc_probe,
    .open = vpc_open,
    .inactivate = vpc_inactivate,
    .activate = vpc_activate,
    .close = vpc_close,
    .create_opts = create_opts_vpc,
    .create = vpc_create,
    .pread = mapped_pread,
    .pwrite = vpc_pwrite,
    .zero = vpc_zero,
    .flush = vpc_flush,
    .extent = vpc_extent,
    .info = vpc_info,
    .missing_end = vpc_missing_end,
    .has_zero_init = vpc_has_zero_init,
};
