/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headers and directories of sparse extents. */
#include "block/formats/vmdk/vmdk.h"
#include <inttypes.h>
#include <string.h>

/* "Virtual Disk Format 5.0", Hosted Sparse Extents. Offsets and sizes in sectors. */
typedef struct {
    uint8_t magic[4];       /* "KDMV" */
    le32 version;
    le32 flags;
    le64 capacity;
    le64 grain;
    le64 desc_at;
    le64 desc_len;
    le32 table_len;         /* entries */
    le64 dir2;
    le64 dir;
    le64 overhead;
    uint8_t unclean;
    uint8_t newlines[4];
    le16 compression;
    uint8_t pad[433];
} HostedHeader;
G_STATIC_ASSERT(sizeof(HostedHeader) == VMDK_SECTOR);

enum {
    FLAG_DIR2 = 1 << 1,
    FLAG_ZEROED = 1 << 2,
    FLAG_COMPRESSED = 1 << 16,
    FLAG_MARKERS = 1 << 17,
    COMPRESSION_DEFLATE = 1,
    VERSION_MAX = 3,
};

/* "Virtual Disk Format", ESX Server Sparse Extents. */
typedef struct {
    uint8_t magic[4];       /* "COWD" */
    le32 version;
    le32 flags;
    le32 capacity;
    le32 grain;
    le32 dir;
    le32 tables;
    le32 free;
} CowdHeader;

enum { COWD_TABLE_LEN = 4096 };

VmdkExtent *vmdk_extent_new(Vmdk *v, VmdkKind kind, const char *type, const char *filename,
                            Edge *file)
{
    VmdkExtent *e = g_new0(VmdkExtent, 1);

    e->image = v;
    e->kind = kind;
    e->type = type;
    e->filename = g_strdup(filename);
    e->file = file;
    return e;
}

void vmdk_extent_free(VmdkExtent *e)
{
    if (!e)
        return;
    vmdk_tables_free(e);
    g_free(e->dir);
    g_free(e->dir2);
    g_free(e->filename);
    g_free(e);
}

/* ---- directories ---------------------------------------------------------------------------- */

/* Reads @n sector numbers at @at as offsets. NULL with @err. */
static CO uint64_t *dir_read(VmdkExtent *e, uint64_t at, uint64_t n, GError **err)
{
    uint64_t size = edge_size(e->file), len, end;
    g_autofree le32 *raw = NULL;
    uint64_t *dir;
    int r;

    if (!size_mul(n, sizeof(le32), &len) || !size_add(at, len, &end) || end > size) {
        err_set(err, EINVAL, "The grain directory of '%s' reaches past the end of the file",
                e->filename);
        return NULL;
    }
    raw = g_try_malloc(MAX(len, 1));
    dir = raw ? g_try_new(uint64_t, MAX(n, 1)) : NULL;
    r = !dir ? -ENOMEM : edge_pread_buf(e->file, at, raw, len);
    if (r < 0) {
        g_free(dir);
        err_set_errno(err, r, "Could not read the grain directory of '%s'", e->filename);
        return NULL;
    }
    for (uint64_t i = 0; i < n; i++)
        dir[i] = (uint64_t)le32_get(raw[i]) * VMDK_SECTOR;
    return dir;
}

static bool sectors_to_bytes(uint64_t sectors, uint64_t *bytes)
{
    return size_mul(sectors, VMDK_SECTOR, bytes) && *bytes <= INT64_MAX;
}

/* Checks what the header says of the shape of @e, and counts its tables. */
static bool shape_set(VmdkExtent *e, uint64_t capacity, uint64_t grain, GError **err)
{
    uint64_t covered;

    if (!sectors_to_bytes(capacity, &e->len))
        return err_set(err, EFBIG, "'%s' has an impossible size of %" PRIu64 " sectors",
                       e->filename, capacity);
    if (!grain || grain > VMDK_GRAIN_MAX / VMDK_SECTOR)
        return err_set(err, EINVAL, "'%s' has grains of %" PRIu64 " sectors; 1 to %d can be read",
                       e->filename, grain, VMDK_GRAIN_MAX / VMDK_SECTOR);
    e->grain = grain * VMDK_SECTOR;
    covered = e->grain * e->table_len;
    e->tables = div_round_up(e->len, covered);
    return true;
}

void vmdk_end_find(VmdkExtent *e)
{
    uint64_t end = MAX(edge_size(e->file), e->overhead);

    e->end = round_up(end, e->compressed || !is_power_of_2(e->grain) ? VMDK_SECTOR
                                                                     : MIN(e->grain, 65536));
}

/* ---- hosted --------------------------------------------------------------------------------- */

static bool marker_is(const VmdkMarker *m, uint64_t value, uint32_t type)
{
    return le64_get(m->value) == value && le32_get(m->size) == 0 && le32_get(m->type) == type;
}

/* Puts the header at the end of the file into *@h. */
static CO bool footer_read(VmdkExtent *e, HostedHeader *h, GError **err)
{
    struct {
        VmdkMarker footer;
        HostedHeader header;
        VmdkMarker end;
    } tail;
    uint64_t size = edge_size(e->file);
    int r;

    if (size < sizeof(tail))
        return err_set(err, EINVAL, "'%s' is too short to have a footer", e->filename);
    r = edge_pread_buf(e->file, size - sizeof(tail), &tail, sizeof(tail));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the footer of '%s'", e->filename);
    if (!marker_is(&tail.footer, 1, VMDK_MARKER_FOOTER) || memcmp(tail.header.magic, "KDMV", 4) ||
        le64_get(tail.header.dir) == VMDK_DIR_AT_END || !marker_is(&tail.end, 0, VMDK_MARKER_END))
        return err_set(err, EINVAL, "'%s' has no footer where its header says: it may be cut off",
                       e->filename);
    *h = tail.header;
    return true;
}

static bool hosted_flags(VmdkExtent *e, const HostedHeader *h, GError **err)
{
    uint32_t flags = le32_get(h->flags), compression = le16_get(h->compression);

    if (le32_get(h->version) > VERSION_MAX)
        return err_set(err, ENOTSUP,
                       "'%s' has version %" PRIu32 " of the format; %d is the newest known",
                       e->filename, le32_get(h->version), VERSION_MAX);
    e->compressed = flags & FLAG_COMPRESSED || compression;
    if (e->compressed && compression != COMPRESSION_DEFLATE)
        return err_set(err, ENOTSUP, "'%s' is compressed in an unknown way, %" PRIu32, e->filename,
                       compression);
    e->markers = flags & FLAG_MARKERS;
    e->zeroed = flags & FLAG_ZEROED;
    return true;
}

static CO bool hosted_dirs(VmdkExtent *e, const HostedHeader *h, GError **err)
{
    uint64_t dir, dir2;

    if (!sectors_to_bytes(le64_get(h->overhead), &e->overhead) || e->overhead > edge_size(e->file))
        return err_set(err, EINVAL, "'%s' is cut off: its metadata should take %" PRIu64 " sectors",
                       e->filename, le64_get(h->overhead));
    if (!sectors_to_bytes(le64_get(h->dir), &dir) || !sectors_to_bytes(le64_get(h->dir2), &dir2))
        return err_set(err, EINVAL, "The grain directory of '%s' is at an impossible place",
                       e->filename);
    e->dir = dir_read(e, dir, e->tables, err);
    if (!e->dir)
        return false;
    if (le32_get(h->flags) & FLAG_DIR2) {
        e->dir2 = dir_read(e, dir2, e->tables, err);
        if (!e->dir2)
            return false;
    }
    vmdk_end_find(e);
    return true;
}

static CO bool hosted_load(VmdkExtent *e, bool head_only, uint64_t desc[2], GError **err)
{
    HostedHeader h;
    int r = edge_pread_buf(e->file, 0, &h, sizeof(h));

    if (r < 0)
        return err_set_errno(err, r, "Could not read the header of '%s'", e->filename);
    if (memcmp(h.magic, "KDMV", 4))
        return err_set(err, EINVAL, "'%s' is no sparse VMDK extent", e->filename);
    if (desc && (!sectors_to_bytes(le64_get(h.desc_at), &desc[0]) ||
                 !sectors_to_bytes(le64_get(h.desc_len), &desc[1])))
        return err_set(err, EINVAL, "The descriptor in '%s' is at an impossible place",
                       e->filename);
    if (desc && !le64_get(h.capacity))
        return true;
    if (le64_get(h.dir) == VMDK_DIR_AT_END && !footer_read(e, &h, err))
        return false;
    e->table_len = le32_get(h.table_len);
    e->entry = sizeof(le32);
    if (!e->table_len || e->table_len > 512)
        return err_set(err, EINVAL,
                       "'%s' has grain tables of %" PRIu32 " entries; 1 to 512 can be read",
                       e->filename, e->table_len);
    return hosted_flags(e, &h, err) && shape_set(e, le64_get(h.capacity), le64_get(h.grain), err) &&
           (head_only || hosted_dirs(e, &h, err));
}

/* ---- ESX ------------------------------------------------------------------------------------ */

static CO bool cowd_load(VmdkExtent *e, bool head_only, GError **err)
{
    CowdHeader h;
    int r = edge_pread_buf(e->file, 0, &h, sizeof(h));

    if (r < 0)
        return err_set_errno(err, r, "Could not read the header of '%s'", e->filename);
    if (memcmp(h.magic, "COWD", 4))
        return err_set(err, EINVAL, "'%s' is no sparse extent of ESX", e->filename);
    e->table_len = COWD_TABLE_LEN;
    e->entry = sizeof(le32);
    if (!shape_set(e, le32_get(h.capacity), le32_get(h.grain), err))
        return false;
    if (head_only)
        return true;
    e->overhead = (uint64_t)le32_get(h.dir) * VMDK_SECTOR;
    if (e->overhead > edge_size(e->file))
        return err_set(err, EINVAL, "'%s' is cut off", e->filename);
    e->dir = dir_read(e, e->overhead, e->tables, err);
    vmdk_end_find(e);
    return e->dir;
}

CO bool vmdk_extent_load(VmdkExtent *e, bool head_only, uint64_t desc[2], GError **err)
{
    if (!e->cache)
        e->cache = g_hash_table_new(NULL, NULL);
    switch (e->kind) {
    case VMDK_COWD:
        return cowd_load(e, head_only, err);
    case VMDK_SE:
        return vmdk_se_load(e, head_only, err);
    default:
        return hosted_load(e, head_only, desc, err);
    }
}
