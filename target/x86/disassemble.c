/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions as AT&T text. In the mnemonics of operations.def
 *
 *     *       is the suffix of the operand size, b w l q        ?    a condition
 *     ^       the suffix of the source's size                   %    what jcxz looks at
 *     ~  =    the suffix of a real, an integer in x87 memory    #    the predicate of cmpps
 *     @       64 with REX.W                                     |    by operand size 2 | 4 | 8
 *     &       abs with an address of 8 bytes                    $    the sign before a register
 */
#include "target/x86/forms.h"
#include <glib.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char *text;
    size_t size, len;
} Text;

static void G_GNUC_PRINTF(2, 3) put(Text *t, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(t->text + t->len, t->size - t->len, fmt, args);
    va_end(args);
    t->len = MIN(t->len + n, t->size - 1);
}

/* ---- names ----------------------------------------------------------------------------------- */

static const char *const conditions[16] = { "o", "no", "b",  "ae", "e", "ne", "be", "a",
                                            "s", "ns", "p", "np", "l", "ge", "le", "g" };
/* Those from 8 on only with VEX. */
static const char *const predicates[32] = {
    "eq", "lt", "le", "unord", "neq", "nlt", "nle", "ord", "eq_uq", "nge", "ngt", "false", "neq_oq",
    "ge", "gt", "true", "eq_os", "lt_oq", "le_oq", "unord_s", "neq_us", "nlt_uq", "nle_uq", "ord_s",
    "eq_us", "nge_uq", "ngt_uq", "false_os", "neq_os", "ge_oq", "gt_oq", "true_us",
};
static const char *const segments[8] = { "es", "cs", "ss", "ds", "fs", "gs", "?", "?" };
static const char *const legacy[8] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };
static const char *const bytes[8] = { "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil" };

static char suffix(unsigned size)
{
    return size == 1 ? 'b' : size == 2 ? 'w' : size == 4 ? 'l' : 'q';
}

static void put_gpr(Text *t, unsigned reg, unsigned size)
{
    if (reg >= 8)
        put(t, "%%r%u%s", reg, size == 8 ? "" : size == 4 ? "d" : size == 2 ? "w" : "b");
    else if (size == 1)
        put(t, "%%%s", bytes[reg]);
    else
        put(t, "%%%s%s", size == 8 ? "r" : size == 4 ? "e" : "", legacy[reg]);
}

static bool is_branch(const X86Insn *in)
{
    return in->op == X86_call || in->op == X86_jmp;
}

/* The size a mnemonic's suffix speaks of. */
static unsigned suffix_size(const X86Insn *in)
{
    switch (in->op) {
    case X86_call:
    case X86_jmp:
    case X86_ret:
    case X86_enter:
    case X86_lcall:
    case X86_ljmp:
    case X86_lret:
    case X86_push:
    case X86_pop:
        return in->operand_size;
    case X86_bound:
        return in->operand[0].size;
    default:
        return in->operands && in->operand[0].kind != X86_OPD_IMM2 ? in->operand[0].size
                                                                    : in->operand_size;
    }
}

static void put_source_suffix(Text *t, const X86Insn *in)
{
    const X86Operand *o = &in->operand[in->vex ? in->operands - 1 : in->operands > 1];

    if (in->op == X86_in)
        o = &in->operand[0];
    put(t, "%c", suffix(o->size));
}

static void put_x87_suffix(Text *t, const X86Insn *in, bool integer)
{
    static const char real[] = "??s?l???l?t";

    for (int i = 0; i < in->operands; i++) {
        unsigned size = in->operand[i].size;

        if (in->operand[i].kind != X86_OPD_MEM)
            continue;
        if (integer)
            put(t, "%s", size == 2 ? "s" : size == 4 ? "l" : "ll");
        else
            put(t, "%c", size == 4 ? 's' : real[size]);
    }
}

/* The @which-th alternative of those between bars. */
static const char *alternative(const char *pattern, unsigned which, size_t *len)
{
    const char *bar;

    for (; which && (bar = strchr(pattern, '|')); which--)
        pattern = bar + 1;
    *len = strcspn(pattern, "|");
    return pattern;
}

/* True if the immediate of a comparison is one that has a name. */
static bool has_predicate(const X86Insn *in)
{
    return in->imm < (in->vex ? 32 : 8);
}

/* The length of the source, and with VEX the size of the lengths of strings. */
static void put_vex_suffix(Text *t, const X86Insn *in, char c)
{
    if (in->vex && c == '!')
        put(t, "%c", in->vex_l ? 'y' : 'x');
    else if (in->vex && in->bits == 64)
        put(t, "%c", in->rex & 8 ? 'q' : 'l');
}

static void put_letter(Text *t, const X86Insn *in, char c)
{
    switch (c) {
    case '*':
        put(t, "%c", suffix(suffix_size(in)));
        break;
    case '^':
        put_source_suffix(t, in);
        break;
    case '~':
    case '=':
        put_x87_suffix(t, in, c == '=');
        break;
    case '@':
        put(t, "%s", in->rex & 8 ? "64" : "");
        break;
    case '?':
        put(t, "%s", conditions[in->condition]);
        break;
    case '%':
        put(t, "%s", in->address_size == 8 ? "r" : in->address_size == 4 ? "e" : "");
        break;
    case '&':
        put(t, "%s", in->address_size == 8 ? "abs" : "");
        break;
    case '!':
    case '+':
        put_vex_suffix(t, in, c);
        break;
    case '$':
        put(t, "%%");
        break;
    case '#':
        put(t, "%s", has_predicate(in) ? predicates[in->imm] : "");
        break;
    default:
        put(t, "%c", c);
    }
}

/*
 * AT&T has always exchanged the names of subtraction and reversed subtraction, and of division,
 * where the result goes to a register other than the top.
 */
static const char *x87_swapped(const X86Insn *in)
{
    if (in->operands < 1 || in->operand[0].kind != X86_OPD_ST ||
        !in->form || (in->form->opcode != 0x0dc && in->form->opcode != 0x0de))
        return NULL;
    switch (in->op) {
    case X86_fsub:
        return in->form->operand[0] == STi ? "fsubr" : NULL;
    case X86_fsubr:
        return in->form->operand[0] == STi ? "fsub" : NULL;
    case X86_fdiv:
        return in->form->operand[0] == STi ? "fdivr" : NULL;
    case X86_fdivr:
        return in->form->operand[0] == STi ? "fdiv" : NULL;
    case X86_fsubp:
        return "fsubrp";
    case X86_fsubrp:
        return "fsubp";
    case X86_fdivp:
        return "fdivrp";
    case X86_fdivrp:
        return "fdivp";
    default:
        return NULL;
    }
}

/* A direct jump and a nop without operands have nothing whose size one could want to know. */
static bool has_no_suffix(const X86Insn *in)
{
    return (in->op == X86_jmp && in->operand[0].kind == X86_OPD_REL) ||
           (in->op == X86_nop && !in->operands);
}

static void put_mnemonic(Text *t, const X86Insn *in)
{
    unsigned which = in->operand_size == 2 ? 0 : in->operand_size == 4 ? 1 : 2;
    const char *swapped = x87_swapped(in), *p;
    size_t len;

    if (in->vex && !(in->attributes & X86_A_WIDE) &&
        x86_operations[in->op].class_ != X86_C_BMI)
        put(t, "v");
    p = alternative(swapped ? swapped : x86_operations[in->op].mnemonic, which, &len);
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '*' && has_no_suffix(in))
            continue;
        put_letter(t, in, p[i]);
    }
}

/* ---- operands -------------------------------------------------------------------------------- */

static void put_signed(Text *t, int64_t v)
{
    if (v < 0)
        put(t, "-0x%" PRIx64, -(uint64_t)v);
    else
        put(t, "0x%" PRIx64, v);
}

static void put_address(Text *t, const X86Insn *in, uint64_t v)
{
    uint64_t mask = in->address_size == 8 ? UINT64_MAX : in->address_size == 4 ? UINT32_MAX :
        0xffff;

    put(t, "0x%" PRIx64, v & mask);
}

static bool has_vector_index(const X86Insn *in)
{
    return in->operands == 3 && x86_shapes[in->form->operand[1]].how == HOW_VSIB;
}

/* Offsets of 32 bits for elements of 64 fill half a vector. */
static char vector_index_letter(const X86Insn *in)
{
    bool is_half = in->op == X86_vpgatherdq || in->op == X86_vgatherdpd;

    return in->vex_l && !is_half ? 'y' : 'x';
}

static void put_memory(Text *t, const X86Insn *in)
{
    const X86Mem *m = &in->mem;
    bool has_registers = m->base != X86_NO_REG || m->index != X86_NO_REG || m->rip;
    bool is_implied = in->attributes & X86_A_STRING || in->op == X86_xlat;

    if (in->segment_prefix != X86_NO_REG || is_implied)
        put(t, "%%%s:", segments[m->segment]);
    if (!has_registers) {
        put_address(t, in, m->disp);
        return;
    }
    if (m->disp_size)
        put_signed(t, m->disp);
    put(t, "(");
    if (m->rip)
        put(t, in->address_size == 8 ? "%%rip" : "%%eip");
    if (m->base != X86_NO_REG)
        put_gpr(t, m->base, in->address_size);
    if (m->index != X86_NO_REG) {
        put(t, ",");
        if (has_vector_index(in))
            put(t, "%%%cmm%u", vector_index_letter(in), m->index);
        else
            put_gpr(t, m->index, in->address_size);
        if (in->address_size != 2)
            put(t, ",%u", m->scale);
    }
    put(t, ")");
}

static uint64_t branch_target(const X86Insn *in, uint64_t pc)
{
    uint64_t to = pc + in->length + in->imm;

    return in->operand_size == 8 ? to : in->operand_size == 4 ? (uint32_t)to : (uint16_t)to;
}

static void put_operand(Text *t, const X86Insn *in, unsigned i, uint64_t pc)
{
    const X86Operand *o = &in->operand[i];

    switch (o->kind) {
    case X86_OPD_GPR:
        if (in->form->operand[i] == DX)
            put(t, "(%%dx)");
        else
            put_gpr(t, o->reg, o->size);
        break;
    case X86_OPD_HIGH:
        put(t, "%%%ch", "acdb"[o->reg]);
        break;
    case X86_OPD_SEG:
        put(t, "%%%s", segments[o->reg]);
        break;
    case X86_OPD_CR:
        put(t, "%%cr%u", o->reg);
        break;
    case X86_OPD_DR:
        put(t, "%%db%u", o->reg);
        break;
    case X86_OPD_ST:
        put(t, in->form->operand[i] == ST0 ? "%%st" : "%%st(%u)", o->reg);
        break;
    case X86_OPD_MMX:
        put(t, "%%mm%u", o->reg);
        break;
    case X86_OPD_XMM:
        put(t, o->size == 32 ? "%%ymm%u" : "%%xmm%u", o->reg);
        break;
    case X86_OPD_MEM:
        put_memory(t, in);
        break;
    case X86_OPD_DI:
        put(t, "%%es:(");
        put_gpr(t, X86_RDI, in->address_size);
        put(t, ")");
        break;
    case X86_OPD_IMM:
        put(t, "$0x%" PRIx64, in->imm);
        break;
    case X86_OPD_IMM2:
        put(t, "$0x%" PRIx64, in->imm2);
        break;
    case X86_OPD_REL:
        put(t, "0x%" PRIx64, branch_target(in, pc));
        break;
    case X86_OPD_FAR:
        put(t, "$0x%" PRIx64 ",$0x%" PRIx64, in->imm2, in->imm);
        break;
    }
}

/* Operands that the mnemonic already says. */
static bool is_silent(const X86Insn *in, unsigned i)
{
    const char *pattern = x86_operations[in->op].mnemonic;

    if (in->form->operand[i] == One)
        return true;
    if (in->operand[i].kind == X86_OPD_IMM && strchr(pattern, '#'))
        return has_predicate(in);
    if (in->operand[i].kind != X86_OPD_ST || in->form->operand[i] != ST0)
        return false;
    return in->operand[1 - i].kind == X86_OPD_MEM || in->op == X86_fcom || in->op == X86_fcomp ||
           in->op == X86_fucom || in->op == X86_fucomp;
}

static void put_operands(Text *t, const X86Insn *in, uint64_t pc)
{
    bool as_written = in->op == X86_enter || in->op == X86_bound;
    const char *between = " ";

    for (unsigned k = 0; k < in->operands; k++) {
        unsigned i = as_written ? k : in->operands - 1 - k;

        if (is_silent(in, i))
            continue;
        put(t, "%s", between);
        between = ",";
        if ((is_branch(in) && in->operand[i].kind != X86_OPD_REL) ||
            ((in->op == X86_lcall || in->op == X86_ljmp) && in->operand[i].kind == X86_OPD_MEM))
            put(t, "*");
        put_operand(t, in, i, pc);
    }
}

char *x86_disassemble(const X86Insn *in, uint64_t pc, char *text, size_t size)
{
    Text t = { .text = text, .size = size };

    if (in->lock)
        put(&t, "lock ");
    if (in->attributes & X86_A_STRING && (in->repe || in->repne))
        put(&t, "%s ", in->repne ? "repnz" : in->attributes & X86_A_IS_REPE ? "repz" : "rep");
    put_mnemonic(&t, in);
    put_operands(&t, in, pc);
    return text;
}
