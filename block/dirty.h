/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps: which granules of a node were written. In memory they belong to the node; formats
 * that can keep them in the image offer BitmapOps.
 */
#ifndef BLOCK_DIRTY_H
#define BLOCK_DIRTY_H

#include "block/block.h"
#include "util/hbitmap.h"

typedef struct DirtyBitmap {
    char *name;             /* NULL: a job's own */
    uint32_t granularity;   /* bytes, a power of two */
    uint64_t size;          /* bytes covered: the node's size */
    bool enabled;           /* records writes */
    bool persistent;        /* stored in the image at close */
    bool inconsistent;      /* found in use in the image: content unknown, may only be removed */
    bool busy;              /* in use by an export: only one at a time */
    HBitmap *bits;          /* one bit a granule; NULL when inconsistent */
    struct DirtyBitmap *next;
} DirtyBitmap;

typedef struct {
    /* May a persistent bitmap of this name and granularity be added? */
    CO bool (*can_store)(Node *n, const char *name, uint32_t granularity, GError **err);
    CO bool (*remove)(Node *n, const char *name, GError **err);
    /*
     * *@bytes: what the bitmaps of @n take in a new image with @cluster_size. False: @n can have
     * none. For measure.
     */
    CO bool (*measure)(Node *n, uint64_t cluster_size, uint64_t *bytes);
    /*
     * While @n stays in use: whoever opens the image after a crash finds @bits as the content of @b
     * and trusts them. Durable when it returns. @bits NULL: the content of @b is not to be trusted
     * then; if that fails @n takes no more writes.
     */
    CO bool (*store_now)(Node *n, const DirtyBitmap *b, const HBitmap *bits, GError **err);
} BitmapOps;

/* Adds a bitmap to @n, at the end of its list. @name NULL: nobody finds it. NULL with @err. */
DirtyBitmap *dirty_add(Node *n, const char *name, uint32_t granularity, GError **err);
/* The same for one whose bits nobody knows. */
DirtyBitmap *dirty_add_inconsistent(Node *n, const char *name, uint32_t granularity, GError **err);
/* False with @err if @n cannot store such a bitmap. */
CO bool dirty_can_store(Node *n, const char *name, uint32_t granularity, GError **err);
/* The same for one that is stored in the image, if that is possible. */
CO DirtyBitmap *dirty_add_persistent(Node *n, const char *name, uint32_t granularity, GError **err);
/* Removes @b from @n, and from the image if it is stored there. */
CO bool dirty_delete(Node *n, DirtyBitmap *b, GError **err);
/* False with @err if it is one of those. */
bool dirty_check_known(const DirtyBitmap *b, GError **err);
DirtyBitmap *dirty_find(Node *n, const char *name);
DirtyBitmap *dirty_first(Node *n);                    /* then ->next */
void dirty_remove(Node *n, DirtyBitmap *b);
/* Forgets the bitmaps of @n that are in its image, which others may change. */
void dirty_drop_stored(Node *n);
/* Marks whole granules in every enabled bitmap of @n. Any alignment; no allocation. */
void dirty_mark(Node *n, uint64_t off, uint64_t len);
/* Default granularity for @n: its cluster size within 4 KiB to 64 KiB, else 64 KiB. */
CO uint32_t dirty_default_granularity(Node *n);
/* Sets in @to what is set in @from; both cover the first @len bytes, in granules of their own. */
void dirty_bits_merge(HBitmap *to, uint32_t to_granularity, const HBitmap *from,
                      uint32_t from_granularity, uint64_t len);
uint64_t dirty_count(const DirtyBitmap *b);           /* bytes marked */

#endif
