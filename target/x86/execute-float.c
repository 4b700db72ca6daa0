/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SSE floating point. On an x86 host each operation is the host's own instruction, run with the
 * guest's rounding, flush-to-zero and denormals-are-zero and with all exceptions masked; what it
 * raised is then looked at here. On other hosts these operations raise #UD until there is a
 * software floating point.
 *
 * One thing cannot be seen so: whether a result that overflows, with that not masked, is also
 * inexact.
 */
#include "target/x86/wide.h"
#include "target/x86/x87.h"

enum {
    MXCSR_FLAGS = 0x3f,
    MXCSR_MASKS = 0x1f80,
    MXCSR_EARLY = 7, /* invalid, denormal, divide by zero: found before the result is computed */
    MXCSR_UE = 16,
    MXCSR_RC_SHIFT = 13,
};

/*
 * Operations in several steps (dpps) raise after each, so that those of all lanes are kept apart:
 * six bits in each byte, and in the last one the number of the step.
 */
static void gather(X86Cpu *cpu, uint32_t raised)
{
    unsigned step = cpu->raised >> 24;

    cpu->raised |= raised << 8 * step;
    cpu->raised += step < 2 ? 1 << 24 : 0;
}

void x86_finish_float(X86Cpu *cpu, uint32_t raised)
{
    uint32_t unmasked = raised & ~(cpu->mxcsr >> 7) & MXCSR_FLAGS;

    if (cpu->gathers_raised) {
        gather(cpu, raised);
        return;
    }
    if (unmasked & MXCSR_EARLY)
        raised &= MXCSR_EARLY;
    cpu->mxcsr |= raised;
    if (unmasked)
        x86_raise(cpu, cpu->cr4 & X86_CR4_OSXMMEXCPT ? X86_XM : X86_UD);
}

#if defined(__x86_64__)

typedef long long HostVector __attribute__((vector_size(16)));
typedef union {
    X86Vector v;
    HostVector host;
} Both;

/* The result of an operation on @a and @b under @mxcsr; what it raises is added to *@raised. */
typedef X86Vector HostOp(X86Vector a, X86Vector b, uint32_t mxcsr, uint32_t *raised);

#define SWITCHED(text) \
    "stmxcsr %[mine]\n\tldmxcsr %[run]\n\t" text "\n\tstmxcsr %[run]\n\tldmxcsr %[mine]"
/* What else the @text changes follows it. */
#define HOST_NAMED(name, text, ...)                                                                \
    static X86Vector host_##name(X86Vector a, X86Vector b, uint32_t mxcsr, uint32_t *raised)       \
    {                                                                                              \
        Both x = { .v = a }, y = { .v = b };                                                       \
        uint32_t run = (mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS, mine;                                 \
                                                                                                   \
        asm volatile(SWITCHED(text)                                                                \
                     : [a] "+x"(x.host), [run] "+m"(run), [mine] "=m"(mine)                        \
                     : [b] "x"(y.host) : __VA_ARGS__);                                             \
        *raised |= run & MXCSR_FLAGS;                                                              \
        return x.v;                                                                                \
    }
#define HOST(name) HOST_NAMED(name, #name " %[b], %[a]")

static void compute(X86Cpu *cpu, const X86Insn *in, HostOp *op, uint32_t mxcsr)
{
    X86Vector b = x86_get_vector(cpu, in, 1), a = x86_get_vector(cpu, in, 0);
    uint32_t raised = 0;
    X86Vector r = op(a, b, mxcsr, &raised);

    /* The change to MMX happens even if the operation then raises an exception. */
    if (in->operand[0].kind == X86_OPD_MMX || in->operand[1].kind == X86_OPD_MMX)
        x87_enter_mmx(&cpu->x87);
    x86_finish_float(cpu, raised);
    x86_set_vector(cpu, in, 0, r);
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

#define FLOAT(name)                                                                                \
    HOST(name)                                                                                     \
    EXEC(name)                                                                                     \
    {                                                                                              \
        compute(cpu, in, host_##name, cpu->mxcsr);                                                 \
    }
#define FLOAT4(name) FLOAT(name##ps) FLOAT(name##pd) FLOAT(name##ss) FLOAT(name##sd)

/*
 * A result that is tiny but exact is an underflow only if that is not masked, which the host's run
 * cannot show. @lanes is the number of results.
 */
static uint32_t tiny_singles(const X86Vector *r, unsigned lanes)
{
    for (unsigned i = 0; i < lanes; i++)
        if (!(r->d[i] & 0x7f800000) && r->d[i] & 0x7fffff)
            return MXCSR_UE;
    return 0;
}

static uint32_t tiny_doubles(const X86Vector *r, unsigned lanes)
{
    for (unsigned i = 0; i < lanes; i++)
        if (!(r->q[i] >> 52 & 0x7ff) && r->q[i] << 12)
            return MXCSR_UE;
    return 0;
}

#define ROUNDED(name, find, lanes)                                                                 \
    HOST(name)                                                                                     \
    static X86Vector rounded_##name(X86Vector a, X86Vector b, uint32_t mxcsr, uint32_t *raised)    \
    {                                                                                              \
        X86Vector r = host_##name(a, b, mxcsr, raised);                                            \
                                                                                                   \
        if (!(mxcsr & MXCSR_UE << 7))                                                              \
            *raised |= find(&r, lanes);                                                            \
        return r;                                                                                  \
    }                                                                                              \
    EXEC(name)                                                                                     \
    {                                                                                              \
        compute(cpu, in, rounded_##name, cpu->mxcsr);                                              \
    }
#define ROUNDED4(name)                                                                             \
    ROUNDED(name##ps, tiny_singles, 4) ROUNDED(name##pd, tiny_doubles, 2)                          \
    ROUNDED(name##ss, tiny_singles, 1) ROUNDED(name##sd, tiny_doubles, 1)
ROUNDED4(add)
ROUNDED4(sub)
ROUNDED4(mul)
ROUNDED4(div)
FLOAT4(min)
FLOAT4(max)
FLOAT4(sqrt)
FLOAT(rsqrtps)
FLOAT(rsqrtss)
FLOAT(rcpps)
FLOAT(rcpss)
ROUNDED(haddps, tiny_singles, 4)
ROUNDED(haddpd, tiny_doubles, 2)
ROUNDED(hsubps, tiny_singles, 4)
ROUNDED(hsubpd, tiny_doubles, 2)
ROUNDED(addsubps, tiny_singles, 4)
ROUNDED(addsubpd, tiny_doubles, 2)

/* ---- comparison ------------------------------------------------------------------------------ */

/*
 * The 24 predicates that only VEX has, made of those that all have: equal, less and unordered. They
 * raise what a quiet or a signalling one of those raises. The @len low bytes are compared.
 */
static void compare_by_parts(X86Cpu *cpu, const X86Insn *in, HostOp *const ops[8], unsigned len)
{
    enum { EQUAL = 1, LESS = 2, GREATER = 4, UNORDERED = 8 };
    static const uint8_t wanted[16] = {
        EQUAL, LESS, EQUAL | LESS, UNORDERED, 14, 13, 12, 7, /* and from here on VEX's own */
        EQUAL | UNORDERED, LESS | UNORDERED, LESS | EQUAL | UNORDERED, 0, LESS | GREATER,
        EQUAL | GREATER, GREATER, 15,
    };
    /* Odd ones of the first eight are quiet as often as not: 0, 3, 4, 7. */
    bool signals = ((in->imm & 7) % 4 == 1 || (in->imm & 7) % 4 == 2) != !!(in->imm & 16);
    X86Vector b = x86_get_vector(cpu, in, 1), a = x86_get_vector(cpu, in, 0), r = a;
    uint32_t raised = 0, ignored = 0;
    X86Vector equal = ops[0](a, b, cpu->mxcsr, &ignored);
    X86Vector less = ops[1](a, b, cpu->mxcsr, signals ? &raised : &ignored);
    X86Vector unordered = ops[3](a, b, cpu->mxcsr, &raised);

    for (unsigned i = 0; i < len; i++) {
        uint8_t e = equal.b[i], l = less.b[i], u = unordered.b[i], g = ~(e | l | u);
        uint8_t want = wanted[in->imm & 15];

        r.b[i] = (want & EQUAL ? e : 0) | (want & LESS ? l : 0) | (want & GREATER ? g : 0) |
                 (want & UNORDERED ? u : 0);
    }
    x86_finish_float(cpu, raised);
    x86_set_vector(cpu, in, 0, r);
}

#define HOST_COMPARE(type, n) HOST_NAMED(cmp##type##n, "cmp" #type " $" #n ", %[b], %[a]")
#define COMPARE(type, element)                                                                     \
    HOST_COMPARE(type, 0) HOST_COMPARE(type, 1) HOST_COMPARE(type, 2) HOST_COMPARE(type, 3)        \
    HOST_COMPARE(type, 4) HOST_COMPARE(type, 5) HOST_COMPARE(type, 6) HOST_COMPARE(type, 7)        \
    EXEC(cmp##type)                                                                                \
    {                                                                                              \
        static HostOp *const ops[8] = {                                                            \
            host_cmp##type##0, host_cmp##type##1, host_cmp##type##2, host_cmp##type##3,            \
            host_cmp##type##4, host_cmp##type##5, host_cmp##type##6, host_cmp##type##7,            \
        };                                                                                         \
                                                                                                   \
        if (in->vex && in->imm & 0x18)                                                             \
            compare_by_parts(cpu, in, ops, element);                                               \
        else                                                                                       \
            compute(cpu, in, ops[in->imm & 7], cpu->mxcsr);                                        \
    }
COMPARE(ps, 16)
COMPARE(pd, 16)
COMPARE(ss, 4)
COMPARE(sd, 8)

#define COMPARE_FLAGS(name)                                                                        \
    EXEC(name)                                                                                     \
    {                                                                                              \
        Both y = { .v = x86_get_vector(cpu, in, 1) }, x = { .v = x86_get_vector(cpu, in, 0) };     \
        uint32_t run = (cpu->mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS, mine;                            \
        bool zero, parity, carry;                                                                  \
                                                                                                   \
        asm volatile(SWITCHED(#name " %[b], %[a]")                                                 \
                     : [run] "+m"(run), [mine] "=m"(mine), "=@ccz"(zero), "=@ccp"(parity),         \
                       "=@ccc"(carry)                                                              \
                     : [a] "x"(x.host), [b] "x"(y.host));                                          \
        x86_finish_float(cpu, run & MXCSR_FLAGS);                                                  \
        x86_set_flags(cpu, X86_ARITH, x86_flag_if(zero, X86_ZF) | x86_flag_if(parity, X86_PF) |    \
                                          x86_flag_if(carry, X86_CF));                             \
    }
COMPARE_FLAGS(ucomiss)
COMPARE_FLAGS(ucomisd)
COMPARE_FLAGS(comiss)
COMPARE_FLAGS(comisd)

/* ---- conversion ------------------------------------------------------------------------------ */

FLOAT(cvtps2pd)
ROUNDED(cvtpd2ps, tiny_singles, 2)
FLOAT(cvtss2sd)
ROUNDED(cvtsd2ss, tiny_singles, 1)
FLOAT(cvtdq2ps)
FLOAT(cvtps2dq)
FLOAT(cvttps2dq)
FLOAT(cvttpd2dq)
FLOAT(cvtdq2pd)
FLOAT(cvtpd2dq)

/* With an MMX register as the other operand: the XMM forms on its 64 bits. */
EXEC(cvtpi2pd)
{
    compute(cpu, in, host_cvtdq2pd, cpu->mxcsr);
}

EXEC(cvtpd2pi)
{
    compute(cpu, in, host_cvtpd2dq, cpu->mxcsr);
}

EXEC(cvttpd2pi)
{
    compute(cpu, in, host_cvttpd2dq, cpu->mxcsr);
}

/* The two numbers in @v, without what is above them. */
static X86Vector low_pair(X86Vector v)
{
    return (X86Vector){ .q = { v.q[0] } };
}

static X86Vector host_cvtps2pi(X86Vector a, X86Vector b, uint32_t mxcsr, uint32_t *raised)
{
    return host_cvtps2dq(a, low_pair(b), mxcsr, raised);
}

static X86Vector host_cvttps2pi(X86Vector a, X86Vector b, uint32_t mxcsr, uint32_t *raised)
{
    return host_cvttps2dq(a, low_pair(b), mxcsr, raised);
}

static X86Vector host_cvtpi2ps(X86Vector a, X86Vector b, uint32_t mxcsr, uint32_t *raised)
{
    a.q[0] = host_cvtdq2ps(a, low_pair(b), mxcsr, raised).q[0];
    return a;
}

EXEC(cvtps2pi)
{
    compute(cpu, in, host_cvtps2pi, cpu->mxcsr);
}

EXEC(cvttps2pi)
{
    compute(cpu, in, host_cvttps2pi, cpu->mxcsr);
}

EXEC(cvtpi2ps)
{
    compute(cpu, in, host_cvtpi2ps, cpu->mxcsr);
}

#define TO_GENERAL(name)                                                                           \
    EXEC(name)                                                                                     \
    {                                                                                              \
        Both y = { .v = x86_get_vector(cpu, in, 1) };                                              \
        uint32_t run = (cpu->mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS, mine, low;                       \
        uint64_t r;                                                                                \
                                                                                                   \
        if (in->operand[0].size == 8) {                                                            \
            asm volatile(SWITCHED(#name " %[b], %[r]")                                             \
                         : [run] "+m"(run), [mine] "=m"(mine), [r] "=r"(r) : [b] "x"(y.host));     \
        } else {                                                                                   \
            asm volatile(SWITCHED(#name " %[b], %[r]")                                             \
                         : [run] "+m"(run), [mine] "=m"(mine), [r] "=r"(low) : [b] "x"(y.host));   \
            r = low;                                                                               \
        }                                                                                          \
        x86_finish_float(cpu, run & MXCSR_FLAGS);                                                  \
        x86_set(cpu, in, 0, r);                                                                    \
    }
TO_GENERAL(cvtss2si)
TO_GENERAL(cvtsd2si)
TO_GENERAL(cvttss2si)
TO_GENERAL(cvttsd2si)

/* The integer comes in the low half of @b. */
#define FROM_GENERAL(name)                                                                         \
    HOST_NAMED(name##l, "movd %[b], %%eax\n\t" #name " %%eax, %[a]", "rax")                        \
    HOST_NAMED(name##q, "movq %[b], %%rax\n\t" #name " %%rax, %[a]", "rax")                        \
    EXEC(name)                                                                                     \
    {                                                                                              \
        compute(cpu, in, in->operand[1].size == 8 ? host_##name##q : host_##name##l, cpu->mxcsr);  \
    }
FROM_GENERAL(cvtsi2ss)
FROM_GENERAL(cvtsi2sd)

/* ---- rounding to whole numbers --------------------------------------------------------------- */

/*
 * Bit 2 of the immediate: round as MXCSR says; else as bits 0 and 1 say. Bit 3: inexact is no
 * matter.
 */
#define ROUND(name)                                                                                \
    HOST_NAMED(name##_loud, #name " $4, %[b], %[a]")                                               \
    HOST_NAMED(name##_quiet, #name " $12, %[b], %[a]")                                             \
    EXEC(name)                                                                                     \
    {                                                                                              \
        uint32_t mxcsr = cpu->mxcsr;                                                               \
                                                                                                   \
        if (!(in->imm & 4))                                                                        \
            mxcsr = (mxcsr & ~(3u << MXCSR_RC_SHIFT)) | (in->imm & 3) << MXCSR_RC_SHIFT;           \
        compute(cpu, in, in->imm & 8 ? host_##name##_quiet : host_##name##_loud, mxcsr);           \
    }
ROUND(roundps)
ROUND(roundpd)
ROUND(roundss)
ROUND(roundsd)

/* ---- dot products ---------------------------------------------------------------------------- */

/* Products of the lanes chosen by the high bits of the immediate, zero in the others. */
EXEC(dpps)
{
    X86Vector b = x86_get_vector(cpu, in, 1), a = x86_get_vector(cpu, in, 0), r = { 0 };
    uint32_t raised = 0;

    for (unsigned i = 0; i < 4; i++)
        if (!(in->imm >> (4 + i) & 1))
            a.d[i] = b.d[i] = 0;
    a = rounded_mulps(a, b, cpu->mxcsr, &raised);
    x86_finish_float(cpu, raised);
    b = (X86Vector){ .d = { a.d[1], 0, a.d[3] } };
    a = rounded_addps((X86Vector){ .d = { a.d[0], 0, a.d[2] } }, b, cpu->mxcsr, &raised);
    x86_finish_float(cpu, raised);
    a = rounded_addss(a, (X86Vector){ .d = { a.d[2] } }, cpu->mxcsr, &raised);
    x86_finish_float(cpu, raised);
    for (unsigned i = 0; i < 4; i++)
        r.d[i] = in->imm >> i & 1 ? a.d[0] : 0;
    x86_set_vector(cpu, in, 0, r);
}

EXEC(dppd)
{
    X86Vector b = x86_get_vector(cpu, in, 1), a = x86_get_vector(cpu, in, 0), r = { 0 };
    uint32_t raised = 0;

    for (unsigned i = 0; i < 2; i++)
        if (!(in->imm >> (4 + i) & 1))
            a.q[i] = b.q[i] = 0;
    a = rounded_mulpd(a, b, cpu->mxcsr, &raised);
    x86_finish_float(cpu, raised);
    a = rounded_addsd(a, (X86Vector){ .q = { a.q[1] } }, cpu->mxcsr, &raised);
    x86_finish_float(cpu, raised);
    for (unsigned i = 0; i < 2; i++)
        r.q[i] = in->imm >> i & 1 ? a.q[0] : 0;
    x86_set_vector(cpu, in, 0, r);
}

#else

#define MISSING(id, ...)                                                                           \
    EXEC(id)                                                                                       \
    {                                                                                              \
        x86_raise(cpu, X86_UD);                                                                    \
    }
#include "target/x86/host-only.def"

#endif
