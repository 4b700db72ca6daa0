/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole trees of L1 and L2 tables, for snapshots and checks: all tables of one or more L1 tables
 * are read in the order in which they lie in the file, each once.
 */
#ifndef BLOCK_FORMATS_QCOW2_TREE_H
#define BLOCK_FORMATS_QCOW2_TREE_H

#include "block/formats/qcow2/qcow2.h"

/* An L1 table from the file in host byte order; NULL with a negative errno in *@r. */
CO uint64_t *tree_l1_read(Qcow2 *q, uint64_t off, uint32_t len, int *r);

/* An L2 table that an L1 table refers to. */
typedef struct {
    uint64_t off;        /* bytes */
    uint64_t guest;      /* of the first L1 entry that refers to it */
    uint32_t times;      /* L1 entries that refer to it */
} TreeTable;

/* Tables of @l1, sorted by offset, each once. Entries that are not aligned are left out. */
GArray *tree_tables(const Qcow2 *q, const uint64_t *l1, uint32_t len);

/*
 * Called with the content of a table as it is in the file; true in *@changed writes it back.
 * Returns 0 or a negative errno, which ends the walk.
 */
typedef CO int TreeVisit(Qcow2 *q, const TreeTable *t, uint8_t *entries, bool *changed, void *arg);

/* Reads all @tables in large pieces. Nothing may be changed in the cache. */
CO int tree_walk(Qcow2 *q, const GArray *tables, TreeVisit *visit, void *arg);

/* Adds to @c how often @l1 and its tables refer to each host cluster. -EIO: behind the end. */
CO int tree_count(Qcow2 *q, const uint64_t *l1, uint32_t len, Counts *c);

/* Takes @c from the refcounts, all or nothing, and passes down what becomes free. */
CO int tree_uncount(Qcow2 *q, Counts *c, FreeKind kind);
/* Clusters whose number in @c is 1 have become free: may be taken, and are passed down. */
CO void tree_became_free(Qcow2 *q, const Counts *c, FreeKind kind);

#endif
