/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Translating SSE, AES, SHA and the like, MMX and x87: all are the host's own instructions, on the
 * host's registers.
 *
 * All floating point exceptions are masked while translated code runs. A guest that does not mask
 * one has another key (generate.h), and its arithmetic is interpreted.
 */
#include "target/x86/generate.h"

#if defined(__x86_64__) && defined(__linux__)

#include "target/x86/generate-parts.h"
#include "target/x86/interpret.h"
#include <cpuid.h>

/* ---- what the host has ----------------------------------------------------------------------- */

static X86Features find_host_features(void)
{
    enum { EBX, ECX, EDX };
    static const struct {
        uint8_t feature, reg, bit;
        uint32_t leaf;
    } bits[] = {
        { X86_F_SSE3, ECX, 0, 1 },    { X86_F_PCLMUL, ECX, 1, 1 },  { X86_F_SSSE3, ECX, 9, 1 },
        { X86_F_CX16, ECX, 13, 1 }, 
        { X86_F_FMA, ECX, 12, 1 },    { X86_F_AVX, ECX, 28, 1 },    { X86_F_F16C, ECX, 29, 1 },
        { X86_F_AVX2, EBX, 5, 7 },     { X86_F_SSE41, ECX, 19, 1 },  { X86_F_SSE42, ECX, 20, 1 },
        { X86_F_MOVBE, ECX, 22, 1 },  { X86_F_POPCNT, ECX, 23, 1 }, { X86_F_AES, ECX, 25, 1 },
        { X86_F_BMI1, EBX, 3, 7 },    { X86_F_BMI2, EBX, 8, 7 },    { X86_F_ADX, EBX, 19, 7 },
        { X86_F_SHA, EBX, 29, 7 },    { X86_F_LZCNT, ECX, 5, 0x80000001 },
    };
    static const X86Feature always[] = { X86_F_BASE, X86_F_FPU,  X86_F_CX8,  X86_F_CMOV,
                                         X86_F_MMX,  X86_F_FXSR, X86_F_SSE,  X86_F_SSE2 };
    X86Features all = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(always); i++)
        all |= X86_FEATURE(always[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++) {
        unsigned eax, out[3] = { 0 };

        if (__get_cpuid_count(bits[i].leaf, 0, &eax, &out[EBX], &out[ECX], &out[EDX]) &&
            out[bits[i].reg] >> bits[i].bit & 1)
            all |= X86_FEATURE(bits[i].feature);
    }
    return all;
}

bool x86_gen_host_has(const X86Insn *in)
{
    static X86Features features;

    if (g_once_init_enter(&features))
        g_once_init_leave(&features, find_host_features());
    return features & X86_FEATURE(in->form->feature);
}

/* ---- live registers -------------------------------------------------------------------------- */

/* Calls @load unless the byte at @live says that it is done. */
static void ensure_live(Gen *g, uint32_t live, const uint8_t *load)
{
    uint8_t *done;

    x86_gen_spoil_flags(g);
    emit_gs_byte(g->c, 7, live, 0);
    done = emit_jcc(g->c, H_NE);
    emit_call_to(g->c, load);
    emit_fix(done, g->c->at);
}

static void need_vectors(Gen *g)
{
    if (!g->vectors)
        ensure_live(g, AT_CPU(vectors_live), g->stubs->load_vectors);
    g->vectors = true;
}

/* Loading x87 calls C, and the vectors then are no longer live. */
static void need_x87(Gen *g)
{
    if (g->x87)
        return;
    ensure_live(g, AT_CPU(x87_live), g->stubs->load_x87);
    g->x87 = true;
    g->vectors = false;
}

/* ---- SSE and MMX ----------------------------------------------------------------------------- */

typedef struct {
    bool xmm, mmx, other; /* operands that there are */
} Uses;

static Uses uses_of(const X86Insn *in)
{
    Uses u = { 0 };

    for (unsigned i = 0; i < in->operands; i++) {
        switch (in->operand[i].kind) {
        case X86_OPD_XMM:
            u.xmm = true;
            break;
        case X86_OPD_MMX:
            u.mmx = true;
            break;
        case X86_OPD_GPR:
        case X86_OPD_MEM:
        case X86_OPD_IMM:
            break;
        default:
            u.other = true;
        }
    }
    return u;
}

static bool is_vector_class(const X86Insn *in)
{
    unsigned class = x86_operations[in->op].class_;

    return class == X86_C_SSE_INT || class == X86_C_SSE_FP || class == X86_C_CRYPTO ||
           class == X86_C_AVX || class == X86_C_FMA;
}

/* What names its memory by a mask or a vector of offsets is left to the interpreter. */
static bool is_wide_passed(const Gen *g)
{
    switch (g->in->op) {
    case X86_vmaskmovps: case X86_vmaskmovpd: case X86_vpmaskmovd: case X86_vpmaskmovq:
    case X86_vpgatherdd: case X86_vpgatherdq: case X86_vpgatherqd: case X86_vpgatherqq:
    case X86_vgatherdps: case X86_vgatherdpd: case X86_vgatherqps: case X86_vgatherqpd:
        return false;
    default:
        return g->key.avx && g->key.is_protected;
    }
}

/* In 32-bit code they are about eight registers, on the host about sixteen. */
static bool generate_zero_upper(Gen *g)
{
    if (g->in->op != X86_vzeroupper || g->key.bits != 64 || !g->key.avx)
        return false;
    need_vectors(g);
    emit_bytes(g->c, 0x77f8c5, 3);
    return true;
}

bool x86_gen_vector(Gen *g)
{
    const X86Insn *in = g->in;
    Uses u = uses_of(in);

    if (generate_zero_upper(g))
        return true;
    if (in->vex && !is_wide_passed(g))
        return false;
    if (!is_vector_class(in) || u.other || !(u.xmm || u.mmx) || !x86_gen_host_has(in) ||
        in->op == X86_maskmovdqu || in->op == X86_maskmovq)
        return false;
    if ((u.xmm && !g->key.sse) || (u.mmx && !g->key.x87) ||
        (in->attributes & X86_A_SSE_FP && !g->key.sse_float))
        return false;
    if (u.mmx)
        need_x87(g);
    if (u.xmm || in->attributes & X86_A_SSE_FP)
        need_vectors(g);
    x86_gen_pass(g);
    return true;
}

/* ---- x87 ------------------------------------------------------------------------------------- */

/* Those that change what the key says, or store more than one value. */
static bool is_passed_x87(const X86Insn *in)
{
    switch (in->op) {
    case X86_fldcw: case X86_fldenv: case X86_fnstenv: case X86_frstor: case X86_fnsave:
    case X86_fninit: case X86_fwait:
        return false;
    default:
        return x86_operations[in->op].class_ == X86_C_X87;
    }
}

static void copy_word(Gen *g, uint32_t to, uint32_t from)
{
    emit_gs_0f(g->c, 0xb7, H_R9, from); /* movzx r9d, word */
    emit8(g->c, 0x65);
    emit8(g->c, 0x66);
    emit_rex(g->c, false, H_R9, 0, 0);
    emit8(g->c, 0x89);
    emit_gs_operand(g->c, H_R9, to);
}

static uint32_t selector_at(unsigned segment)
{
    return AT_CPU(segment) + segment * sizeof(X86Segment) + offsetof(X86Segment, selector);
}

/* Notes the addresses of the last instruction and its operand, the latter from X86Cpu.scratch. */
static void note_pointers(Gen *g, bool in_memory)
{
    emit_imm(g->c, H_R9, g->rip);
    emit_store_gs(g->c, AT_CPU(x87.ip), H_R9);
    copy_word(g, AT_CPU(x87.cs), selector_at(X86_CS));
    if (!in_memory)
        return;
    emit_load_gs(g->c, H_R9, AT_CPU(scratch));
    emit_store_gs(g->c, AT_CPU(x87.dp), H_R9);
    copy_word(g, AT_CPU(x87.ds), selector_at(g->in->mem.segment));
}

static void pass_x87(Gen *g, bool noted)
{
    const X86Insn *in = g->in;
    unsigned i = x86_gen_memory_operand(in);
    bool in_memory = i < in->operands, write = i == 0 && !(in->attributes & X86_A_NO_WRITE);
    Slow *s = NULL;

    if (in_memory) {
        s = x86_gen_slow(g);
        x86_gen_spoil_flags(g);
        x86_gen_offset(g);
        emit_store_gs(g->c, AT_CPU(scratch), H_R8);
        x86_gen_segment(g, s, in->mem.segment, in->operand[i].size, write);
        x86_gen_check(g, s, in->operand[i].size, write);
    }
    if (noted)
        note_pointers(g, in_memory);
    x86_gen_encode(g);
    if (in_memory)
        x86_gen_slow_end(g, s);
}

/* A control word that does not mask all exceptions is loaded by the interpreter. */
static void generate_fldcw(Gen *g)
{
    Slow *s = x86_gen_slow(g);
    CodeMemory *c = g->c;

    x86_gen_spoil_flags(g);
    x86_gen_operand(g, s, 0, false);
    emit_bytes(c, 0x08b70f45, 4); /* movzx r9d, word [r8] */
    emit_store_gs(c, AT_CPU(scratch), H_R9);
    emit_alu_imm(c, 4, H_R9, 0x3f);
    emit_alu_imm(c, 7, H_R9, 0x3f);
    x86_gen_slow_if(g, s, H_NE);
    emit8(c, 0x65); /* fldcw */
    emit8(c, 0xd9);
    emit_gs_operand(c, 5, AT_CPU(scratch));
    x86_gen_slow_end(g, s);
}

bool x86_gen_x87(Gen *g)
{
    const X86Insn *in = g->in;

    if (!g->key.x87)
        return false;
    if (in->op == X86_fwait)
        return true;
    if (in->op != X86_emms && in->op != X86_fldcw && !is_passed_x87(in))
        return false;
    need_x87(g);
    if (in->op == X86_fldcw)
        generate_fldcw(g);
    else
        pass_x87(g, in->op != X86_emms && !x86_is_x87_control(in));
    return true;
}

#endif
