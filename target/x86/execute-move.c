/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Moving data: between registers and memory, and to and from the stack. */
#include "target/x86/execute.h"
#include "target/x86/segment.h"

static void move(X86Cpu *cpu, const X86Insn *in)
{
    x86_set(cpu, in, 0, x86_get(cpu, in, 1));
}

static void move_signed(X86Cpu *cpu, const X86Insn *in)
{
    x86_set(cpu, in, 0, x86_signed(x86_get(cpu, in, 1), in->operand[1].size));
}

#define MOVE(id, how)                                                                              \
    EXEC(id)                                                                                       \
    {                                                                                              \
        how(cpu, in);                                                                              \
    }
MOVE(mov, move)
MOVE(mov_imm, move)
MOVE(movabs, move)
MOVE(movzb, move)
MOVE(movzw, move)
MOVE(movnti, move)
MOVE(movsb, move_signed)
MOVE(movsw, move_signed)
MOVE(movsl, move_signed)

EXEC(lea)
{
    x86_set(cpu, in, 0, x86_offset(cpu, in));
}

static uint64_t swap_bytes(uint64_t v, unsigned size)
{
    return __builtin_bswap64(v) >> (64 - 8 * size);
}

EXEC(movbe)
{
    x86_set(cpu, in, 0, swap_bytes(x86_get(cpu, in, 1), in->operand[0].size));
}

/* Of a word the manuals say that the result is undefined; processors give zero. */
EXEC(bswap)
{
    unsigned size = in->operand[0].size;

    x86_set(cpu, in, 0, size == 2 ? 0 : swap_bytes(x86_get(cpu, in, 0), size));
}

EXEC(cmov)
{
    uint64_t v = x86_get(cpu, in, 1);

    /* Without a move a 32-bit destination still loses its high half. */
    x86_set(cpu, in, 0, x86_condition(cpu->flags, in->condition) ? v : x86_get(cpu, in, 0));
}

EXEC(setcc)
{
    x86_set(cpu, in, 0, x86_condition(cpu->flags, in->condition));
}

EXEC(cbw)
{
    unsigned size = in->operand_size;

    x86_set_reg(cpu, X86_RAX, size, x86_signed(cpu->gpr[X86_RAX], size / 2));
}

EXEC(cwd)
{
    unsigned size = in->operand_size;

    x86_set_reg(cpu, X86_RDX, size, cpu->gpr[X86_RAX] & x86_sign_bit(size) ? UINT64_MAX : 0);
}

EXEC(xlat)
{
    x86_set_reg(cpu, X86_RAX, 1, x86_get(cpu, in, 0));
}

EXEC(lahf)
{
    cpu->gpr[X86_RAX] = (cpu->gpr[X86_RAX] & ~UINT64_C(0xff00)) |
                        ((cpu->flags & 0xd5) | X86_FIXED) << 8;
}

EXEC(sahf)
{
    x86_set_flags(cpu, X86_ARITH & ~X86_OF, cpu->gpr[X86_RAX] >> 8);
}

EXEC(cmc)
{
    cpu->flags ^= X86_CF;
}

EXEC(clc)
{
    cpu->flags &= ~X86_CF;
}

EXEC(stc)
{
    cpu->flags |= X86_CF;
}

EXEC(cld)
{
    cpu->flags &= ~X86_DF;
}

EXEC(std)
{
    cpu->flags |= X86_DF;
}

/* ---- the stack ------------------------------------------------------------------------------- */

EXEC(push)
{
    x86_push_value(cpu, in->operand_size, x86_get(cpu, in, 0));
}

/* A destination in memory is addressed with the stack pointer as it is after the pop. */
static void pop_to_memory(X86Cpu *cpu, const X86Insn *in, uint64_t v)
{
    uint64_t before = cpu->gpr[X86_RSP], after;
    uint64_t offset;

    x86_set_sp(cpu, x86_sp(cpu) + in->operand_size);
    after = cpu->gpr[X86_RSP];
    offset = x86_offset(cpu, in);
    cpu->gpr[X86_RSP] = before;
    x86_store(cpu, in->mem.segment, offset, in->operand_size, v);
    cpu->gpr[X86_RSP] = after;
}

static void pop_to_segment(X86Cpu *cpu, const X86Insn *in, uint16_t selector)
{
    unsigned reg = in->operand[0].reg;
    uint64_t after;

    /* Loading SS may change the size of the stack pointer that the pop still uses. */
    after = x86_sp(cpu) + in->operand_size;
    if (reg != X86_SS) {
        x86_load_segment(cpu, reg, selector);
        x86_set_sp(cpu, after);
        return;
    }
    uint8_t size = cpu->stack_size;

    x86_load_segment(cpu, reg, selector);
    x86_set_reg(cpu, X86_RSP, size, after);
    cpu->shadow = true;
}

EXEC(pop)
{
    uint64_t v = x86_peek(cpu, 0, in->operand_size);

    if (in->operand[0].kind == X86_OPD_MEM) {
        pop_to_memory(cpu, in, v);
    } else if (in->operand[0].kind == X86_OPD_SEG) {
        pop_to_segment(cpu, in, v);
    } else {
        x86_set_sp(cpu, x86_sp(cpu) + in->operand_size);
        x86_set(cpu, in, 0, v);
    }
}

EXEC(pusha)
{
    unsigned size = in->operand_size;
    uint64_t sp = x86_sp(cpu);

    for (unsigned i = 1; i <= 8; i++) {
        uint64_t at = x86_low(sp - i * size, cpu->stack_size);

        x86_probe_write(cpu, x86_linear(cpu, X86_SS, at, size, X86_WRITE), size, X86_BY_PROGRAM);
    }
    for (unsigned i = 0; i < 8; i++)
        x86_store(cpu, X86_SS, x86_low(sp - (i + 1) * size, cpu->stack_size), size, cpu->gpr[i]);
    x86_set_sp(cpu, sp - 8 * size);
}

EXEC(popa)
{
    unsigned size = in->operand_size;
    uint64_t v[8];

    for (unsigned i = 0; i < 8; i++)
        v[i] = x86_peek(cpu, i * size, size);
    for (unsigned i = 0; i < 8; i++)
        if (7 - i != X86_RSP)
            x86_set_reg(cpu, 7 - i, size, v[i]);
    x86_set_sp(cpu, x86_sp(cpu) + 8 * size);
}

/* The frame pointers of the enclosing procedures, copied to the new frame. */
static uint64_t enter_copy_display(X86Cpu *cpu, unsigned size, unsigned level, uint64_t sp,
                                   uint64_t frame)
{
    uint64_t bp = x86_reg(cpu, X86_RBP, cpu->stack_size);

    for (unsigned i = 1; i < level; i++) {
        uint64_t v;

        bp = x86_low(bp - size, cpu->stack_size);
        v = x86_load(cpu, X86_SS, bp, size);
        sp = x86_low(sp - size, cpu->stack_size);
        x86_store(cpu, X86_SS, sp, size, v);
    }
    if (level) {
        sp = x86_low(sp - size, cpu->stack_size);
        x86_store(cpu, X86_SS, sp, size, frame);
    }
    return sp;
}

EXEC(enter)
{
    unsigned size = in->operand_size, level = in->imm2 & 31;
    uint64_t sp = x86_low(x86_sp(cpu) - size, cpu->stack_size), frame = sp;

    x86_store(cpu, X86_SS, sp, size, cpu->gpr[X86_RBP]);
    sp = enter_copy_display(cpu, size, level, sp, frame);
    sp = x86_low(sp - in->imm, cpu->stack_size);
    /* The new end of the stack must be writable. */
    x86_probe_write(cpu, x86_linear(cpu, X86_SS, sp, 1, X86_WRITE), 1, X86_BY_PROGRAM);
    x86_set_reg(cpu, X86_RBP, size, frame);
    x86_set_sp(cpu, sp);
}

EXEC(leave)
{
    unsigned size = in->operand_size;
    uint64_t sp = x86_reg(cpu, X86_RBP, cpu->stack_size);
    uint64_t v = x86_load(cpu, X86_SS, sp, size);

    x86_set_sp(cpu, sp + size);
    x86_set_reg(cpu, X86_RBP, size, v);
}

EXEC(bound)
{
    unsigned size = in->operand[0].size;
    uint64_t offset = x86_offset(cpu, in);
    int64_t v = x86_signed(x86_get(cpu, in, 0), size);
    int64_t low = x86_signed(x86_load(cpu, in->mem.segment, offset, size), size);
    int64_t high = x86_signed(x86_load(cpu, in->mem.segment,
                                       x86_low(offset + size, in->address_size), size), size);

    if (v < low || v > high)
        x86_raise(cpu, X86_BR);
}

/* ---- hints ----------------------------------------------------------------------------------- */

static void do_nothing(X86Cpu *cpu, const X86Insn *in)
{
}

MOVE(nop, do_nothing)
MOVE(pause, do_nothing)
MOVE(endbr64, do_nothing)
MOVE(endbr32, do_nothing)
MOVE(prefetch, do_nothing)
MOVE(prefetchw, do_nothing)
MOVE(prefetchnta, do_nothing)
MOVE(prefetcht0, do_nothing)
MOVE(prefetcht1, do_nothing)
MOVE(prefetcht2, do_nothing)

static void fence(X86Cpu *cpu, const X86Insn *in)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

MOVE(lfence, fence)
MOVE(mfence, fence)
MOVE(sfence, fence)

/* There is no cache to flush, but the address must be readable. */
static void touch(X86Cpu *cpu, const X86Insn *in)
{
    x86_get(cpu, in, 0);
}

MOVE(clflush, touch)
MOVE(clflushopt, touch)
MOVE(clwb, touch)
