/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state an instruction starts from: random, but such that its operands lie where there is
 * memory.
 */
#ifndef TESTS_X86_LIB_PREPARE_H
#define TESTS_X86_LIB_PREPARE_H

#include "tests/x86/lib/generate.h"
#include "tests/x86/lib/snippet.h"

/* False for instructions that cannot be compared with a host's user mode. */
bool can_compare(const X86Form *f);

/*
 * Makes registers, memory and flags in @s for @g, whose displacement may be changed for that. False
 * if it cannot be done safely.
 */
bool prepare(Generated *g, Random *r, State *s, Bases bases, unsigned bits);

/* Random registers of x87 and SSE, as @in likes them. */
void random_float_state(Random *r, FloatState *f, const X86Insn *in);

/* Flags whose value after @in is not defined, when it started with @s. */
uint32_t undefined_flags(const X86Insn *in, const State *s);

#endif
