/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/xbzrle.h"
#include "migration/wire.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

/* A page of guest memory is kept in one place only, by its address. */
typedef struct {
    const RamBlock *block; /* NULL: nothing is kept here */
    uint64_t off;
} Key;

struct Xbzrle {
    uint64_t pages;        /* a power of two */
    Key *keys;
    uint8_t *data;         /* RAM_PAGE_SIZE bytes for each key */
    XbzrleStats stats;
};

Xbzrle *xbzrle_new(uint64_t cache_size, GError **err)
{
    Xbzrle *x = g_new0(Xbzrle, 1);

    x->pages = cache_size / RAM_PAGE_SIZE;
    /* Memory that is not touched costs nothing. */
    x->data = mmap(NULL, cache_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    x->keys = x->data == MAP_FAILED ? NULL : g_try_new0(Key, x->pages);
    if (x->keys)
        return x;
    if (x->data != MAP_FAILED)
        munmap(x->data, cache_size);
    g_free(x);
    err_set(err, ENOMEM, "There is no memory for an xbzrle cache of %" PRIu64 " bytes: set a "
            "smaller xbzrle-cache-size", cache_size);
    return NULL;
}

void xbzrle_free(Xbzrle *x)
{
    if (!x)
        return;
    munmap(x->data, xbzrle_cache_size(x));
    g_free(x->keys);
    g_free(x);
}

uint64_t xbzrle_cache_size(const Xbzrle *x)
{
    return x->pages * RAM_PAGE_SIZE;
}

XbzrleStats xbzrle_stats(const Xbzrle *x)
{
    return x->stats;
}

static uint64_t place_of(const Xbzrle *x, uint64_t off)
{
    return off / RAM_PAGE_SIZE & (x->pages - 1);
}

static bool is_kept(const Xbzrle *x, const RamBlock *b, uint64_t off)
{
    const Key *k = &x->keys[place_of(x, off)];

    return k->block == b && k->off == off;
}

void xbzrle_forget(Xbzrle *x, const RamBlock *b, uint64_t off)
{
    if (is_kept(x, b, off))
        x->keys[place_of(x, off)].block = NULL;
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* The first place from @i on where the pages differ, or agree. */
static unsigned run_of_same(const uint8_t *old, const uint8_t *now, unsigned i)
{
    uint64_t a, b;

    for (; i + 8 <= RAM_PAGE_SIZE; i += 8) {
        memcpy(&a, old + i, 8);
        memcpy(&b, now + i, 8);
        if (a != b)
            return i + __builtin_ctzll(a ^ b) / 8;
    }
    while (i < RAM_PAGE_SIZE && old[i] == now[i])
        i++;
    return i;
}

static unsigned run_of_changed(const uint8_t *old, const uint8_t *now, unsigned i)
{
    while (i < RAM_PAGE_SIZE && old[i] != now[i])
        i++;
    return i;
}

static unsigned put_uleb(uint8_t *to, unsigned v)
{
    to[0] = v < 0x80 ? v : (v & 0x7f) | 0x80;
    if (v >= 0x80)
        to[1] = v >> 7;
    return v < 0x80 ? 1 : 2;
}

int xbzrle_encode(const uint8_t *old, const uint8_t *now, uint8_t *to)
{
    unsigned n = 0, at = 0;

    for (;;) {
        unsigned same = run_of_same(old, now, at), end;

        if (same == RAM_PAGE_SIZE)
            return n;
        end = run_of_changed(old, now, same);
        if (n + 4 + (end - same) >= RAM_PAGE_SIZE)
            return -1;
        n += put_uleb(to + n, same - at);
        n += put_uleb(to + n, end - same);
        memcpy(to + n, now + same, end - same);
        n += end - same;
        at = end;
    }
}

/* ---- sending --------------------------------------------------------------------------------- */

static CO void write_whole(Output *out, const RamBlock *b, uint64_t off, const RamBlock **last,
                           const uint8_t *page)
{
    ram_write_record(out, b, off, RAM_PAGE, last);
    output_bytes(out, page, RAM_PAGE_SIZE);
}

static CO void write_change(Xbzrle *x, Output *out, const RamBlock *b, uint64_t off,
                            const RamBlock **last, uint8_t *kept, const uint8_t *page)
{
    uint8_t change[RAM_PAGE_SIZE];
    int len = xbzrle_encode(kept, page, change);

    if (!len)
        return;
    memcpy(kept, page, RAM_PAGE_SIZE);
    if (len < 0) {
        x->stats.overflows++;
        write_whole(out, b, off, last, page);
        return;
    }
    x->stats.pages++;
    x->stats.bytes += len;
    ram_write_record(out, b, off, RAM_XBZRLE, last);
    output_u8(out, 1);
    output_u16(out, len);
    output_bytes(out, change, len);
}

CO void xbzrle_write_page(Xbzrle *x, Output *out, const RamBlock *b, uint64_t off,
                          const RamBlock **last, bool keep)
{
    uint8_t *kept = x->data + place_of(x, off) * RAM_PAGE_SIZE;
    uint8_t page[RAM_PAGE_SIZE];

    /* The guest goes on writing: what is sent and what is kept have to be the same. */
    memcpy(page, b->host + off, sizeof(page));
    if (is_kept(x, b, off)) {
        write_change(x, out, b, off, last, kept, page);
        return;
    }
    x->stats.misses++;
    if (keep) {
        x->keys[place_of(x, off)] = (Key){ b, off };
        memcpy(kept, page, sizeof(page));
    }
    write_whole(out, b, off, last, page);
}
