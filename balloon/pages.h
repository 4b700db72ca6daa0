/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pages that a guest has put into its balloon, and giving their memory back to the host.
 *
 * Guests speak of pages of 4096 bytes. A page of the host, which may be larger, is given back
 * only when all guest pages in it are in the balloon. While discarding is denied
 * (balloon/discard.h) pages are accepted and stay; balloon_pages_catch_up gives them back
 * afterwards.
 *
 * Drivers tell of a page that they take back before they use it; whoever does not loses its
 * content. All with the machine's lock held.
 */
#ifndef BALLOON_PAGES_H
#define BALLOON_PAGES_H

#include "system/base/ram.h"

enum { BALLOON_PAGE_BITS = 12, BALLOON_PAGE_SIZE = 1 << BALLOON_PAGE_BITS };

/* The memory of the guest that may be ballooned. */
typedef struct {
    uint8_t *host;
    uint64_t size;
    uint64_t page_size; /* of the host there: a power of two, 4096 at least */
    bool is_shared;     /* mapped shared: what is behind the mapping is given back, too */
    bool is_copy;       /* privately mapped file: nothing can be given back */
} BalloonMemory;

typedef struct BalloonPages BalloonPages;

/* @map is the map of guest-physical memory that @memory is part of; both are the caller's. */
BalloonPages *balloon_pages_new(const MemoryMap *map, const BalloonMemory *memory);
void balloon_pages_free(BalloonPages *p);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BalloonPages, balloon_pages_free)

/*
 * The guest puts @count pages, by number, into the balloon. @numbers is sorted in place. Returns
 * how many were not accepted: no memory of the guest, or in the balloon already. *@first_bad,
 * unless that is 0, is one of them.
 */
unsigned balloon_pages_put(BalloonPages *p, uint32_t *numbers, unsigned count, uint32_t *first_bad);
/* The guest takes them back. Returns how many are no memory of the guest. */
unsigned balloon_pages_take(BalloonPages *p, const uint32_t *numbers, unsigned count,
                            uint32_t *first_bad);

/* Forgets what is in the balloon: the guest begins anew. */
void balloon_pages_clear(BalloonPages *p);

/*
 * The guest does not use [@at, @at + @len) now, and may use it again at any time. The whole pages
 * of the host in it are given back. False: it is not the guest's memory.
 */
bool balloon_pages_report(BalloonPages *p, uint64_t at, uint64_t len);

/*
 * The whole guest pages in [@at, @at + @len), by their number in memory: *@count from *@first on.
 * False: it is not the guest's memory.
 */
bool balloon_pages_find(const BalloonPages *p, uint64_t at, uint64_t len, uint64_t *first,
                        uint64_t *count);

/*
 * Gives back pages that were accepted while discarding was denied, a bounded number of them.
 * True: there may be more.
 */
bool balloon_pages_catch_up(BalloonPages *p);

/* Guest pages that are in the balloon, and those of them that still take memory of the host. */
uint64_t balloon_pages_count(const BalloonPages *p);
uint64_t balloon_pages_kept(const BalloonPages *p);

#endif
