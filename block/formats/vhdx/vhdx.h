/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VHDX images, [MS-VHDX].
 *
 *     0       signature
 *     64K     header, twice: the valid one with the higher sequence number counts
 *     192K    region table, twice: where the next two are
 *             log
 *             block allocation table (BAT): an entry per block, kept in memory
 *             metadata: size of the disk and of blocks
 *             blocks
 *
 * Changed entries of the BAT stay in memory until the next flush. Then data become durable; then
 * the sectors of the BAT, in the log; after that they are written to their place. See
 * docs/spec/vhdx.md.
 */
#ifndef BLOCK_FORMATS_VHDX_H
#define BLOCK_FORMATS_VHDX_H

#include "block/driver.h"
#include "block/range.h"
#include "util/endian.h"

enum {
    VHDX_SECTOR = 4096,             /* of the log, and of what is logged */
    VHDX_TABLE = 64 << 10,          /* a header, a region table, the table of metadata */
    VHDX_HEADER_1 = 64 << 10, VHDX_HEADER_2 = 128 << 10,
    VHDX_REGIONS_1 = 192 << 10, VHDX_REGIONS_2 = 256 << 10,
    VHDX_LOG_MIN = 1 << 20,
    VHDX_LOCATOR_MAX = 1 << 20,     /* bytes: room for several texts of 64 KiB */
    VHDX_BLOCK_MIN = 1 << 20, VHDX_BLOCK_MAX = 256 << 20,
};
#define VHDX_UNIT MiB               /* of what is in the file */
#define VHDX_SIZE_MAX (64 * TiB)

/* As they are in the file: the bytes of the text form, the first three parts in little endian. */
typedef struct {
    uint8_t b[16];
} VhdxGuid;

bool vhdx_guid_is(const VhdxGuid *g, const char *text);
bool vhdx_guid_is_zero(const VhdxGuid *g);
VhdxGuid vhdx_guid_of(const char *text);
VhdxGuid vhdx_guid_new(void);
char *vhdx_guid_text(const VhdxGuid *g); /* the caller frees */

typedef struct {
    uint8_t magic[4];       /* "head" */
    le32 checksum;          /* CRC-32C of the structure with this field zero */
    le64 sequence;
    VhdxGuid file_write, data_write, log;
    le16 log_version, version;
    le32 log_len;
    le64 log_at;
    uint8_t pad[4016];
} VhdxHeader;
G_STATIC_ASSERT(sizeof(VhdxHeader) == 4096);

typedef struct {
    VhdxGuid id;
    le64 at;
    le32 len;
    le32 required;
} VhdxRegion;
G_STATIC_ASSERT(sizeof(VhdxRegion) == 32);

typedef struct {
    uint8_t magic[4];       /* "regi" */
    le32 checksum;
    le32 count;
    le32 pad;
    VhdxRegion entries[2047];
    uint8_t end[16];
} VhdxRegions;
G_STATIC_ASSERT(sizeof(VhdxRegions) == VHDX_TABLE);

typedef struct {
    VhdxGuid id;
    le32 at, len;           /* bytes, in the region */
    le32 flags;
    le32 pad;
} VhdxItem;
G_STATIC_ASSERT(sizeof(VhdxItem) == 32);

typedef struct {
    uint8_t magic[8];       /* "metadata" */
    le16 pad;
    le16 count;
    uint8_t pad2[20];
    VhdxItem items[2047];
} VhdxItems;
G_STATIC_ASSERT(sizeof(VhdxItems) == VHDX_TABLE);

enum { VHDX_ITEM_USER = 1, VHDX_ITEM_DISK = 2, VHDX_ITEM_REQUIRED = 4 };
enum { VHDX_KEEPS_BLOCKS = 1, VHDX_HAS_PARENT = 2 };    /* flags of the file parameters */

#define VHDX_REGION_BAT "2dc27766-f623-4200-9d64-115e9bfd4a08"
#define VHDX_REGION_METADATA "8b7ca206-4790-4b9a-b8fe-575f050f886e"
#define VHDX_ITEM_PARAMETERS "caa16737-fa36-4d43-b3b6-33f0aa44e76b"
#define VHDX_ITEM_SIZE "2fa54224-cd1b-4876-b211-5dbed83bf4b8"
#define VHDX_ITEM_PAGE_83 "beca12ab-b2e6-4523-93ef-c309e000c746"
#define VHDX_ITEM_LOGICAL "8141bf1d-a96f-4709-ba47-f233a8faab5f"
#define VHDX_ITEM_PHYSICAL "cda348c7-445d-4471-9cc9-e9885251c556"
#define VHDX_ITEM_PARENT "a8d35f2d-b30b-454d-abf7-d3d84834ab0c"

/* States of a payload block, the lowest three bits of its entry. */
typedef enum {
    VHDX_ABSENT = 0, VHDX_UNDEFINED = 1, VHDX_ZERO = 2, VHDX_UNMAPPED = 3, VHDX_UNMAPPED_OLD = 5,
    VHDX_PRESENT = 6, VHDX_PARTIAL = 7,
} VhdxState;

typedef struct {
    uint64_t at, len;       /* bytes */
} VhdxRange;

typedef struct {
    Node *node;
    Edge *file;
    VhdxHeader header;      /* the current one */
    unsigned current;       /* 0 or 1: which copy that is */
    VhdxRange log, bat_range, metadata;
    uint64_t size, block;   /* bytes */
    uint32_t logical;       /* bytes of a sector */
    uint64_t ratio;         /* blocks that share a sector bitmap */
    bool keeps_blocks;      /* fixed */
    uint64_t blocks;
    le64 *bat;              /* whole sectors */
    uint64_t bat_entries;
    uint8_t *bat_dirty;     /* a byte per sector of it */
    bool is_dirty;          /* some is */
    uint64_t end;           /* bytes; where the next block goes */
    bool writes_told;       /* the headers have new identities since the image was opened */
    bool log_in_use;        /* the header names the log */
    bool was_replayed;      /* when the image was opened; no check has told so */
    VhdxGuid log_guid;
    uint64_t log_sequence;
    uint64_t log_next;      /* bytes, in the log */
    CoMutex lock;           /* flushing, headers, taking space */
    RangeLock allocating;

    /* Differencing images. */
    bool has_parent;
    VhdxGuid parent[2];     /* the parent's data GUID is one of them; often they are equal */
    uint8_t *sectors;       /* sector bitmap of one block; NULL: none was read yet */
    uint64_t sectors_of;
} Vhdx;

static inline Vhdx *vhdx_of(const Node *n)
{
    return node_state(n);
}

/* The entry of block @b; between them are those of bitmaps. */
static inline uint64_t vhdx_entry(const Vhdx *v, uint64_t b)
{
    return b + b / v->ratio;
}

/* The entry of the bitmap that block @b shares with its neighbours. */
static inline uint64_t vhdx_bitmap_entry(const Vhdx *v, uint64_t b)
{
    return (b / v->ratio + 1) * (v->ratio + 1) - 1;
}

static inline uint64_t vhdx_entries(uint64_t blocks, uint64_t ratio)
{
    return blocks ? blocks + (blocks - 1) / ratio : 0;
}

/* How many blocks share a bitmap. */
static inline uint64_t vhdx_ratio(uint64_t block, uint32_t logical)
{
    return (UINT64_C(1) << 23) * logical / block;
}

/* The checksum of @len bytes at @data whose field for it, at offset 4, counts as zero. */
uint32_t vhdx_checksum(const void *data, size_t len);

/* header.c */
CO bool vhdx_header_load(Vhdx *v, GError **err);
/* Writes the header twice, with the next two sequence numbers. */
CO int vhdx_header_write(Vhdx *v);
CO bool vhdx_regions_load(Vhdx *v, GError **err);
CO bool vhdx_metadata_load(Vhdx *v, GError **err);

/* log.c */
/* Carries out what the log has. */
CO bool vhdx_log_replay(Vhdx *v, GError **err);
/* Makes changed sectors of the BAT durable, after data. */
CO int vhdx_bat_write(Vhdx *v);
/* The log holds nothing any more. */
CO int vhdx_log_close(Vhdx *v);

/* data.c */
CO bool vhdx_bat_load(Vhdx *v, GError **err);
CO int vhdx_pread(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO int vhdx_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO int vhdx_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags);

CO int vhdx_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e);

/* parent.c: differencing images */
/* Reads from the parent locator, @len bytes at @data, which image is the parent. */
bool vhdx_parent_load(Vhdx *v, const uint8_t *data, size_t len, GError **err);
CO bool vhdx_backing_check(Node *n, Node *backing, GError **err);
/*
 * Is byte @within of block @b, which is present in part, in the image (*@here) or in the parent?
 * Shortens *@len to where that changes. 0 or a negative errno.
 */
CO int vhdx_sectors_find(Vhdx *v, uint64_t b, uint64_t within, uint64_t *len, bool *here);

/* create.c */
CO bool vhdx_create(const char *filename, json_t *opts, GError **err);

#endif
