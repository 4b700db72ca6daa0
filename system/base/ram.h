/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest-physical memory: a map of regions, each either RAM in host memory or registers of a device.
 *
 * A map is built before its processors run and does not change while they do. Addresses without a
 * region read as ones, and writes to them are lost. What several processors do to RAM is as atomic
 * as the host's own accesses; callbacks are called on the thread of the processor.
 */
#ifndef SYSTEM_BASE_RAM_H
#define SYSTEM_BASE_RAM_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Registers of a device. @size is 1, 2, 4 or 8; accesses do not cross the region's end. */
typedef struct {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, unsigned size, uint64_t value);
} MmioOps;

typedef struct MemoryMap MemoryMap;

MemoryMap *memory_map_new(void);
void memory_map_free(MemoryMap *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MemoryMap, memory_map_free)

/*
 * Adds RAM at @start. @host has @size bytes, both multiples of 4096, and stays the caller's.
 * Regions do not overlap.
 */
void memory_map_add_ram(MemoryMap *map, uint64_t start, uint64_t size, void *host);

/* Like memory_map_add_ram, but writes by the guest are lost. */
void memory_map_add_rom(MemoryMap *map, uint64_t start, uint64_t size, void *host);

/* Adds registers of a device at @start. */
void memory_map_add_mmio(MemoryMap *map, uint64_t start, uint64_t size, const MmioOps *ops,
                         void *opaque);

/*
 * The host address of guest address @at if that is RAM (or, for reading, ROM), else NULL. It is
 * good for the rest of the 4096-byte page.
 */
uint8_t *memory_map_host(const MemoryMap *map, uint64_t at, bool write);

/* Reads or writes @size bytes, 1, 2, 4 or 8, of anything, little-endian. May cross regions. */
uint64_t memory_map_read(const MemoryMap *map, uint64_t at, unsigned size);
void memory_map_write(const MemoryMap *map, uint64_t at, unsigned size, uint64_t value);

#endif
