/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VDI, the images of VirtualBox, dynamic and static.
 *
 *     0         header, one sector
 *     map_off   map: a le32 per block of the disk, the block's number in the file, FREE or ZERO
 *     data_off  blocks
 *
 * The map is in memory while there is I/O, and what changes of it is written by flushes: first how
 * many blocks there are, and the data; then, when that is durable, the map. So a crash leaves
 * blocks that nobody refers to, never a reference to what is not there. See docs/spec/vdi.md.
 */
#include "block/formats/mapped.h"
#include "gen/schema.h"
#include "io/co-lock.h"
#include "util/endian.h"
#include <inttypes.h>
#include <string.h>

#define VDI_ABOUT "<<< QEMU VM Virtual Disk Image >>>\n" /* what the reference writes there */

enum {
    SECTOR = 512,
    VDI_VERSION = 0x00010001,
    VDI_HEADER_LEN = 0x180,     /* as new images say; readers do not mind */
    VDI_DYNAMIC = 1,
    VDI_STATIC = 2,
    VDI_UNDO = 3,
    VDI_DIFFERENCING = 4,
    VDI_BLOCK = 1 << 20,        /* of new images */
    VDI_BLOCK_MIN = 4096,
    VDI_BLOCK_MAX = 64 << 20,
    VDI_BLOCKS_MAX = 0x1fffff80, /* the map and its end stay below 2 GiB */
    VDI_CHUNK = 1 << 20,
};

#define VDI_SIGNATURE 0xbeda107fu
#define VDI_FREE 0xffffffffu /* reads as zeroes in an image without a parent */
#define VDI_ZERO 0xfffffffeu

typedef struct {
    char about[0x40];
    le32 signature;
    le32 version;
    le32 header_len;
    le32 type;          /* VDI_DYNAMIC, ... */
    le32 flags;
    char description[256];
    le32 map_off;
    le32 data_off;
    le32 cylinders, heads, sectors, sector_size;
    le32 unused;
    le64 size;          /* bytes of the disk */
    le32 block;         /* bytes */
    le32 block_extra;   /* bytes in front of each block */
    le32 blocks;        /* of the disk */
    le32 blocks_used;   /* of the file */
    uint8_t uuid[16], uuid_snapshot[16], uuid_link[16], uuid_parent[16];
    uint8_t rest[56];
} VdiHeader;
G_STATIC_ASSERT(sizeof(VdiHeader) == SECTOR);

typedef struct {
    VdiHeader header;
    uint32_t map_off, data_off, block, blocks;
    le32 *map;              /* NULL without I/O */
    uint32_t next;          /* the number of the next new block: above all that the map has */
    uint64_t fresh;         /* bytes; the file has nothing from here on but what we wrote */
    uint32_t dirty, dirty_end; /* entries of the map that the file does not have yet */
    CoMutex lock;           /* allocation, and writing the map */
} Vdi;

static bool is_block(uint32_t entry)
{
    return entry < VDI_ZERO;
}

static int vdi_probe(const uint8_t *head, size_t len, const char *filename)
{
    size_t at = offsetof(VdiHeader, signature);

    return len >= at + 4 && le32_at(head + at) == VDI_SIGNATURE ? 100 : 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static bool is_null(const uint8_t uuid[16])
{
    return buffer_is_zero(uuid, 16);
}

static bool vdi_check_kind(const VdiHeader *h, GError **err)
{
    uint32_t version = le32_get(h->version), type = le32_get(h->type);

    if (le32_get(h->signature) != VDI_SIGNATURE)
        return err_set(err, EINVAL, "This is no VDI image: its signature is 0x%08x",
                       le32_get(h->signature));
    if (version != VDI_VERSION)
        return err_set(err, ENOTSUP, "VDI images of version %u.%u cannot be read, only 1.1",
                       version >> 16, version & 0xffff);
    if (type == VDI_UNDO || type == VDI_DIFFERENCING || !is_null(h->uuid_link) ||
        !is_null(h->uuid_parent))
        return err_set(err, ENOTSUP,
                       "This VDI image is a difference to another one, which cannot be "
                       "read");
    if (type != VDI_DYNAMIC && type != VDI_STATIC)
        return err_set(err, ENOTSUP,
                       "VDI images of type %u cannot be read, only dynamic and static "
                       "ones",
                       type);
    return true;
}

static bool vdi_check_layout(const Vdi *s, uint64_t size, GError **err)
{
    const VdiHeader *h = &s->header;
    uint64_t map_end = s->map_off + UINT64_C(4) * s->blocks;

    if (le32_get(h->sector_size) != SECTOR)
        return err_set(err, ENOTSUP,
                       "VDI images with sectors of %u bytes cannot be read, only of %d",
                       le32_get(h->sector_size), SECTOR);
    if (!is_power_of_2(s->block) || s->block < VDI_BLOCK_MIN || s->block > VDI_BLOCK_MAX ||
        le32_get(h->block_extra))
        return err_set(err, ENOTSUP,
                       "VDI images with blocks of %u and %u bytes cannot be read, only of "
                       "a power of two between %d and %d",
                       s->block, le32_get(h->block_extra), VDI_BLOCK_MIN, VDI_BLOCK_MAX);
    if (s->blocks > VDI_BLOCKS_MAX)
        return err_set(err, EINVAL, "The VDI image has %u blocks, more than %d", s->blocks,
                       VDI_BLOCKS_MAX);
    if (size > (uint64_t)s->blocks * s->block)
        return err_set(err, EINVAL,
                       "The disk of the VDI image has %" PRIu64 " bytes, more than its %u "
                       "blocks of %u",
                       size, s->blocks, s->block);
    if (s->map_off % SECTOR || s->map_off < SECTOR || s->data_off % SECTOR || s->data_off < map_end)
        return err_set(err, EINVAL,
                       "The VDI image has its map of %u blocks at byte %u and its data at "
                       "byte %u",
                       s->blocks, s->map_off, s->data_off);
    return true;
}

static CO bool vdi_read_header(Node *n, Edge *file, GError **err)
{
    Vdi *s = node_state(n);
    uint64_t size;
    int r = edge_pread_buf(file, 0, &s->header, sizeof(s->header));

    if (r < 0)
        return err_set_errno(err, r, "Could not read the header of '%s'", node_filename(n));
    s->map_off = le32_get(s->header.map_off);
    s->data_off = le32_get(s->header.data_off);
    s->block = le32_get(s->header.block);
    s->blocks = le32_get(s->header.blocks);
    size = le64_get(s->header.size);
    if (!vdi_check_kind(&s->header, err) || !vdi_check_layout(s, size, err))
        return err_prefix(err, "Image '%s': ", node_filename(n));
    if (s->map_off + UINT64_C(4) * s->blocks > edge_size(file))
        return err_set(err, EINVAL, "The file '%s' of %" PRIu64 " bytes ends before its map of %u "
                       "blocks at byte %u does", node_filename(n), edge_size(file), s->blocks,
                       s->map_off);
    node_set_size(n, size);
    return true;
}

static CO bool vdi_read_map(Node *n, Edge *file, GError **err)
{
    Vdi *s = node_state(n);
    size_t len = (size_t)s->blocks * sizeof(le32);
    int r;

    s->map = g_try_malloc(MAX(len, 1));
    r = s->map ? edge_pread_buf(file, s->map_off, s->map, len) : -ENOMEM;
    if (r < 0)
        return err_set_errno(err, r, "Could not read the map of '%s'", node_filename(n));
    for (uint32_t i = 0; i < s->blocks; i++) {
        uint32_t e = le32_get(s->map[i]);

        if (e < s->blocks)
            s->next = MAX(s->next, e + 1);
    }
    s->fresh = edge_size(file);
    return true;
}

/* Reads all that the file says; what is in memory of an earlier time counts no more. */
static CO bool vdi_load(Node *n, OpenFlags flags, GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Vdi *s = node_state(n);

    g_free(s->map);
    *s = (Vdi){};
    return vdi_read_header(n, file, err) && (flags & OPEN_NO_IO || vdi_read_map(n, file, err));
}

static CO bool vdi_activate(Node *n, GError **err)
{
    return vdi_load(n, node_flags(n), err);
}

static CO void vdi_close(Node *n)
{
    Vdi *s = node_state(n);

    g_clear_pointer(&s->map, g_free);
}

static CO bool vdi_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    if (node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err) && vdi_load(n, flags, err))
        return true;
    vdi_close(n);
    return false;
}

/* ---- the map -------------------------------------------------------------------------------- */

static uint64_t block_off(const Vdi *s, uint32_t number)
{
    return s->data_off + (uint64_t)number * s->block;
}

/* Bytes from @off on, up to @len, that the map treats alike; *@entry is its first block's. */
static uint64_t vdi_run(const Vdi *s, uint64_t off, uint64_t len, uint32_t *entry)
{
    uint64_t first = off / s->block, i = first, run = s->block - off % s->block;

    *entry = le32_get(s->map[first]);
    while (run < len) {
        uint32_t e = le32_get(s->map[++i]);

        if (is_block(*entry) ? e != *entry + (i - first) || !is_block(e) : is_block(e))
            break;
        run += s->block;
    }
    return MIN(run, len);
}

static CO int vdi_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Vdi *s = node_state(n);
    uint32_t entry;

    if (!s->map)
        return -EPERM;
    e->len = vdi_run(s, off, len, &entry);
    if (!is_block(entry)) {
        e->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
        return 0;
    }
    /*
     * A run that begins well ends well: the block that would be too far begins no run of its own.
     */
    if (entry >= s->blocks)
        return -EIO;
    e->len = MIN(e->len, (uint64_t)(s->blocks - entry) * s->block - off % s->block);
    e->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_HOST;
    e->host = edge_node(node_edge(n, ROLE_STORAGE));
    e->host_off = block_off(s, entry) + off % s->block;
    if (le32_get(s->header.type) == VDI_STATIC)
        e->flags |= EXTENT_RECURSE;
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* A number that no block of the map has; s->blocks if there is none. */
static uint32_t vdi_free_number(const Vdi *s)
{
    g_autofree uint8_t *used = NULL;
    uint32_t number = 0;

    if (s->next < s->blocks)
        return s->next;
    used = g_malloc0(s->blocks / 8 + 1);
    for (uint32_t i = 0; i < s->blocks; i++) {
        uint32_t e = le32_get(s->map[i]);

        if (e < s->blocks)
            used[e / 8] |= 1u << e % 8;
    }
    while (number < s->blocks && used[number / 8] & 1u << number % 8)
        number++;
    return number;
}

/* Gives block @i of the disk a place. */
static CO int vdi_allocate_block(Node *n, uint32_t i)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Vdi *s = node_state(n);
    uint32_t number = vdi_free_number(s);
    uint64_t at = block_off(s, number);
    int r = 0;

    if (number == s->blocks)
        return -EIO; /* more entries than blocks: some block is used twice */
    /* The place has old data if the map that pointed there got lost in a crash. */
    if (at < s->fresh)
        r = edge_zero(file, at, s->block, REQ_MAY_UNMAP);
    if (r < 0)
        return r;
    s->next = MAX(s->next, number + 1);
    le32_set(&s->map[i], number);
    s->dirty = s->dirty == s->dirty_end ? i : MIN(s->dirty, i);
    s->dirty_end = MAX(s->dirty_end, i + 1);
    return 0;
}

static CO int vdi_allocate(Node *n, uint64_t off, uint64_t len)
{
    Vdi *s = node_state(n);
    uint32_t end = div_round_up(off + len, s->block);
    int r = 0;

    CO_LOCKED(&s->lock);
    for (uint32_t i = off / s->block; i < end && r >= 0; i++)
        if (!is_block(le32_get(s->map[i])))
            r = vdi_allocate_block(n, i);
    return r;
}

static CO int vdi_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return mapped_pwrite(n, off, buf, flags, vdi_allocate);
}

static CO int vdi_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    return mapped_zero(n, off, len, flags, vdi_allocate);
}

static CO int vdi_write_header(Node *n)
{
    Vdi *s = node_state(n);

    return edge_pwrite_buf(node_edge(n, ROLE_STORAGE), 0, &s->header, sizeof(s->header));
}

/* The file has all of its blocks, and the header counts them. */
static CO int vdi_write_count(Node *n)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Vdi *s = node_state(n);
    g_autoptr(GError) err = NULL;

    if (edge_size(file) < block_off(s, s->next) &&
        !edge_resize(file, block_off(s, s->next), false, PREALLOC_OFF, 0, &err))
        return err_errno(err);
    if (le32_get(s->header.blocks_used) == s->next)
        return 0;
    le32_set(&s->header.blocks_used, s->next);
    return vdi_write_header(n);
}

static CO int vdi_flush(Node *n)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Vdi *s = node_state(n);
    uint32_t from, to;
    int r;

    CO_LOCKED(&s->lock);
    if (s->dirty == s->dirty_end)
        return 0;
    r = vdi_write_count(n);
    if (r >= 0)
        r = edge_flush(file);
    if (r < 0)
        return r;
    from = round_down(s->dirty, SECTOR / 4);
    to = MIN(round_up(s->dirty_end, SECTOR / 4), s->blocks);
    r = edge_pwrite_buf(file, s->map_off + UINT64_C(4) * from, s->map + from,
                        (to - from) * UINT64_C(4));
    if (r >= 0)
        s->dirty = s->dirty_end = 0;
    return r;
}

static CO bool vdi_inactivate(Node *n, GError **err)
{
    int r = vdi_flush(n);

    if (r >= 0)
        r = edge_flush(node_edge(n, ROLE_STORAGE));
    return r >= 0 ||
           err_set_errno(err, r, "The map of '%s' could not be written", node_filename(n));
}

/* ---- what is known -------------------------------------------------------------------------- */

static CO int vdi_info(Node *n, NodeInfo *info)
{
    const Vdi *s = node_state(n);

    info->cluster_size = s->block;
    info->subcluster_size = SECTOR; /* the file has holes where a block was not written to */
    return 0;
}

static CO int vdi_missing_end(Node *n, bool quick, uint64_t *bytes)
{
    const Vdi *s = node_state(n);
    uint32_t used = s->map ? s->next : MIN(le32_get(s->header.blocks_used), s->blocks);
    uint64_t end = block_off(s, used), have = edge_size(node_edge(n, ROLE_STORAGE));

    *bytes = used && have < end ? end - have : 0;
    return 0;
}

static bool vdi_has_zero_init(Node *n)
{
    const Vdi *s = node_state(n);

    return le32_get(s->header.type) == VDI_DYNAMIC ||
           node_has_zero_init(edge_node(node_edge(n, ROLE_STORAGE)));
}

/* Counts the blocks that the map refers to, and tells of those that it should not. */
static CO bool vdi_check_map(const Vdi *s, CheckResult *result, FILE *out, uint32_t *count)
{
    g_autofree uint8_t *used = g_try_malloc0(s->blocks / 8 + 1);

    if (!used)
        return false;
    for (uint32_t i = 0; i < s->blocks; i++) {
        uint32_t e = le32_get(s->map[i]);

        if (!is_block(e))
            continue;
        if (e >= s->blocks) {
            fprintf(out, "ERROR: block index %u too large, is %u\n", i, e);
            result->corruptions++;
            continue;
        }
        ++*count;
        if (used[e / 8] & 1u << e % 8) {
            fprintf(out, "ERROR: block index %u also used by %u\n", e, e);
            result->corruptions++;
        }
        used[e / 8] |= 1u << e % 8;
    }
    return true;
}

/*
 * Only the header's count can be mended for certain; a block that it should not count is lost
 * space.
 */
static CO int vdi_check(Node *n, CheckResult *result, CheckFix fix, FILE *out, GError **err)
{
    Vdi *s = node_state(n);
    uint32_t count = 0, told = le32_get(s->header.blocks_used);
    bool mendable;
    int r = 0;

    if (!vdi_check_map(s, result, out, &count))
        return -ENOMEM;
    mendable = !result->corruptions && count == s->next;
    if (count == told)
        return 0;
    fprintf(out, "ERROR: allocated blocks mismatch, is %u, should be %u\n", count, told);
    if (!fix || !mendable) {
        result->corruptions++;
        return 0;
    }
    le32_set(&s->header.blocks_used, count);
    r = vdi_write_header(n);
    if (r >= 0)
        result->corruptions_fixed++;
    return r;
}

/* ---- creating ------------------------------------------------------------------------------- */

static void vdi_make_header(VdiHeader *h, uint64_t size, uint32_t blocks, bool is_static)
{
    *h = (VdiHeader){
        .about = VDI_ABOUT,
        .signature = le32_of(VDI_SIGNATURE),
        .version = le32_of(VDI_VERSION),
        .header_len = le32_of(VDI_HEADER_LEN),
        .type = le32_of(is_static ? VDI_STATIC : VDI_DYNAMIC),
        .map_off = le32_of(SECTOR),
        .data_off = le32_of(SECTOR + round_up(UINT64_C(4) * blocks, SECTOR)),
        .sector_size = le32_of(SECTOR),
        .size = le64_of(size),
        .block = le32_of(VDI_BLOCK),
        .blocks = le32_of(blocks),
        .blocks_used = le32_of(is_static ? blocks : 0),
    };
    uuid_make_le(h->uuid);
    uuid_make_le(h->uuid_snapshot);
}

/* Block after block in a static image, else nothing. */
static CO int vdi_write_new_map(Handle *file, uint32_t blocks, bool is_static)
{
    g_autofree uint8_t *piece = g_malloc(VDI_CHUNK);
    uint64_t len = round_up(UINT64_C(4) * blocks, SECTOR);
    int r = 0;

    for (uint64_t at = 0; at < len && r >= 0; at += VDI_CHUNK) {
        uint64_t part = MIN(len - at, VDI_CHUNK);

        memset(piece, 0, part);
        for (uint64_t i = at / 4; i < (at + part) / 4 && i < blocks; i++)
            le32_put(piece + i * 4 - at, is_static ? (uint32_t)i : VDI_FREE);
        r = handle_pwrite(file, SECTOR + at, span_of(piece, part), 0);
    }
    return r;
}

static CO bool vdi_create(const char *filename, json_t *opts, GError **err)
{
    uint64_t size = round_up((uint64_t)json_get_int(opts, "size", 0), SECTOR), end;
    bool is_static = json_get_bool(opts, "static", false);
    Prealloc prealloc = PREALLOC_OFF;
    g_autoptr(Handle) file = NULL;
    uint32_t blocks;
    VdiHeader h;
    int r;

    if (size > (uint64_t)VDI_BLOCKS_MAX * VDI_BLOCK)
        return err_set(err, EFBIG, "Unsupported VDI image size: %" PRIu64 " bytes, at most %" PRIu64
                       " are possible", size, (uint64_t)VDI_BLOCKS_MAX * VDI_BLOCK);
    blocks = div_round_up(size, VDI_BLOCK);
    vdi_make_header(&h, size, blocks, is_static);
    file = file_create(filename, opts, 0, err);
    if (!file)
        return false;
    (void)prealloc_parse(json_get_str(json_get(opts, "#protocol"), "preallocation", "off"),
                         &prealloc);
    end = le32_get(h.data_off) + (is_static ? (uint64_t)blocks * VDI_BLOCK : 0);
    if (!handle_resize(file, end, false, prealloc, err))
        return false;
    r = vdi_write_new_map(file, blocks, is_static);
    if (r >= 0)
        r = handle_pwrite(file, 0, span_of(&h, sizeof(h)), 0);
    if (r >= 0)
        r = handle_flush(file);
    return r >= 0 || err_set_errno(err, r, "Could not write the new image '%s'", filename);
}

const BlockDriver block_vdi = {
    .name = "vdi",
    .stays = "vdi",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .state_size = sizeof(Vdi),
    .zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .probe = vdi_probe,
    .open = vdi_open,
    .inactivate = vdi_inactivate,
    .activate = vdi_activate,
    .close = vdi_close,
    .create_opts = create_opts_vdi,
    .create = vdi_create,
    .pread = mapped_pread,
    .pwrite = vdi_pwrite,
    .zero = vdi_zero,
    .flush = vdi_flush,
    .extent = vdi_extent,
    .info = vdi_info,
    .missing_end = vdi_missing_end,
    .check = vdi_check,
    .has_zero_init = vdi_has_zero_init,
};
