/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Translating the stack's instructions and jumps, in all modes. */
#include "target/x86/generate.h"

#if defined(__x86_64__) && defined(__linux__)

#include "target/x86/generate-parts.h"

/* The size of pushes, pops and jumps that have templates, which is the instruction's; else 0. */
static unsigned natural_size(const Gen *g)
{
    if (g->key.bits == 64)
        return g->in->operand_size == 8 ? 8 : 0;
    return g->in->operand_size;
}

/* ---- the stack ------------------------------------------------------------------------------- */

/* R8 := the stack pointer + @offset, checked for @size bytes. */
static void generate_stack(Gen *g, Slow *s, int offset, unsigned size, bool write)
{
    emit_lea(g->c, g->key.stack == 8, H_R8, H_R11, H_RSP, 1, offset);
    if (g->key.stack == 2)
        emit_movzx_word(g->c, H_R8, H_R8);
    x86_gen_segment(g, s, X86_SS, size, write);
    x86_gen_check(g, s, size, write);
}

static void move_sp(Gen *g, int by, HostReg scratch)
{
    if (g->key.stack > 2) {
        emit_lea(g->c, g->key.stack == 8, H_R11, H_R11, H_RSP, 1, by);
        return;
    }
    emit_lea(g->c, false, scratch, H_R11, H_RSP, 1, by);
    emit_mov_word(g->c, H_R11, scratch);
}

static bool is_kind(const Gen *g, X86OperandKind kind)
{
    return g->in->operand[0].kind == kind && natural_size(g);
}

/* X86Cpu.scratch := the memory operand. */
static void load_operand(Gen *g, Slow *s)
{
    x86_gen_operand(g, s, 0, false);
    x86_gen_load(g, g->in->operand[0].size, H_R9);
    emit_store_gs(g->c, AT_CPU(scratch), H_R9);
}

bool x86_gen_push(Gen *g)
{
    const X86Insn *in = g->in;
    unsigned size = natural_size(g);
    bool in_memory = is_kind(g, X86_OPD_MEM);
    HostReg from = H_R9;
    Slow *s;

    if (!in_memory && !is_kind(g, X86_OPD_GPR) && !is_kind(g, X86_OPD_IMM))
        return false;
    s = x86_gen_slow(g);
    x86_gen_spoil_flags(g);
    if (in_memory)
        load_operand(g, s);
    generate_stack(g, s, -(int)size, size, true);
    if (in_memory)
        emit_load_gs(g->c, H_R9, AT_CPU(scratch));
    else if (in->operand[0].kind == X86_OPD_IMM)
        emit_imm(g->c, H_R9, in->imm);
    else
        from = x86_gen_use(g, in->operand[0].reg, H_R9);
    x86_gen_store(g, size, from);
    move_sp(g, -(int)size, H_R8);
    x86_gen_slow_end(g, s);
    return true;
}

bool x86_gen_pop(Gen *g)
{
    unsigned reg = g->in->operand[0].reg, size = natural_size(g);
    Slow *s;

    if (!is_kind(g, X86_OPD_GPR))
        return false;
    s = x86_gen_slow(g);
    x86_gen_spoil_flags(g);
    generate_stack(g, s, 0, size, false);
    if (reg != X86_RSP)
        move_sp(g, size, H_R9);
    if (size == 2) {
        emit8(g->c, 0x66); /* the rest of the register stays */
        x86_gen_at_r8(g, 0x8b, false, x86_gen_pinned(reg));
    } else if (x86_gen_in_memory(reg)) {
        x86_gen_at_r8(g, 0x8b, true, H_R9);
        emit_store_gs(g->c, x86_gen_gpr_at(reg), H_R9);
    } else {
        x86_gen_at_r8(g, 0x8b, size == 8, x86_gen_pinned(reg));
    }
    x86_gen_slow_end(g, s);
    return true;
}

bool x86_gen_leave(Gen *g)
{
    unsigned size = natural_size(g);
    bool wide = size == 8;
    Slow *s;

    if (size < 4 || g->key.stack != size)
        return false;
    s = x86_gen_slow(g);
    x86_gen_spoil_flags(g);
    emit_lea(g->c, wide, H_R8, H_RBP, H_RSP, 1, 0);
    x86_gen_segment(g, s, X86_SS, size, false);
    x86_gen_check(g, s, size, false);
    emit_lea(g->c, wide, H_R11, H_RBP, H_RSP, 1, size);
    x86_gen_at_r8(g, 0x8b, wide, H_RBP);
    x86_gen_slow_end(g, s);
    return true;
}

bool x86_gen_pushf(Gen *g)
{
    unsigned size = natural_size(g);
    CodeMemory *c = g->c;
    Slow *s;

    /* In virtual-8086 mode it may fault. */
    if (!size || g->key.is_v86)
        return false;
    s = x86_gen_slow(g);
    x86_gen_spoil_flags(g);
    generate_stack(g, s, -(int)size, size, true);
    x86_gen_need_flags(g);
    emit8(c, 0x9c); /* pushfq */
    emit_pop(c, H_R9);
    emit_alu_imm(c, 4, H_R9, X86_ARITH);
    emit_gs(c, 0x8b, false, H_R10, AT_CPU(flags));
    emit_alu_imm(c, 4, H_R10, (int32_t)~(X86_ARITH | X86_RF | X86_VM));
    emit_rr(c, 0x0b, H_R9, H_R10); /* or */
    x86_gen_store(g, size, H_R9);
    move_sp(g, -(int)size, H_R8);
    g->flags = FLAGS_SAVED;
    x86_gen_slow_end(g, s);
    return true;
}

/* ---- jumps ----------------------------------------------------------------------------------- */

static uint32_t jump_table(const Gen *g)
{
    return AT_CPU(jumps) + g->slot * sizeof(g->cpu->jumps[0]);
}

/* R10 := the slot of the table that has the target, R9. Not found: the slow way. */
static void find_target(Gen *g, Slow *s)
{
    CodeMemory *c = g->c;

    emit_hash(c, H_R10, H_R9, X86_HASH, X86_JUMP_SHIFT, X86_JUMP_MASK);
    emit_gs_indexed(c, 0x3b, H_R9, H_R10, jump_table(g) + offsetof(X86Jump, rip));
    x86_gen_slow_if(g, s, H_NE);
}

static void jump_found(Gen *g)
{
    emit_jmp_gs_indexed(g->c, H_R10, jump_table(g) + offsetof(X86Jump, code));
    g->ended = true;
}

bool x86_gen_ret(Gen *g)
{
    unsigned size = natural_size(g);
    Slow *s;

    if (!size)
        return false;
    s = x86_gen_slow(g);
    x86_gen_spoil_flags(g);
    generate_stack(g, s, 0, size, false);
    x86_gen_load(g, size, H_R9);
    find_target(g, s);
    move_sp(g, size + (g->in->operands ? (int)g->in->imm : 0), H_R8);
    jump_found(g);
    return true;
}

static uint64_t target(const Gen *g)
{
    uint64_t to = g->next + g->in->imm;

    return g->in->operand_size == 2 ? (uint16_t)to : g->in->operand_size == 4 ? (uint32_t)to : to;
}

/* True for a jump to a known address that cannot fault. */
static bool is_direct(const Gen *g)
{
    uint64_t to = target(g);

    if (g->in->operand[0].kind != X86_OPD_REL || !natural_size(g))
        return false;
    if (g->key.bits != 64)
        return to <= g->limit;
    return (uint64_t)((int64_t)(to << 16) >> 16) == to;
}

/* R9 := the target of an indirect jump. */
static void load_target(Gen *g, Slow *s)
{
    unsigned size = g->in->operand[0].size;

    if (g->in->operand[0].kind == X86_OPD_MEM) {
        load_operand(g, s);
    } else {
        HostReg from = x86_gen_use(g, g->in->operand[0].reg, H_R9);

        if (size == 2)
            emit_movzx_word(g->c, H_R9, from);
        else
            emit_lea(g->c, size == 8, H_R9, from, H_RSP, 1, 0);
    }
}

static bool is_indirect(const Gen *g)
{
    return is_kind(g, X86_OPD_GPR) || is_kind(g, X86_OPD_MEM);
}

static void push_return_address(Gen *g)
{
    unsigned size = natural_size(g);

    emit_imm(g->c, H_R9, g->next);
    x86_gen_store(g, size, H_R9);
    move_sp(g, -(int)size, H_R8);
}

static void generate_indirect_call(Gen *g)
{
    unsigned size = natural_size(g);
    Slow *s = x86_gen_slow(g);

    x86_gen_spoil_flags(g);
    load_target(g, s);
    if (g->in->operand[0].kind != X86_OPD_MEM)
        emit_store_gs(g->c, AT_CPU(scratch), H_R9);
    generate_stack(g, s, -(int)size, size, true);
    emit_load_gs(g->c, H_R9, AT_CPU(scratch));
    find_target(g, s);
    push_return_address(g);
    jump_found(g);
}

bool x86_gen_call(Gen *g)
{
    unsigned size = natural_size(g);
    Slow *s;

    if (is_indirect(g)) {
        generate_indirect_call(g);
        return true;
    }
    if (!is_direct(g))
        return false;
    s = x86_gen_slow(g);
    x86_gen_spoil_flags(g);
    generate_stack(g, s, -(int)size, size, true);
    push_return_address(g);
    x86_gen_leave_to(g, target(g));
    g->ended = true;
    return true;
}

bool x86_gen_jmp(Gen *g)
{
    Slow *s;

    if (is_direct(g)) {
        x86_gen_save_flags(g);
        x86_gen_leave_to(g, target(g));
        g->ended = true;
        return true;
    }
    if (!is_indirect(g))
        return false;
    s = x86_gen_slow(g);
    x86_gen_spoil_flags(g);
    load_target(g, s);
    find_target(g, s);
    jump_found(g);
    return true;
}

/* Goes to the target on @condition of the host's flags; the guest's are saved. */
static void branch(Gen *g, unsigned condition)
{
    uint8_t *taken = emit_jcc(g->c, condition);

    x86_gen_leave_to(g, g->next);
    emit_fix(taken, g->c->at);
    x86_gen_leave_to(g, target(g));
    g->ended = true;
}

bool x86_gen_jcc(Gen *g)
{
    if (!is_direct(g))
        return false;
    x86_gen_save_flags(g);
    x86_gen_need_flags(g);
    branch(g, g->in->condition);
    return true;
}

/* loop and jcxz. */
bool x86_gen_count_jump(Gen *g)
{
    unsigned size = g->in->address_size;
    CodeMemory *c = g->c;

    if (!is_direct(g))
        return false;
    x86_gen_spoil_flags(g);
    if (g->in->op == X86_loop) {
        emit_lea(c, size == 8, H_R9, H_RCX, H_RSP, 1, -1);
        if (size == 2)
            emit_mov_word(c, H_RCX, H_R9);
        else
            emit_mov(c, H_RCX, H_R9);
    }
    if (size == 2)
        emit8(c, 0x66);
    emit_rex(c, size == 8, H_RCX, 0, H_RCX);
    emit_bytes(c, 0xc985, 2); /* test of rcx with itself */
    branch(g, g->in->op == X86_loop ? H_NE : H_E);
    return true;
}

#endif
