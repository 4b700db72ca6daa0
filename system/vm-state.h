/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of the whole machine in the area that an image keeps for it beside the disk: a
 * migration stream without a return path. The guest stands still meanwhile. Main loop only.
 */
#ifndef SYSTEM_VM_STATE_H
#define SYSTEM_VM_STATE_H

#include "block/block.h"
#include "system/sections.h"

/*
 * Writes the state of @m, which is to go on in state @after, to the image of @h. *@size: its bytes.
 * @must_end is asked now and then whether to give up.
 */
CO bool vm_state_save(Machine *m, MachineState after, Handle *h, bool (*must_end)(void *opaque),
                      void *opaque, uint64_t *size, GError **err);
/* Puts @m into the state of @size bytes that the image of @h has. False: the guest must not run. */
CO bool vm_state_load(Machine *m, Handle *h, uint64_t size, GError **err);

#endif
