/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * There are two bits for each guest page: .in, the page is in the balloon; .kept, it is in the
 * balloon but its memory has not been given back to the host. Adjacent pages are handled together,
 * as one run, at the cost of one system call.
 */
#include "balloon/pages.h"
#include "balloon/discard.h"
#include "util/size.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Bytes that one balloon_pages_catch_up gives back at most, and guest pages it looks at. */
enum { CATCH_UP_BYTES = 64 << 20, CATCH_UP_PAGES = 1 << 20 };

struct BalloonPages {
    const MemoryMap *map;
    BalloonMemory memory;
    uint64_t *in, *kept;    /* bits by page of .memory */
    uint64_t in_count, kept_count;
    uint64_t next;          /* where balloon_pages_catch_up goes on */
};

BalloonPages *balloon_pages_new(const MemoryMap *map, const BalloonMemory *memory)
{
    BalloonPages *p = g_new0(BalloonPages, 1);
    size_t words = (memory->size >> BALLOON_PAGE_BITS) / 64 + 1;

    p->map = map;
    p->memory = *memory;
    p->in = g_new0(uint64_t, words);
    p->kept = g_new0(uint64_t, words);
    return p;
}

void balloon_pages_free(BalloonPages *p)
{
    if (!p)
        return;
    g_free(p->in);
    g_free(p->kept);
    g_free(p);
}

uint64_t balloon_pages_count(const BalloonPages *p)
{
    return p->in_count;
}

uint64_t balloon_pages_kept(const BalloonPages *p)
{
    return p->kept_count;
}

/* ---- bits ------------------------------------------------------------------------------------ */

static bool is_set(const uint64_t *bits, uint64_t page)
{
    return bits[page / 64] >> page % 64 & 1;
}

static void set(uint64_t *bits, uint64_t *count, uint64_t page, bool value)
{
    uint64_t bit = UINT64_C(1) << page % 64;

    *count += value - is_set(bits, page);
    bits[page / 64] = value ? bits[page / 64] | bit : bits[page / 64] & ~bit;
}

/* ---- giving back ----------------------------------------------------------------------------- */

/*
 * The pages [@page, @page + @count) of memory, whole pages of the host, become zeroes. False: the
 * host refuses, and they stay.
 */
static bool discard(BalloonPages *p, uint64_t page, uint64_t count)
{
    uint8_t *host = p->memory.host + (page << BALLOON_PAGE_BITS);

    /* The guest would then read the file's content, not zeroes. */
    if (p->memory.is_copy)
        return false;
    return !madvise(host, count << BALLOON_PAGE_BITS,
                    p->memory.is_shared ? MADV_REMOVE : MADV_DONTNEED);
}

/* Gives back a run that is in the balloon; it begins and ends with pages of the host. */
static void drop(BalloonPages *p, uint64_t page, uint64_t count)
{
    if (!discard(p, page, count))
        return;
    for (uint64_t i = page; i < page + count; i++)
        set(p->kept, &p->kept_count, i, false);
}

/* Are all guest pages of the host's page that begins at @page in the balloon? */
static bool is_whole(const BalloonPages *p, uint64_t page, uint64_t per_page)
{
    for (uint64_t i = page; i < page + per_page; i++)
        if (!is_set(p->in, i))
            return false;
    return true;
}

/* Gives back what is whole of the pages of the host that [@page, @page + @count) touches. */
static void drop_whole(BalloonPages *p, uint64_t page, uint64_t count)
{
    uint64_t per_page = p->memory.page_size >> BALLOON_PAGE_BITS;
    uint64_t end = MIN(round_up(page + count, per_page), p->memory.size >> BALLOON_PAGE_BITS);
    uint64_t start = page = round_down(page, per_page);

    if (per_page == 1) {
        drop(p, page, end - page);
        return;
    }
    for (; page + per_page <= end; page += per_page)
        if (!is_whole(p, page, per_page)) {
            if (page > start)
                drop(p, start, page - start);
            start = page + per_page;
        }
    if (page > start)
        drop(p, start, page - start);
}

/* ---- what the guest says --------------------------------------------------------------------- */

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* The page of memory that the guest calls @number into *@page. False: it is not such memory. */
static bool page_of(const BalloonPages *p, uint32_t number, uint64_t *page)
{
    const uint8_t *host = memory_map_range(p->map, (uint64_t)number << BALLOON_PAGE_BITS,
                                           BALLOON_PAGE_SIZE, true);

    if (!host || host < p->memory.host || host >= p->memory.host + p->memory.size)
        return false;
    *page = (host - p->memory.host) >> BALLOON_PAGE_BITS;
    return true;
}

/* The run that was put last, of pages one after another both for the guest and here. */
typedef struct {
    uint64_t page, count, number;
} Run;

/* Gives back a run, and tells whoever keeps something made of its content, as translators do. */
static void run_put(BalloonPages *p, const Run *run)
{
    if (!run->count)
        return;
    if (!discard_is_denied())
        drop_whole(p, run->page, run->count);
    memory_map_written(p->map, run->number << BALLOON_PAGE_BITS, run->count << BALLOON_PAGE_BITS);
}

unsigned balloon_pages_put(BalloonPages *p, uint32_t *numbers, unsigned count, uint32_t *first_bad)
{
    Run run = { 0 };
    unsigned bad = 0;
    uint64_t page;

    qsort(numbers, count, sizeof(*numbers), compare_numbers);
    for (unsigned i = 0; i < count; i++) {
        if (!page_of(p, numbers[i], &page) || is_set(p->in, page)) {
            *first_bad = bad++ ? *first_bad : numbers[i];
            continue;
        }
        set(p->in, &p->in_count, page, true);
        set(p->kept, &p->kept_count, page, true);
        if (run.count && page == run.page + run.count && numbers[i] == run.number + run.count) {
            run.count++;
            continue;
        }
        run_put(p, &run);
        run = (Run){ page, 1, numbers[i] };
    }
    run_put(p, &run);
    return bad;
}

unsigned balloon_pages_take(BalloonPages *p, const uint32_t *numbers, unsigned count,
                            uint32_t *first_bad)
{
    unsigned bad = 0;
    uint64_t page;

    for (unsigned i = 0; i < count; i++) {
        if (!page_of(p, numbers[i], &page)) {
            *first_bad = bad++ ? *first_bad : numbers[i];
            continue;
        }
        /* A guest that came from elsewhere takes back what was put into its balloon there. */
        set(p->in, &p->in_count, page, false);
        set(p->kept, &p->kept_count, page, false);
    }
    return bad;
}

void balloon_pages_clear(BalloonPages *p)
{
    size_t words = (p->memory.size >> BALLOON_PAGE_BITS) / 64 + 1;

    memset(p->in, 0, words * sizeof(*p->in));
    memset(p->kept, 0, words * sizeof(*p->kept));
    p->in_count = p->kept_count = p->next = 0;
}

/* Where in memory the guest's [@at, @at + @len) begins. False: it is not such memory. */
static bool find_range(const BalloonPages *p, uint64_t at, uint64_t len, uint64_t *first)
{
    const uint8_t *host = memory_map_range(p->map, at, len, true);

    if (!host || host < p->memory.host || host >= p->memory.host + p->memory.size)
        return false;
    *first = host - p->memory.host;
    return true;
}

bool balloon_pages_find(const BalloonPages *p, uint64_t at, uint64_t len, uint64_t *first,
                        uint64_t *count)
{
    uint64_t start, end;

    if (!find_range(p, at, len, &start))
        return false;
    end = (start + len) >> BALLOON_PAGE_BITS;
    *first = round_up(start, BALLOON_PAGE_SIZE) >> BALLOON_PAGE_BITS;
    *count = end > *first ? end - *first : 0;
    return true;
}

bool balloon_pages_report(BalloonPages *p, uint64_t at, uint64_t len)
{
    uint64_t start, end, first;

    if (!find_range(p, at, len, &first))
        return false;
    start = round_up(first, p->memory.page_size);
    end = round_down(first + len, p->memory.page_size);
    if (start >= end || discard_is_denied())
        return true;
    if (discard(p, start >> BALLOON_PAGE_BITS, (end - start) >> BALLOON_PAGE_BITS))
        memory_map_written(p->map, at + (start - first), end - start);
    return true;
}

/* ---- after a denial -------------------------------------------------------------------------- */

bool balloon_pages_catch_up(BalloonPages *p)
{
    uint64_t pages = p->memory.size >> BALLOON_PAGE_BITS, bytes = 0;
    uint64_t stop = MIN(p->next + CATCH_UP_PAGES, pages);

    if (discard_is_denied() || !p->kept_count) {
        p->next = 0;
        return false;
    }
    while (p->next < stop && bytes < CATCH_UP_BYTES) {
        uint64_t start;

        while (p->next < stop && !is_set(p->kept, p->next))
            p->next++;
        start = p->next;
        while (p->next < stop && is_set(p->kept, p->next) &&
               p->next - start < CATCH_UP_BYTES >> BALLOON_PAGE_BITS)
            p->next++;
        if (p->next > start)
            drop_whole(p, start, p->next - start);
        bytes += (p->next - start) << BALLOON_PAGE_BITS;
    }
    if (p->next < pages)
        return true;
    p->next = 0;
    return false;
}
