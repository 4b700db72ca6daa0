/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a debugger or a person at the monitor asks for: memory of the guest. Main loop, without the
 * lock, while the processors stand still (run_state_hold).
 */
#ifndef SYSTEM_DEBUG_H
#define SYSTEM_DEBUG_H

#include "system/vcpu.h"

/* Memory at physical addresses; registers of devices read as the devices say. */
void debug_read_physical(const Machine *m, uint64_t at, void *to, size_t len);
void debug_write_physical(const Machine *m, uint64_t at, const void *from, size_t len);
/* At linear addresses of processor @v, without looking at rights. False: there is no page. */
bool debug_read(Vcpu *v, uint64_t at, void *to, size_t len);
bool debug_write(Vcpu *v, uint64_t at, const void *from, size_t len);

#endif
