/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the interpreter does for each operation: one function each, in the files execute-*.c.
 *
 * The function is called with everything checked that can be known before: privilege, the state of
 * x87 and SSE. It raises before it changes anything. X86Cpu.rip is the instruction's address and
 * X86Cpu.next the following one's, which jumps replace.
 */
#ifndef TARGET_X86_EXECUTE_H
#define TARGET_X86_EXECUTE_H

#include "target/x86/access.h"

typedef void X86Execute(X86Cpu *cpu, const X86Insn *in);

#define OP(id, ...) X86Execute x86_exec_##id;
#include "target/x86/operations.def"
#undef OP

#define EXEC(id) void x86_exec_##id(X86Cpu *cpu, const X86Insn *in)

/* ---- flags ----------------------------------------------------------------------------------- */

static inline void x86_set_flags(X86Cpu *cpu, uint32_t which, uint32_t values)
{
    cpu->flags = (cpu->flags & ~which) | (values & which);
}

static inline uint32_t x86_flag_if(bool on, uint32_t flag)
{
    return on ? flag : 0;
}

static inline uint64_t x86_sign_bit(unsigned size)
{
    return UINT64_C(1) << (8 * size - 1);
}

/* SF, ZF and PF of a result. */
static inline uint32_t x86_flags_szp(uint64_t v, unsigned size)
{
    return x86_flag_if(v & x86_sign_bit(size), X86_SF) | x86_flag_if(!x86_low(v, size), X86_ZF) |
           x86_flag_if(!__builtin_parity(v & 0xff), X86_PF);
}

/* True if condition 0 to 15 (the low bits of jcc's opcode) holds. */
bool x86_condition(uint32_t flags, unsigned condition);

/* All flags of @a - @b. */
uint32_t x86_flags_sub(uint64_t a, uint64_t b, unsigned size);

/* ---- vectors --------------------------------------------------------------------------------- */

/* Operand @i, an MMX, XMM or general register or memory, with zeroes above its size. */
X86Vector x86_get_vector(X86Cpu *cpu, const X86Insn *in, unsigned i);

/* Writes operand @i. An XMM register is written as a whole; what is above it in YMM stays. */
void x86_set_vector(X86Cpu *cpu, const X86Insn *in, unsigned i, X86Vector v);

#endif
