/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two emulated processors on one memory, each on its own thread. */
#ifndef TESTS_X86_LIB_PAIR_H
#define TESTS_X86_LIB_PAIR_H

#include <stdint.h>

/*
 * What the two do, each in another test: in rounds until @rounds are done or @seconds over, but at
 * least one.
 */
void pair_message(uint64_t rounds, double seconds);
void pair_store_buffer(uint64_t rounds, double seconds);
void pair_locked(uint64_t rounds, double seconds);
void pair_code(uint64_t rounds, double seconds);

#endif
