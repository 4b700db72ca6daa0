/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The decoder: prefixes, opcode, the form that fits, ModRM and SIB, immediates. All knowledge of
 * single instructions is in the tables of forms.c and operations.def.
 */
#include "target/x86/forms.h"
#include "util/endian.h"
#include <glib.h>

/* ---- which forms there are for an opcode ----------------------------------------------------- */

enum { OPCODES = X86_MAPS * 256 };

typedef struct {
    uint16_t first, count; /* in Index.forms */
    bool has_modrm;
} Opcode;

typedef struct {
    Opcode opcode[OPCODES];
    const X86Form **forms; /* grouped by opcode, in the order of the table */
    uint32_t *when;        /* of each, with what follows from its operands */
} Index;

static unsigned form_span(const X86Form *f)
{
    return f->when & SPAN8 ? 8 : f->when & SPAN16 ? 16 : 1;
}

/* What the operands of @f say of the ModRM byte. */
static uint32_t form_when(const X86Form *f)
{
    uint32_t when = f->when & (MEM | MOD3 | W_REG | W_RM) ? f->when | W_MODRM : f->when;

    for (int i = 0; i < X86_OPERANDS; i++) {
        switch (x86_shapes[f->operand[i]].how) {
        case HOW_RM_REG:
            when |= MOD3 | W_MODRM;
            break;
        case HOW_RM_MEM:
        case HOW_VSIB:
            when |= MEM | W_MODRM;
            break;
        case HOW_RM:
        case HOW_RM_FORCED:
        case HOW_REG:
        case HOW_VVVV: /* all that have a VEX prefix have a ModRM byte but vzeroupper */
            when |= W_MODRM;
            break;
        default:
            break;
        }
    }
    return when;
}

static const Index *index_new(void)
{
    Index *x = g_new0(Index, 1);
    size_t at = 0, total = 0;

    for (size_t i = 0; i < x86_form_count; i++)
        total += form_span(&x86_forms[i]);
    x->forms = g_new(const X86Form *, total);
    x->when = g_new(uint32_t, total);
    for (unsigned opcode = 0; opcode < OPCODES; opcode++) {
        Opcode *o = &x->opcode[opcode];

        o->first = at;
        for (size_t i = 0; i < x86_form_count; i++) {
            const X86Form *f = &x86_forms[i];

            if (opcode < f->opcode || opcode >= f->opcode + form_span(f))
                continue;
            x->forms[at] = f;
            x->when[at] = form_when(f);
            o->has_modrm |= !!(x->when[at] & W_MODRM);
            at++;
        }
        o->count = at - o->first;
    }
    return x;
}

static const Index *form_index(void)
{
    static const Index *made;

    if (g_once_init_enter(&made))
        g_once_init_leave(&made, index_new());
    return made;
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *code;
    size_t len, at;
    X86Decoded trouble; /* X86_DECODED while there is none; sticks */
    X86DecodeMode mode;
    uint8_t prefix; /* NP, P66, PF3, PF2: the one that chooses the form */
    bool prefix67;
    bool has_vvvv; /* a VEX prefix names a register */
    uint16_t opcode;
    uint8_t modrm;
    bool has_modrm, is_vsib;
    X86Insn *in;
} Decoder;

/* The next @n bytes, at most 8, as a number; 0 if there are not that many. */
static uint64_t take(Decoder *d, unsigned n)
{
    uint64_t v = 0;

    if (d->at + n > X86_INSN_MAX || d->at + n > d->len) {
        if (d->trouble == X86_DECODED)
            d->trouble = d->len >= X86_INSN_MAX ? X86_TOO_LONG : X86_TRUNCATED;
        return 0;
    }
    for (unsigned i = 0; i < n; i++)
        v |= (uint64_t)d->code[d->at + i] << 8 * i;
    d->at += n;
    return v;
}

static int64_t sign_extend(uint64_t v, unsigned bytes)
{
    unsigned shift = 64 - 8 * bytes;

    return (int64_t)(v << shift) >> shift;
}

static int64_t take_signed(Decoder *d, unsigned n)
{
    return sign_extend(take(d, n), n);
}

/* A segment prefix; those of ES, CS, SS and DS mean nothing in 64-bit mode. */
static void segment_prefix(Decoder *d, unsigned segment)
{
    if (d->mode.bits != 64 || segment >= X86_FS)
        d->in->segment_prefix = segment;
}

/* Takes one legacy prefix @byte. False if it is none. */
static bool legacy_prefix(Decoder *d, uint8_t byte)
{
    X86Insn *in = d->in;

    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
        segment_prefix(d, byte >> 3 & 3);
        return true;
    case 0x64:
    case 0x65:
        segment_prefix(d, X86_FS + (byte & 1));
        return true;
    case 0x66:
        in->prefix66 = true;
        return true;
    case 0x67:
        d->prefix67 = true;
        return true;
    case 0xf0:
        in->lock = true;
        return true;
    case 0xf2:
        in->repne = true;
        in->repe = false;
        return true;
    case 0xf3:
        in->repe = true;
        in->repne = false;
        return true;
    default:
        return false;
    }
}

/* A VEX prefix, which is les or lds with a register in 64-bit code, or where no register can be. */
static bool begins_vex(const Decoder *d, uint8_t byte)
{
    if (byte != 0xc4 && byte != 0xc5)
        return false;
    return d->mode.bits == 64 || (d->at < d->len && d->code[d->at] >= 0xc0);
}

/* What stands behind its first byte; its bits for registers are inverted, and 0 in 32-bit code. */
static void read_vex(Decoder *d, bool is_long)
{
    static const uint8_t prefixes[4] = { NP, P66, PF3, PF2 };
    X86Insn *in = d->in;
    uint8_t first = take(d, 1), second = is_long ? take(d, 1) : first & 0x7f;
    unsigned map = is_long ? first & 31 : 1, registers = 0;

    if (in->lock || in->repe || in->repne || in->prefix66 || in->rex || map < 1 || map > 3)
        d->trouble = d->trouble ? d->trouble : X86_UNDEFINED;
    if (d->mode.bits == 64)
        registers = is_long ? ~first >> 5 & 7 : ~first >> 5 & 4;
    in->vex = true;
    in->rex = registers | (second & 0x80 ? 8 : 0);
    in->vvvv = ~second >> 3 & (d->mode.bits == 64 ? 15 : 7);
    in->vex_l = second >> 2 & 1;
    d->has_vvvv = (~second >> 3 & 15) != 0;
    d->prefix = prefixes[second & 3];
    d->opcode = (X86_MAP_VEX + map - 1) << 8 | take(d, 1);
}

/* Prefixes and the opcode with its escape. A REX prefix counts only just before the opcode. */
static void read_opcode(Decoder *d)
{
    X86Insn *in = d->in;
    uint8_t byte;

    for (;;) {
        byte = take(d, 1);
        if (d->trouble)
            return;
        if (legacy_prefix(d, byte))
            in->rex = 0;
        else if (d->mode.bits == 64 && (byte & 0xf0) == 0x40)
            in->rex = byte;
        else
            break;
    }
    if (begins_vex(d, byte)) {
        read_vex(d, byte == 0xc4);
        return;
    }
    d->prefix = in->repne ? PF2 : in->repe ? PF3 : in->prefix66 ? P66 : NP;
    d->opcode = byte;
    if (byte != 0x0f)
        return;
    byte = take(d, 1);
    if (byte == 0x38 || byte == 0x3a)
        d->opcode = (byte == 0x38 ? X86_MAP_0F38 : X86_MAP_0F3A) << 8 | take(d, 1);
    else
        d->opcode = X86_MAP_0F << 8 | byte;
}

/* ---- choosing the form ----------------------------------------------------------------------- */

static bool modrm_fits(const Decoder *d, uint32_t when)
{
    bool mod3 = d->modrm >= 0xc0;

    return !((when & MEM && mod3) || (when & MOD3 && !mod3) ||
             (when & W_REG && (d->modrm >> 3 & 7) != (when >> W_REG_SHIFT & 7)) ||
             (when & W_RM && (d->modrm & 7) != (when >> W_RM_SHIFT & 7)));
}

static bool names_vvvv(const X86Form *f)
{
    for (int i = 0; i < X86_OPERANDS; i++)
        if (x86_shapes[f->operand[i]].how == HOW_VVVV)
            return true;
    return f->feature == X86_F_AVX2 && x86_shapes[f->operand[1]].how == HOW_VSIB;
}

static bool vex_fits(const Decoder *d, const X86Form *f)
{
    bool is_vector = x86_operations[f->op].class_ != X86_C_BMI;

    if (!d->in->vex)
        return true;
    if (is_vector && !(d->mode.features & X86_FEATURE(X86_F_AVX)))
        return false;
    if (f->when & (d->in->vex_l ? IS_L0 : IS_L1))
        return false;
    return !d->has_vvvv || names_vvvv(f);
}

static bool form_fits(const Decoder *d, const X86Form *f, uint32_t when)
{
    bool is64 = d->mode.bits == 64;
    unsigned prefix = when & W_PREFIX;

    if (!vex_fits(d, f))
        return false;
    if ((prefix && prefix != d->prefix) || !(d->mode.features & X86_FEATURE(f->feature)))
        return false;
    if ((when & NO64 && is64) || (when & ONLY64 && !is64))
        return false;
    if ((when & NO_REX_B && d->in->rex & 1) || (when & IS_W && !(d->in->rex & 8)) ||
        (when & NO_W && d->in->rex & 8))
        return false;
    return !(when & W_MODRM) || modrm_fits(d, when);
}

static const X86Form *choose_form(Decoder *d)
{
    const Index *x = form_index();
    const Opcode *o = &x->opcode[d->opcode];

    d->has_modrm = o->has_modrm;
    if (d->has_modrm)
        d->modrm = take(d, 1);
    if (d->trouble)
        return NULL;
    for (unsigned i = o->first; i < o->first + o->count; i++)
        if (form_fits(d, x->forms[i], x->when[i]))
            return x->forms[i];
    return NULL;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static unsigned operand_size(const Decoder *d, const X86Form *f)
{
    bool small = d->in->prefix66;

    if (d->mode.bits != 64 && d->in->vex)
        return 4;
    if (d->mode.bits != 64)
        return (d->mode.bits == 16) != small ? 2 : 4;
    if (d->in->rex & 8 && !(f->attributes & NO_REX_W))
        return 8;
    if (f->attributes & (D64 | F64))
        return small ? 2 : 8;
    return small ? 2 : 4;
}

static unsigned address_size(const Decoder *d)
{
    if (d->mode.bits == 64)
        return d->prefix67 ? 4 : 8;
    return (d->mode.bits == 16) != d->prefix67 ? 2 : 4;
}

unsigned x86_size(unsigned size, unsigned operand, unsigned bits)
{
    switch (size) {
    case SZ_V:
        return operand;
    case SZ_Z:
        return MIN(operand, 4);
    case SZ_Y:
        return bits == 64 && operand == 8 ? 8 : 4;
    case SZ_NATIVE:
        return bits == 64 ? 8 : 4;
    case SZ_FAR:
        return operand + 2;
    case SZ_PAIR:
        return 2 * operand;
    case SZ_TABLE:
        return bits == 64 ? 10 : 6;
    default:
        return size;
    }
}

/* ---- memory operands ------------------------------------------------------------------------- */

static void default_segment(X86Insn *in)
{
    X86Mem *m = &in->mem;
    bool stack = m->base == X86_RSP || m->base == X86_RBP;

    m->segment = in->segment_prefix != X86_NO_REG ? in->segment_prefix : stack ? X86_SS : X86_DS;
}

static void take_disp(Decoder *d, unsigned bytes)
{
    d->in->mem.disp_size = bytes;
    if (bytes)
        d->in->mem.disp = take_signed(d, bytes);
}

static void memory_16(Decoder *d)
{
    static const uint8_t base[] = { X86_RBX, X86_RBX, X86_RBP, X86_RBP,
                                    X86_RSI, X86_RDI, X86_RBP, X86_RBX };
    X86Mem *m = &d->in->mem;
    unsigned rm = d->modrm & 7, mod = d->modrm >> 6;

    m->base = base[rm];
    if (rm < 4)
        m->index = rm & 1 ? X86_RDI : X86_RSI;
    if (rm == 6 && mod == 0)
        m->base = X86_NO_REG;
    take_disp(d, mod == 2 || (rm == 6 && mod == 0) ? 2 : mod);
}

static void memory_32_64(Decoder *d)
{
    X86Insn *in = d->in;
    X86Mem *m = &in->mem;
    unsigned rm = d->modrm & 7, mod = d->modrm >> 6;
    unsigned disp = mod == 2 ? 4 : mod;

    m->base = rm | (in->rex & 1) << 3;
    if (rm == 4) {
        uint8_t sib = take(d, 1);
        unsigned index = (sib >> 3 & 7) | (in->rex & 2) << 2;

        m->base = (sib & 7) | (in->rex & 1) << 3;
        if (index != 4 || d->is_vsib) {
            m->index = index;
            m->scale = 1 << (sib >> 6);
        }
        if ((sib & 7) == 5 && mod == 0) {
            m->base = X86_NO_REG;
            disp = 4;
        }
    } else if (rm == 5 && mod == 0) {
        m->base = X86_NO_REG;
        m->rip = in->bits == 64;
        disp = 4;
    }
    take_disp(d, disp);
}

/* ---- operands -------------------------------------------------------------------------------- */

/* A register of @shape by its number in the encoding. */
static void set_register(Decoder *d, X86Operand *o, const X86OperandShape *shape, unsigned reg)
{
    X86Insn *in = d->in;

    o->kind = shape->kind;
    o->reg = reg;
    switch (shape->kind) {
    case X86_OPD_GPR:
        if (o->size == 1 && !in->rex && reg >= 4) {
            o->kind = X86_OPD_HIGH;
            o->reg = reg - 4;
        }
        break;
    case X86_OPD_MMX:
    case X86_OPD_ST:
    case X86_OPD_SEG:
        o->reg &= 7;
        break;
    case X86_OPD_CR:
        if (reg == 1 || (reg > 4 && reg != 8))
            d->trouble = d->trouble ? d->trouble : X86_UNDEFINED;
        break;
    case X86_OPD_DR:
        if (reg >= 8)
            d->trouble = d->trouble ? d->trouble : X86_UNDEFINED;
        break;
    }
    if (o->kind == X86_OPD_SEG && o->reg >= X86_SEGMENTS && !d->trouble)
        d->trouble = X86_UNDEFINED;
}

static void set_rm(Decoder *d, X86Operand *o, const X86OperandShape *shape)
{
    if (d->modrm >= 0xc0 || shape->how == HOW_RM_FORCED) {
        set_register(d, o, shape, (d->modrm & 7) | (d->in->rex & 1) << 3);
        return;
    }
    o->kind = X86_OPD_MEM;
    if (shape->mem_size)
        o->size = shape->mem_size;
}

static void set_string(X86Insn *in, X86Operand *o, unsigned base)
{
    o->kind = X86_OPD_MEM;
    in->mem.base = base;
    default_segment(in);
}

static void set_immediate(Decoder *d, X86Operand *o, const X86OperandShape *shape)
{
    X86Insn *in = d->in;

    o->kind = shape->kind;
    in->imm = shape->is_signed ? (uint64_t)take_signed(d, o->size) : take(d, o->size);
    if (shape->is_signed) {
        /* The decoded operand is as wide as the operation. */
        o->size = in->operand_size;
        if (o->size < 8)
            in->imm &= (UINT64_C(1) << 8 * o->size) - 1;
    }
}

static void set_fixed(Decoder *d, X86Operand *o, const X86OperandShape *shape)
{
    o->kind = shape->kind;
    o->reg = shape->fixed;
    if (shape->kind == X86_OPD_IMM)
        d->in->imm = shape->fixed;
}

/* Vectors are as long as VEX.L says, or a part of that. */
static unsigned size_of(const X86Insn *in, unsigned size)
{
    return size >= SZ_X ? (16u << in->vex_l) >> (size - SZ_X)
                        : x86_size(size, in->operand_size, in->bits);
}

/* ModRM has been read with all that belongs to it: only immediates are still to come. */
static void set_operand(Decoder *d, X86Operand *o, unsigned code)
{
    const X86OperandShape *shape = &x86_shapes[code];
    X86Insn *in = d->in;

    o->size = size_of(in, shape->size);
    switch (shape->how) {
    case HOW_RM:
    case HOW_RM_REG:
    case HOW_RM_FORCED:
    case HOW_RM_MEM:
    case HOW_VSIB:
        set_rm(d, o, shape);
        break;
    case HOW_REG:
        set_register(d, o, shape, (d->modrm >> 3 & 7) | (in->rex & 4) << 1);
        break;
    case HOW_VVVV:
        set_register(d, o, shape, in->vvvv);
        break;
    case HOW_IS4:
        in->imm = take(d, 1);
        set_register(d, o, shape, in->imm >> 4 & (in->bits == 64 ? 15 : 7));
        break;
    case HOW_OPCODE:
        set_register(d, o, shape, (d->opcode & 7) | (in->rex & 1) << 3);
        break;
    case HOW_FIXED:
        set_fixed(d, o, shape);
        break;
    case HOW_IMM:
        set_immediate(d, o, shape);
        break;
    case HOW_IMM2:
        o->kind = X86_OPD_IMM2;
        in->imm2 = take(d, o->size);
        break;
    case HOW_REL:
        o->kind = X86_OPD_REL;
        in->imm = take_signed(d, o->size);
        break;
    case HOW_FAR:
        o->kind = X86_OPD_FAR;
        in->imm = take(d, o->size);
        in->imm2 = take(d, 2);
        break;
    case HOW_OFFSET:
        o->kind = X86_OPD_MEM;
        in->mem.disp_size = in->address_size;
        in->mem.disp = take(d, in->address_size);
        default_segment(in);
        break;
    case HOW_SI:
        set_string(in, o, X86_RSI);
        break;
    case HOW_DI:
        o->kind = X86_OPD_DI;
        break;
    case HOW_XLAT:
        set_string(in, o, X86_RBX);
        break;
    }
}

static bool form_uses_rm(const X86Form *f)
{
    for (int i = 0; i < X86_OPERANDS; i++)
        if (x86_shapes[f->operand[i]].how == HOW_RM_FORCED)
            return false;
    return true;
}

static void read_operands(Decoder *d, const X86Form *f)
{
    X86Insn *in = d->in;

    for (int i = 0; i < X86_OPERANDS; i++)
        d->is_vsib |= x86_shapes[f->operand[i]].how == HOW_VSIB;
    if (d->is_vsib && ((d->modrm & 7) != 4 || in->address_size == 2))
        d->trouble = X86_UNDEFINED;
    if (d->has_modrm && d->modrm < 0xc0 && form_uses_rm(f)) {
        if (in->address_size == 2)
            memory_16(d);
        else
            memory_32_64(d);
        default_segment(in);
    }
    for (int i = 0; i < X86_OPERANDS && f->operand[i]; i++) {
        set_operand(d, &in->operand[i], f->operand[i]);
        in->operands = i + 1;
    }
}

/* ---- what the record says of registers and flags --------------------------------------------- */

static const uint16_t condition_flags[8] = {
    X86_OF, X86_CF, X86_ZF, X86_CF | X86_ZF, X86_SF, X86_PF, X86_SF | X86_OF,
    X86_ZF | X86_SF | X86_OF,
};

static void note_register(X86Insn *in, const X86Operand *o, bool reads, bool writes)
{
    if (o->kind == X86_OPD_GPR || o->kind == X86_OPD_HIGH) {
        if (reads || o->size < 4)
            in->gpr_read |= 1 << o->reg;
        if (writes)
            in->gpr_written |= 1 << o->reg;
    } else if (o->kind == X86_OPD_XMM) {
        if (reads)
            in->xmm_read |= 1 << o->reg;
        if (writes)
            in->xmm_written |= 1 << o->reg;
    }
}

/* True if the index of the memory operand is a vector. */
static bool is_vsib(const X86Insn *in)
{
    return in->operands == 3 && x86_shapes[in->form->operand[1]].how == HOW_VSIB;
}

static void note_address(X86Insn *in, const X86Operand *o)
{
    if (o->kind == X86_OPD_DI) {
        in->gpr_read |= 1 << X86_RDI;
    } else if (o->kind == X86_OPD_MEM) {
        if (in->mem.base != X86_NO_REG)
            in->gpr_read |= 1 << in->mem.base;
        if (in->mem.index != X86_NO_REG && !is_vsib(in))
            in->gpr_read |= 1 << in->mem.index;
    } else {
        return;
    }
    if (!(in->attributes & X86_A_NO_ACCESS))
        in->attributes |= X86_A_CAN_FAULT;
}

/* With a VEX prefix only these do. */
static bool needs_alignment(const X86Insn *in)
{
    switch (in->op) {
    case X86_movaps:
    case X86_movapd:
    case X86_movdqa:
    case X86_movntps:
    case X86_movntpd:
    case X86_movntdq:
    case X86_movntdqa:
        return true;
    default:
        return false;
    }
}

static void note_effects(X86Insn *in, const X86Form *f)
{
    const X86Operation *op = &x86_operations[in->op];

    in->attributes = op->attributes;
    in->gpr_read = op->regs_read;
    in->gpr_written = op->regs_written;
    in->flags_read = op->flags_read;
    in->flags_written = op->flags_written;
    in->flags_undefined = op->flags_undefined;
    if (in->op == X86_jcc || in->op == X86_cmov || in->op == X86_setcc)
        in->flags_read = condition_flags[in->condition >> 1];
    for (int i = 0; i < in->operands; i++) {
        const X86Operand *o = &in->operand[i];
        bool writes = i == 0 ? !(in->attributes & X86_A_NO_WRITE)
                             : i == 1 && in->attributes & X86_A_WRITES_2;

        note_register(in, o, i || !(in->attributes & X86_A_NO_READ), writes);
        note_address(in, o);
    }
    if (in->vex && !needs_alignment(in))
        in->attributes |= X86_A_UNALIGNED;
    /* What translated code takes for granted of segments changes. */
    if (in->op == X86_pop && in->operand[0].kind == X86_OPD_SEG)
        in->attributes |= X86_A_ENDS_BLOCK;
    if (in->attributes & X86_A_STRING && (in->repe || in->repne)) {
        in->gpr_read |= 1 << X86_RCX;
        in->gpr_written |= 1 << X86_RCX;
    }
}

/* What no table says: lock stands only before writes to memory, and CS is not loaded by mov. */
static bool is_allowed(const X86Insn *in, const X86Form *f)
{
    if (in->lock && !(f->attributes & LOCKABLE && in->operand[0].kind == X86_OPD_MEM))
        return false;
    return in->op != X86_mov_to_seg || in->operand[0].reg != X86_CS;
}

X86Decoded x86_decode(X86Insn *in, const uint8_t *code, size_t len, X86DecodeMode mode)
{
    Decoder d = { .code = code, .len = len, .mode = mode, .in = in };
    const X86Form *f = NULL;

    *in = (X86Insn){ .bits = mode.bits, .segment_prefix = X86_NO_REG,
                     .mem = { .base = X86_NO_REG, .index = X86_NO_REG, .scale = 1 } };
    read_opcode(&d);
    if (!d.trouble)
        f = choose_form(&d);
    if (!d.trouble && !f)
        d.trouble = X86_UNDEFINED;
    if (f) {
        in->op = f->op;
        in->form = f;
        in->condition = d.opcode & 15;
        in->operand_size = operand_size(&d, f);
        in->address_size = address_size(&d);
        read_operands(&d, f);
    }
    if (!d.trouble && !is_allowed(in, f))
        d.trouble = X86_UNDEFINED;
    in->length = d.at;
    if (!d.trouble)
        note_effects(in, f);
    return d.trouble;
}
