/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's memory in a file: ELF, or kdump-compressed. Main loop only. */
#ifndef SYSTEM_DUMP_H
#define SYSTEM_DUMP_H

#include "gen/qmp.h"

typedef struct {
    uint64_t begin, length;  /* bytes of physical memory; @length 0: all */
    DumpGuestMemoryFormat format;
    bool detach;             /* do not wait until it is done */
} DumpArgs;

/* Writes to @fd, which it owns. The guest stands still meanwhile. */
CO bool dump_start(const DumpArgs *args, int fd, GError **err);
bool dump_is_active(void);
/* A result of the caller's. */
DumpQueryResult *dump_result(void);
/* Gives up what is under way. Before the machine goes. */
CO void dump_end(void);

#endif
