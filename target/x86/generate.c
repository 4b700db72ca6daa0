/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host code for x86-64, made in one pass by templates.
 *
 * The guest's RAX, RCX, RDX, RBX, RBP, RSI, RDI and R12 to R15 are in the host's registers of the
 * same name, its RSP is in R11, its R8 to R11 are in memory. The host's R8 holds addresses, R9 a
 * register from memory, R10 is scratch; RSP is the C stack. GS points to the processor.
 *
 * Most integer instructions are the guest's own, with other registers: one template writes them
 * all. Memory is checked against X86Cpu.fast and then used directly. What has no template, and what
 * the check does not find, is interpreted: the registers go to memory, x86_execute is called, they
 * come back.
 *
 * The arithmetic flags are the host's from the instruction that sets them to the one that needs
 * them. They are saved to X86Cpu.packed_flags before something else would change them or may fault;
 * what is overwritten before that is never saved.
 */
#include "target/x86/forms.h"
#include "target/x86/generate.h"

#if defined(__x86_64__) && defined(__linux__)

#include "tcg/emit-x86-64.h"
#include <asm/prctl.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { HWCAP2_FSGSBASE = 2, SLOW_JUMPS = 3 };
#define AT_CPU(field) ((uint32_t)offsetof(X86Cpu, field))

typedef enum {
    FLAGS_SAVED,   /* in memory only */
    FLAGS_IN_HOST, /* in the host only */
    FLAGS_BOTH,
} FlagsState;

/* The way of one instruction that its fast path does not go; written after the block. */
typedef struct {
    uint8_t *jumps[SLOW_JUMPS];
    unsigned count;
    const X86StepRecord *record;
    uint8_t *back; /* NULL: the instruction ends the block */
    bool needs_flags; /* the fast path has them in the host there */
} Slow;

typedef struct {
    CodeMemory *c;
    X86Cpu *cpu;
    const X86Stubs *stubs;
    const X86StepRecord *record; /* of the current instruction */
    const X86Insn *in;
    uint64_t start, next;
    FlagsState flags;
    Slow slow[X86_BLOCK_INSNS];
    unsigned slows;
    bool ended;
} Gen;

/* ---- registers ------------------------------------------------------------------------------- */

static bool is_in_memory(unsigned reg)
{
    return reg >= 8 && reg < 12;
}

static HostReg pinned(unsigned reg)
{
    return reg == X86_RSP ? H_R11 : reg;
}

static uint32_t gpr_at(unsigned reg)
{
    return AT_CPU(gpr) + 8 * reg;
}

/* The host register with guest register @reg, loaded into @scratch if it is in memory. */
static HostReg use_reg(Gen *g, unsigned reg, HostReg scratch)
{
    if (!is_in_memory(reg))
        return pinned(reg);
    emit_load_gs(g->c, scratch, gpr_at(reg));
    return scratch;
}

static void save_registers(CodeMemory *c)
{
    for (unsigned i = 0; i < 16; i++)
        if (!is_in_memory(i))
            emit_store_gs(c, gpr_at(i), pinned(i));
}

static void load_registers(CodeMemory *c)
{
    for (unsigned i = 0; i < 16; i++)
        if (!is_in_memory(i))
            emit_load_gs(c, pinned(i), gpr_at(i));
}

/* ---- flags ----------------------------------------------------------------------------------- */

/* RAX is saved in R10, since only AH takes flags. */
static void save_flags(Gen *g)
{
    CodeMemory *c = g->c;

    if (g->flags != FLAGS_IN_HOST)
        return;
    emit_mov(c, H_R10, H_RAX);
    emit8(c, 0x9f); /* lahf */
    emit_bytes(c, 0xc0900f, 3); /* seto al */
    emit8(c, 0x65); /* mov ax, gs:[packed_flags] */
    emit8(c, 0x66);
    emit8(c, 0x89);
    emit_modrm(c, 0, H_RAX, 4);
    emit8(c, 0x25);
    emit32(c, AT_CPU(packed_flags));
    emit_mov(c, H_RAX, H_R10);
    g->flags = FLAGS_BOTH;
}

static void write_load_flags(CodeMemory *c)
{
    emit_mov(c, H_R10, H_RAX);
    emit8(c, 0x65); /* movzx eax, word gs:[packed_flags] */
    emit8(c, 0x0f);
    emit8(c, 0xb7);
    emit_modrm(c, 0, H_RAX, 4);
    emit8(c, 0x25);
    emit32(c, AT_CPU(packed_flags));
    emit8(c, 0x04); /* add al, 7f: overflows if al is 1 */
    emit8(c, 0x7f);
    emit8(c, 0x9e); /* sahf */
    emit_mov(c, H_RAX, H_R10);
}

static void need_flags(Gen *g)
{
    if (g->flags != FLAGS_SAVED)
        return;
    write_load_flags(g->c);
    g->flags = FLAGS_BOTH;
}

/* What follows changes the host's flags though not the guest's. */
static void spoil_flags(Gen *g)
{
    save_flags(g);
    g->flags = FLAGS_SAVED;
}

/* ---- leaving a block ------------------------------------------------------------------------- */

static void set_rip(Gen *g, uint64_t rip)
{
    emit_imm(g->c, H_R8, rip);
    emit_store_gs(g->c, AT_CPU(rip), H_R8);
}

/*
 * Goes on at @rip: through the loop at first, directly once the block there is known and on this
 * page.
 */
static void leave_to(Gen *g, uint64_t rip)
{
    uint8_t *chain = emit_jmp(g->c);

    emit_fix(chain, g->c->at);
    set_rip(g, rip);
    if (rip >> 12 == g->start >> 12) {
        emit_imm(g->c, H_R8, (uintptr_t)chain);
        emit_store_gs(g->c, AT_CPU(chain_from), H_R8);
    }
    emit_jmp_to(g->c, g->stubs->leave);
}

void x86_generate_chain(uint8_t *from, const X86Block *b)
{
    emit_fix(from, b->code);
}

/* ---- the slow way ---------------------------------------------------------------------------- */

static Slow *slow_new(Gen *g)
{
    Slow *s = &g->slow[g->slows++];

    *s = (Slow){ .record = g->record };
    return s;
}

static void call_step(CodeMemory *c, const X86Stubs *stubs, const X86StepRecord *r)
{
    emit_imm(c, H_R9, (uintptr_t)r);
    emit_call_to(c, stubs->step);
}

static void write_slow(Gen *g, const Slow *s)
{
    for (unsigned i = 0; i < s->count; i++)
        emit_fix(s->jumps[i], g->c->at);
    call_step(g->c, g->stubs, s->record);
    if (!s->back)
        return;
    if (s->needs_flags)
        write_load_flags(g->c);
    emit_jmp_to(g->c, s->back);
}

/* Interprets the instruction. */
static void generate_step(Gen *g)
{
    save_flags(g);
    call_step(g->c, g->stubs, g->record);
    g->flags = FLAGS_SAVED;
    g->ended = g->in->attributes & X86_A_ENDS_BLOCK;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* R8 := the linear address of the memory operand. */
static void generate_address(Gen *g)
{
    const X86Insn *in = g->in;
    const X86Mem *m = &in->mem;
    bool wide = in->address_size == 8;
    HostReg base, index = H_RSP;

    if (m->rip || (m->base == X86_NO_REG && m->index == X86_NO_REG)) {
        uint64_t at = m->disp + (m->rip ? g->next : 0);

        emit_imm(g->c, H_R8, wide ? at : (uint32_t)at);
    } else {
        if (m->index != X86_NO_REG)
            index = use_reg(g, m->index, H_R9);
        if (m->base == X86_NO_REG) {
            emit_lea_index(g->c, wide, H_R8, index, m->scale, m->disp);
        } else {
            base = use_reg(g, m->base, H_R8);
            emit_lea(g->c, wide, H_R8, base, index, m->scale, m->disp);
        }
    }
    if (m->segment >= X86_FS)
        emit_gs(g->c, 0x03, true, H_R8, AT_CPU(segment) + m->segment * sizeof(X86Segment) +
                                            offsetof(X86Segment, base));
}

/* R8 := the host address of the @size bytes at linear address R8; spoils R9, R10 and the flags. */
static void generate_check(Gen *g, Slow *s, unsigned size, bool write)
{
    CodeMemory *c = g->c;
    uint32_t table = AT_CPU(fast) + ((g->cpu->cpl == 3) * 2 + write) * sizeof(g->cpu->fast[0][0]);

    /* The page of the last byte: if that is another one than the first's, nothing is found. */
    emit_lea(c, true, H_R9, H_R8, H_RSP, 1, size - 1);
    emit_alu_imm(c, 4, H_R9, -4096);
    emit_mov(c, H_R10, H_R8);
    emit_shift(c, 5, H_R10, 12 - 4);
    emit_alu_imm(c, 4, H_R10, (X86_FAST_SIZE - 1) * sizeof(X86FastEntry));
    emit_gs_indexed(c, 0x3b, H_R9, H_R10, table);
    s->jumps[s->count++] = emit_jcc(c, H_NE);
    emit_gs_indexed(c, 0x03, H_R8, H_R10, table + offsetof(X86FastEntry, add));
}

/* ---- the guest's own instruction ------------------------------------------------------------- */

/* Operations that do on the host what they do in the guest, given their operands. */
static bool is_passed(const X86Insn *in)
{
    switch (in->op) {
    case X86_add: case X86_or: case X86_adc: case X86_sbb: case X86_and: case X86_sub: case X86_xor:
    case X86_cmp: case X86_test: case X86_inc: case X86_dec: case X86_not: case X86_neg:
        case X86_mul:
    case X86_imul1: case X86_imul: case X86_shl: case X86_shr: case X86_sar: case X86_rol:
        case X86_ror:
    case X86_rcl: case X86_rcr: case X86_shld: case X86_shrd: case X86_bsf: case X86_bsr:
        case X86_mov:
    case X86_mov_imm: case X86_movzb: case X86_movzw: case X86_movsb: case X86_movsw:
        case X86_movsl:
    case X86_movnti: case X86_bswap: case X86_cmov: case X86_setcc: case X86_cbw: case X86_cwd:
    case X86_xchg: case X86_xadd: case X86_cmpxchg: case X86_clc: case X86_stc: case X86_cmc:
        return true;
    case X86_bt: case X86_bts: case X86_btr: case X86_btc:
        /* With a register as index memory is a string of bits. */
        return in->operand[0].kind != X86_OPD_MEM || in->operand[1].kind == X86_OPD_IMM;
    default:
        return false;
    }
}

/* The parts of an encoding, in host registers. */
typedef struct {
    HostReg reg, rm;
    uint8_t digit;     /* of the reg field where it is no register */
    bool has_modrm, in_memory;
    bool high;         /* AH, CH, DH or BH is used: no REX is possible */
    unsigned reg_guest, rm_guest; /* registers loaded from memory, or X86_NO_REG */
} Parts;

static unsigned encoded(const X86Operand *o)
{
    return o->kind == X86_OPD_HIGH ? o->reg + 4u : pinned(o->reg);
}

static void take_register(Parts *p, const X86Operand *o, bool is_rm)
{
    bool loaded = o->kind == X86_OPD_GPR && is_in_memory(o->reg);

    if (o->kind == X86_OPD_HIGH)
        p->high = true;
    if (is_rm) {
        p->rm = loaded ? H_R8 : encoded(o);
        p->rm_guest = loaded ? o->reg : X86_NO_REG;
    } else {
        p->reg = loaded ? H_R9 : encoded(o);
        p->reg_guest = loaded ? o->reg : X86_NO_REG;
    }
}

static Parts parts_of(const X86Insn *in)
{
    const X86Form *f = in->form;
    Parts p = { .reg_guest = X86_NO_REG, .rm_guest = X86_NO_REG };

    p.digit = f->when >> W_REG_SHIFT & 7;
    for (unsigned i = 0; i < in->operands; i++) {
        const X86Operand *o = &in->operand[i];

        switch (x86_shapes[f->operand[i]].how) {
        case HOW_RM:
        case HOW_RM_REG:
        case HOW_RM_MEM:
            p.has_modrm = true;
            if (o->kind == X86_OPD_MEM) {
                p.in_memory = true;
                p.rm = H_R8;
            } else {
                take_register(&p, o, true);
            }
            break;
        case HOW_REG:
            p.has_modrm = true;
            take_register(&p, o, false);
            p.digit = p.reg & 7;
            break;
        case HOW_OPCODE:
            take_register(&p, o, true);
            break;
        default:
            break;
        }
    }
    return p;
}

static bool needs_rex(const X86Insn *in, const Parts *p)
{
    return in->rex || p->reg >= 8 || p->rm >= 8 || p->in_memory;
}

static void write_opcode(CodeMemory *c, const X86Insn *in, const Parts *p)
{
    const X86Form *f = in->form;
    unsigned opcode = f->opcode & 0xff, rex = (in->rex & 8) | (p->reg >> 3) << 2 | p->rm >> 3;

    if (in->lock)
        emit8(c, 0xf0);
    if (in->prefix66)
        emit8(c, 0x66);
    if (needs_rex(in, p))
        emit8(c, 0x40 | rex);
    if (f->opcode >> 8)
        emit8(c, 0x0f);
    if (f->when & SPAN8)
        opcode = (opcode & ~7u) | (p->rm & 7);
    if (f->when & SPAN16)
        opcode |= in->condition;
    emit8(c, opcode);
    if (p->has_modrm)
        emit_modrm(c, p->in_memory ? 0 : 3, p->digit, p->rm);
}

static void write_immediates(CodeMemory *c, const X86Insn *in)
{
    for (unsigned i = 0; i < in->operands; i++) {
        const X86OperandShape *shape = &x86_shapes[in->form->operand[i]];

        if (shape->how == HOW_IMM)
            emit_bytes(c, in->imm, x86_size(shape->size, in->operand_size, in->bits));
    }
}

/* True if the result of @in, or what it leaves of the flags, depends on the flags before. */
static bool reads_flags(const X86Insn *in)
{
    bool is_shift = in->op == X86_shl || in->op == X86_shr || in->op == X86_sar;
    unsigned mask = in->operand[0].size == 8 ? 63 : 31;

    if (is_shift && in->operand[1].kind == X86_OPD_IMM && in->imm & mask)
        return false;
    return in->flags_read & X86_ARITH || (in->flags_written && (in->flags_written & X86_ARITH) !=
                                          X86_ARITH);
}

static unsigned memory_operand(const X86Insn *in)
{
    unsigned i = 0;

    while (i < in->operands && in->operand[i].kind != X86_OPD_MEM)
        i++;
    return i;
}

static void store_back(Gen *g, const Parts *p)
{
    const X86Insn *in = g->in;

    for (unsigned i = 0; i < in->operands; i++) {
        bool written = i == 0 ? !(in->attributes & X86_A_NO_WRITE) : i == 1 &&
            in->attributes & X86_A_WRITES_2;
        bool is_gpr = in->operand[i].kind == X86_OPD_GPR;

        if (written && is_gpr && in->operand[i].reg == p->rm_guest)
            emit_store_gs(g->c, gpr_at(p->rm_guest), H_R8);
        else if (written && is_gpr && in->operand[i].reg == p->reg_guest)
            emit_store_gs(g->c, gpr_at(p->reg_guest), H_R9);
    }
}

static void pass_registers(Gen *g, Parts *p)
{
    /* One register as both operands must be one on the host, too. */
    if (p->rm_guest != X86_NO_REG && p->rm_guest == p->reg_guest) {
        p->reg = H_R8;
        p->reg_guest = X86_NO_REG;
        p->digit = H_R8 & 7;
    }
    if (reads_flags(g->in))
        need_flags(g);
    if (p->rm_guest != X86_NO_REG)
        emit_load_gs(g->c, H_R8, gpr_at(p->rm_guest));
    if (p->reg_guest != X86_NO_REG)
        emit_load_gs(g->c, H_R9, gpr_at(p->reg_guest));
    write_opcode(g->c, g->in, p);
    write_immediates(g->c, g->in);
    store_back(g, p);
    if (g->in->flags_written & X86_ARITH)
        g->flags = FLAGS_IN_HOST;
}

static void pass_memory(Gen *g, const Parts *p)
{
    const X86Insn *in = g->in;
    unsigned i = memory_operand(in);
    bool write = i == 0 && !(in->attributes & X86_A_NO_WRITE);
    Slow *s = slow_new(g);

    spoil_flags(g);
    generate_address(g);
    generate_check(g, s, in->operand[i].size, write);
    if (reads_flags(in))
        need_flags(g);
    if (p->reg_guest != X86_NO_REG)
        emit_load_gs(g->c, H_R9, gpr_at(p->reg_guest));
    write_opcode(g->c, in, p);
    write_immediates(g->c, in);
    store_back(g, p);
    if (in->flags_written & X86_ARITH) {
        g->flags = FLAGS_IN_HOST;
        save_flags(g);
    }
    s->needs_flags = g->flags == FLAGS_BOTH;
    s->back = g->c->at;
}

static bool generate_passed(Gen *g)
{
    Parts p;

    if (!is_passed(g->in))
        return false;
    p = parts_of(g->in);
    if (p.high && needs_rex(g->in, &p))
        return false;
    if (p.in_memory)
        pass_memory(g, &p);
    else
        pass_registers(g, &p);
    return true;
}

/* ---- the stack and jumps --------------------------------------------------------------------- */

/* R8 := RSP + @offset, checked for 8 bytes. */
static void generate_stack(Gen *g, Slow *s, int offset, bool write)
{
    emit_lea(g->c, true, H_R8, H_R11, H_RSP, 1, offset);
    generate_check(g, s, 8, write);
}

static void move_sp(Gen *g, int by)
{
    emit_lea(g->c, true, H_R11, H_R11, H_RSP, 1, by);
}

/* mov @reg, [R8] or back. */
static void host_memory(Gen *g, uint8_t opcode, HostReg reg)
{
    emit_rex(g->c, true, reg, 0, H_R8);
    emit8(g->c, opcode);
    emit_modrm(g->c, 0, reg, H_R8);
}

static bool is_plain_register(const X86Insn *in)
{
    return in->operand[0].kind == X86_OPD_GPR && in->operand_size == 8;
}

static bool generate_push(Gen *g)
{
    const X86Insn *in = g->in;
    HostReg from = H_R9;
    Slow *s;

    if (in->operand_size != 8 || (in->operand[0].kind != X86_OPD_GPR && in->operand[0].kind !=
                                  X86_OPD_IMM))
        return false;
    s = slow_new(g);
    spoil_flags(g);
    generate_stack(g, s, -8, true);
    if (in->operand[0].kind == X86_OPD_IMM)
        emit_imm(g->c, H_R9, in->imm);
    else
        from = use_reg(g, in->operand[0].reg, H_R9);
    host_memory(g, 0x89, from);
    move_sp(g, -8);
    s->back = g->c->at;
    return true;
}

static bool generate_pop(Gen *g)
{
    unsigned reg = g->in->operand[0].reg;
    HostReg to = is_in_memory(reg) ? H_R9 : pinned(reg);
    Slow *s;

    if (!is_plain_register(g->in))
        return false;
    s = slow_new(g);
    spoil_flags(g);
    generate_stack(g, s, 0, false);
    if (reg != X86_RSP)
        move_sp(g, 8);
    host_memory(g, 0x8b, to);
    if (is_in_memory(reg))
        emit_store_gs(g->c, gpr_at(reg), H_R9);
    s->back = g->c->at;
    return true;
}

/* Goes on at the address in R9 if that is canonical; else the instruction is interpreted. */
static void check_canonical(Gen *g, Slow *s)
{
    emit_mov(g->c, H_R10, H_R9);
    emit_shift(g->c, 4, H_R10, 16);
    emit_shift(g->c, 7, H_R10, 16);
    emit_rr(g->c, 0x3b, H_R10, H_R9);
    s->jumps[s->count++] = emit_jcc(g->c, H_NE);
}

static void leave_to_r9(Gen *g)
{
    emit_store_gs(g->c, AT_CPU(rip), H_R9);
    emit_jmp_to(g->c, g->stubs->leave);
    g->ended = true;
}

static bool generate_ret(Gen *g)
{
    Slow *s;

    if (g->in->operand_size != 8)
        return false;
    s = slow_new(g);
    spoil_flags(g);
    generate_stack(g, s, 0, false);
    host_memory(g, 0x8b, H_R9);
    check_canonical(g, s);
    move_sp(g, 8 + (g->in->operands ? (int)g->in->imm : 0));
    leave_to_r9(g);
    return true;
}

static uint64_t target(const Gen *g)
{
    return g->next + g->in->imm;
}

static bool is_direct(const Gen *g)
{
    uint64_t to = target(g);

    return g->in->operand[0].kind == X86_OPD_REL && g->in->operand_size == 8 &&
           (uint64_t)((int64_t)(to << 16) >> 16) == to;
}

static bool generate_call(Gen *g)
{
    Slow *s;

    if (!is_direct(g))
        return false;
    s = slow_new(g);
    spoil_flags(g);
    generate_stack(g, s, -8, true);
    emit_imm(g->c, H_R9, g->next);
    host_memory(g, 0x89, H_R9);
    move_sp(g, -8);
    leave_to(g, target(g));
    g->ended = true;
    return true;
}

static bool generate_jmp(Gen *g)
{
    const X86Insn *in = g->in;
    Slow *s;

    if (is_direct(g)) {
        save_flags(g);
        leave_to(g, target(g));
        g->ended = true;
        return true;
    }
    if (!is_plain_register(in))
        return false;
    s = slow_new(g);
    spoil_flags(g);
    emit_mov(g->c, H_R9, use_reg(g, in->operand[0].reg, H_R9));
    check_canonical(g, s);
    leave_to_r9(g);
    return true;
}

static bool generate_jcc(Gen *g)
{
    uint8_t *taken;

    if (!is_direct(g))
        return false;
    save_flags(g);
    need_flags(g);
    taken = emit_jcc(g->c, g->in->condition);
    leave_to(g, g->next);
    emit_fix(taken, g->c->at);
    leave_to(g, target(g));
    g->ended = true;
    return true;
}

static bool generate_lea(Gen *g)
{
    const X86Insn *in = g->in;
    unsigned reg = in->operand[0].reg, size = in->operand[0].size;
    X86Insn flat = *in;

    if (size == 2)
        return false;
    /* The offset alone, whatever the segment. */
    flat.mem.segment = X86_DS;
    g->in = &flat;
    generate_address(g);
    g->in = in;
    if (size == 4) { /* mov r8d, r8d */
        emit_bytes(g->c, 0xc08945, 3);
    }
    if (is_in_memory(reg))
        emit_store_gs(g->c, gpr_at(reg), H_R8);
    else
        emit_mov(g->c, pinned(reg), H_R8);
    return true;
}

/* ---- one instruction ------------------------------------------------------------------------- */

static bool generate_special(Gen *g)
{
    switch (g->in->op) {
    case X86_push:
        return generate_push(g);
    case X86_pop:
        return generate_pop(g);
    case X86_call:
        return generate_call(g);
    case X86_ret:
        return generate_ret(g);
    case X86_jmp:
        return generate_jmp(g);
    case X86_jcc:
        return generate_jcc(g);
    case X86_lea:
        return generate_lea(g);
    case X86_nop:
    case X86_endbr64:
    case X86_endbr32:
        return true;
    default:
        return false;
    }
}

static void generate_insn(Gen *g)
{
    if (!generate_special(g) && !generate_passed(g))
        generate_step(g);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Requests by other threads are seen at each entry, so that a loop of chained blocks ends. */
static void generate_entry(Gen *g)
{
    uint8_t *none;

    emit8(g->c, 0x65); /* cmp dword gs:[events], 0 */
    emit8(g->c, 0x83);
    emit_modrm(g->c, 0, 7, 4);
    emit8(g->c, 0x25);
    emit32(g->c, AT_CPU(events));
    emit8(g->c, 0);
    none = emit_jcc(g->c, H_E);
    set_rip(g, g->start);
    emit_jmp_to(g->c, g->stubs->leave);
    emit_fix(none, g->c->at);
}

static void *allocate(CodeMemory *c, size_t size)
{
    uint8_t *p = (uint8_t *)(((uintptr_t)c->at + 15) & ~(uintptr_t)15);

    c->at = p + size;
    return p;
}

X86Block *x86_generate_block(CodeMemory *c, X86Cpu *cpu, const X86Stubs *stubs,
                             const uint8_t *guest, size_t len)
{
    Gen g = { .c = c, .cpu = cpu, .stubs = stubs, .start = cpu->rip };
    X86StepRecord *records;
    X86Block *b;
    unsigned count = 0;
    size_t at = 0;

    b = allocate(c, sizeof(*b));
    records = allocate(c, 0);
    while (count < X86_BLOCK_INSNS) {
        X86StepRecord *r = &records[count];

        if (x86_decode(&r->in, guest + at, len - at, cpu->mode) != X86_DECODED)
            break;
        r->rip = g.start + at;
        at += r->in.length;
        count++;
        if (r->in.attributes & X86_A_ENDS_BLOCK)
            break;
    }
    if (!count) {
        c->at = (uint8_t *)b;
        return NULL;
    }
    c->at = (uint8_t *)&records[count];
    *b = (X86Block){ .rip = g.start, .user = cpu->cpl == 3, .code = c->at };
    generate_entry(&g);
    for (unsigned i = 0; i < count && !g.ended; i++) {
        g.record = &records[i];
        g.in = &records[i].in;
        g.next = records[i].rip + g.in->length;
        generate_insn(&g);
    }
    if (!g.ended) {
        save_flags(&g);
        leave_to(&g, g.next);
    }
    for (unsigned i = 0; i < g.slows; i++)
        write_slow(&g, &g.slow[i]);
    return b;
}

/* ---- the code all blocks share --------------------------------------------------------------- */

static const HostReg callee_saved[] = { H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15 };
enum { CALLEE_SAVED = sizeof(callee_saved) / sizeof(callee_saved[0]) };

static void write_return(CodeMemory *c)
{
    emit_alu_imm(c, 0, H_RSP, 8);
    for (unsigned i = CALLEE_SAVED; i > 0; i--)
        emit_pop(c, callee_saved[i - 1]);
    emit8(c, 0xc3);
}

void x86_generate_stubs(CodeMemory *c, X86Cpu *cpu, X86Stubs *stubs,
                        int (*step)(X86Cpu *, const X86StepRecord *))
{
    uint8_t *go_on;

    stubs->enter = c->at;
    for (unsigned i = 0; i < CALLEE_SAVED; i++)
        emit_push(c, callee_saved[i]);
    emit_alu_imm(c, 5, H_RSP, 8);
    emit_mov(c, H_R8, H_RDI);
    load_registers(c);
    emit_bytes(c, 0xe0ff41, 3); /* jmp r8 */

    stubs->leave = c->at;
    save_registers(c);
    write_return(c);

    stubs->step = c->at;
    save_registers(c);
    emit_alu_imm(c, 5, H_RSP, 8);
    emit_imm(c, H_RDI, (uintptr_t)cpu);
    emit_mov(c, H_RSI, H_R9);
    emit_imm(c, H_RAX, (uintptr_t)step);
    emit_call_reg(c, H_RAX);
    emit_alu_imm(c, 0, H_RSP, 8);
    emit_bytes(c, 0xc085, 2); /* test eax, eax */
    go_on = emit_jcc(c, H_E);
    emit_alu_imm(c, 0, H_RSP, 8); /* the return address into the block */
    write_return(c);
    emit_fix(go_on, c->at);
    load_registers(c);
    emit8(c, 0xc3);
}

/* ---- the host -------------------------------------------------------------------------------- */

bool x86_can_generate(void)
{
    return true;
}

static bool has_fsgsbase(void)
{
    return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
}

static uint64_t read_gs(void)
{
    uint64_t v;

    if (has_fsgsbase())
        asm volatile("rdgsbase %0" : "=r"(v));
    else
        syscall(SYS_arch_prctl, ARCH_GET_GS, &v);
    return v;
}

static void write_gs(uint64_t v)
{
    if (has_fsgsbase())
        asm volatile("wrgsbase %0" : : "r"(v));
    else
        syscall(SYS_arch_prctl, ARCH_SET_GS, v);
}

uint64_t x86_generate_begin(X86Cpu *cpu)
{
    uint64_t before = cpu->translator ? read_gs() : 0;

    if (cpu->translator)
        write_gs((uintptr_t)cpu);
    return before;
}

void x86_generate_end(uint64_t before)
{
    if (before || has_fsgsbase())
        write_gs(before);
}

#else

bool x86_can_generate(void)
{
    return false;
}

/* Without a translator none of these is called but the first two. */
uint64_t x86_generate_begin(X86Cpu *cpu)
{
    return 0;
}

void x86_generate_end(uint64_t before)
{
}

void x86_generate_stubs(CodeMemory *c, X86Cpu *cpu, X86Stubs *stubs,
                        int (*step)(X86Cpu *, const X86StepRecord *))
{
    g_assert_not_reached();
}

X86Block *x86_generate_block(CodeMemory *c, X86Cpu *cpu, const X86Stubs *stubs,
                             const uint8_t *guest, size_t len)
{
    g_assert_not_reached();
}

void x86_generate_chain(uint8_t *from, const X86Block *b)
{
    g_assert_not_reached();
}

#endif
