/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Auto-converge: processors get less time, so that the guest writes less than can be sent. */
#ifndef SYSTEM_MIGRATION_THROTTLE_H
#define SYSTEM_MIGRATION_THROTTLE_H

#include "system/machine.h"

/* After a pass that sent @sent bytes, while the guest wrote @dirty: takes more time if needed. */
void throttle_after_pass(Machine *m, uint64_t dirty, uint64_t sent);
/* Percent of the processors' time that is taken now; 0: none. */
unsigned throttle_percent(void);
/* Ends throttling: processors get all of their time again. */
CO void throttle_end(void);

#endif
