/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VHD, the images of Virtual PC, Hyper-V and Azure; called vpc as the reference does.
 *
 *     dynamic, differencing                       fixed
 *     0       copy of the footer                  0     the disk
 *     512     header                              end   footer
 *     table   a be32 per block: its first sector, or FREE
 *     blocks  each a bitmap of its sectors, then its data
 *     end     footer
 *
 * The table is in memory while there is I/O, and what changes of it is written by flushes: first
 * the data and the footer at the new end; then, when that is durable, the table. Meanwhile the copy
 * of the footer in front keeps the image whole. See docs/spec/vpc.md.
 */
#ifndef BLOCK_FORMATS_VPC_H
#define BLOCK_FORMATS_VPC_H

#include "block/driver.h"
#include "io/co-lock.h"
#include "util/endian.h"

enum {
    VPC_SECTOR = 512,
    VPC_FIXED = 2, VPC_DYNAMIC = 3, VPC_DIFFERENCING = 4,
    VPC_EPOCH = 946684800,      /* 2000-01-01, in seconds since 1970 */
};

#define VPC_FREE UINT32_MAX
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
G_STATIC_ASSERT(sizeof(VpcFooter) == VPC_SECTOR);

/* Where a path of the parent is stored. */
typedef struct {
    char kind[4];           /* "W2ru": relative, UTF-16 in little endian */
    be32 room, len;         /* bytes */
    be32 reserved;
    be64 at;                /* bytes */
} VpcLocator;

typedef struct {
    char cookie[8];         /* "cxsparse" */
    be64 data_off;          /* unused */
    be64 table_off;
    be32 version, entries, block, checksum;
    uint8_t parent_uuid[16];
    be32 parent_time;       /* seconds since 2000; when its file was last changed */
    be32 reserved;
    uint8_t parent_name[512]; /* UTF-16 in big endian */
    VpcLocator locators[8];
    uint8_t rest[256];
} VpcHeader;
G_STATIC_ASSERT(sizeof(VpcHeader) == 2 * VPC_SECTOR);

typedef struct {
    VpcFooter footer;
    uint32_t kind;
    uint64_t table_off;
    uint32_t entries, block, bitmap;    /* bytes of a block, of its bitmap */
    be32 *table;            /* NULL without I/O, and for fixed images */
    uint64_t end;           /* bytes; end of the last block: place of the next, then the footer */
    uint64_t fresh;         /* bytes; the file has nothing from here on but what we wrote */
    uint64_t limit;         /* bytes; blocks that end after it are not in the file */
    uint8_t *full;          /* a bit per block whose bitmap is known to be all ones */
    uint32_t dirty, dirty_end; /* entries that the file does not have yet */
    CoMutex lock;           /* allocation, and writing the table */

    /* Differencing images. */
    uint8_t parent_uuid[16];
    uint32_t parent_time;
    uint8_t *sectors;       /* bitmap of one block; NULL: none was read yet */
    uint32_t sectors_of;
} Vpc;

/* The checksum of @len bytes of a structure, its @field counted as zero. */
uint32_t vpc_checksum(const void *data, size_t len, be32 field);

/* data.c */
CO bool vpc_table_load(Node *n, bool writable, GError **err);
CO int vpc_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e);
CO int vpc_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO int vpc_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags);
CO int vpc_flush(Node *n);

/* parent.c: differencing images */
/* Reads from header @h which image is the parent. */
CO bool vpc_parent_load(Node *n, const VpcHeader *h, GError **err);
CO bool vpc_backing_check(Node *n, Node *backing, GError **err);
/*
 * Is byte @within of block @i, whose bitmap is at @at, in the image (*@here) or in the parent?
 * Shortens *@len to where that changes. 0 or a negative errno.
 */
CO int vpc_sectors_find(Node *n, uint32_t i, uint64_t at, uint64_t within, uint64_t *len,
                        bool *here);

/* create.c */
CO bool vpc_create(const char *filename, json_t *opts, GError **err);
struct PipeSource;
CO bool vpc_create_ahead(Handle *pipe, json_t *opts, const struct PipeSource *s, uint64_t *end,
                         GError **err);

#endif
