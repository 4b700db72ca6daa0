/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fused multiplication and addition, and half precision, by the host's own instructions; see
 * execute-float.c. Models have these only where the host has them (cpu-models.c).
 */
#include "target/x86/wide.h"
#include "target/x86/x87.h"
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* clang 14 does not know the name "f16c"; that the system keeps YMM registers is part of "avx". */
static bool host_has_f16c(void)
{
    unsigned a, b, c, d;

    return __builtin_cpu_supports("avx") && __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

bool x86_host_can(X86Feature feature)
{
    __builtin_cpu_init();
    switch (feature) {
    case X86_F_FMA:
        return __builtin_cpu_supports("fma");
    case X86_F_F16C:
        return host_has_f16c();
    default:
        return true;
    }
}

enum { MXCSR_FLAGS = 0x3f, MXCSR_MASKS = 0x1f80, MXCSR_UE = 16 };

typedef long long HostWide __attribute__((vector_size(32)));
typedef union {
    X86Wide v;
    HostWide host;
} Both;

#define SWITCHED(text)                                                                             \
    "stmxcsr %[mine]\n\tldmxcsr %[run]\n\t" text "\n\tstmxcsr %[run]\n\tldmxcsr %[mine]"

/* A tiny result is an underflow if that is not masked, be it exact or not. */
static uint32_t tiny(const X86Cpu *cpu, const X86Wide *r, unsigned size, unsigned count)
{
    bool found = false;

    if (!(cpu->mxcsr & MXCSR_UE << 7))
        for (unsigned i = 0; i < count; i++)
            found |= size == 4 ? !(r->d[i] & 0x7f800000) && r->d[i] & 0x7fffff
                               : !(r->q[i] >> 52 & 0x7ff) && r->q[i] << 12;
    return found ? MXCSR_UE : 0;
}

/*
 * The instruction on the host, in the same order of operands, since that decides which of several
 * NaNs is the result; @name ends in "ps" or the like, and a scalar one keeps what is above it.
 */
#define FMA(id, register, element, is_scalar)                                                      \
    __attribute__((target("avx,fma"))) EXEC(id)                                                    \
    {                                                                                              \
        Both c = { .v = x86_get_wide(cpu, in, 2) }, b = { .v = x86_get_wide(cpu, in, 1) };         \
        Both a = { .v = x86_wide_register(cpu, in->operand[0].reg) };                              \
        uint32_t run = (cpu->mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS, mine;                            \
                                                                                                   \
        if (is_scalar || in->operand[0].size == 16)                                                \
            asm volatile(SWITCHED(#id " %x[c], %x[b], %x[a]")                                      \
                         : [a] "+x"(a.host), [run] "+m"(run), [mine] "=m"(mine)                    \
                         : [b] "x"(b.host), [c] "x"(c.host));                                      \
        else                                                                                       \
            asm volatile(SWITCHED(#id " %" register "[c], %" register "[b], %" register "[a]")     \
                         : [a] "+x"(a.host), [run] "+m"(run), [mine] "=m"(mine)                    \
                         : [b] "x"(b.host), [c] "x"(c.host));                                      \
        x86_finish_float(cpu, (run & MXCSR_FLAGS) |                                                \
                                  tiny(cpu, &a.v, element, in->operand[0].size / element));        \
        if (is_scalar)                                                                             \
            a.v.lane[1] = (X86Vector){ .q = { 0 } };                                               \
        x86_set_wide(cpu, in, 0, a.v);                                                             \
    }
#define ORDERS(op, type, register, element, is_scalar)                                             \
    FMA(op##132##type, register, element, is_scalar)                                               \
    FMA(op##213##type, register, element, is_scalar)                                               \
    FMA(op##231##type, register, element, is_scalar)
#define PACKED(op) ORDERS(op, ps, "t", 4, false) ORDERS(op, pd, "t", 8, false)
#define ALL(op) PACKED(op) ORDERS(op, ss, "x", 4, true) ORDERS(op, sd, "x", 8, true)
PACKED(vfmaddsub)
PACKED(vfmsubadd)
ALL(vfmadd)
ALL(vfmsub)
ALL(vfnmadd)
ALL(vfnmsub)

/* ---- half precision -------------------------------------------------------------------------- */

typedef long long HostVector __attribute__((vector_size(16)));
typedef union {
    X86Vector v;
    HostVector host;
} Low;

/* Denormal halves are numbers, whatever MXCSR says of denormals. */
__attribute__((target("avx,f16c"))) EXEC(vcvtph2ps)
{
    X86Wide b = x86_get_wide(cpu, in, 1);
    uint32_t run = (cpu->mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS, mine;
    Low half = { .v = b.lane[0] };
    Both r;

    asm volatile(SWITCHED("vcvtph2ps %[half], %t[r]")
                 : [r] "=x"(r.host), [run] "+m"(run), [mine] "=m"(mine) : [half] "x"(half.host));
    x86_finish_float(cpu, run & MXCSR_FLAGS);
    x86_set_wide(cpu, in, 0, r.v);
}

/* Rounds as the immediate says, or MXCSR. */
__attribute__((target("avx,f16c"))) EXEC(vcvtps2ph)
{
    Both a = { .v = x86_get_wide(cpu, in, 1) };
    uint32_t run = (cpu->mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS, mine, raised;
    X86Wide r = { .q = { 0 } };
    Low half;

    if (!(in->imm & 4))
        run = (run & ~UINT32_C(0x6000)) | (in->imm & 3) << 13;
    asm volatile(SWITCHED("vcvtps2ph $4, %t[a], %[half]")
                 : [half] "=x"(half.host), [run] "+m"(run), [mine] "=m"(mine) : [a] "x"(a.host));
    raised = run & MXCSR_FLAGS;
    r.lane[0] = half.v;
    if (!(cpu->mxcsr & MXCSR_UE << 7))
        for (unsigned i = 0; i < in->operand[0].size / 2; i++)
            raised |= !(r.w[i] & 0x7c00) && r.w[i] & 0x3ff ? MXCSR_UE : 0;
    if (in->operand[0].kind == X86_OPD_MEM)
        x86_probe_mem(cpu, in, 0, in->operand[0].size);
    x86_finish_float(cpu, raised);
    x86_set_wide(cpu, in, 0, r);
}

#else

bool x86_host_can(X86Feature feature)
{
    return feature != X86_F_FMA && feature != X86_F_F16C;
}

#define MISSING(id, ...)                                                                           \
    EXEC(id)                                                                                       \
    {                                                                                              \
        x86_raise(cpu, X86_UD);                                                                    \
    }
#define ORDERS(op, type) MISSING(op##132##type) MISSING(op##213##type) MISSING(op##231##type)
#define PACKED(op) ORDERS(op, ps) ORDERS(op, pd)
#define ALL(op) PACKED(op) ORDERS(op, ss) ORDERS(op, sd)
PACKED(vfmaddsub)
PACKED(vfmsubadd)
ALL(vfmadd)
ALL(vfmsub)
ALL(vfnmadd)
ALL(vfnmsub)
MISSING(vcvtph2ps)
MISSING(vcvtps2ph)

#endif
