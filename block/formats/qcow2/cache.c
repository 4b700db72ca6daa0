/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cached metadata of one kind.
 *
 * Invariants. A place that is loading, held or dirty is never given to another part. Every place
 * with an offset is in exactly one hash chain. Only cache_get suspends, and after suspending it
 * looks again from the start.
 */
#include "block/formats/qcow2/cache.h"
#include "util/trace.h"
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

static uint32_t cache_hash(const Cache *c, uint64_t off)
{
    return (uint32_t)((off / c->part * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & c->hash_mask;
}

bool cache_init(Cache *c, Edge *file, uint32_t part, uint32_t count)
{
    uint32_t chains = 4;
    void *memory = mmap(NULL, (size_t)part * count, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    while (chains < count && chains < (1u << 30))
        chains *= 2;
    if (memory == MAP_FAILED)
        return false;
    *c = (Cache){ .file = file, .part = part, .count = count, .hash_mask = chains - 1,
                  .memory = memory, .load_event = EV_NONE };
    c->entries = g_try_new0(CacheEntry, count);
    c->hash = g_try_new0(uint32_t, chains);
    if (c->entries && c->hash)
        return true;
    cache_fini(c);
    return false;
}

void cache_fini(Cache *c)
{
    if (c->memory)
        munmap(c->memory, (size_t)c->part * c->count);
    g_free(c->entries);
    g_free(c->hash);
    *c = (Cache){};
}

void *cache_data(Cache *c, const CacheEntry *e)
{
    return c->memory + (size_t)(e - c->entries) * c->part;
}

CacheEntry *cache_entry(Cache *c, const void *data)
{
    return &c->entries[((const uint8_t *)data - c->memory) / c->part];
}

static CacheEntry *cache_find(Cache *c, uint64_t off)
{
    uint32_t i = c->hash[cache_hash(c, off)];

    while (i && c->entries[i - 1].off != off)
        i = c->entries[i - 1].next;
    return i ? &c->entries[i - 1] : NULL;
}

static void cache_unlink(Cache *c, CacheEntry *e)
{
    uint32_t *at = &c->hash[cache_hash(c, e->off)];

    while (&c->entries[*at - 1] != e)
        at = &c->entries[*at - 1].next;
    *at = e->next;
    *e = (CacheEntry){};
    c->used--;
}

static void cache_link(Cache *c, CacheEntry *e, uint64_t off)
{
    uint32_t *chain = &c->hash[cache_hash(c, off)];

    *e = (CacheEntry){ .off = off, .next = *chain, .hot = true, .touched = true };
    *chain = e - c->entries + 1;
    c->used++;
}

static bool cache_is_busy(const CacheEntry *e)
{
    return e->loading || e->held || cache_is_dirty(e);
}

/* A place that can be reused at once: empty, else one not used lately. NULL: all are busy. */
static CacheEntry *cache_victim(Cache *c)
{
    for (uint64_t steps = 0; steps < 2 * (uint64_t)c->count; steps++) {
        CacheEntry *e = &c->entries[c->hand];

        c->hand = (c->hand + 1) % c->count;
        if (!e->off)
            return e;
        if (cache_is_busy(e))
            continue;
        if (!e->hot)
            return e;
        e->hot = false;
    }
    return NULL;
}

/*
 * Links a place for @off. *@e is NULL when the caller must look again, because this suspended.
 */
static CO int cache_take(Cache *c, uint64_t off, CacheEntry **e)
{
    *e = cache_victim(c);
    if (*e) {
        if ((*e)->off)
            cache_unlink(c, *e);
        cache_link(c, *e, off);
        return 0;
    }
    if (c->dirty)
        return c->clean(c->owner);
    co_queue_wait(&c->waiters);
    return 0;
}

/* Fills @buf from the file; what lies behind its end is zero. */
static CO int cache_read(Cache *c, uint64_t off, void *buf)
{
    uint64_t end = edge_size(c->file);
    uint64_t len = off < end ? MIN(c->part, end - off) : 0;
    int r = len ? edge_pread_buf(c->file, off, buf, len) : 0;

    TRACE(qcow2_cache_load, "%s off=%" PRIu64 " result=%d",
          c->load_event == EV_L2_LOAD ? "l2" : "refcount", off, r);
    memset((uint8_t *)buf + len, 0, c->part - len);
    return r;
}

void *cache_peek(Cache *c, uint64_t off)
{
    CacheEntry *e = cache_find(c, off);

    if (!e || e->loading || e->forgotten)
        return NULL;
    e->hot = e->touched = true;
    return cache_data(c, e);
}

CO int cache_get(Cache *c, uint64_t off, void **data)
{
    CacheEntry *e;
    int r;

    for (;;) {
        *data = cache_peek(c, off);
        if (*data)
            return 0;
        if (cache_find(c, off)) {
            co_queue_wait(&c->waiters);
            continue;
        }
        r = cache_take(c, off, &e);
        if (r < 0)
            return r;
        if (e)
            break;
    }
    e->loading = true;
    *data = cache_data(c, e);
    if (c->load_event != EV_NONE)
        edge_event(c->file, c->load_event);
    r = cache_read(c, off, *data);
    e->loading = false;
    if (r < 0)
        cache_unlink(c, e);
    co_queue_wake_all(&c->waiters);
    return r;
}

CO int cache_get_new(Cache *c, uint64_t off, void **data)
{
    CacheEntry *e = NULL;

    while (!e) {
        cache_forget(c, off, c->part);
        e = cache_find(c, off);
        if (e) {
            co_queue_wait(&c->waiters);
            e = NULL;
            continue;
        }
        int r = cache_take(c, off, &e);
        if (r < 0)
            return r;
    }
    *data = cache_data(c, e);
    memset(*data, 0, c->part);
    cache_mark(c, *data, 0, c->part);
    return 0;
}

void cache_mark(Cache *c, const void *data, uint32_t from, uint32_t len)
{
    CacheEntry *e = cache_entry(c, data);
    uint32_t to = from + len;

    if (cache_is_dirty(e)) {
        from = MIN(from, e->dirty_from);
        to = MAX(to, e->dirty_to);
    } else {
        c->dirty++;
    }
    e->dirty_from = from;
    e->dirty_to = to;
}

void cache_clean(Cache *c, CacheEntry *e)
{
    if (cache_is_dirty(e))
        c->dirty--;
    e->dirty_from = e->dirty_to = 0;
}

void cache_hold(CacheEntry *e)
{
    e->held++;
}

void cache_release(Cache *c, CacheEntry *e)
{
    if (!--e->held && e->forgotten) {
        cache_clean(c, e);
        cache_unlink(c, e);
    }
    co_queue_wake_all(&c->waiters);
}

static void cache_forget_entry(Cache *c, CacheEntry *e)
{
    cache_clean(c, e);
    if (e->held)
        e->forgotten = true;
    else if (!e->loading)
        cache_unlink(c, e);
}

void cache_forget(Cache *c, uint64_t off, uint64_t len)
{
    if (len / c->part > c->count) {
        for (uint32_t i = 0; i < c->count; i++) {
            CacheEntry *e = &c->entries[i];

            if (e->off >= off && e->off - off < len && e->off)
                cache_forget_entry(c, e);
        }
        return;
    }
    for (uint64_t at = off; at < off + len; at += c->part) {
        CacheEntry *e = cache_find(c, at);

        if (e)
            cache_forget_entry(c, e);
    }
}

void cache_drop_all(Cache *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->entries[i].off)
            cache_forget_entry(c, &c->entries[i]);
}

void cache_trim(Cache *c)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    for (uint32_t i = 0; i < c->count; i++) {
        CacheEntry *e = &c->entries[i];
        uintptr_t start = (uintptr_t)cache_data(c, e);

        if (!e->off || cache_is_busy(e))
            continue;
        if (e->touched) {
            e->touched = false;
            continue;
        }
        cache_unlink(c, e);
        if (c->part >= page)
            madvise((void *)start, c->part, MADV_DONTNEED);
    }
}

static int cache_order(const void *a, const void *b)
{
    const CacheEntry *x = *(CacheEntry *const *)a;
    const CacheEntry *y = *(CacheEntry *const *)b;

    return x->off < y->off ? -1 : x->off > y->off;
}

GPtrArray *cache_dirty_list(Cache *c)
{
    GPtrArray *list = g_ptr_array_new();

    if (!c->dirty)
        return list;
    for (uint32_t i = 0; i < c->count; i++)
        if (cache_is_dirty(&c->entries[i]))
            g_ptr_array_add(list, &c->entries[i]);
    g_ptr_array_sort(list, cache_order);
    return list;
}
