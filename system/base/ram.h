/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest-physical memory: a map of regions, each either RAM in host memory or registers of a device.
 *
 * A map is built before its processors run and does not change while they do. Addresses without a
 * region read as ones, and writes to them are lost. What several processors do to RAM is as atomic
 * as the host's own accesses; callbacks are called on the thread of the processor, with the
 * machine's lock held. The space of I/O ports is a map too.
 */
#ifndef SYSTEM_BASE_RAM_H
#define SYSTEM_BASE_RAM_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Registers of a device. @size is 1, 2, 4 or 8, but at most .widest unless that is 0: wider
 * accesses are made in pieces. Accesses do not cross the region's end.
 */
typedef struct {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, unsigned size, uint64_t value);
    unsigned widest;
    const char *name; /* for people; NULL: it has none */
} MmioOps;

typedef struct MemoryMap MemoryMap;

MemoryMap *memory_map_new(void);
void memory_map_free(MemoryMap *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MemoryMap, memory_map_free)

/*
 * Adds RAM at @start. @host has @size bytes; all are multiples of 4096, as vectors in translated
 * code need it. It stays the caller's.
 * Regions do not overlap.
 */
void memory_map_add_ram(MemoryMap *map, uint64_t start, uint64_t size, void *host);

/* Like memory_map_add_ram, but writes by the guest are lost. */
void memory_map_add_rom(MemoryMap *map, uint64_t start, uint64_t size, void *host);

/* Adds registers of a device at @start. */
void memory_map_add_mmio(MemoryMap *map, uint64_t start, uint64_t size, const MmioOps *ops,
                         void *opaque);

/* True if no region has any of these addresses. */
bool memory_map_is_free(const MemoryMap *map, uint64_t start, uint64_t size);

/*
 * The host address of guest address @at if that is RAM (or, for reading, ROM), else NULL. It is
 * good for the rest of the 4096-byte page.
 */
uint8_t *memory_map_host(const MemoryMap *map, uint64_t at, bool write);

/* Reads or writes @size bytes, 1, 2, 4 or 8, of anything, little-endian. May cross regions. */
uint64_t memory_map_read(const MemoryMap *map, uint64_t at, unsigned size);
void memory_map_write(const MemoryMap *map, uint64_t at, unsigned size, uint64_t value);

/* A region as people see it. */
typedef struct {
    uint64_t start, size;
    bool is_ram, is_rom;
    const char *name;
} MemoryRegion;
/* In the order of their addresses. */
void memory_map_each(const MemoryMap *map, void (*fn)(void *opaque, const MemoryRegion *r),
                     void *opaque);

/* ---- for devices ----------------------------------------------------------------------------- */

/*
 * The host addresses of all @len bytes at @at, if they lie in one region of RAM (or, for reading,
 * of ROM); else NULL. Who writes there calls memory_map_written afterwards.
 */
void *memory_map_range(const MemoryMap *map, uint64_t at, uint64_t len, bool write);
void memory_map_written(const MemoryMap *map, uint64_t at, uint64_t len);

/*
 * Copies @len bytes from or to RAM. False if not all of them are RAM: registers are never touched.
 */
bool memory_map_load(const MemoryMap *map, uint64_t at, void *to, uint64_t len);
bool memory_map_store(const MemoryMap *map, uint64_t at, const void *from, uint64_t len);

/*
 * ---- memory that is still to come --------------------------------------------------------------
 */

/*
 * True if all of @len bytes at @host, which lie in one region, are here. False: what is missing has
 * been asked for, and devices are told when some of it has come (DeviceClass.arrived). Never waits.
 * With the machine's lock held.
 */
typedef bool MemoryHereFn(void *opaque, const uint8_t *host, uint64_t len);

/*
 * From now on memory may be missing, as @here tells; NULL: none is. With the machine's lock held.
 */
void memory_map_lack(MemoryMap *map, MemoryHereFn *here, void *opaque);
/* False: nothing is missing. */
bool memory_map_lacks(const MemoryMap *map);
/*
 * False: some of what is RAM in [@at, @at + @len) is missing, and has been asked for: to touch it
 * would keep this thread, and whoever needs the machine's lock, waiting. With the machine's lock
 * held.
 */
bool memory_map_here(const MemoryMap *map, uint64_t at, uint64_t len);
/* Waits for it on the thread of a processor; the machine's lock is given up meanwhile. */
void memory_map_fetch(const MemoryMap *map, uint64_t at, uint64_t len);

/*
 * ---- translated code ---------------------------------------------------------------------------
 */

/* @fn is called for all that devices write, by any thread: translated code there is out of date. */
void memory_map_hear(MemoryMap *map, void (*fn)(void *opaque, uint64_t at, uint64_t len),
                     void *opaque);

#endif
