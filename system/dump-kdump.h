/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's memory in the kdump-compressed format: docs/spec/kdump.md. */
#ifndef SYSTEM_DUMP_KDUMP_H
#define SYSTEM_DUMP_KDUMP_H

#include "system/machine.h"

/* Memory from guest-physical address @start on; both multiples of a page. */
typedef struct {
    uint64_t start, size;
} DumpSegment;

/*
 * Writes @segments (of DumpSegment, by rising address) of @m, a 64-bit guest that stands still. @put
 * writes the next bytes of the file, @what for messages; @progress is called after each @bytes of memory,
 * and ends the dump by returning false with @err. Main loop.
 */
CO bool kdump_write(const Machine *m, const GArray *segments,
                    CO bool (*put)(const void *data, size_t len, const char *what, GError **err),
                    CO bool (*progress)(uint64_t bytes, GError **err), GError **err);

#endif
