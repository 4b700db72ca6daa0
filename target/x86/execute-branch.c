/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Near jumps, calls and returns, and loops. */
#include "target/x86/execute.h"

bool x86_condition(uint32_t flags, unsigned condition)
{
    bool less = !(flags & X86_SF) != !(flags & X86_OF), holds;

    switch (condition >> 1) {
    case 0:
        holds = flags & X86_OF;
        break;
    case 1:
        holds = flags & X86_CF;
        break;
    case 2:
        holds = flags & X86_ZF;
        break;
    case 3:
        holds = flags & (X86_CF | X86_ZF);
        break;
    case 4:
        holds = flags & X86_SF;
        break;
    case 5:
        holds = flags & X86_PF;
        break;
    case 6:
        holds = less;
        break;
    default:
        holds = less || flags & X86_ZF;
        break;
    }
    return holds != (condition & 1);
}

/* Where a jump leads that is relative or names a register or memory. */
static uint64_t target(X86Cpu *cpu, const X86Insn *in)
{
    return in->operand[0].kind == X86_OPD_REL ? cpu->next + in->imm : x86_get(cpu, in, 0);
}

static void jump_if(X86Cpu *cpu, const X86Insn *in, bool holds)
{
    if (holds)
        x86_jump(cpu, target(cpu, in), in->operand_size);
}

EXEC(jcc)
{
    jump_if(cpu, in, x86_condition(cpu->flags, in->condition));
}

EXEC(jmp)
{
    jump_if(cpu, in, true);
}

EXEC(call)
{
    uint64_t back = cpu->next, to = target(cpu, in);

    /* The stack is looked at before the target. */
    x86_probe_push(cpu, in->operand_size);
    x86_jump(cpu, to, in->operand_size);
    x86_push_value(cpu, in->operand_size, back);
}

EXEC(ret)
{
    x86_jump(cpu, x86_peek(cpu, 0, in->operand_size), in->operand_size);
    x86_set_sp(cpu, x86_sp(cpu) + in->operand_size + (in->operands ? in->imm : 0));
}

/* Counts rCX down and jumps unless it is zero and while ZF is what it should be. */
static void loop_while(X86Cpu *cpu, const X86Insn *in, bool also)
{
    uint64_t count = x86_low(cpu->gpr[X86_RCX] - 1, in->address_size);

    jump_if(cpu, in, count && also);
    x86_set_reg(cpu, X86_RCX, in->address_size, count);
}

EXEC(loop)
{
    loop_while(cpu, in, true);
}

EXEC(loope)
{
    loop_while(cpu, in, cpu->flags & X86_ZF);
}

EXEC(loopne)
{
    loop_while(cpu, in, !(cpu->flags & X86_ZF));
}

EXEC(jcxz)
{
    jump_if(cpu, in, !x86_reg(cpu, X86_RCX, in->address_size));
}
