/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What of the machine migration streams carry. */
#ifndef SYSTEM_SECTIONS_H
#define SYSTEM_SECTIONS_H

#include "migration/section.h"
#include "system/run-state.h"

/* Run state that goes with a guest. */
typedef struct {
    MachineState state;
    bool has_come;
} CarriedState;

/* False: a guest in this state cannot be taken over by others yet. */
bool machine_state_travels(MachineState s);
/*
 * All sections, of MigSection *, in the order of streams: those to be sent, or all that may come.
 * @state has to live as long.
 */
GPtrArray *machine_sections(Machine *m, CarriedState *state, bool sending);
/*
 * The blocks of memory: @r, which is initialised, for sending (only what there is), or to receive.
 */
void machine_ram_blocks(Machine *m, RamBlocks *r, bool sending);
/* What came has sizes of its own. */
void machine_ram_received(Machine *m, const RamBlocks *r);
/* Why @d cannot be migrated. NULL: it can. Caller frees. */
char *device_migration_problem(const Device *d);

#endif
