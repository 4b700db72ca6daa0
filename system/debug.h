/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a debugger or a person at the monitor asks for: memory of the guest. Main loop, without the
 * lock. All but the first is for a look that has begun.
 */
#ifndef SYSTEM_DEBUG_H
#define SYSTEM_DEBUG_H

#include "system/vcpu.h"
#include "util/err.h"

/*
 * Begins a look at the guest, whose processors stand still meanwhile. False with @err: memory is on
 * its way here (postcopy), and whoever touched it would wait for the source, perhaps for ever.
 */
CO bool debug_begin(GError **err);
void debug_end(void);

/* Memory at physical addresses; registers of devices read as the devices say. */
void debug_read_physical(const Machine *m, uint64_t at, void *to, size_t len);
/* All of [@at, @at + @len), if that is memory; else NULL. */
const uint8_t *debug_range(const Machine *m, uint64_t at, uint64_t len);
void debug_write_physical(const Machine *m, uint64_t at, const void *from, size_t len);
/* At linear addresses of processor @v, without looking at rights. False: there is no page. */
bool debug_read(Vcpu *v, uint64_t at, void *to, size_t len);
bool debug_write(Vcpu *v, uint64_t at, const void *from, size_t len);

#endif
