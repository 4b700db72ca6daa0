/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * String operations. One element is one step; a repeated operation does a number of steps, then
 * lets the interpreter look for interrupts and goes on with what is left: RIP stays until it is
 * done.
 */
#include "target/x86/execute.h"
#include "target/x86/segment.h"

enum { STEPS = 4096 };

typedef void Step(X86Cpu *cpu, const X86Insn *in);

static void advance(X86Cpu *cpu, const X86Insn *in, unsigned reg, unsigned size)
{
    int64_t by = cpu->flags & X86_DF ? -(int64_t)size : size;

    x86_set_reg(cpu, reg, in->address_size, cpu->gpr[reg] + by);
}

static void repeat(X86Cpu *cpu, const X86Insn *in, Step *step)
{
    unsigned size = in->address_size;

    if (!in->repe && !in->repne) {
        step(cpu, in);
        return;
    }
    for (unsigned n = 0; x86_reg(cpu, X86_RCX, size); n++) {
        if (n == STEPS || (n && (cpu->flags & X86_TF || cpu->data_breakpoints))) {
            cpu->next = cpu->rip;
            return;
        }
        step(cpu, in);
        x86_set_reg(cpu, X86_RCX, size, cpu->gpr[X86_RCX] - 1);
        if (in->attributes & X86_A_IS_REPE && !(cpu->flags & X86_ZF) != in->repne)
            return;
    }
    /* rCX is zeroed in its address size even if nothing was done. */
    if (size == 4)
        x86_set_reg(cpu, X86_RCX, size, 0);
}

static void step_movs(X86Cpu *cpu, const X86Insn *in)
{
    x86_set(cpu, in, 0, x86_get(cpu, in, 1));
    advance(cpu, in, X86_RSI, in->operand[0].size);
    advance(cpu, in, X86_RDI, in->operand[0].size);
}

static void step_stos(X86Cpu *cpu, const X86Insn *in)
{
    x86_set(cpu, in, 0, x86_get(cpu, in, 1));
    advance(cpu, in, X86_RDI, in->operand[0].size);
}

static void step_lods(X86Cpu *cpu, const X86Insn *in)
{
    x86_set(cpu, in, 0, x86_get(cpu, in, 1));
    advance(cpu, in, X86_RSI, in->operand[0].size);
}

/* ES:[rDI] is read first, as a page fault shows. */
static void step_cmps(X86Cpu *cpu, const X86Insn *in)
{
    uint64_t b = x86_get(cpu, in, 1), a = x86_get(cpu, in, 0);
    unsigned size = in->operand[0].size;

    x86_set_flags(cpu, X86_ARITH, x86_flags_sub(a, b, size));
    advance(cpu, in, X86_RSI, size);
    advance(cpu, in, X86_RDI, size);
}

static void step_scas(X86Cpu *cpu, const X86Insn *in)
{
    uint64_t a = x86_get(cpu, in, 0), b = x86_get(cpu, in, 1);
    unsigned size = in->operand[0].size;

    x86_set_flags(cpu, X86_ARITH, x86_flags_sub(a, b, size));
    advance(cpu, in, X86_RDI, size);
}

static void step_ins(X86Cpu *cpu, const X86Insn *in)
{
    unsigned size = in->operand[0].size;
    uint64_t offset = x86_reg(cpu, X86_RDI, in->address_size);
    uint16_t port = cpu->gpr[X86_RDX];

    /* The port is read only once it is certain that memory takes the value. */
    x86_probe_write(cpu, x86_linear(cpu, X86_ES, offset, size, X86_WRITE), size, X86_BY_PROGRAM);
    x86_set(cpu, in, 0, cpu->machine->port_read(cpu->machine_opaque, port, size));
    advance(cpu, in, X86_RDI, size);
}

static void step_outs(X86Cpu *cpu, const X86Insn *in)
{
    unsigned size = in->operand[1].size;
    uint64_t v = x86_get(cpu, in, 1);

    cpu->machine->port_write(cpu->machine_opaque, cpu->gpr[X86_RDX], size, v);
    advance(cpu, in, X86_RSI, size);
}

#define STRING(id)                                                                                 \
    EXEC(id)                                                                                       \
    {                                                                                              \
        repeat(cpu, in, step_##id);                                                                \
    }
STRING(movs)
STRING(stos)
STRING(lods)
STRING(cmps)
STRING(scas)

EXEC(ins)
{
    x86_check_port(cpu, cpu->gpr[X86_RDX], in->operand[0].size);
    repeat(cpu, in, step_ins);
}

EXEC(outs)
{
    x86_check_port(cpu, cpu->gpr[X86_RDX], in->operand[1].size);
    repeat(cpu, in, step_outs);
}
