/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Translating integer instructions: those the host does as they are, division, flags. */
#include "target/x86/generate.h"

#if defined(__x86_64__) && defined(__linux__)

#include "target/x86/generate-parts.h"

/* ---- the guest's own instruction ------------------------------------------------------------- */

/*
 * True if a register that is in memory stands in two places of an instruction with three: it is
 * loaded once for each, and written from one.
 */
static bool names_one_twice(const X86Insn *in)
{
    for (unsigned i = 1; i < in->operands; i++)
        for (unsigned k = 0; k < i; k++)
            if (in->operand[i].kind == X86_OPD_GPR && in->operand[k].kind == X86_OPD_GPR &&
                in->operand[i].reg == in->operand[k].reg && x86_gen_in_memory(in->operand[i].reg))
                return true;
    return false;
}

/* Operations that do on the host what they do in the guest, given their operands. */
static bool is_passed(const X86Insn *in)
{
    switch (in->op) {
    case X86_add: case X86_or: case X86_adc: case X86_sbb: case X86_and: case X86_sub: case X86_xor:
    case X86_cmp: case X86_test: case X86_inc: case X86_dec: case X86_not: case X86_neg:
    case X86_mul: case X86_imul1: case X86_imul: case X86_shl: case X86_shr: case X86_sar:
    case X86_rol: case X86_ror: case X86_rcl: case X86_rcr: case X86_shld: case X86_shrd:
    case X86_bsf: case X86_bsr: case X86_mov: case X86_mov_imm: case X86_movzb: case X86_movzw:
    case X86_movsb: case X86_movsw: case X86_movsl: case X86_movnti: case X86_bswap: case X86_cmov:
    case X86_setcc: case X86_cbw: case X86_cwd: case X86_xchg: case X86_xadd: case X86_cmpxchg:
    case X86_cmpxchg8b: case X86_cmpxchg16b: case X86_clc: case X86_stc: case X86_cmc:
    case X86_popcnt: case X86_lzcnt: case X86_tzcnt: case X86_crc32: case X86_adcx: case X86_adox:
    case X86_lfence: case X86_mfence: case X86_sfence: case X86_pause:
        return x86_gen_host_has(in);
    case X86_bt: case X86_bts: case X86_btr: case X86_btc:
        /* With a register as index memory is a string of bits. */
        return in->operand[0].kind != X86_OPD_MEM || in->operand[1].kind == X86_OPD_IMM;
    case X86_andn: case X86_blsr: case X86_blsmsk: case X86_blsi: case X86_bextr: case X86_bzhi:
    case X86_pext: case X86_pdep: case X86_rorx: case X86_shlx: case X86_sarx: case X86_shrx:
        return x86_gen_host_has(in) && !names_one_twice(in);
    case X86_movbe:
        return in->bits != 16 && x86_gen_host_has(in);
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
    HostReg vvvv;      /* of a VEX prefix */
    unsigned reg_guest, rm_guest, vvvv_guest; /* registers loaded from memory, or X86_NO_REG */
} Parts;

static unsigned encoded(const X86Operand *o)
{
    if (o->kind == X86_OPD_HIGH)
        return o->reg + 4u;
    return o->kind == X86_OPD_GPR ? x86_gen_pinned(o->reg) : o->reg;
}

static void take_register(Parts *p, const X86Operand *o, bool is_rm)
{
    bool loaded = o->kind == X86_OPD_GPR && x86_gen_in_memory(o->reg);

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

static void take_vvvv(Parts *p, const X86Operand *o)
{
    bool loaded = o->kind == X86_OPD_GPR && x86_gen_in_memory(o->reg);

    p->vvvv = loaded ? H_R10 : encoded(o);
    p->vvvv_guest = loaded ? o->reg : X86_NO_REG;
}

static Parts parts_of(const X86Insn *in)
{
    const X86Form *f = in->form;
    Parts p = { .reg_guest = X86_NO_REG, .rm_guest = X86_NO_REG, .vvvv_guest = X86_NO_REG };

    p.digit = f->when >> W_REG_SHIFT & 7;
    /* lfence, fld1 and their like have a ModRM byte but no operands. */
    if (f->when & W_REG && !in->operands) {
        p.has_modrm = true;
        p.rm = f->when >> W_RM_SHIFT & 7;
    }
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
        case HOW_VVVV:
            take_vvvv(&p, o);
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

/* True if the host's instruction needs the prefix: its default is operands of 32 bits. */
static bool needs_66(const X86Insn *in)
{
    unsigned prefix = in->form->when & W_PREFIX;

    if (in->bits != 16 || prefix == P66)
        return in->prefix66;
    return prefix != NP && in->operand_size == 2;
}

static void write_prefixes(CodeMemory *c, const X86Insn *in)
{
    static const uint8_t repeat[8] = { [PF3] = 0xf3, [PF2] = 0xf2 };
    unsigned prefix = in->form->when & W_PREFIX;

    if (in->lock)
        emit8(c, 0xf0);
    if (needs_66(in))
        emit8(c, 0x66);
    if (repeat[prefix])
        emit8(c, repeat[prefix]);
}

/* inc and dec in one byte, which are REX prefixes on the host. */
static bool is_short_inc(const X86Form *f)
{
    return f->opcode == 0x40 || f->opcode == 0x48;
}

static void write_short_inc(CodeMemory *c, const X86Insn *in, const Parts *p)
{
    if (needs_66(in))
        emit8(c, 0x66);
    emit_rex(c, false, 0, 0, p->rm);
    emit8(c, 0xff);
    emit_modrm(c, 3, in->form->opcode >> 3 & 1, p->rm);
}

/* With a VEX prefix, always in its long form; no prefix stands before it. */
static void write_vex_opcode(CodeMemory *c, const X86Insn *in, const Parts *p)
{
    static const uint8_t codes[8] = { [P66] = 1, [PF3] = 2, [PF2] = 3 };
    unsigned map = (in->form->opcode >> 8) - X86_MAP_VEX + 1, prefix = in->form->when & W_PREFIX;
    bool wide = in->rex & 8;

    /* Outside 64-bit mode W means nothing for general registers. */
    if (in->bits != 64 && !(in->form->when & (IS_W | NO_W)))
        wide = false;
    emit8(c, 0xc4);
    emit8(c, (p->reg >= 8 ? 0 : 0x80) | 0x40 | (p->rm >= 8 ? 0 : 0x20) | map);
    emit8(c, wide << 7 | (~p->vvvv & 15) << 3 | in->vex_l << 2 | codes[prefix]);
    emit8(c, in->form->opcode);
    if (p->has_modrm)
        emit_modrm(c, p->in_memory ? 0 : 3, p->digit, p->rm);
}

static void write_opcode(CodeMemory *c, const X86Insn *in, const Parts *p)
{
    const X86Form *f = in->form;
    unsigned opcode = f->opcode & 0xff, rex = (in->rex & 8) | (p->reg >> 3) << 2 | p->rm >> 3;
    unsigned map = f->opcode >> 8;

    if (in->vex) {
        write_vex_opcode(c, in, p);
        return;
    }
    if (is_short_inc(f)) {
        write_short_inc(c, in, p);
        return;
    }
    if (f->opcode == 0x82) /* the same as 80, which the host has */
        opcode = 0x80;
    write_prefixes(c, in);
    if (needs_rex(in, p))
        emit8(c, 0x40 | rex);
    if (map)
        emit8(c, 0x0f);
    if (map == X86_MAP_0F38 || map == X86_MAP_0F3A)
        emit8(c, map == X86_MAP_0F38 ? 0x38 : 0x3a);
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

        if (shape->how == HOW_IS4)
            emit8(c, in->operand[i].reg << 4);
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

unsigned x86_gen_memory_operand(const X86Insn *in)
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
            emit_store_gs(g->c, x86_gen_gpr_at(p->rm_guest), H_R8);
        else if (written && is_gpr && in->operand[i].reg == p->reg_guest)
            emit_store_gs(g->c, x86_gen_gpr_at(p->reg_guest), H_R9);
        else if (written && is_gpr && in->operand[i].reg == p->vvvv_guest)
            emit_store_gs(g->c, x86_gen_gpr_at(p->vvvv_guest), H_R10);
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
        x86_gen_need_flags(g);
    if (p->rm_guest != X86_NO_REG)
        emit_load_gs(g->c, H_R8, x86_gen_gpr_at(p->rm_guest));
    if (p->reg_guest != X86_NO_REG)
        emit_load_gs(g->c, H_R9, x86_gen_gpr_at(p->reg_guest));
    if (p->vvvv_guest != X86_NO_REG)
        emit_load_gs(g->c, H_R10, x86_gen_gpr_at(p->vvvv_guest));
    write_opcode(g->c, g->in, p);
    write_immediates(g->c, g->in);
    store_back(g, p);
    x86_gen_flags_written(g);
}

static void pass_memory(Gen *g, const Parts *p)
{
    const X86Insn *in = g->in;
    unsigned i = x86_gen_memory_operand(in);
    bool write = i == 0 && !(in->attributes & X86_A_NO_WRITE);
    Slow *s = x86_gen_slow(g);

    x86_gen_spoil_flags(g);
    x86_gen_operand(g, s, i, write);
    if (reads_flags(in))
        x86_gen_need_flags(g);
    if (p->reg_guest != X86_NO_REG)
        emit_load_gs(g->c, H_R9, x86_gen_gpr_at(p->reg_guest));
    if (p->vvvv_guest != X86_NO_REG)
        emit_load_gs(g->c, H_R10, x86_gen_gpr_at(p->vvvv_guest));
    write_opcode(g->c, in, p);
    write_immediates(g->c, in);
    store_back(g, p);
    x86_gen_flags_written(g);
    x86_gen_slow_end(g, s);
}

static bool can_pass(const X86Insn *in, const Parts *p)
{
    return !(p->high && needs_rex(in, p));
}

void x86_gen_pass(Gen *g)
{
    Parts p = parts_of(g->in);

    if (p.in_memory)
        pass_memory(g, &p);
    else
        pass_registers(g, &p);
}

void x86_gen_encode(Gen *g)
{
    Parts p = parts_of(g->in);

    if (reads_flags(g->in))
        x86_gen_need_flags(g);
    write_opcode(g->c, g->in, &p);
    x86_gen_flags_written(g);
}

bool x86_gen_passed(Gen *g)
{
    Parts p;

    if (!is_passed(g->in) || (g->in->vex && !g->key.is_protected))
        return false;
    p = parts_of(g->in);
    if (!can_pass(g->in, &p))
        return false;
    x86_gen_pass(g);
    return true;
}

/* ---- flags outside the host's ---------------------------------------------------------------- */

static void change_flags(Gen *g, unsigned op, uint32_t v)
{
    x86_gen_spoil_flags(g);
    emit_gs_word(g->c, op, AT_CPU(flags), v);
}

static bool generate_cli(Gen *g)
{
    if (!g->key.is_supervisor)
        return false;
    change_flags(g, 4, ~(uint32_t)X86_IF);
    return true;
}

/* The instruction after sti runs before interrupts; the block ends with it. */
static bool generate_sti(Gen *g)
{
    if (!g->key.is_supervisor || g->is_last)
        return false;
    change_flags(g, 1, X86_IF);
    emit_gs_set_word(g->c, AT_CPU(ignored), 0);
    g->opened = true;
    return true;
}

/* ---- division -------------------------------------------------------------------------------- */

/* R9 := the divisor. */
static void load_divisor(Gen *g, Slow *s, bool wide)
{
    const X86Operand *o = &g->in->operand[0];

    if (o->kind == X86_OPD_MEM) {
        x86_gen_operand(g, s, 0, false);
        x86_gen_at_r8(g, 0x8b, wide, H_R9);
    } else {
        emit_mov(g->c, H_R9, x86_gen_use(g, o->reg, H_R9));
    }
}

/* @opcode between registers, 64 or 32 bits. */
static void register_pair(Gen *g, uint8_t opcode, bool wide, HostReg reg, HostReg rm)
{
    emit_rex(g->c, wide, reg, 0, rm);
    emit8(g->c, opcode);
    emit_modrm(g->c, 3, reg, rm);
}

/* The quotient fits if the high half is less than the divisor. */
static void check_unsigned(Gen *g, Slow *s, bool wide)
{
    register_pair(g, 0x3b, wide, H_RDX, H_R9);
    x86_gen_slow_if(g, s, H_AE);
}

/* It fits if the dividend has been extended from one half, and the divisor is not 0 or -1. */
static void check_signed(Gen *g, Slow *s, bool wide)
{
    register_pair(g, 0x8b, wide, H_R10, H_RAX);
    emit_rex(g->c, wide, 0, 0, H_R10); /* sar r10, bits - 1 */
    emit8(g->c, 0xc1);
    emit_modrm(g->c, 3, 7, H_R10);
    emit8(g->c, wide ? 63 : 31);
    register_pair(g, 0x3b, wide, H_R10, H_RDX);
    x86_gen_slow_if(g, s, H_NE);
    emit_lea(g->c, wide, H_R10, H_R9, H_RSP, 1, 1);
    emit_rex(g->c, wide, 0, 0, H_R10); /* cmp r10, 1 */
    emit8(g->c, 0x83);
    emit_modrm(g->c, 3, 7, H_R10);
    emit8(g->c, 1);
    x86_gen_slow_if(g, s, H_BE);
}

static bool generate_division(Gen *g, bool is_signed)
{
    bool wide = g->in->operand_size == 8;
    Slow *s;

    if (g->in->operand[0].size < 4)
        return false;
    s = x86_gen_slow(g);
    x86_gen_spoil_flags(g);
    load_divisor(g, s, wide);
    if (is_signed)
        check_signed(g, s, wide);
    else
        check_unsigned(g, s, wide);
    register_pair(g, 0xf7, wide, is_signed ? 7 : 6, H_R9);
    x86_gen_slow_end(g, s);
    return true;
}

/* ---- the others ------------------------------------------------------------------------------ */

static bool generate_lea(Gen *g)
{
    const X86Insn *in = g->in;
    unsigned reg = in->operand[0].reg, size = in->operand[0].size;

    if (size == 2 && x86_gen_in_memory(reg))
        return false;
    x86_gen_offset(g);
    if (size == 2) {
        emit_mov_word(g->c, x86_gen_pinned(reg), H_R8);
        return true;
    }
    if (size == 4)
        emit_bytes(g->c, 0xc08945, 3); /* mov r8d, r8d */
    if (x86_gen_in_memory(reg))
        emit_store_gs(g->c, x86_gen_gpr_at(reg), H_R8);
    else
        emit_mov(g->c, x86_gen_pinned(reg), H_R8);
    return true;
}

/* AL, AX, EAX or RAX from or to a fixed address. */
static bool generate_movabs(Gen *g)
{
    bool write = g->in->operand[0].kind == X86_OPD_MEM;
    unsigned i = write ? 0 : 1, size = g->in->operand[i].size;
    Slow *s = x86_gen_slow(g);

    x86_gen_spoil_flags(g);
    x86_gen_operand(g, s, i, write);
    if (write) {
        x86_gen_store(g, size, H_RAX);
    } else if (size <= 2) {
        x86_gen_load(g, size, H_R9);
        if (size == 1)
            emit_bytes(g->c, 0xc88844, 3); /* mov al, r9b */
        else
            emit_mov_word(g->c, H_RAX, H_R9);
    } else {
        x86_gen_load(g, size, H_RAX);
    }
    x86_gen_slow_end(g, s);
    return true;
}

bool x86_gen_special(Gen *g)
{
    switch (g->in->op) {
    case X86_push:
        return x86_gen_push(g);
    case X86_pop:
        return x86_gen_pop(g);
    case X86_leave:
        return x86_gen_leave(g);
    case X86_pushf:
        return x86_gen_pushf(g);
    case X86_cli:
        return generate_cli(g);
    case X86_sti:
        return generate_sti(g);
    case X86_cld:
        change_flags(g, 4, ~(uint32_t)X86_DF);
        return true;
    case X86_std:
        change_flags(g, 1, X86_DF);
        return true;
    case X86_call:
        return x86_gen_call(g);
    case X86_ret:
        return x86_gen_ret(g);
    case X86_jmp:
        return x86_gen_jmp(g);
    case X86_jcc:
        return x86_gen_jcc(g);
    case X86_loop:
    case X86_jcxz:
        return x86_gen_count_jump(g);
    case X86_movabs:
        return generate_movabs(g);
    case X86_div:
        return generate_division(g, false);
    case X86_idiv:
        return generate_division(g, true);
    case X86_lea:
        return generate_lea(g);
    case X86_nop:
    case X86_endbr64:
    case X86_endbr32:
    case X86_prefetch:
    case X86_prefetchw:
    case X86_prefetchnta:
    case X86_prefetcht0:
    case X86_prefetcht1:
    case X86_prefetcht2:
        return true;
    default:
        return false;
    }
}

#endif
