/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vectors of 256 bits, for what has no form without a VEX prefix. */
#ifndef TARGET_X86_WIDE_H
#define TARGET_X86_WIDE_H

#include "target/x86/execute.h"

typedef union {
    X86Vector lane[2];
    uint8_t b[32];
    uint16_t w[16];
    uint32_t d[8];
    uint64_t q[4];
    int8_t sb[32];
    int32_t sd[8];
    int64_t sq[4];
} X86Wide;

/* Operand @i, an XMM or YMM register or memory, with zeroes above its size. */
X86Wide x86_get_wide(X86Cpu *cpu, const X86Insn *in, unsigned i);

/* Writes operand @i. Of a register all is written: what is above @v's size becomes zero. */
void x86_set_wide(X86Cpu *cpu, const X86Insn *in, unsigned i, X86Wide v);

/* The register itself. */
X86Wide x86_wide_register(const X86Cpu *cpu, unsigned reg);

/*
 * An operation that SSE has, too, with a VEX prefix: lane by lane by the function of the form
 * without one, and the upper half written.
 */
void x86_execute_lanes(X86Cpu *cpu, const X86Insn *in, X86Execute *function);

/* Sets the flags of MXCSR that floating point @raised, and raises #XM if one is not masked. */
void x86_finish_float(X86Cpu *cpu, uint32_t raised);

#endif
