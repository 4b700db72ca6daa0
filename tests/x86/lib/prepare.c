/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/x86/lib/prepare.h"
#include "target/x86/x87.h"
#include <string.h>

/* ---- which instructions ---------------------------------------------------------------------- */

/*
 * Left out are those whose result is the machine's own (identity, time, chance, selectors), that
 * enter the kernel on purpose, or that would take this process apart.
 */
bool can_compare(const X86Form *f)
{
    const X86Operation *op = &x86_operations[f->op];

    switch (f->op) {
    case X86_popf:
    case X86_salc:
    case X86_maskmovq: /* like maskmovdqu, but a page fault may come without a byte written */
    case X86_xsave:
    case X86_xsaveopt:
    case X86_xsavec:
    case X86_xrstor:
    case X86_cli:
    case X86_sti:
    case X86_prefetch:
    case X86_sysexit: /* undefined in long mode, or for the kernel only */
        return f->op == X86_cli || f->op == X86_sti || f->op == X86_prefetch;
    case X86_int3:
    case X86_ud0:
    case X86_ud1:
    case X86_ud2:
    case X86_into:
    case X86_in:
    case X86_out:
    case X86_mov_from_seg:
        return true;
    case X86_pop:
        return x86_shapes[f->operand[0]].kind != X86_OPD_SEG;
    default:
        return op->class_ != X86_C_SYSTEM || op->attributes & X86_A_PRIVILEGED;
    }
}

static unsigned shift_count(const X86Insn *in, const State *s)
{
    bool by_register = in->operand[in->operands - 1].kind == X86_OPD_GPR;

    return (by_register ? s->gpr[X86_RCX] : in->imm) & (in->operand[0].size == 8 ? 63 : 31);
}

/* Double shifts of words by more than 16 give what they like. */
static bool is_undefined_shift(const X86Insn *in, const State *s)
{
    return (in->op == X86_shld || in->op == X86_shrd) &&
        shift_count(in, s) > 8 * in->operand[0].size;
}

static uint32_t shift_undefined(const X86Insn *in, const State *s)
{
    unsigned count = shift_count(in, s), bits = 8 * in->operand[0].size;
    uint32_t undefined = count > 1 ? X86_OF : 0;

    if (!count)
        return 0;
    if (in->flags_written & X86_AF)
        undefined |= X86_AF;
    if ((in->op == X86_shl || in->op == X86_shr) && count > bits)
        undefined |= X86_CF;
    return undefined;
}

uint32_t undefined_flags(const X86Insn *in, const State *s)
{
    switch (in->op) {
    case X86_shl:
    case X86_shr:
    case X86_sar:
    case X86_rol:
    case X86_ror:
    case X86_rcl:
    case X86_rcr:
    case X86_shld:
    case X86_shrd:
        return shift_undefined(in, s);
    case X86_bt:
    case X86_bts:
    case X86_btr:
    case X86_btc:
        return X86_OF | X86_SF | X86_AF | X86_PF;
    default:
        return in->flags_undefined;
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

static uint64_t random_value(Random *r)
{
    static const uint64_t edges[] = {
        0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
        UINT64_C(0x7fffffffffffffff), UINT64_C(0x8000000000000000), UINT64_MAX,
    };
    uint64_t v = random_next(r);

    switch (random_below(r, 4)) {
    case 0:
        return edges[random_below(r, G_N_ELEMENTS(edges))];
    case 1:
        return v >> random_below(r, 64);
    case 2:
        return -(v >> random_below(r, 64));
    default:
        return v;
    }
}

static uint32_t random_float(Random *r)
{
    static const uint32_t edges[] = {
        0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001,
            0x7f800001,
        0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x4effffff,
            0x5f000000,
    };

    if (random_chance(r, 35))
        return edges[random_below(r, G_N_ELEMENTS(edges))];
    if (random_chance(r, 60))
        return (random_next(r) & 0x807fffff) | (110 + random_below(r, 36)) << 23;
    return random_next(r);
}

static uint64_t random_double(Random *r)
{
    static const uint64_t edges[] = {
        0, UINT64_C(1) << 63, UINT64_C(0x3ff0000000000000), UINT64_C(0xbff0000000000000),
        UINT64_C(0x7ff0000000000000), UINT64_C(0xfff0000000000000), UINT64_C(0x7ff8000000000000),
        UINT64_C(0xfff8000000000001), UINT64_C(0x7ff0000000000001), 1, UINT64_C(0x800fffffffffffff),
        UINT64_C(0x0010000000000000), UINT64_C(0x7fefffffffffffff), UINT64_C(0x41dfffffffc00000),
        UINT64_C(0xc1e0000000000000), UINT64_C(0x43e0000000000000), UINT64_C(0xc3e0000000000000),
        UINT64_C(0x3810000000000000), UINT64_C(0x47efffffe0000000),
    };

    if (random_chance(r, 35))
        return edges[random_below(r, G_N_ELEMENTS(edges))];
    if (random_chance(r, 60))
        return (random_next(r) & UINT64_C(0x800fffffffffffff)) |
            (uint64_t)(980 + random_below(r, 90)) << 52;
    return random_next(r);
}

static X86Vector random_vector(Random *r)
{
    X86Vector v;
    unsigned kind = random_below(r, 4);

    for (unsigned i = 0; i < 4; i++)
        v.d[i] = random_float(r);
    if (kind == 1)
        v.q[0] = random_double(r), v.q[1] = random_double(r);
    if (kind == 2)
        v.q[0] = random_value(r), v.q[1] = random_value(r);
    if (kind == 3)
        for (unsigned i = 0; i < 16; i++)
            v.b[i] = random_value(r);
    return v;
}

static X87Number random_number(Random *r)
{
    X87Number n = { .mantissa = random_next(r) | UINT64_C(1) << 63,
                    .sign_exponent = (random_next(r) & 0x8000) |
                        (0x3fff - 70 + random_below(r, 140)) };

    switch (random_below(r, 12)) {
    case 0:
        return (X87Number){ 0, n.sign_exponent & 0x8000 };
    case 1:
        return (X87Number){ n.mantissa & (UINT64_C(3) << 62 | random_below(r, 2)), n.sign_exponent |
                            0x7fff };
    case 2:
        return (X87Number){ random_next(r) >> random_below(r, 64), n.sign_exponent & 0x8000 };
    case 3:
        return (X87Number){ random_next(r), random_next(r) };
    case 4:
        return (X87Number){ UINT64_C(1) << 63, (n.sign_exponent & 0x8000) |
                            (0x3fff + random_below(r, 4)) };
    case 5:
        return (X87Number){ n.mantissa, (n.sign_exponent & 0x8000) |
                            (random_chance(r, 50) ? 0x7ffe : 1) };
    case 6: /* small whole numbers */
        return (X87Number){ n.mantissa & (UINT64_C(0xff) << 56),
                            (n.sign_exponent & 0x8000) | (0x3fff + random_below(r, 8)) };
    default:
        return n;
    }
}

void random_float_state(Random *r, FloatState *f, const X86Insn *in)
{
    bool is_x87 = x86_operations[in->op].class_ == X86_C_X87;
    static const uint8_t precisions[] = { 0, 2, 3, 3 };

    memset(f, 0, sizeof(*f));
    f->control = 0x37f;
    if (is_x87) {
        f->control = 0x40 | precisions[random_below(r, 4)] << 8 | random_below(r, 4) << 10;
        f->control |= random_chance(r, 80) ? 0x3f : random_below(r, 64);
        f->status = random_below(r, 8) << 11 | (random_next(r) & 0x4700);
        f->in_use = random_chance(r, 60) ? 0xff : random_next(r);
        /* Often with room for what is pushed. */
        if (random_chance(r, 50))
            f->in_use &= ~(1 << (((f->status >> 11) - 1) & 7));
    }
    f->mxcsr = 0x1f80;
    if (random_chance(r, 50))
        f->mxcsr = (random_next(r) & 0xe07f) | (random_chance(r, 70) ? 0x1f80 :
                                                random_next(r) & 0x1f80);
    for (unsigned i = 0; i < 8; i++)
        f->st[i] = random_number(r);
    for (unsigned i = 0; i < 16; i++)
        f->xmm[i] = random_vector(r);
    for (unsigned i = 0; i < 16 && in->vex; i++)
        f->ymm_high[i] = random_vector(r);
}

static void random_data(Random *r, uint8_t *data, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i += 16) {
        X86Vector v = random_vector(r);

        memcpy(data + i, &v, 16);
    }
}

/* The same for all cases but around the operand: anew everywhere would take most of the time. */
static void default_data(uint8_t *data)
{
    static uint8_t made[DATA_SIZE];
    static bool is_made;
    Random r = { .state = 99 };

    if (!is_made)
        random_data(&r, made, 0, DATA_SIZE);
    is_made = true;
    memcpy(data, made, DATA_SIZE);
}

static void data_around(Random *r, uint8_t *data, uint64_t address)
{
    uint64_t at = (address - DATA_AT) & ~UINT64_C(15);

    if (at < DATA_SIZE)
        random_data(r, data, at, MIN(at + 64, DATA_SIZE));
}

/* ---- addresses ------------------------------------------------------------------------------- */

/* Somewhere in the data, often at the edges of its pages. */
static uint64_t random_target(Random *r, const X86Insn *in)
{
    uint64_t at;

    if (random_chance(r, 12))
        at = DATA_AT + random_below(r, 4) * PAGE - 8 + random_below(r, 16);
    else
        at = DATA_AT + 256 + random_below(r, WRITABLE_SIZE - 1024);
    if (random_chance(r, 80))
        at &= ~UINT64_C(15);
    if (in->op == X86_fxsave || in->op == X86_fxrstor)
        at &= random_chance(r, 90) ? ~UINT64_C(15) : UINT64_MAX;
    return at;
}

/* Changes the displacement in the code; false if its place is not found. */
static bool patch_displacement(Generated *g, X86DecodeMode mode, int64_t disp)
{
    unsigned size = g->insn.mem.disp_size;

    for (unsigned at = 1; at + size <= g->insn.length; at++) {
        uint8_t code[X86_INSN_MAX];
        X86Insn in;

        memcpy(code, g->code, sizeof(code));
        memcpy(code + at, &disp, size);
        if (x86_decode(&in, code, sizeof(code), mode) != X86_DECODED || in.mem.disp != disp ||
            in.length != g->insn.length || in.op != g->insn.op || in.imm != g->insn.imm ||
            in.mem.base != g->insn.mem.base || in.mem.index != g->insn.mem.index)
            continue;
        memcpy(g->code, code, sizeof(code));
        g->insn = in;
        return true;
    }
    return false;
}

static uint64_t segment_base(const X86Insn *in, Bases bases, unsigned segment)
{
    return segment == X86_FS ? bases.fs : segment == X86_GS ? bases.gs : 0;
}

/* Makes the memory operand of @g mean @target. */
static bool aim_operand(Generated *g, Random *r, State *s, uint64_t target, Bases bases,
                        X86DecodeMode mode)
{
    const X86Mem *m = &g->insn.mem;
    uint64_t want = target - segment_base(&g->insn, bases, m->segment);

    if (g->insn.op == X86_xlat)
        want -= s->gpr[X86_RAX] & 0xff;
    if (m->rip)
        return patch_displacement(g, mode, (int32_t)(want - s->rip - g->insn.length));
    want -= m->disp;
    if (m->base == X86_NO_REG && m->index == X86_NO_REG) {
        want += m->disp;
        if (m->disp_size == 4)
            return want == (uint64_t)(int32_t)want && patch_displacement(g, mode, (int32_t)want);
        return patch_displacement(g, mode, want);
    }
    if (m->base == X86_NO_REG) {
        s->gpr[m->index] = want / m->scale;
    } else if (m->index == m->base) {
        s->gpr[m->base] = want / (m->scale + 1);
    } else {
        if (m->index != X86_NO_REG)
            s->gpr[m->index] = random_chance(r, 50) ? random_value(r) : random_below(r, 64);
        s->gpr[m->base] = want - (m->index == X86_NO_REG ? 0 : s->gpr[m->index] * m->scale);
    }
    return true;
}

static bool is_bit_string(const X86Insn *in)
{
    return (in->op == X86_bt || in->op == X86_bts || in->op == X86_btr || in->op == X86_btc) &&
           in->operand[0].kind == X86_OPD_MEM && in->operand[1].kind == X86_OPD_GPR;
}

static bool has_memory(const X86Insn *in)
{
    for (unsigned i = 0; i < in->operands; i++)
        if (in->operand[i].kind == X86_OPD_MEM)
            return true;
    return false;
}

/* Registers that instructions use as addresses without an operand that says so. */
static void aim_implied(const X86Insn *in, Random *r, State *s, Bases bases)
{
    unsigned class = x86_operations[in->op].class_;

    s->gpr[X86_RSP] = random_target(r, in) & ~UINT64_C(7);
    if (in->op == X86_leave || in->op == X86_enter)
        s->gpr[X86_RBP] = random_target(r, in) & ~UINT64_C(7);
    if (class == X86_C_STRING || in->op == X86_maskmovdqu)
        s->gpr[X86_RDI] = random_target(r, in);
    if (in->op == X86_maskmovdqu)
        s->gpr[X86_RDI] -= segment_base(in, bases, in->segment_prefix);
    if (class == X86_C_STRING && (in->repe || in->repne))
        s->gpr[X86_RCX] = random_below(r, 50);
}

/*
 * A jump into the instruction itself would run bytes that are none of those meant to be compared.
 */
static bool leads_into(const X86Insn *in, const State *s, uint64_t to)
{
    return to - s->rip < in->length;
}

/* Where jumps through registers and memory lead, half of the time. */
static void plant_target(const X86Insn *in, Random *r, State *s)
{
    uint64_t to = CODE_AT + random_below(r, PAGE), at = s->gpr[X86_RSP] - DATA_AT;

    if (random_chance(r, 50) || leads_into(in, s, to))
        return;
    if (in->op == X86_ret && at < DATA_SIZE - 8)
        memcpy(s->data + at, &to, 8);
    if ((in->op == X86_jmp || in->op == X86_call) && in->operand[0].kind == X86_OPD_GPR &&
        in->operand[0].reg != X86_RSP)
        s->gpr[in->operand[0].reg] = to;
}

static void place_code(Generated *g, Random *r, State *s)
{
    /* At times right before the second page, or the end of the code. */
    s->rip = CODE_AT + 64 + random_below(r, PAGE - 128);
    /* Of an undefined instruction a processor may want to see more bytes than we do. */
    if (g->decoded != X86_DECODED || g->insn.op == X86_ud0 || g->insn.op == X86_ud1)
        return;
    if (random_chance(r, 5))
        s->rip = CODE_AT + PAGE - random_below(r, X86_INSN_MAX);
    if (random_chance(r, 3))
        s->rip = CODE_AT + 2 * PAGE - 1 - random_below(r, X86_INSN_MAX);
}

/* Our processors have no misaligned mode, which is bit 17 of MXCSR on some hosts. */
static void forbid_misaligned_mode(const X86Insn *in, State *s, uint64_t to)
{
    uint64_t at = to - DATA_AT + (in->op == X86_fxrstor ? 24 : 0);

    if ((in->op == X86_fxrstor || in->op == X86_ldmxcsr) && at < DATA_SIZE - 2)
        s->data[at + 2] &= ~2;
}

/* AMD's processors have CR8 as "lock mov %cr0", ours have not. */
static bool is_other_cr8(const Generated *g)
{
    const uint8_t *opcode = memchr(g->code, 0x0f, sizeof(g->code));

    return g->insn.lock && opcode && opcode < g->code + sizeof(g->code) - 1 && (opcode[1] & 0xfc) ==
        0x20;
}

/* Hosts with xsaves and xrstors, which ours are without, refuse them to programs in another way. */
static bool is_supervisor_xsave(const Generated *g)
{
    const uint8_t *opcode = memchr(g->code, 0x0f, sizeof(g->code) - 2);
    unsigned reg = opcode ? opcode[2] >> 3 & 7 : 0;

    return opcode && opcode[1] == 0xc7 && opcode[2] < 0xc0 && (reg == 3 || reg == 5);
}

bool prepare(Generated *g, Random *r, State *s, Bases bases, unsigned bits)
{
    X86DecodeMode mode = { .bits = bits, .features = X86_FEATURES_ALL };
    const X86Insn *in = &g->insn;
    uint64_t to;

    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = random_value(r);
    default_data(s->data);
    random_float_state(r, &s->fp, in);
    place_code(g, r, s);
    s->flags = (random_next(r) & X86_ARITH) | (random_chance(r, 10) ? X86_DF : 0) | X86_FIXED;
    if (g->decoded != X86_DECODED)
        return g->decoded == X86_UNDEFINED && !is_other_cr8(g) && !is_supervisor_xsave(g);
    if (!can_compare(in->form))
        return false;
    /*
     * In 32-bit mode FS and GS have no segment; with them and short addresses one hits the C
     * library.
     */
    if (in->segment_prefix == X86_FS && (in->address_size != 8 || bits == 32))
        return false;
    /* Repeat prefixes before loops are reserved; some processors take f2 loope for loopne. */
    if (x86_operations[in->op].class_ == X86_C_BRANCH && (in->repe || in->repne))
        return false;
    /* Near branches of 16 bits do different things on different processors. */
    if (x86_operations[in->op].class_ == X86_C_BRANCH && bits == 64 && in->prefix66)
        return false;
    if (in->operand[0].kind == X86_OPD_REL && leads_into(in, s, s->rip + in->length + in->imm))
        return false;
    if (is_bit_string(in)) {
        s->gpr[in->operand[1].reg] = (int64_t)random_below(r, 600) - 300;
        if (in->operand[1].reg == in->mem.base || in->operand[1].reg == in->mem.index)
            return false;
    }
    aim_implied(in, r, s, bases);
    to = random_target(r, in);
    data_around(r, s->data, to);
    forbid_misaligned_mode(in, s, to);
    if (has_memory(in) && !aim_operand(g, r, s, to, bases, mode))
        return false;
    plant_target(in, r, s);
    if (is_undefined_shift(in, s))
        return false;
    if (bits == 32)
        for (unsigned i = 0; i < 16; i++)
            s->gpr[i] = i < 8 ? (uint32_t)s->gpr[i] : 0;
    return true;
}
