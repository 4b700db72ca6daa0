/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parts of the image file kept in memory: slices of L2 tables, refcount blocks.
 *
 * All parts have one size and lie at multiples of it. There is a fixed number of places; their
 * memory is taken from the system when first used and given back by cache_trim. The pointer that
 * cache_get returns is good until the caller suspends: nothing is pinned, so nothing is ever put
 * back. A changed part is marked with cache_mark and written by whoever owns the cache; while that
 * is under way the place is held (see CacheEntry.held).
 */
#ifndef BLOCK_FORMATS_QCOW2_CACHE_H
#define BLOCK_FORMATS_QCOW2_CACHE_H

#include "block/driver.h"

typedef struct {
    uint64_t off;        /* of the part in the file; 0: the place is empty */
    uint32_t next;       /* in the chain of its hash, index + 1 */
    uint32_t dirty_from; /* bytes within the part that differ from the file; equal: none */
    uint32_t dirty_to;
    uint16_t held;       /* being written: must not be given to another part */
    bool loading;        /* being read: content not there yet */
    bool hot;            /* used since the hand passed */
    bool touched;        /* used since the last trim */
    bool detached;       /* nothing in the file refers to it: may be written in any order */
    bool forgotten;      /* no part any more; empty as soon as it is not held */
} CacheEntry;

typedef struct Cache {
    Edge *file;
    uint32_t part;         /* bytes */
    uint32_t count;        /* places */
    uint32_t hash_mask;
    uint32_t hand;
    uint32_t used;         /* places not empty */
    uint32_t dirty;        /* places with changes */
    uint8_t *memory;
    CacheEntry *entries;
    uint32_t *hash;        /* index + 1 of the first entry of each chain */
    CoQueue waiters;       /* for a part being loaded, or for a free place */
    BlockEvent load_event;
    /* Makes at least one dirty place clean, or fails. */
    CO int (*clean)(void *owner);
    void *owner;
} Cache;

/* False if there is no memory. @part is a power of two. */
bool cache_init(Cache *c, Edge *file, uint32_t part, uint32_t count);
void cache_fini(Cache *c);

/* The part at @off (a multiple of the size), read from the file if need be. */
CO int cache_get(Cache *c, uint64_t off, void **data);
/* The same without suspending: NULL if it is not there. */
void *cache_peek(Cache *c, uint64_t off);
/* A place for a part whose content in the file does not matter: zeroes, all dirty. */
CO int cache_get_new(Cache *c, uint64_t off, void **data);
CacheEntry *cache_entry(Cache *c, const void *data);
void *cache_data(Cache *c, const CacheEntry *e);
/* [@from, @from + @len) of the part at @data was changed. */
void cache_mark(Cache *c, const void *data, uint32_t from, uint32_t len);
/* No changes any more: they are about to be written from a copy. */
void cache_clean(Cache *c, CacheEntry *e);
/* Keeps the place of @e while it is written, and ends that. */
void cache_hold(CacheEntry *e);
void cache_release(Cache *c, CacheEntry *e);
/* Nothing in [@off, @off + @len) of the file is a part any more; changes there are dropped. */
void cache_forget(Cache *c, uint64_t off, uint64_t len);
/* Drops every part. There must be no changes, or they are lost. */
void cache_drop_all(Cache *c);
/* Gives back the memory of clean parts not used since the last call. */
void cache_trim(Cache *c);
static inline bool cache_is_dirty(const CacheEntry *e)
{
    return e->dirty_from < e->dirty_to;
}

/* Dirty entries in the order of their offsets; caller frees. */
GPtrArray *cache_dirty_list(Cache *c);

#endif
