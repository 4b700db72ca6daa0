/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMDK images: a descriptor, which is a text, and extents one after the other that make up the
 * disk.
 *
 *     descriptor   a file of its own, or inside of the only extent
 *     extents      flat (the bytes of a file), sparse (grains found by two levels of tables), zero
 *
 * A sparse extent has a grain directory, kept in memory, whose entries lead to grain tables, which
 * are read when needed. What changes in tables stays in memory until the next flush: then data
 * become durable first, and the tables that lead to them after that. See docs/spec/vmdk.md.
 */
#ifndef BLOCK_FORMATS_VMDK_H
#define BLOCK_FORMATS_VMDK_H

#include "block/driver.h"
#include "block/range.h"
#include "util/endian.h"

enum {
    VMDK_SECTOR = 512,
    VMDK_DESCRIPTOR_MAX = 1 << 20,      /* bytes */
    VMDK_GRAIN_MAX = 16 << 20,          /* bytes */
    VMDK_NO_CID = -1,                   /* as uint32_t: no parent */
};

/* ---- descriptor ----------------------------------------------------------------------------- */

typedef enum {
    VMDK_FLAT,
    VMDK_ZERO,
    VMDK_HOSTED,    /* sparse extent of Workstation and its kin, "KDMV" */
    VMDK_COWD,      /* sparse extent of ESX */
    VMDK_SE,        /* space-efficient sparse extent of ESX; read only */
} VmdkKind;

/* An extent as the descriptor has it. */
typedef struct {
    VmdkKind kind;
    const char *type;   /* the word for it in the descriptor, "FLAT" */
    bool read_only;
    uint64_t len;       /* bytes */
    uint64_t offset;    /* bytes, in its file; flat ones */
    char *name;         /* NULL: none */
} VmdkLine;

typedef struct {
    char *text;
    size_t len;
    uint32_t cid, parent_cid;
    size_t cid_at, cid_len; /* where in @text the digits of the CID are; 0 long: there are none */
    char *create_type;      /* NULL: none */
    char *parent;           /* name of the backing file; NULL: none */
    GArray *lines;          /* of VmdkLine */
} VmdkDescriptor;

/* Parses @len bytes at @text, ended by a zero byte if one is among them. NULL with @err. */
VmdkDescriptor *vmdk_descriptor_parse(const char *text, size_t len, GError **err);
void vmdk_descriptor_free(VmdkDescriptor *d);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmdkDescriptor, vmdk_descriptor_free)

/* 0 to 100: how surely a file that starts with these bytes is a descriptor. */
int vmdk_descriptor_probe(const char *head, size_t len);

/* ---- extents -------------------------------------------------------------------------------- */

typedef struct VmdkTable VmdkTable;
typedef struct Vmdk Vmdk;

typedef struct {
    Vmdk *image;
    VmdkKind kind;
    const char *type;       /* for info; "" if the descriptor is inside */
    char *filename;         /* of its file, for info */
    Edge *file;             /* NULL: zero, or not opened */
    bool read_only;
    uint64_t start, len;    /* bytes, in the disk */
    uint64_t offset;        /* bytes, in @file; flat ones */

    /* Sparse ones. */
    uint64_t grain;         /* bytes; 0: not known */
    uint32_t table_len;     /* entries */
    unsigned entry;         /* bytes of one */
    bool compressed, markers, zeroed;
    uint64_t overhead;      /* bytes; no data before */
    uint64_t base;          /* bytes; where grain 0 of a space-efficient extent lies */
    uint64_t tables;        /* how many grain tables */
    uint64_t *dir,
        *dir2; /* where each table is, in bytes; 0: nowhere. @dir2 NULL: no second copies */
    GHashTable *cache;      /* VmdkTable by number; home loop only */
    bool is_dirty;          /* one of those differs from the file */
    uint64_t end;           /* bytes; where the next grain goes */
    bool has_grown;         /* @end has moved */
    CoMutex lock;           /* loading and writing tables */
    RangeLock allocating;
} VmdkExtent;

/* A special sector of a stream. */
typedef struct {
    le64 value;
    le32 size;
    le32 type;
    uint8_t pad[496];
} VmdkMarker;
G_STATIC_ASSERT(sizeof(VmdkMarker) == VMDK_SECTOR);

typedef enum {
    VMDK_MARKER_END,
    VMDK_MARKER_TABLE,
    VMDK_MARKER_DIRECTORY,
    VMDK_MARKER_FOOTER
} VmdkMarkerType;
enum {
    VMDK_GRAIN_MARKER_LEN = 12
}; /* of the marker before a compressed grain: its sector, its length */
#define VMDK_DIR_AT_END UINT64_MAX      /* offset of the directory: see the footer */

struct Vmdk {
    Node *node;
    VmdkDescriptor *desc;
    uint64_t desc_at;           /* bytes, in the storage */
    GPtrArray *extents;         /* of VmdkExtent */
    bool cid_renewed;           /* since the image was opened for writing */
    bool parent_checked, parent_is_right;
    struct VmdkCompress *compress;  /* NULL: nothing is compressed */
};

static inline Vmdk *vmdk_of(const Node *n)
{
    return node_state(n);
}

/* extent.c */
VmdkExtent *vmdk_extent_new(Vmdk *v, VmdkKind kind, const char *type, const char *filename,
                            Edge *file);
void vmdk_extent_free(VmdkExtent *e);
/*
 * Reads the header of the sparse extent @e, and its directory unless @head_only. @desc, unless
 * NULL, is set to where the descriptor inside of it is: offset and length, 0 if there is none.
 */
CO bool vmdk_extent_load(VmdkExtent *e, bool head_only, uint64_t desc[2], GError **err);
/* Finds where new grains go: after all there is. */
void vmdk_end_find(VmdkExtent *e);

/* table.c */
typedef enum { VMDK_RUN_NONE, VMDK_RUN_ZERO, VMDK_RUN_DATA, VMDK_RUN_COMPRESSED } VmdkRunKind;

/* Grains that follow each other and are alike; data also in the file. */
typedef struct {
    VmdkRunKind kind;
    uint64_t host;      /* bytes, of the first grain */
    uint64_t grains;
} VmdkRun;

/* What grain @g of @e and up to @max - 1 more are. 0 or a negative errno. */
CO int vmdk_run(VmdkExtent *e, uint64_t g, uint64_t max, VmdkRun *r);
/* From now on @n grains from @g are at @host, one after the other; @host 0: they are zero. */
CO int vmdk_link(VmdkExtent *e, uint64_t g, uint64_t n, uint64_t host);
/* Writes data and then tables, in this order durably. */
CO int vmdk_tables_write(VmdkExtent *e);
/* Makes the file reach to the end of its last grain. No request may be under way. */
CO int vmdk_extent_fill(VmdkExtent *e);
void vmdk_tables_free(VmdkExtent *e);

/* se-sparse.c */
CO bool vmdk_se_load(VmdkExtent *e, bool head_only, GError **err);
VmdkRunKind vmdk_se_entry(const VmdkExtent *e, uint64_t entry, uint64_t *host);

/* data.c */
VmdkExtent *vmdk_extent_at(const Vmdk *v, uint64_t off);
CO int vmdk_pread(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO int vmdk_reads_through(Node *n, uint64_t off, uint64_t len, Node **below);
CO int vmdk_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO int vmdk_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags);
CO int vmdk_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *x);

/* stream.c: compressed grains */
CO int vmdk_stream_read(VmdkExtent *e, uint64_t g, uint64_t host, uint64_t within, Span buf);
/* @rel: bytes, in @e; whole grains. */
CO int vmdk_stream_write(VmdkExtent *e, uint64_t rel, Span buf);
void vmdk_compress_new(Vmdk *v);
void vmdk_compress_free(Vmdk *v);

/* cid.c */
/* Before the first write: tells overlays that the image is no longer what they lie on. */
CO int vmdk_cid_renew(Vmdk *v);
/* 0 if the backing file is what it was when the image was made; else -EINVAL. */
int vmdk_parent_check(Vmdk *v);

/* create.c */
CO bool vmdk_create(const char *filename, json_t *opts, GError **err);

struct PipeSource;
CO bool vmdk_create_ahead(Handle *pipe, json_t *opts, const struct PipeSource *s, uint64_t *end,
                          GError **err);

/* pipe.c */
/*
 * From now on @pipe takes the @size bytes of the disk and writes grains, tables, directory and
 * footer. The footer is a copy of @header, which was written before, with the offset of the
 * directory.
 */
bool vmdk_pipe_start(Handle *pipe, uint64_t size, const uint8_t header[VMDK_SECTOR], GError **err);

/* check.c */
CO int vmdk_check(Node *n, CheckResult *result, CheckFix fix, FILE *out, GError **err);

#endif
