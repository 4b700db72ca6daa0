/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-release.h"
#include "io/co.h"
#include "migration/page-bits.h"
#include "migration/postcopy-source.h"
#include "migration/wire.h"
#include "util/err.h"
#include <string.h>
#include <sys/mman.h>

enum {
    STEP = 4 << 20,         /* bytes between two pings, at least */
    STEPS = 64,             /* about so many pings for all memory: each costs a copy of the bits */
    PIECE = 32 << 20,       /* bytes that are given back at once */
};

static const RamBlock *memory_of(const MigSource *s)
{
    return s->ram->blocks->pdata[0];
}

static size_t words_of(const RamBlock *b)
{
    return (b->size / RAM_PAGE_SIZE + WORD - 1) / WORD;
}

void release_clear(Release *r)
{
    g_free(r->asked);
    g_free(r->gone);
    *r = (Release){ 0 };
}

CO void release_ask(Release *r, MigSource *s)
{
    const RamBlock *b = memory_of(s);
    uint64_t sent = source_bytes(s);

    if (r->asked || (r->ping && sent - r->bytes < MAX(STEP, b->size / STEPS)))
        return;
    r->asked = g_memdup2(s->pending[0], words_of(b) * sizeof(unsigned long));
    r->ping = MAX(r->ping + 1, RELEASE_PING_FIRST);
    r->bytes = sent;
    postcopy_source_ping(s, r->ping);
}

/*
 * Gives back [first, end), bits of .gone that are set. What the host does not take, parts of huge
 * pages for example, stays.
 */
static CO void give_back(const RamBlock *b, size_t first, size_t end, bool is_shared)
{
    while (first < end) {
        size_t n = MIN(end - first, PIECE / RAM_PAGE_SIZE);

        madvise(b->host + first * RAM_PAGE_SIZE, n * RAM_PAGE_SIZE,
                is_shared ? MADV_REMOVE : MADV_DONTNEED);
        first += n;
        /* Meanwhile the target waits for pages. */
        co_yield();
    }
}

static void begin(Release *r, const RamBlock *b)
{
    size_t words = words_of(b), pages = b->size / RAM_PAGE_SIZE;

    r->gone = g_new0(unsigned long, words);
    if (pages % WORD)
        r->gone[words - 1] = ~0UL << pages % WORD;
}

/* Gives back what neither is pending, by @pending, nor was given back before. */
static CO void release(Release *r, const MigSource *s, const unsigned long *pending,
                       bool is_shared)
{
    const RamBlock *b = memory_of(s);
    size_t words = words_of(b), pages = b->size / RAM_PAGE_SIZE, end;
    g_autofree unsigned long *due = g_new(unsigned long, words);

    if (!r->gone)
        begin(r, b);
    for (size_t w = 0; w < words; w++) {
        due[w] = ~pending[w] & ~r->gone[w];
        r->gone[w] |= due[w];
    }
    for (size_t first = find_bit(due, 0, pages, true); first < pages;
         first = find_bit(due, end, pages, true)) {
        end = find_bit(due, first, pages, false);
        give_back(b, first, end, is_shared);
    }
}

CO void release_answered(Release *r, const MigSource *s, uint32_t value, bool is_shared)
{
    g_autofree unsigned long *asked = NULL;

    if (!r->asked || value != r->ping)
        return;
    asked = g_steal_pointer(&r->asked);
    release(r, s, asked, is_shared);
}

CO void release_rest(Release *r, const MigSource *s, bool is_shared)
{
    g_clear_pointer(&r->asked, g_free);
    release(r, s, s->pending[0], is_shared);
}

bool release_recover(Release *r, const MigSource *s, GError **err)
{
    /* The answer that was awaited does not come any more. */
    g_clear_pointer(&r->asked, g_free);
    for (size_t w = 0; r->gone && w < words_of(memory_of(s)); w++)
        if (r->gone[w] & s->pending[0][w])
            return err_set(err, EINVAL, "The target lacks memory that it has confirmed before, and "
                           "that was given back here (capability 'release-ram')");
    return true;
}
