/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BMI1 and BMI2: general registers with three operands. */
#include "target/x86/execute.h"

static void set_result(X86Cpu *cpu, const X86Insn *in, uint64_t r, bool carry)
{
    unsigned size = in->operand[0].size;

    x86_set(cpu, in, 0, r);
    x86_set_flags(cpu, X86_ARITH, x86_flag_if(!x86_low(r, size), X86_ZF) |
                  x86_flag_if(r & x86_sign_bit(size), X86_SF) | x86_flag_if(carry, X86_CF));
}

EXEC(andn)
{
    set_result(cpu, in, ~x86_get(cpu, in, 1) & x86_get(cpu, in, 2), false);
}

EXEC(blsr)
{
    uint64_t v = x86_get(cpu, in, 1);

    set_result(cpu, in, v & (v - 1), !v);
}

EXEC(blsmsk)
{
    uint64_t v = x86_get(cpu, in, 1);

    set_result(cpu, in, v ^ (v - 1), !v);
}

EXEC(blsi)
{
    uint64_t v = x86_get(cpu, in, 1);

    set_result(cpu, in, v & -v, v);
}

EXEC(bextr)
{
    uint64_t v = x86_get(cpu, in, 1), control = x86_get(cpu, in, 2);
    unsigned start = control & 0xff, len = control >> 8 & 0xff;

    v = start < 64 ? v >> start : 0;
    if (len < 64)
        v &= (UINT64_C(1) << len) - 1;
    x86_set(cpu, in, 0, v);
    x86_set_flags(cpu, X86_ARITH, x86_flag_if(!v, X86_ZF));
}

EXEC(bzhi)
{
    uint64_t v = x86_get(cpu, in, 1);
    unsigned n = x86_get(cpu, in, 2) & 0xff, bits = 8 * in->operand[0].size;

    if (n < bits)
        v &= (UINT64_C(1) << n) - 1;
    set_result(cpu, in, v, n >= bits);
}

EXEC(pext)
{
    uint64_t v = x86_get(cpu, in, 1), mask = x86_get(cpu, in, 2), r = 0;

    for (unsigned to = 0; mask; mask &= mask - 1, to++)
        r |= (v >> __builtin_ctzll(mask) & 1) << to;
    x86_set(cpu, in, 0, r);
}

EXEC(pdep)
{
    uint64_t v = x86_get(cpu, in, 1), mask = x86_get(cpu, in, 2), r = 0;

    for (; mask; mask &= mask - 1, v >>= 1)
        r |= (v & 1) << __builtin_ctzll(mask);
    x86_set(cpu, in, 0, r);
}

/* The low half first: if both go to one register it keeps the high one. */
EXEC(mulx)
{
    unsigned size = in->operand[0].size;
    unsigned __int128 r = (unsigned __int128)x86_get(cpu, in, 2) * x86_reg(cpu, X86_RDX, size);

    x86_set(cpu, in, 1, (uint64_t)r);
    x86_set(cpu, in, 0, (uint64_t)(r >> 8 * size));
}

static unsigned shift_count(X86Cpu *cpu, const X86Insn *in)
{
    return x86_get(cpu, in, 2) & (8 * in->operand[0].size - 1);
}

EXEC(rorx)
{
    unsigned n = shift_count(cpu, in), bits = 8 * in->operand[0].size;
    uint64_t v = x86_get(cpu, in, 1);

    x86_set(cpu, in, 0, v >> n | (n ? v << (bits - n) : 0));
}

EXEC(shlx)
{
    unsigned n = shift_count(cpu, in);

    x86_set(cpu, in, 0, x86_get(cpu, in, 1) << n);
}

EXEC(shrx)
{
    unsigned n = shift_count(cpu, in);

    x86_set(cpu, in, 0, x86_get(cpu, in, 1) >> n);
}

EXEC(sarx)
{
    unsigned n = shift_count(cpu, in);

    x86_set(cpu, in, 0, x86_signed(x86_get(cpu, in, 1), in->operand[0].size) >> n);
}
