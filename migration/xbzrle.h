/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages sent as what has changed since they were sent last (XBZRLE, docs/spec/migration-stream.md).
 * The source keeps what the target has of the pages that change often.
 */
#ifndef MIGRATION_XBZRLE_H
#define MIGRATION_XBZRLE_H

#include "migration/ram.h"

typedef struct {
    uint64_t pages, bytes;   /* that were sent as changes */
    uint64_t misses;         /* pages that were not in the cache */
    uint64_t overflows;      /* pages that were shorter whole */
} XbzrleStats;

typedef struct Xbzrle Xbzrle;

/* Keeps up to @cache_size bytes of pages, a power of two. NULL with @err if there is no memory. */
Xbzrle *xbzrle_new(uint64_t cache_size, GError **err);
void xbzrle_free(Xbzrle *x);
uint64_t xbzrle_cache_size(const Xbzrle *x);
XbzrleStats xbzrle_stats(const Xbzrle *x);

/* The target now has zeroes there. */
void xbzrle_forget(Xbzrle *x, const RamBlock *b, uint64_t off);
/*
 * As ram_write_page, of a page that is not all zero; nothing is sent if the target has it already.
 * @keep: pages that are not in the cache come into it.
 */
CO void xbzrle_write_page(Xbzrle *x, Output *out, const RamBlock *b, uint64_t off,
                          const RamBlock **last, bool keep);

/*
 * What makes @old become @now, RAM_PAGE_SIZE bytes each, in less than that at @to: its length, 0 if
 * they are alike, or -1 if it is not shorter than the page.
 */
int xbzrle_encode(const uint8_t *old, const uint8_t *now, uint8_t *to);

#endif
