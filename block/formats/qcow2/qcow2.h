/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 driver's own header: what is on disk, the state of an open image, and what its files
 * offer each other. The public description of the format is QEMU's docs/interop/qcow2; section
 * names below are those of it. docs/spec/qcow2.md has the facts we rely on and the rules of
 * writing.
 *
 * Order of writing. What a power cut may leave is at worst space that nothing refers to (a leak):
 *
 *     data, refcount increments, new tables   before   what refers to them: L2, L1, header
 *     L2, L1, header without a reference      before   the refcount decrement, and reuse
 *
 * "before" means a completed flush of the file between the two. commit.c is the one place that
 * knows this for L2, L1 and refcounts.
 */
#ifndef BLOCK_FORMATS_QCOW2_QCOW2_H
#define BLOCK_FORMATS_QCOW2_QCOW2_H

#include "block/driver.h"
#include "block/formats/qcow2/cache.h"
#include "block/formats/qcow2/counts.h"
#include "util/endian.h"
#include <inttypes.h>

/* ---- on disk -------------------------------------------------------------------------------- */

#define QCOW2_MAGIC 0x514649fbu

typedef struct {
    be32 magic;
    be32 version;            /* 2 or 3 */
    be64 backing_off;
    be32 backing_len;
    be32 cluster_bits;
    be64 size;
    be32 crypt_method;       /* Qcow2CryptMethod */
    be32 l1_len;             /* entries */
    be64 l1_off;
    be64 reftable_off;
    be32 reftable_clusters;
    be32 snapshot_count;
    be64 snapshots_off;
    /* Version 2 ends here. */
    be64 incompatible;
    be64 compatible;
    be64 autoclear;
    be32 refcount_order;
    be32 header_len;
    /* 104: "Additional fields" */
    uint8_t compression;     /* Qcow2Compression */
    uint8_t padding[7];
} Qcow2Header;
G_STATIC_ASSERT(sizeof(Qcow2Header) == 112);

enum { QCOW2_HEADER_V2_LEN = 72, QCOW2_HEADER_V3_LEN = 104 };

typedef enum { QCOW2_CRYPT_NONE, QCOW2_CRYPT_AES, QCOW2_CRYPT_LUKS } Qcow2CryptMethod;
typedef enum { QCOW2_ZLIB, QCOW2_ZSTD } Qcow2Compression;

enum {
    INCOMPAT_DIRTY = 1 << 0,
    INCOMPAT_CORRUPT = 1 << 1,
    INCOMPAT_DATA_FILE = 1 << 2,
    INCOMPAT_COMPRESSION = 1 << 3,
    INCOMPAT_EXTENDED_L2 = 1 << 4,
    INCOMPAT_KNOWN = (1 << 5) - 1,
    COMPAT_LAZY_REFCOUNTS = 1 << 0,
    AUTOCLEAR_BITMAPS = 1 << 0,
    AUTOCLEAR_DATA_RAW = 1 << 1,
    AUTOCLEAR_KNOWN = (1 << 2) - 1,
};

/* "Header extensions" */
enum {
    EXT_END = 0,
    EXT_BACKING_FORMAT = 0xe2792aca,
    EXT_FEATURE_NAMES = 0x6803f857,
    EXT_BITMAPS = 0x23852875,
    EXT_CRYPT_HEADER = 0x0537be77,
    EXT_DATA_FILE = 0x44415441,
};

/* "Cluster mapping", "Extended L2 Entries" */
#define ENTRY_COPIED UINT64_C(0x8000000000000000)
#define ENTRY_COMPRESSED UINT64_C(0x4000000000000000)
#define ENTRY_ZERO UINT64_C(1)
#define ENTRY_OFFSET UINT64_C(0x00fffffffffffe00)
#define L1_RESERVED UINT64_C(0x7f000000000001ff)
#define L2_RESERVED UINT64_C(0x3f000000000001fe)
#define REFTABLE_OFFSET UINT64_C(0xfffffffffffffe00)
#define REFTABLE_RESERVED UINT64_C(0x1ff)
#define SUBCLUSTERS 32

/* Our bounds; those of L1 and refcount table are the reference's too. */
enum {
    QCOW2_CLUSTER_BITS_MIN = 9,
    QCOW2_CLUSTER_BITS_MAX = 21,
    QCOW2_EXTENDED_BITS_MIN = 14,
    QCOW2_L1_BYTES_MAX = 32 << 20,
    QCOW2_REFTABLE_BYTES_MAX = 8 << 20,
    QCOW2_NAME_MAX = 1023,          /* of a backing or data file */
    QCOW2_SNAPSHOTS_MAX = 65536,
    QCOW2_SNAPSHOT_TABLE_MAX = 1024 * 65536,
    QCOW2_SNAPSHOT_EXTRA_MAX = 1024,
    QCOW2_BITMAPS_MAX = 65535,
    QCOW2_BITMAP_DIRECTORY_MAX = 1024 * 65535,
    QCOW2_BITMAP_TABLE_MAX = 0x8000000, /* entries */
};

/* ---- an open image -------------------------------------------------------------------------- */

/* Who gives space back, for the pass-discard-* options. */
typedef enum {
    FREE_REQUEST, FREE_SNAPSHOT, FREE_OTHER,
    FREE_ALWAYS,  /* whatever the options */
    FREE_NEVER,
    FREE_KINDS,
} FreeKind;

/* A run of clusters without a reference that is not counted down yet. */
typedef struct {
    uint64_t off, len;   /* bytes, whole clusters */
    FreeKind kind;
} FreeRun;

typedef struct Qcow2Snapshot {
    uint64_t l1_off;
    uint32_t l1_len;         /* entries */
    char *id, *name;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t vm_state_size;
    uint64_t disk_size;      /* of the guest's disk then */
    uint64_t icount;         /* UINT64_MAX: none */
    uint32_t extra_len;      /* bytes of extra data as found */
    GBytes *unknown_extra;   /* those behind what we know; NULL: none */
} Qcow2Snapshot;

typedef struct Qcow2 Qcow2;
typedef struct Qcow2Crypt Qcow2Crypt;
typedef struct Overlap Overlap;
typedef struct Bitmaps Bitmaps;
typedef struct Qcow2Compress Qcow2Compress;

struct Qcow2 {
    Node *node;
    Edge *storage;           /* the image file */
    Edge *data;              /* guest data: the external data file or the image file */

    /* Geometry: constant but for amend and resize. */
    unsigned version, cluster_bits;
    uint64_t cluster;        /* bytes */
    unsigned sub_bits;       /* log2 of the bytes of a subcluster; cluster_bits if there are none */
    unsigned subs;           /* subclusters in a cluster: 1 or 32 */
    unsigned entry_bits;     /* log2 of the bytes of an L2 entry: 3 or 4 */
    unsigned l2_bits;        /* log2 of the entries of an L2 table */
    unsigned refcount_order;
    unsigned refblock_bits;  /* log2 of the entries of a refcount block */
    uint64_t refcount_max;
    uint64_t size;           /* of the disk, bytes */

    /* header.c */
    uint64_t incompatible, compatible, autoclear;
    Qcow2CryptMethod crypt_method;
    Qcow2Compression compression;
    char *backing_name, *backing_format, *data_name;
    uint64_t crypt_off, crypt_len;   /* header of LUKS */
    uint64_t bitmap_directory_off, bitmap_directory_len;
    uint32_t bitmap_count;
    GByteArray *unknown_exts;        /* extensions kept as they are, each padded to 8 */
    GByteArray *unknown_fields;      /* of the header, behind those we know */
    GByteArray *head;                /* start of the file as it is there */
    uint32_t backing_off;
    bool head_stale;                 /* extensions or names changed: build anew */
    /* writing behind the first sector failed: head may be wrong there */
    bool tail_unknown;
    CoMutex head_lock;

    /* map.c. Entries in host byte order. Home loop only, like all that follows. */
    uint64_t *l1;
    uint64_t l1_off;
    uint32_t l1_len;
    uint32_t l1_dirty_from, l1_dirty_to;   /* entries that differ from the file */
    CoMutex l1_lock;                       /* making an L2 table ours */
    Cache l2;
    unsigned slice_bits;                   /* log2 of the entries of a slice */

    /* refcount.c */
    uint64_t *reftable;      /* NULL: not loaded yet */
    uint64_t reftable_off;
    uint32_t reftable_clusters, reftable_len;  /* len: entries, a multiple of a cluster's */
    uint32_t reftable_dirty_from, reftable_dirty_to;
    uint64_t reftable_next_off;   /* a longer table, in memory already; 0: none */
    uint32_t reftable_next_clusters;
    bool reftable_moving;         /* that is being written */
    Cache refblocks;
    CoMutex refcount_lock;   /* finding and counting clusters */
    CoMutex refblock_write_lock;
    uint64_t free_hint;      /* no free cluster below this index */
    uint64_t bytes_off;      /* where the next compressed cluster may start; 0: a new cluster */
    bool end_unknown;        /* a write beyond the end failed: what is there may not be zero */

    /* commit.c */
    CoMutex commit_lock;     /* one commit at a time */
    CoMutex reclaim_lock;    /* counting down freed clusters; never taken while holding a pin */
    bool unflushed;          /* something is referred to that was written after the last flush */
    GArray *frees_open;      /* FreeRun: the reference may still be in the file */
    GArray *frees_written;   /* gone from the file, if nothing is cut off before the next flush */
    GArray *frees_durable;   /* certainly gone */
    uint64_t frees_clusters; /* in all three */
    unsigned pins[2], pin_now;
    bool exclusive;          /* an operation wants no requests beside it */
    CoQueue pin_waiters;

    /* write.c, zero.c */
    RangeLock allocating;    /* guest bytes, whole clusters, whose mapping is about to change */
    Qcow2Compress *compress; /* NULL: not used yet */
    uint64_t compressed_generation; /* changes when space of compressed clusters may be reused */

    /* snapshot.c */
    Qcow2Snapshot *snapshots;
    uint32_t snapshot_count;
    uint32_t header_snapshots;               /* how many the header tells of */
    uint64_t snapshots_off, snapshots_len;   /* len: bytes */

    Qcow2Crypt *crypt;       /* NULL: not encrypted */
    char *key_secret;        /* name of the secret it was opened with */
    Overlap *overlap;        /* NULL: no check, or not built yet */
    CoMutex overlap_lock;    /* building it */
    Bitmaps *bitmaps;

    /* options.c */
    bool lazy_refcounts;
    bool pass_discard[FREE_KINDS];
    bool discard_no_unref;
    unsigned overlap_mask;   /* OverlapKind bits */
    uint64_t l2_cache_bytes, refcount_cache_bytes;
    uint32_t l2_part;
    uint64_t trim_interval_ns;
    bool trimming, closing;
    Co *trimmer;

    bool was_writable;       /* since the last time it was (re)opened */
    bool dirty_found;        /* the image was dirty when opened, and is not repaired */
    bool is_corrupt;         /* found now: no more requests */
    bool sparse_known, sparse;  /* is_sparse() has looked; its answer */
    bool corrupt_told;
};

static inline Qcow2 *qcow2_of(const Node *n)
{
    return node_state(n);
}

static inline bool qcow2_has_data_file(const Qcow2 *q)
{
    return q->incompatible & INCOMPAT_DATA_FILE;
}

static inline bool qcow2_is_data_raw(const Qcow2 *q)
{
    return q->autoclear & AUTOCLEAR_DATA_RAW;
}

static inline uint64_t qcow2_within(const Qcow2 *q, uint64_t off)
{
    return off & (q->cluster - 1);
}

static inline bool qcow2_is_writable(const Qcow2 *q)
{
    return node_flags(q->node) & OPEN_RDWR && !node_is_read_only(q->node);
}

/* Reads from the image file; what lies behind its end is zero. */
CO int qcow2_file_read(Qcow2 *q, uint64_t off, void *buf, size_t len);

/* ---- header.c ------------------------------------------------------------------------------- */

/* Reads and checks the header and its extensions. */
CO bool qcow2_header_read(Qcow2 *q, OpenFlags flags, GError **err);
/*
 * Brings the header in the file up to date with @q: one atomic write of 512 bytes when only fields
 * changed, else some steps with flushes between. Flushes nothing before or after. After a failure
 * the file has the old header.
 */
CO int qcow2_header_write(Qcow2 *q);
/* The same, and durable when it returns. */
CO int qcow2_header_write_sync(Qcow2 *q);
/* Sets the image's dirty bit durably, before refcounts in the file may lag behind. */
CO int qcow2_mark_dirty(Qcow2 *q);
/*
 * The same for a header that names other tables than the one in the file. After a failure *@done
 * says whether the file has it all the same: then @q goes on with the new tables, and neither these
 * nor the old ones are given back.
 */
CO int qcow2_header_switch(Qcow2 *q, bool *done);
/*
 * The whole header as it shall be, at least a sector; *@backing_off: where it has the name of the
 * backing file. NULL: it does not fit into a cluster.
 */
GByteArray *qcow2_head_build(const Qcow2 *q, uint32_t *backing_off);
void qcow2_header_free(Qcow2 *q);
/* Derives the fields of the geometry from version, cluster_bits, refcount_order, incompatible. */
void qcow2_set_geometry(Qcow2 *q);
/* Entries an L1 table needs for @size bytes. */
uint64_t qcow2_l1_needed(const Qcow2 *q, uint64_t size);

/* ---- corrupt.c ------------------------------------------------------------------------------ */

/*
 * Damage was found: says so on stderr, once; a @fatal one marks a writable image as corrupt and
 * ends all requests. Returns -EIO.
 */
CO int qcow2_corrupt(Qcow2 *q, bool fatal, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* ---- overlap.c ------------------------------------------------------------------------------ */

typedef enum {
    OVERLAP_HEADER = 1 << 0,
    OVERLAP_L1 = 1 << 1,
    OVERLAP_L2 = 1 << 2,
    OVERLAP_REFBLOCK = 1 << 3,
    OVERLAP_REFTABLE = 1 << 4,
    OVERLAP_SNAPSHOTS = 1 << 5,
    OVERLAP_INACTIVE_L1 = 1 << 6,
    OVERLAP_INACTIVE_L2 = 1 << 7,
    OVERLAP_BITMAPS = 1 << 8,
    OVERLAP_CONSTANT = OVERLAP_HEADER | OVERLAP_REFTABLE | OVERLAP_L1 | OVERLAP_SNAPSHOTS,
    OVERLAP_CACHED = OVERLAP_CONSTANT | OVERLAP_L2 | OVERLAP_REFBLOCK | OVERLAP_INACTIVE_L1 |
                     OVERLAP_BITMAPS,
    OVERLAP_ALL = OVERLAP_CACHED | OVERLAP_INACTIVE_L2,
} OverlapKind;

/*
 * Would a write to [@off, @off + @len) of the image file hit metadata of another kind than those in
 * @ignore? 0, or -EIO after telling of the corruption.
 */
CO int qcow2_overlap_check(Qcow2 *q, unsigned ignore, uint64_t off, uint64_t len);
/* Space became, or is no longer, metadata. */
void qcow2_overlap_add(Qcow2 *q, OverlapKind kind, uint64_t off, uint64_t len);
void qcow2_overlap_remove(Qcow2 *q, OverlapKind kind, uint64_t off, uint64_t len);
void qcow2_overlap_free(Qcow2 *q);

/* ---- map.c ---------------------------------------------------------------------------------- */

typedef enum {
    MAP_UNALLOCATED,       /* the backing file decides */
    MAP_ZERO,
    MAP_ZERO_ALLOCATED,    /* reads as zeroes, has a host cluster */
    MAP_UNALLOCATED_ALLOCATED, /* subcluster: the backing file decides, has a host cluster */
    MAP_DATA,
    MAP_COMPRESSED,
} MapKind;

/* A range of the guest's disk that is alike. */
typedef struct {
    MapKind kind;
    bool copied;           /* host clusters are only ours: may be written in place */
    /* bytes in the data file, of the first byte; kinds with a host cluster */
    uint64_t host;
    uint64_t len;          /* bytes */
    uint64_t desc;         /* MAP_COMPRESSED: the L2 entry */
} MapRun;

typedef struct {
    uint64_t desc;
    uint64_t bits;         /* subclusters: allocated 0-31, zero 32-63; 0 without them */
} L2Entry;

/* Reads the L1 table. With OPEN_CHECK it may be as wrong as it is. */
CO bool qcow2_map_open(Qcow2 *q, OpenFlags flags, GError **err);
/*
 * Can the file hold all L2 tables that @l1 names? More of them are one table many times over: with
 * it a small file is made to take for ever.
 */
bool qcow2_l1_check(const Qcow2 *q, const uint64_t *l1, uint32_t len, GError **err);
void qcow2_map_close(Qcow2 *q);
/* The longest run at @off of at most @len bytes; at least a byte. */
CO int qcow2_map_run(Qcow2 *q, uint64_t off, uint64_t len, MapRun *run);
/* Part of an L2 table in memory, good until the caller suspends. */
typedef struct {
    void *data;            /* of the slice */
    unsigned index, count; /* first entry, and how many there are from it to the end of the slice */
} SliceRef;
/* The slice that maps guest offset @off. data NULL: there is no L2 table. */
CO int qcow2_slice_get(Qcow2 *q, uint64_t off, SliceRef *s);
/* The same for changing it: makes a table, or a copy of one that a snapshot shares. */
CO int qcow2_slice_get_own(Qcow2 *q, uint64_t off, SliceRef *s);
L2Entry qcow2_entry_get(const Qcow2 *q, const SliceRef *s, unsigned i);
void qcow2_entry_set(Qcow2 *q, const SliceRef *s, unsigned i, L2Entry e);
/*
 * Gives the table of L1 entry @i another place. The file has all changes of the table, and nobody
 * makes new ones meanwhile.
 */
CO int qcow2_table_move(Qcow2 *q, uint32_t i);
/* What subcluster @sub of an entry is; negative errno if that is damage. */
CO int qcow2_entry_kind(Qcow2 *q, uint64_t guest, L2Entry e, unsigned sub, MapKind *kind);
/* The L2 entry of @len compressed bytes at @host. */
uint64_t qcow2_compressed_desc(const Qcow2 *q, uint64_t host, uint64_t len);
/* Host bytes that the compressed cluster @desc takes: whole sectors. */
void qcow2_compressed_span(const Qcow2 *q, uint64_t desc, uint64_t *off, uint64_t *len);
/* What was remembered of compressed clusters is not valid any more. */
static inline void qcow2_compressed_forget(Qcow2 *q)
{
    q->compressed_generation++;
}
/* Frees what entry @e refers to, once that is safe. */
void qcow2_entry_free(Qcow2 *q, uint64_t guest, L2Entry e, FreeKind kind);
void qcow2_l1_mark(Qcow2 *q, uint32_t from, uint32_t count);
static inline uint64_t qcow2_l1_index(const Qcow2 *q, uint64_t off)
{
    return off >> (q->l2_bits + q->cluster_bits);
}

/* ---- reftable.c, refcount.c, space.c, refcount-*.c ------------------------------------------ */

/* Loads the refcount table if that has not happened yet. */
CO int qcow2_reftable_load(Qcow2 *q);
CO int qcow2_refcount_get(Qcow2 *q, uint64_t cluster, uint64_t *count);
/* Adds @delta to the counts of @n clusters. -EINVAL: below 0 or over the maximum; then undone. */
CO int qcow2_refcount_add(Qcow2 *q, uint64_t cluster, uint64_t n, int64_t delta);
/*
 * Takes @by from all counts; @by of those that change becomes 1 where nothing is left, else 2.
 * That none falls below 0 was seen before by the second one, which returns -EIO then.
 */
CO int qcow2_refcounts_lower(Qcow2 *q, Counts *by);
CO int qcow2_refcounts_fit(Qcow2 *q, const Counts *by);
/*
 * What counts become with @up more references and @down fewer (as many clusters): @up becomes the
 * new count plus 1, 0 where it does not change. -EOVERFLOW: one is too large; -EIO: one is 0 now,
 * or would be below.
 */
CO int qcow2_refcounts_plan(Qcow2 *q, Counts *up, const Counts *down);
/* Refcount block @i in the cache, good until the caller suspends; *@block NULL: there is none. */
CO int qcow2_refblock_get(Qcow2 *q, uint64_t i, void **block);
/* Counts one down, *@count is what remains. The caller holds refcount_lock. */
CO int qcow2_refcount_free(Qcow2 *q, uint64_t cluster, uint64_t *count);
/* Counts of a block as memory: entry @i of refcount block content @block. */
uint64_t qcow2_count_at(const Qcow2 *q, const void *block, uint64_t i);
void qcow2_count_put(const Qcow2 *q, void *block, uint64_t i, uint64_t value);
/* Takes up to *@clusters adjacent free clusters, at least one; *@host: bytes. */
CO int qcow2_cluster_alloc(Qcow2 *q, uint64_t *clusters, uint64_t *host);
/* Takes adjacent clusters for @bytes, for tables. */
CO int qcow2_table_alloc(Qcow2 *q, uint64_t bytes, uint64_t *host);
/* Space for a compressed cluster of @len bytes, which may begin inside a host cluster. */
CO int qcow2_bytes_alloc(Qcow2 *q, uint64_t len, uint64_t *host);
/* Gives back clusters that were never referred to. */
CO void qcow2_cluster_unalloc(Qcow2 *q, uint64_t host, uint64_t bytes);
/*
 * Counts nothing but header, L1 table, refcount table and the blocks for these; the file refers to
 * nothing else. No requests meanwhile.
 */
CO int qcow2_refcount_reset(Qcow2 *q);
/*
 * Gives back the space of all clusters of the file that are not counted, which nothing durable may
 * refer to. That is an attempt: a file that keeps the space is as good.
 */
CO void qcow2_free_space_discard(Qcow2 *q);
/* How many clusters from number @from on are counted. */
CO int qcow2_clusters_in_use(Qcow2 *q, uint64_t from, uint64_t *n);
/* The first cluster that nothing counts. */
CO int qcow2_first_free(Qcow2 *q, uint64_t *cluster);
/*
 * Refcount blocks and table at or after cluster @limit move below it if there is room; blocks that
 * count nothing but themselves go. No requests meanwhile, and nothing waits to be counted down.
 */
CO int qcow2_refblocks_compact(Qcow2 *q, uint64_t limit);
CO int qcow2_refblocks_write(Qcow2 *q);
/* What is to be written of the refcount table: as it is now, for when all blocks are durable. */
typedef struct {
    uint64_t off;            /* of the table */
    uint32_t from, to;       /* entries */
    uint32_t clusters;       /* the table moves to off and has so many; 0: it does not */
    uint8_t *bytes;
} ReftableWrite;
/* False if there is no memory. */
bool qcow2_reftable_capture(Qcow2 *q, ReftableWrite *w);
/* Makes durable what was written before, then writes @w. */
CO int qcow2_reftable_write(Qcow2 *q, const ReftableWrite *w);
void qcow2_reftable_release(Qcow2 *q, ReftableWrite *w, bool written);
void qcow2_refcount_close(Qcow2 *q);
static inline unsigned qcow2_refcount_bits(const Qcow2 *q)
{
    return 1u << q->refcount_order;
}

/* ---- pins.c, frees.c, commit.c -------------------------------------------------------------- */

/*
 * A request begins: it holds a pin, which qcow2_leave gives back, while it uses host clusters it
 * looked up. 0, or -ENOMEDIUM without a pin: the image is corrupt.
 */
CO int qcow2_enter(Qcow2 *q, unsigned *pin);
void qcow2_leave(Qcow2 *q, unsigned pin);
/* Keeps new requests out and waits for those in flight. Not nestable. */
CO void qcow2_exclusive_begin(Qcow2 *q);
void qcow2_exclusive_end(Qcow2 *q);
/* What was written to the image and data files before is durable. */
CO int qcow2_barrier(Qcow2 *q);
/* Writes all changed metadata in a safe order; does not make the last of it durable. */
CO int qcow2_commit(Qcow2 *q);
/* The same and durable, all free clusters counted down. Not while the caller holds a pin. */
CO int qcow2_commit_all(Qcow2 *q);
void qcow2_frees_free(Qcow2 *q);
CO int qcow2_flush(Node *n);
/* For the caches: @q is a Qcow2. */
CO int qcow2_clean_l2(void *q);
CO int qcow2_clean_refblocks(void *q);
/* After a request, without a pin: counts clusters down when many wait for it. */
CO void qcow2_reclaim_some(Qcow2 *q);
/* Clusters in [@off, @off + @len) lost a reference that is, or may be, in the file. */
void qcow2_free_later(Qcow2 *q, uint64_t off, uint64_t len, FreeKind kind);

/* ---- writable.c, reconfigure.c -------------------------------------------------------------- */

/* Makes an image ready for writes: unknown features cleared, refcounts repaired if need be. */
CO bool qcow2_open_for_writing(Qcow2 *q, OpenFlags flags, GError **err);
/* Everything to the file, durably; the dirty bit goes when the refcounts are right again. */
CO int qcow2_write_all(Qcow2 *q);
CO bool qcow2_reconfigure_prepare(Node *n, const json_t *options, OpenFlags flags, void **change,
                                  GError **err);
CO void qcow2_reconfigure_commit(Node *n, void *change);
CO void qcow2_reconfigure_abort(Node *n, void *change);

/* ---- options.c, trim.c, create.c ------------------------------------------------------------ */

/* Reads the options of an open image; sizes of the caches included, which are not made yet. */
bool qcow2_options_read(Qcow2 *q, const json_t *options, OpenFlags flags, GError **err);
/* Makes the caches; they must not exist. */
bool qcow2_caches_make(Qcow2 *q, GError **err);
/* From now on memory of tables that nobody uses is given back, until no table is left in it. */
void qcow2_trim_start(Qcow2 *q);
CO void qcow2_trim_stop(Qcow2 *q);
CO void qcow2_leave_loop(Node *n);
/* Values of the options compat and preallocation. */
bool qcow2_version_parse(const char *text, unsigned *version, GError **err);
bool qcow2_prealloc_parse(const char *text, Prealloc *prealloc, GError **err);
/* cluster_size, refcount_bits and extended_l2, checked; the version is set. */
bool qcow2_geometry_parse(Qcow2 *q, const json_t *o, GError **err);
CO bool qcow2_create(const char *filename, json_t *opts, GError **err);
CO bool qcow2_create_ahead(Handle *pipe, json_t *opts, const struct PipeSource *s, uint64_t *end,
                           GError **err);

/* ---- snapshot.c ----------------------------------------------------------------------------- */

CO bool qcow2_snapshots_open(Qcow2 *q, OpenFlags flags, GError **err);
void qcow2_snapshots_free(Qcow2 *q);
/* Guest offset where VM state begins. */
uint64_t qcow2_vmstate_offset(const Qcow2 *q);

extern const SnapshotOps qcow2_snapshot_ops;
CO int qcow2_vmstate_pread(Node *n, uint64_t off, Span buf);
CO int qcow2_vmstate_pwrite(Node *n, uint64_t off, Span buf);

/* ---- resize.c ------------------------------------------------------------------------------- */

/* Makes the L1 table at least @len entries long, durably. No requests meanwhile. */
CO int qcow2_l1_grow(Qcow2 *q, uint64_t len);
/*
 * The same, at a new place even if it is long enough; -ENOSPC if there is none below offset @below.
 */
CO int qcow2_l1_move(Qcow2 *q, uint64_t len, uint64_t below);
/* Cuts the file behind its last cluster in use. Not being able to only wastes space. */
CO void qcow2_cut_file(Qcow2 *q);
CO bool qcow2_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                     GError **err);

/* ---- bitmap.c ------------------------------------------------------------------------------- */

extern const BitmapOps qcow2_bitmap_ops;
/* Reads them. */
CO bool qcow2_bitmaps_open(Qcow2 *q, OpenFlags flags, GError **err);
/* Marks them as in use in the file: writes may change what they should say. */
CO bool qcow2_bitmaps_open_for_writing(Qcow2 *q, GError **err);
/* False if there is one whose content is not known. */
bool qcow2_bitmaps_can_resize(const Qcow2 *q, GError **err);
/* Stores those of the node's that are persistent, for the end of writing. */
CO bool qcow2_bitmaps_store(Qcow2 *q, GError **err);
void qcow2_bitmaps_free(Qcow2 *q);
/* Adds the member "bitmaps" to @data if there are any. */
CO bool qcow2_bitmaps_info(Qcow2 *q, json_t *data, GError **err);

/* ---- check.c, measure.c --------------------------------------------------------------------- */

/* Prints findings to @out. With @fix the image must be writable; it is never worse afterwards. */
CO int qcow2_check(Node *n, CheckResult *result, CheckFix fix, FILE *out, GError **err);
CO bool qcow2_measure(json_t *opts, Handle *source, MeasureResult *result, GError **err);
/* Makes the refcounts of an image right that was not closed; clears the dirty bit. */
CO bool qcow2_repair_dirty(Qcow2 *q, GError **err);

/* ---- empty.c -------------------------------------------------------------------------------- */

CO int qcow2_make_empty(Node *n);

/* ---- compact.c ------------------------------------------------------------------------------ */

CO bool qcow2_compact(Node *n, CompactState *s, GError **err);

/* ---- missing-end.c -------------------------------------------------------------------------- */

CO int qcow2_missing_end(Node *n, bool quick, uint64_t *bytes);

/* ---- amend.c, refcount-width.c -------------------------------------------------------------- */

CO bool qcow2_amend(Node *n, json_t *opts, bool force, GError **err);
CO int qcow2_change_backing(Node *n, const char *name, const char *format);
/* Refcounts of 1 << @order bits from now on. No requests meanwhile. */
CO bool qcow2_refcount_width_change(Qcow2 *q, unsigned order, GError **err);

/* ---- read.c, write.c, zero.c ---------------------------------------------------------------- */

CO int qcow2_pread(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO int qcow2_reads_through(Node *n, uint64_t off, uint64_t len, Node **below);
/* Without a pin of its own. */
CO int qcow2_read(Qcow2 *q, uint64_t off, Span buf);
CO int qcow2_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e);
/*
 * 1: the image itself says that [@off, @off + @len) reads as zeroes; 0: it does not; negative
 * errno.
 */
CO int qcow2_is_zero(Qcow2 *q, uint64_t off, uint64_t len);
/* The same, also asking the backing file, where that decides. */
CO int qcow2_reads_zero(Qcow2 *q, uint64_t off, uint64_t len);
CO int qcow2_write(Qcow2 *q, uint64_t off, Span buf);
/* The same by a caller that holds the mapping of the clusters, none of which has data. */
CO int qcow2_write_held(Qcow2 *q, uint64_t off, Span buf);
CO int qcow2_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags);
CO int qcow2_discard(Node *n, uint64_t off, uint64_t len);
/* Whole clusters: maps nothing there, or zeroes. Callers keep requests out. */
CO int qcow2_unmap_range(Qcow2 *q, uint64_t off, uint64_t len);
CO int qcow2_zero_range(Qcow2 *q, uint64_t off, uint64_t len);
/* Takes the mapping of the clusters that [@off, @off + @len) touches, against other changes. */
CO void qcow2_allocating_take(Qcow2 *q, RangeHold *hold, uint64_t off, uint64_t len);

#endif
