/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saving and restoring the x87, MMX and SSE state: FXSAVE, the XSAVE family, FSAVE, and single
 * words.
 *
 * Of the XSAVE components there are x87, SSE, and the upper halves of the YMM registers.
 */
#include "target/x86/execute.h"
#include "target/x86/segment.h"
#include "target/x86/x87.h"
#include "util/endian.h"
#include <string.h>

enum {
    MXCSR_MASK = 0xffff,
    MXCSR_INITIAL = 0x1f80,
    FX_SIZE = 512,
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_XMM = 160,
    XSAVE_BV = 512,
    XSAVE_COMPACT = 520,
    XSAVE_YMM = 576, /* in both formats, since nothing can stand before it */
    XSAVE_END = 576,
    XSAVE_AVX_END = 832,
    XSTATE_X87 = 1,
    XSTATE_SSE = 2,
    XSTATE_AVX = 4,
};
#define XSAVE_IS_COMPACT (UINT64_C(1) << 63)

/* ---- words ----------------------------------------------------------------------------------- */

EXEC(ldmxcsr)
{
    uint32_t v = x86_get(cpu, in, 0);

    if (v & ~(uint32_t)MXCSR_MASK)
        x86_raise_error(cpu, X86_GP, 0);
    cpu->mxcsr = v;
}

EXEC(stmxcsr)
{
    x86_set(cpu, in, 0, cpu->mxcsr);
}

EXEC(fldcw)
{
    x87_set_control(&cpu->x87, x86_get(cpu, in, 0));
}

EXEC(fnstcw)
{
    x86_set(cpu, in, 0, cpu->x87.control);
}

EXEC(fnstsw)
{
    x86_set(cpu, in, 0, x87_status(&cpu->x87));
}

EXEC(fnstsw_ax)
{
    x86_set_reg(cpu, X86_RAX, 2, x87_status(&cpu->x87));
}

EXEC(fnclex)
{
    cpu->x87.status &= ~(X87_EXCEPTIONS | X87_SF | X87_ES | X87_B);
}

EXEC(fninit)
{
    x87_init(&cpu->x87);
}

EXEC(emms)
{
    cpu->x87.in_use = 0;
    cpu->x87.top = 0;
}

/* ---- FSAVE: 14 or 28 bytes of environment, eight registers ----------------------------------- */

static bool is_real_format(const X86Cpu *cpu)
{
    return x86_is_real(cpu) || x86_is_v86(cpu);
}

static unsigned environment_size(const X86Insn *in)
{
    return in->operand_size == 2 ? 14 : 28;
}

static void put_environment_16(const X86Cpu *cpu, uint8_t *to)
{
    const X87 *f = &cpu->x87;

    le16_put(to, f->control);
    le16_put(to + 2, x87_status(f));
    le16_put(to + 4, x87_tags(f));
    le16_put(to + 6, f->ip);
    le16_put(to + 10, f->dp);
    if (is_real_format(cpu)) {
        le16_put(to + 8, (f->ip >> 16 & 15) << 12 | f->opcode);
        le16_put(to + 12, (f->dp >> 16 & 15) << 12);
    } else {
        le16_put(to + 8, f->cs);
        le16_put(to + 12, f->ds);
    }
}

static void put_environment_32(const X86Cpu *cpu, uint8_t *to)
{
    const X87 *f = &cpu->x87;

    le32_put(to, 0xffff0000 | f->control);
    le32_put(to + 4, 0xffff0000 | x87_status(f));
    le32_put(to + 8, 0xffff0000 | x87_tags(f));
    if (is_real_format(cpu)) {
        le32_put(to + 12, 0xffff0000 | (f->ip & 0xffff));
        le32_put(to + 16, (f->ip >> 16 & 0xffff) << 12 | f->opcode);
        le32_put(to + 20, 0xffff0000 | (f->dp & 0xffff));
        le32_put(to + 24, (f->dp >> 16 & 0xffff) << 12);
    } else {
        le32_put(to + 12, f->ip);
        le32_put(to + 16, f->cs | (uint32_t)f->opcode << 16);
        le32_put(to + 20, f->dp);
        le32_put(to + 24, 0xffff0000 | f->ds);
    }
}

static void put_environment(const X86Cpu *cpu, const X86Insn *in, uint8_t *to)
{
    if (in->operand_size == 2)
        put_environment_16(cpu, to);
    else
        put_environment_32(cpu, to);
}

static void set_tags(X87 *f, uint16_t tags)
{
    f->in_use = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((tags >> 2 * i & 3) != 3)
            f->in_use |= 1 << i;
}

static void take_environment(X86Cpu *cpu, const X86Insn *in, const uint8_t *from)
{
    unsigned step = in->operand_size == 2 ? 2 : 4;
    X87 *f = &cpu->x87;

    f->control = (le16_at(from) & 0x1f7f) | 0x40;
    set_tags(f, le16_at(from + 2 * step));
    x87_set_status(f, le16_at(from + step));
    if (step == 2) {
        f->ip = le16_at(from + 6);
        f->cs = le16_at(from + 8);
        f->dp = le16_at(from + 10);
        f->ds = le16_at(from + 12);
    } else {
        f->ip = le32_at(from + 12);
        f->cs = le16_at(from + 16);
        f->opcode = le16_at(from + 18) & 0x7ff;
        f->dp = le32_at(from + 20);
        f->ds = le16_at(from + 24);
    }
}

static void put_number(uint8_t *to, const X87Number *n)
{
    le64_put(to, n->mantissa);
    le16_put(to + 8, n->sign_exponent);
}

static X87Number number_at(const uint8_t *from)
{
    return (X87Number){ .mantissa = le64_at(from), .sign_exponent = le16_at(from + 8) };
}

EXEC(fnstenv)
{
    uint8_t image[28];

    put_environment(cpu, in, image);
    x86_write_mem(cpu, in, 0, image, environment_size(in));
    /* All exceptions are masked afterwards. */
    x87_set_control(&cpu->x87, cpu->x87.control | X87_EXCEPTIONS);
}

EXEC(fldenv)
{
    uint8_t image[28];

    x86_read_mem(cpu, in, 0, image, environment_size(in));
    take_environment(cpu, in, image);
}

EXEC(fnsave)
{
    unsigned size = environment_size(in);
    uint8_t image[108];

    put_environment(cpu, in, image);
    for (unsigned i = 0; i < 8; i++)
        put_number(image + size + 10 * i, &cpu->x87.r[(cpu->x87.top + i) & 7]);
    x86_write_mem(cpu, in, 0, image, size + 80);
    x87_init(&cpu->x87);
}

EXEC(frstor)
{
    unsigned size = environment_size(in);
    uint8_t image[108];

    x86_read_mem(cpu, in, 0, image, size + 80);
    take_environment(cpu, in, image);
    for (unsigned i = 0; i < 8; i++)
        cpu->x87.r[(cpu->x87.top + i) & 7] = number_at(image + size + 10 * i);
}

/* ---- FXSAVE ---------------------------------------------------------------------------------- */

static unsigned xmm_registers(const X86Cpu *cpu)
{
    return cpu->mode.bits == 64 ? 16 : 8;
}

static void put_x87(const X86Cpu *cpu, const X86Insn *in, uint8_t *image)
{
    const X87 *f = &cpu->x87;

    le16_put(image, f->control);
    le16_put(image + 2, x87_status(f));
    le16_put(image + 4, f->in_use);
    le16_put(image + 6, f->opcode);
    if (in->rex & 8) {
        le64_put(image + 8, f->ip);
        le64_put(image + 16, f->dp);
    } else {
        le32_put(image + 8, f->ip);
        le32_put(image + 12, f->cs);
        le32_put(image + 16, f->dp);
        le32_put(image + 20, f->ds);
    }
    for (unsigned i = 0; i < 8; i++) {
        memset(image + FX_ST + 16 * i, 0, 16);
        put_number(image + FX_ST + 16 * i, &f->r[(f->top + i) & 7]);
    }
}

static void take_x87(X86Cpu *cpu, const X86Insn *in, const uint8_t *image)
{
    X87 *f = &cpu->x87;

    f->control = (le16_at(image) & 0x1f7f) | 0x40;
    f->in_use = image[4];
    f->opcode = le16_at(image + 6) & 0x7ff;
    x87_set_status(f, le16_at(image + 2));
    f->ip = in->rex & 8 ? le64_at(image + 8) : le32_at(image + 8);
    f->dp = in->rex & 8 ? le64_at(image + 16) : le32_at(image + 16);
    f->cs = in->rex & 8 ? 0 : le16_at(image + 12);
    f->ds = in->rex & 8 ? 0 : le16_at(image + 20);
    for (unsigned i = 0; i < 8; i++)
        f->r[(f->top + i) & 7] = number_at(image + FX_ST + 16 * i);
}

static void put_mxcsr(const X86Cpu *cpu, uint8_t *image)
{
    le32_put(image + FX_MXCSR, cpu->mxcsr);
    le32_put(image + FX_MXCSR + 4, MXCSR_MASK);
}

static void put_xmm(const X86Cpu *cpu, uint8_t *image)
{
    memcpy(image + FX_XMM, cpu->xmm, 16 * xmm_registers(cpu));
}

/* The linear address of the memory operand, which needs an alignment. */
static uint64_t area(X86Cpu *cpu, const X86Insn *in, size_t len, unsigned align, X86Access access)
{
    uint64_t linear = x86_linear(cpu, in->mem.segment, x86_offset(cpu, in), len, access);

    if (linear & (align - 1))
        x86_raise_error(cpu, X86_GP, 0);
    return linear;
}

EXEC(fxsave)
{
    uint64_t linear = area(cpu, in, FX_SIZE, 16, X86_WRITE);
    uint8_t image[FX_SIZE];

    /* What is not saved keeps its old content. */
    x86_probe_write(cpu, linear, FX_SIZE, X86_BY_PROGRAM);
    x86_read_linear(cpu, linear, image, FX_SIZE, X86_BY_PROGRAM);
    put_x87(cpu, in, image);
    put_mxcsr(cpu, image);
    if (cpu->cr4 & X86_CR4_OSFXSR)
        put_xmm(cpu, image);
    x86_write_linear(cpu, linear, image, FX_SIZE, X86_BY_PROGRAM);
}

EXEC(fxrstor)
{
    uint64_t linear = area(cpu, in, FX_SIZE, 16, X86_READ);
    uint8_t image[FX_SIZE];

    x86_read_linear(cpu, linear, image, FX_SIZE, X86_BY_PROGRAM);
    if (cpu->cr4 & X86_CR4_OSFXSR) {
        if (le32_at(image + FX_MXCSR) & ~(uint32_t)MXCSR_MASK)
            x86_raise_error(cpu, X86_GP, 0);
        cpu->mxcsr = le32_at(image + FX_MXCSR);
        memcpy(cpu->xmm, image + FX_XMM, 16 * xmm_registers(cpu));
    }
    take_x87(cpu, in, image);
}

/* ---- XSAVE ----------------------------------------------------------------------------------- */

static void check_xsave(X86Cpu *cpu)
{
    if (!(cpu->cr4 & X86_CR4_OSXSAVE))
        x86_raise(cpu, X86_UD);
    if (cpu->cr0 & X86_CR0_TS)
        x86_raise(cpu, X86_NM);
}

/* The components an instruction is asked for. */
static uint64_t requested(const X86Cpu *cpu)
{
    return (x86_reg(cpu, X86_RAX, 4) | x86_reg(cpu, X86_RDX, 4) << 32) & cpu->xcr0;
}

/* Components that differ from their initial state. */
static uint64_t in_use(const X86Cpu *cpu)
{
    static const X86Vector zero[16];
    const X87 *f = &cpu->x87;
    bool x87 = f->control != 0x37f || f->status || f->top || f->in_use || f->ip || f->dp ||
        f->opcode;

    for (unsigned i = 0; i < 8; i++)
        x87 |= f->r[i].mantissa || f->r[i].sign_exponent;
    return (x87 ? XSTATE_X87 : 0) |
           (memcmp(cpu->xmm, zero, 16 * xmm_registers(cpu)) ? XSTATE_SSE : 0) |
           (memcmp(cpu->ymm_high, zero, 16 * xmm_registers(cpu)) ? XSTATE_AVX : 0);
}

/* Bytes that an area with these components has. */
static size_t area_size(uint64_t components)
{
    return components & XSTATE_AVX ? XSAVE_AVX_END : XSAVE_END;
}

static void save(X86Cpu *cpu, const X86Insn *in, bool only_used, bool compact)
{
    uint64_t linear, want = requested(cpu), bv;
    uint8_t image[XSAVE_AVX_END];
    size_t size = area_size(want);

    check_xsave(cpu);
    linear = area(cpu, in, size, 64, X86_WRITE);
    x86_probe_write(cpu, linear, size, X86_BY_PROGRAM);
    x86_read_linear(cpu, linear, image, size, X86_BY_PROGRAM);
    bv = want & in_use(cpu);
    if (want & XSTATE_X87 && (!only_used || bv & XSTATE_X87))
        put_x87(cpu, in, image);
    if (compact ? bv & XSTATE_SSE : want & (XSTATE_SSE | XSTATE_AVX))
        put_mxcsr(cpu, image);
    if (want & XSTATE_SSE && (!only_used || bv & XSTATE_SSE))
        put_xmm(cpu, image);
    if (want & XSTATE_AVX && (!only_used || bv & XSTATE_AVX))
        memcpy(image + XSAVE_YMM, cpu->ymm_high, 16 * xmm_registers(cpu));
    if (compact) {
        memset(image + XSAVE_BV, 0, 64);
        le64_put(image + XSAVE_COMPACT, want | XSAVE_IS_COMPACT);
    } else {
        bv |= le64_at(image + XSAVE_BV) & ~want;
    }
    le64_put(image + XSAVE_BV, bv);
    x86_write_linear(cpu, linear, image, size, X86_BY_PROGRAM);
}

EXEC(xsave)
{
    save(cpu, in, false, false);
}

EXEC(xsaveopt)
{
    save(cpu, in, true, false);
}

EXEC(xsavec)
{
    save(cpu, in, true, true);
}

/* True if the header of an area is one that this processor could have written. */
static bool is_valid_header(const X86Cpu *cpu, const uint8_t *image)
{
    uint64_t bv = le64_at(image + XSAVE_BV), compact = le64_at(image + XSAVE_COMPACT);
    bool is_compact = compact & XSAVE_IS_COMPACT;

    if (bv & ~cpu->xcr0)
        return false;
    if (is_compact)
        return x86_has(cpu, X86_F_XSAVEC) && !(compact & ~XSAVE_IS_COMPACT & ~cpu->xcr0) &&
               !(bv & ~compact);
    return !compact && !le64_at(image + XSAVE_COMPACT + 8);
}

static void restore_ymm(X86Cpu *cpu, const uint8_t *image, bool is_saved)
{
    size_t size = 16 * xmm_registers(cpu);

    if (is_saved)
        memcpy(cpu->ymm_high, image + XSAVE_YMM, size);
    else
        memset(cpu->ymm_high, 0, size);
}

EXEC(xrstor)
{
    uint8_t image[XSAVE_AVX_END];
    uint64_t linear, want, bv;
    bool is_compact;

    check_xsave(cpu);
    linear = area(cpu, in, XSAVE_END, 64, X86_READ);
    x86_read_linear(cpu, linear, image, XSAVE_END, X86_BY_PROGRAM);
    if (!is_valid_header(cpu, image))
        x86_raise_error(cpu, X86_GP, 0);
    want = requested(cpu);
    bv = le64_at(image + XSAVE_BV);
    if (want & bv & XSTATE_AVX)
        x86_read_linear(cpu, area(cpu, in, XSAVE_AVX_END, 64, X86_READ), image, XSAVE_AVX_END,
                        X86_BY_PROGRAM);
    is_compact = le64_at(image + XSAVE_COMPACT) & XSAVE_IS_COMPACT;
    if (want & (XSTATE_SSE | XSTATE_AVX) && (!is_compact || bv & XSTATE_SSE) &&
        le32_at(image + FX_MXCSR) & ~(uint32_t)MXCSR_MASK)
        x86_raise_error(cpu, X86_GP, 0);
    if (want & XSTATE_X87) {
        if (bv & XSTATE_X87) {
            take_x87(cpu, in, image);
        } else {
            x87_init(&cpu->x87);
            memset(cpu->x87.r, 0, sizeof(cpu->x87.r));
        }
    }
    if (want & XSTATE_AVX)
        restore_ymm(cpu, image, bv & XSTATE_AVX);
    /* MXCSR goes with either, but in the compact format with SSE alone. */
    if (!is_compact && want & (XSTATE_SSE | XSTATE_AVX))
        cpu->mxcsr = le32_at(image + FX_MXCSR);
    if (want & XSTATE_SSE) {
        if (is_compact)
            cpu->mxcsr = bv & XSTATE_SSE ? le32_at(image + FX_MXCSR) : MXCSR_INITIAL;
        if (bv & XSTATE_SSE)
            memcpy(cpu->xmm, image + FX_XMM, 16 * xmm_registers(cpu));
        else
            memset(cpu->xmm, 0, 16 * xmm_registers(cpu));
    }
}

/*
 * Register 1 says which components are in use; all that are enabled may be. Processors with XSAVEC
 * have it.
 */
EXEC(xgetbv)
{
    uint32_t which = x86_reg(cpu, X86_RCX, 4);

    if (!(cpu->cr4 & X86_CR4_OSXSAVE))
        x86_raise(cpu, X86_UD);
    if (which > 1 || (which && !x86_has(cpu, X86_F_XSAVEC)))
        x86_raise_error(cpu, X86_GP, 0);
    x86_set_reg(cpu, X86_RAX, 4, cpu->xcr0);
    x86_set_reg(cpu, X86_RDX, 4, cpu->xcr0 >> 32);
}

EXEC(xsetbv)
{
    uint64_t v = x86_reg(cpu, X86_RAX, 4) | x86_reg(cpu, X86_RDX, 4) << 32;
    uint64_t possible = XSTATE_X87 | XSTATE_SSE | (x86_has(cpu, X86_F_AVX) ? XSTATE_AVX : 0);

    if (!(cpu->cr4 & X86_CR4_OSXSAVE))
        x86_raise(cpu, X86_UD);
    if (x86_reg(cpu, X86_RCX, 4) != 0 || !(v & XSTATE_X87) || v & ~possible ||
        (v & XSTATE_AVX && !(v & XSTATE_SSE)))
        x86_raise_error(cpu, X86_GP, 0);
    cpu->xcr0 = v;
}
