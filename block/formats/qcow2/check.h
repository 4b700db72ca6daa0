/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checking and repairing an image: what the parts offer each other.
 *
 *     check.c            the order of things; comparing counts
 *     check-tell.c       prints what is found
 *     check-snapshots.c  the snapshot table, read in spite of damage
 *     check-counts.c     reads refcounts
 *     check-refs.c       counts all references
 *     check-flags.c      the COPIED flags
 *     repair.c           writes refcounts
 *
 * The file is looked at as it is; nothing goes through the caches, which are empty meanwhile.
 */
#ifndef BLOCK_FORMATS_QCOW2_CHECK_H
#define BLOCK_FORMATS_QCOW2_CHECK_H

#include "block/formats/qcow2/qcow2.h"

/* An L2 table, however many L1 entries refer to it. */
typedef struct {
    uint64_t off;            /* bytes */
    uint32_t active, snaps;  /* L1 entries, of the disk and of snapshots, that do */
    uint32_t visits;         /* how often it was told of: not for every one of very many uses */
    bool bad_entries;        /* has something to tell of */
    bool bad_flags;          /* a COPIED flag may be wrong */
} CheckTable;

enum { CHECK_VISITS_MAX = 8 };

/* An L1 table. */
typedef struct {
    uint64_t off;            /* bytes */
    uint32_t len;            /* entries */
    uint32_t times;          /* snapshots that have it; 0 for all but the first of them */
} CheckRoot;

typedef struct {
    Qcow2 *q;
    CheckResult *result;
    CheckFix fix;
    FILE *out;

    uint64_t file_len;       /* bytes */
    uint64_t clusters;       /* of the file, the last one perhaps not whole */
    Counts refs;              /* references found; has room for one cluster behind the file */
    Counts far;               /* those that reach too far, from cluster @clusters on */
    Counts counts;            /* refcounts as they are in the file */
    Counts metadata;          /* references but those of guest data; n 0: not counted yet */
    bool metadata_unknown;   /* counting them failed */
    GHashTable *unknown;     /* indices of refcount blocks that could not be read */
    uint64_t *reftable;      /* host byte order */
    uint32_t reftable_len;
    bool reftable_changed;
    GArray *old_blocks;      /* uint64_t: clusters of refcount table and blocks, as counted */

    GArray *tables;          /* CheckTable by offset */
    GArray *roots;           /* CheckRoot of the snapshots */
    bool any_bad;            /* some table has bad entries */
    uint64_t told;           /* lines printed */
    int64_t cut;             /* tables that end after the file's end, by less than a cluster */
    uint32_t far_reads;      /* refcounts of clusters behind the end of the file looked up */

    int64_t overflows;       /* references that the refcounts are too narrow for */
    bool rebuild;            /* refcounts cannot be repaired where they are */
    bool counts_changed;     /* by repair */
    bool unflushed;          /* something was written */
    bool snapshots_changed;  /* the snapshot table is to be written anew */
    int64_t snapshots_wrong; /* findings that writing it puts right */
} Check;

/* check-tell.c */
/* Prints a finding, unless there have been very many. */
void check_tell(Check *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void check_tell_va(Check *c, const char *fmt, va_list ap) G_GNUC_PRINTF(2, 0);
static inline const char *check_verb(bool repairing)
{
    return repairing ? "Repairing" : "ERROR";
}

/* check-snapshots.c */
CO int check_snapshots_read(Check *c, GError **err);
CO int check_snapshots_write(Check *c, GError **err);

/* Is the block that counts cluster @i one that cannot be read? */
static inline bool check_is_unknown(const Check *c, uint64_t i)
{
    return g_hash_table_size(c->unknown) &&
           g_hash_table_contains(c->unknown, GUINT_TO_POINTER((guint)(i >> c->q->refblock_bits)));
}

/* check-counts.c */
/* The refcount of any cluster, behind the end of the file too. */
CO uint64_t check_count_of(Check *c, uint64_t i);
/* Reads the refcounts of the file to c->counts. */
CO int check_counts_read(Check *c, GError **err);
/* Counts the references to refcount table and blocks, tells of what is wrong with them. */
CO int check_counts_refs(Check *c, GError **err);

/* check-refs.c */
/* Counts all other references to c->refs, tells of what is wrong with them. */
CO int check_refs(Check *c, GError **err);
/* Calls @visit with every L2 table of the disk within the file, in the order of their offsets. */
typedef void CheckVisit(Check *c, CheckTable *t, const uint8_t *entries);
CO int check_tables_read(Check *c, CheckVisit *visit, GError **err);
CheckTable *check_table_find(Check *c, uint64_t off);
/*
 * May a repair write the table at [@off, @off + @len), to which @uses references were found? Only
 * if no other metadata lies there. Guest data may: the table has overwritten it already.
 */
CO bool check_may_write(Check *c, uint64_t off, uint64_t len, uint64_t uses);
/* A reference from the table or the blocks of refcounts. False after telling: it is too far. */
bool check_region(Check *c, uint64_t off, uint64_t len);

/* check-flags.c */
CO int check_flags(Check *c, GError **err);
/* True if the flag in @desc is not what @count wants. */
static inline bool check_flag_is_wrong(uint64_t desc, uint64_t count)
{
    return (count == 1) != !!(desc & ENTRY_COPIED);
}

/* repair.c */
/* What was written before is durable. */
CO int check_barrier(Check *c);
/* Writes the refcount blocks in which c->refs and c->counts differ, in the kinds of c->fix. */
CO int repair_counts(Check *c, GError **err);
/* New refcount blocks and table behind the end of the file. */
CO int repair_rebuild(Check *c, GError **err);

#endif
