/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's memory in the kdump-compressed format: docs/spec/kdump.md. */
#ifndef SYSTEM_DUMP_KDUMP_H
#define SYSTEM_DUMP_KDUMP_H

#include "gen/schema.h"
#include "system/machine.h"

/* Memory from guest-physical address @start on; both multiples of a page. */
typedef struct {
    uint64_t start, size;
} DumpSegment;

enum { KDUMP_PAGE = 4096, KDUMP_PACKED_MAX = 2 * KDUMP_PAGE };

/* How pages are compressed: a constant, of a module where that takes a library. */
typedef struct {
    uint32_t flag;  /* of this way, in the format */
    size_t work;    /* bytes of memory that .pack needs; what is in them does not matter */
    /* Compresses a page to up to KDUMP_PACKED_MAX bytes: how many; 0: it cannot. */
    size_t (*pack)(void *work, const uint8_t *page, uint8_t *packed);
} KdumpPacker;

/* That of @format; NULL: this build has none. */
const KdumpPacker *kdump_packer(DumpGuestMemoryFormat format);

/*
 * Writes @segments (of DumpSegment, by rising address) of @m, a 64-bit guest that stands still,
 * pages by @packer. @put
 * writes the next bytes of the file, @what for messages; @progress is called after each @bytes of
 * memory, and ends the dump by returning false with @err. Main loop.
 */
CO bool kdump_write(const Machine *m, const GArray *segments, const KdumpPacker *packer,
                    CO bool (*put)(const void *data, size_t len, const char *what, GError **err),
                    CO bool (*progress)(uint64_t bytes, GError **err), GError **err);

#endif
