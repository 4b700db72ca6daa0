/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/base/ram.h"
#include "system/base/guest-log.h"
#include "system/base/lock.h"
#include "system/base/ram-log.h"
#include <inttypes.h>
#include <string.h>

typedef struct {
    uint64_t start, size;
    uint8_t *host; /* NULL: registers */
    bool read_only;
    const MmioOps *ops;
    void *opaque;
} Region;

struct MemoryMap {
    GArray *regions; /* of Region, by start */
    void (*written)(void *opaque, uint64_t at, uint64_t len); /* NULL: nobody hears */
    void *opaque;
    MemoryHereFn *here; /* NULL: no memory is missing */
    void *here_opaque;
};

MemoryMap *memory_map_new(void)
{
    MemoryMap *map = g_new0(MemoryMap, 1);

    map->regions = g_array_new(FALSE, FALSE, sizeof(Region));
    return map;
}

void memory_map_free(MemoryMap *map)
{
    if (!map)
        return;
    g_array_unref(map->regions);
    g_free(map);
}

static void add_region(MemoryMap *map, Region r)
{
    guint i = 0;

    g_assert(r.size && r.start + r.size - 1 >= r.start);
    while (i < map->regions->len && g_array_index(map->regions, Region, i).start < r.start)
        i++;
    g_array_insert_val(map->regions, i, r);
    if (i) {
        const Region *before = &g_array_index(map->regions, Region, i - 1);

        g_assert(before->start + before->size <= r.start);
    }
    if (i + 1 < map->regions->len)
        g_assert(r.start + r.size <= g_array_index(map->regions, Region, i + 1).start);
}

void memory_map_add_ram(MemoryMap *map, uint64_t start, uint64_t size, void *host)
{
    g_assert(!((start | size) & 4095));
    add_region(map, (Region){ .start = start, .size = size, .host = host });
}

void memory_map_add_rom(MemoryMap *map, uint64_t start, uint64_t size, void *host)
{
    g_assert(!((start | size) & 4095));
    add_region(map, (Region){ .start = start, .size = size, .host = host, .read_only = true });
}

void memory_map_add_mmio(MemoryMap *map, uint64_t start, uint64_t size, const MmioOps *ops,
                         void *opaque)
{
    add_region(map, (Region){ .start = start, .size = size, .ops = ops, .opaque = opaque });
}

bool memory_map_is_free(const MemoryMap *map, uint64_t start, uint64_t size)
{
    for (guint i = 0; i < map->regions->len; i++) {
        const Region *r = &g_array_index(map->regions, Region, i);

        if (start < r->start + r->size && r->start < start + size)
            return false;
    }
    return true;
}

static const Region *find_region(const MemoryMap *map, uint64_t at)
{
    guint low = 0, high = map->regions->len;

    while (low < high) {
        guint middle = (low + high) / 2;
        const Region *r = &g_array_index(map->regions, Region, middle);

        if (at < r->start)
            high = middle;
        else if (at - r->start >= r->size)
            low = middle + 1;
        else
            return r;
    }
    return NULL;
}

uint8_t *memory_map_host(const MemoryMap *map, uint64_t at, bool write)
{
    const Region *r = find_region(map, at);

    return r && r->host && !(write && r->read_only) ? r->host + (at - r->start) : NULL;
}

static bool fits(const Region *r, uint64_t at, unsigned size)
{
    return at - r->start <= r->size - size && size <= r->size;
}

static unsigned widest(const Region *r, unsigned size)
{
    return r->ops->widest && r->ops->widest < size ? r->ops->widest : size;
}

static uint64_t read_registers(const Region *r, uint64_t offset, unsigned size)
{
    unsigned step = widest(r, size);
    uint64_t v = 0;

    machine_lock();
    for (unsigned i = 0; i < size; i += step)
        v |= r->ops->read(r->opaque, offset + i, step) << 8 * i;
    machine_unlock();
    return v;
}

static void write_registers(const Region *r, uint64_t offset, unsigned size, uint64_t value)
{
    unsigned step = widest(r, size);

    machine_lock();
    for (unsigned i = 0; i < size; i += step)
        r->ops->write(r->opaque, offset + i, step,
                      value >> 8 * i & UINT64_MAX >> (64 - 8 * step));
    machine_unlock();
}

uint64_t memory_map_read(const MemoryMap *map, uint64_t at, unsigned size)
{
    const Region *r = find_region(map, at);
    uint64_t v = 0;

    if (r && !fits(r, at, size)) {
        for (unsigned i = 0; i < size; i++)
            v |= memory_map_read(map, at + i, 1) << 8 * i;
        return v;
    }
    if (!r) {
        guest_log(GUEST_LOG_ERRORS, "read of %u bytes at 0x%" PRIx64 ": nothing is there", size,
                  at);
        return UINT64_MAX >> (64 - 8 * size);
    }
    if (!r->host)
        return read_registers(r, at - r->start, size);
    memcpy(&v, r->host + (at - r->start), size);
    return GUINT64_FROM_LE(v);
}

void memory_map_write(const MemoryMap *map, uint64_t at, unsigned size, uint64_t value)
{
    const Region *r = find_region(map, at);

    if (r && !fits(r, at, size)) {
        for (unsigned i = 0; i < size; i++)
            memory_map_write(map, at + i, 1, value >> 8 * i);
    } else if (r && !r->host) {
        write_registers(r, at - r->start, size, value);
    } else if (r && !r->read_only) {
        value = GUINT64_TO_LE(value);
        memcpy(r->host + (at - r->start), &value, size);
        ram_log_note(r->host + (at - r->start));
    } else {
        guest_log(GUEST_LOG_ERRORS, "write of %u bytes, 0x%" PRIx64 ", at 0x%" PRIx64 ": %s", size,
                  value, at, r ? "it is read-only" : "nothing is there");
    }
}

/* ---- for devices ----------------------------------------------------------------------------- */

void *memory_map_range(const MemoryMap *map, uint64_t at, uint64_t len, bool write)
{
    const Region *r = find_region(map, at);

    if (!r || !r->host || (write && r->read_only) || len > r->size - (at - r->start))
        return NULL;
    return r->host + (at - r->start);
}

void memory_map_written(const MemoryMap *map, uint64_t at, uint64_t len)
{
    const Region *r = find_region(map, at);

    for (uint64_t i = at & ~UINT64_C(4095); r && r->host && len && i < at + len; i += 4096)
        ram_log_note(r->host + (MAX(i, r->start) - r->start));
    if (map->written && len)
        map->written(map->opaque, at, len);
}

bool memory_map_load(const MemoryMap *map, uint64_t at, void *to, uint64_t len)
{
    const void *from = memory_map_range(map, at, len, false);

    if (!from)
        return false;
    if (len)    /* else there may be no buffer */
        memcpy(to, from, len);
    return true;
}

bool memory_map_store(const MemoryMap *map, uint64_t at, const void *from, uint64_t len)
{
    void *to = memory_map_range(map, at, len, true);

    if (!to)
        return false;
    if (len)
        memcpy(to, from, len);
    memory_map_written(map, at, len);
    return true;
}

/*
 * ---- memory that is still to come --------------------------------------------------------------
 */

void memory_map_lack(MemoryMap *map, MemoryHereFn *here, void *opaque)
{
    map->here = here;
    map->here_opaque = opaque;
}

bool memory_map_lacks(const MemoryMap *map)
{
    return map->here;
}

bool memory_map_here(const MemoryMap *map, uint64_t at, uint64_t len)
{
    const uint8_t *host = map->here ? memory_map_range(map, at, len, false) : NULL;

    return !host || map->here(map->here_opaque, host, len);
}

/* Waits in the kernel if they are missing. */
static void touch(const volatile uint8_t *bytes, uint64_t len)
{
    for (uint64_t i = 0; i < len; i += 4096)
        bytes[i];
    if (len)
        bytes[len - 1];
}

void memory_map_fetch(const MemoryMap *map, uint64_t at, uint64_t len)
{
    while (!memory_map_here(map, at, len)) {
        const uint8_t *host = memory_map_range(map, at, len, false);

        machine_unlock();
        touch(host, len);
        machine_lock();
    }
}

/*
 * ---- translated code ---------------------------------------------------------------------------
 */

void memory_map_hear(MemoryMap *map, void (*fn)(void *opaque, uint64_t at, uint64_t len),
                     void *opaque)
{
    map->written = fn;
    map->opaque = opaque;
}

void memory_map_each(const MemoryMap *map, void (*fn)(void *opaque, const MemoryRegion *r),
                     void *opaque)
{
    for (guint i = 0; i < map->regions->len; i++) {
        const Region *r = &g_array_index(map->regions, Region, i);
        MemoryRegion shown = {
            r->start, r->size, r->host, r->read_only,
            r->host ? r->read_only ? "rom" : "ram" : r->ops->name ? r->ops->name : "registers",
        };

        fn(opaque, &shown);
    }
}
