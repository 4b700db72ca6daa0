/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MMX and SSE on integers: each operation is an expression for one lane. @a is the destination's
 * old value, @b the source, @r the result, @n the bytes of a register (8 for MMX, 16 for XMM).
 */
#include "target/x86/execute.h"
#include <string.h>

X86Vector x86_get_vector(X86Cpu *cpu, const X86Insn *in, unsigned i)
{
    const X86Operand *o = &in->operand[i];
    X86Vector v = { 0 };

    switch (o->kind) {
    case X86_OPD_XMM:
        return cpu->xmm[o->reg];
    case X86_OPD_MMX:
        v.q[0] = cpu->x87.r[o->reg].mantissa;
        break;
    case X86_OPD_MEM:
        x86_read_mem(cpu, in, 0, &v, o->size);
        break;
    default:
        v.q[0] = x86_get(cpu, in, i);
    }
    return v;
}

void x86_set_vector(X86Cpu *cpu, const X86Insn *in, unsigned i, X86Vector v)
{
    const X86Operand *o = &in->operand[i];

    switch (o->kind) {
    case X86_OPD_XMM:
        cpu->xmm[o->reg] = v;
        break;
    case X86_OPD_MMX:
        cpu->x87.r[o->reg] = (X87Number){ .mantissa = v.q[0], .sign_exponent = 0xffff };
        break;
    case X86_OPD_MEM:
        x86_write_mem(cpu, in, 0, &v, o->size);
        break;
    default:
        x86_set(cpu, in, i, v.q[0]);
    }
}

#define VECTOR(id, ...)                                                                            \
    EXEC(id)                                                                                       \
    {                                                                                              \
        X86Vector b = x86_get_vector(cpu, in, 1), a = x86_get_vector(cpu, in, 0), r = a;           \
        const unsigned n = in->operand[0].size;                                                    \
                                                                                                   \
        __VA_ARGS__;                                                                               \
        (void)n;                                                                                   \
        x86_set_vector(cpu, in, 0, r);                                                             \
    }
#define LANES(field) for (unsigned i = 0; i < n / sizeof(r.field[0]); i++)
#define EACH(id, field, expression) VECTOR(id, LANES(field) r.field[i] = (expression))

static int saturate(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

static int8_t to_s8(int v)
{
    return saturate(v, INT8_MIN, INT8_MAX);
}

static uint8_t to_u8(int v)
{
    return saturate(v, 0, UINT8_MAX);
}

static int16_t to_s16(int v)
{
    return saturate(v, INT16_MIN, INT16_MAX);
}

static uint16_t to_u16(int v)
{
    return saturate(v, 0, UINT16_MAX);
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

EACH(paddb, b, a.b[i] + b.b[i])
EACH(paddw, w, a.w[i] + b.w[i])
EACH(paddd, d, a.d[i] + b.d[i])
EACH(paddq, q, a.q[i] + b.q[i])
EACH(psubb, b, a.b[i] - b.b[i])
EACH(psubw, w, a.w[i] - b.w[i])
EACH(psubd, d, a.d[i] - b.d[i])
EACH(psubq, q, a.q[i] - b.q[i])
EACH(paddsb, sb, to_s8(a.sb[i] + b.sb[i]))
EACH(paddsw, sw, to_s16(a.sw[i] + b.sw[i]))
EACH(paddusb, b, to_u8(a.b[i] + b.b[i]))
EACH(paddusw, w, to_u16(a.w[i] + b.w[i]))
EACH(psubsb, sb, to_s8(a.sb[i] - b.sb[i]))
EACH(psubsw, sw, to_s16(a.sw[i] - b.sw[i]))
EACH(psubusb, b, to_u8(a.b[i] - b.b[i]))
EACH(psubusw, w, to_u16(a.w[i] - b.w[i]))
EACH(pavgb, b, (a.b[i] + b.b[i] + 1) >> 1)
EACH(pavgw, w, (a.w[i] + b.w[i] + 1) >> 1)
EACH(pminub, b, MIN(a.b[i], b.b[i]))
EACH(pmaxub, b, MAX(a.b[i], b.b[i]))
EACH(pminsb, sb, MIN(a.sb[i], b.sb[i]))
EACH(pmaxsb, sb, MAX(a.sb[i], b.sb[i]))
EACH(pminuw, w, MIN(a.w[i], b.w[i]))
EACH(pmaxuw, w, MAX(a.w[i], b.w[i]))
EACH(pminsw, sw, MIN(a.sw[i], b.sw[i]))
EACH(pmaxsw, sw, MAX(a.sw[i], b.sw[i]))
EACH(pminud, d, MIN(a.d[i], b.d[i]))
EACH(pmaxud, d, MAX(a.d[i], b.d[i]))
EACH(pminsd, sd, MIN(a.sd[i], b.sd[i]))
EACH(pmaxsd, sd, MAX(a.sd[i], b.sd[i]))
EACH(pabsb, b, b.sb[i] < 0 ? -b.sb[i] : b.sb[i])
EACH(pabsw, w, b.sw[i] < 0 ? -b.sw[i] : b.sw[i])
EACH(pabsd, d, b.sd[i] < 0 ? -b.d[i] : b.d[i])
EACH(psignb, b, b.sb[i] < 0 ? -a.b[i] : b.sb[i] ? a.b[i] : 0)
EACH(psignw, w, b.sw[i] < 0 ? -a.w[i] : b.sw[i] ? a.w[i] : 0)
EACH(psignd, d, b.sd[i] < 0 ? -a.d[i] : b.sd[i] ? a.d[i] : 0)

EACH(pmullw, w, (uint32_t)a.w[i] * b.w[i])
EACH(pmulhw, sw, a.sw[i] * b.sw[i] >> 16)
EACH(pmulhuw, w, (uint32_t)a.w[i] * b.w[i] >> 16)
EACH(pmulhrsw, sw, ((a.sw[i] * b.sw[i] >> 14) + 1) >> 1)
EACH(pmulld, d, a.d[i] * b.d[i])
EACH(pmuludq, q, (uint64_t)a.d[2 * i] * b.d[2 * i])
EACH(pmuldq, sq, (int64_t)a.sd[2 * i] * b.sd[2 * i])
/* Only -32768 * -32768 twice does not fit; it wraps. */
EACH(pmaddwd, d, (uint32_t)(a.sw[2 * i] * b.sw[2 * i]) +
     (uint32_t)(a.sw[2 * i + 1] * b.sw[2 * i + 1]))
EACH(pmaddubsw, sw, to_s16(a.b[2 * i] * b.sb[2 * i] + a.b[2 * i + 1] * b.sb[2 * i + 1]))

static unsigned absolute_difference(unsigned a, unsigned b)
{
    return a > b ? a - b : b - a;
}

VECTOR(psadbw, LANES(q) {
    r.q[i] = 0;
    for (unsigned k = 8 * i; k < 8 * i + 8; k++)
        r.q[i] += absolute_difference(a.b[k], b.b[k]);
})

VECTOR(mpsadbw, {
    unsigned from = in->imm & 4, with = (in->imm & 3) * 4;

    LANES(w) {
        r.w[i] = 0;
        for (unsigned k = 0; k < 4; k++)
            r.w[i] += absolute_difference(a.b[from + i + k], b.b[with + k]);
    }
})

VECTOR(phminposuw, {
    unsigned best = 0;

    LANES(w)
        if (b.w[i] < b.w[best])
            best = i;
    r = (X86Vector){ .w = { b.w[best], best } };
})

/* Neighbours within @a, then within @b. */
#define HORIZONTAL(id, field, expression)                                                          \
    VECTOR(id, {                                                                                   \
        unsigned half = n / sizeof(r.field[0]) / 2;                                                \
                                                                                                   \
        for (unsigned i = 0; i < 2 * half; i++) {                                                  \
            const X86Vector *from = i < half ? &a : &b;                                            \
            unsigned k = 2 * (i % half);                                                           \
                                                                                                   \
            r.field[i] = (expression);                                                             \
        }                                                                                          \
    })
HORIZONTAL(phaddw, w, from->w[k] + from->w[k + 1])
HORIZONTAL(phaddd, d, from->d[k] + from->d[k + 1])
HORIZONTAL(phaddsw, sw, to_s16(from->sw[k] + from->sw[k + 1]))
HORIZONTAL(phsubw, w, from->w[k] - from->w[k + 1])
HORIZONTAL(phsubd, d, from->d[k] - from->d[k + 1])
HORIZONTAL(phsubsw, sw, to_s16(from->sw[k] - from->sw[k + 1]))

/* ---- comparison and logic -------------------------------------------------------------------- */

EACH(pcmpeqb, b, a.b[i] == b.b[i] ? 0xff : 0)
EACH(pcmpeqw, w, a.w[i] == b.w[i] ? 0xffff : 0)
EACH(pcmpeqd, d, a.d[i] == b.d[i] ? UINT32_MAX : 0)
EACH(pcmpeqq, q, a.q[i] == b.q[i] ? UINT64_MAX : 0)
EACH(pcmpgtb, b, a.sb[i] > b.sb[i] ? 0xff : 0)
EACH(pcmpgtw, w, a.sw[i] > b.sw[i] ? 0xffff : 0)
EACH(pcmpgtd, d, a.sd[i] > b.sd[i] ? UINT32_MAX : 0)
EACH(pcmpgtq, q, a.sq[i] > b.sq[i] ? UINT64_MAX : 0)
EACH(pand, q, a.q[i] & b.q[i])
EACH(pandn, q, ~a.q[i] & b.q[i])
EACH(por, q, a.q[i] | b.q[i])
EACH(pxor, q, a.q[i] ^ b.q[i])
EACH(andps, q, a.q[i] & b.q[i])
EACH(andpd, q, a.q[i] & b.q[i])
EACH(andnps, q, ~a.q[i] & b.q[i])
EACH(andnpd, q, ~a.q[i] & b.q[i])
EACH(orps, q, a.q[i] | b.q[i])
EACH(orpd, q, a.q[i] | b.q[i])
EACH(xorps, q, a.q[i] ^ b.q[i])
EACH(xorpd, q, a.q[i] ^ b.q[i])

EXEC(ptest)
{
    X86Vector b = x86_get_vector(cpu, in, 1), a = x86_get_vector(cpu, in, 0);
    bool none = !((a.q[0] & b.q[0]) | (a.q[1] & b.q[1]));
    bool all = !((~a.q[0] & b.q[0]) | (~a.q[1] & b.q[1]));

    x86_set_flags(cpu, X86_ARITH, x86_flag_if(none, X86_ZF) | x86_flag_if(all, X86_CF));
}

/* ---- shifts ---------------------------------------------------------------------------------- */

/* The count is the low 64 bits of the source; an immediate is a source, too. */
static uint64_t vector_count(X86Cpu *cpu, const X86Insn *in)
{
    return in->operand[1].kind == X86_OPD_IMM ? in->imm : x86_get_vector(cpu, in, 1).q[0];
}

#define SHIFT(id, field, bits, expression)                                                         \
    EXEC(id)                                                                                       \
    {                                                                                              \
        uint64_t count = vector_count(cpu, in);                                                    \
        X86Vector a = x86_get_vector(cpu, in, 0), r = a;                                           \
        const unsigned n = in->operand[0].size;                                                    \
        bool out = count >= bits;                                                                  \
                                                                                                   \
        LANES(field) r.field[i] = (expression);                                                    \
        x86_set_vector(cpu, in, 0, r);                                                             \
    }
SHIFT(psllw, w, 16, out ? 0 : a.w[i] << count)
SHIFT(pslld, d, 32, out ? 0 : a.d[i] << count)
SHIFT(psllq, q, 64, out ? 0 : a.q[i] << count)
SHIFT(psrlw, w, 16, out ? 0 : a.w[i] >> count)
SHIFT(psrld, d, 32, out ? 0 : a.d[i] >> count)
SHIFT(psrlq, q, 64, out ? 0 : a.q[i] >> count)
SHIFT(psraw, sw, 16, a.sw[i] >> (out ? 15 : count))
SHIFT(psrad, sd, 32, a.sd[i] >> (out ? 31 : count))

EXEC(pslldq)
{
    X86Vector a = x86_get_vector(cpu, in, 0), r = { 0 };

    for (unsigned i = in->imm; i < 16; i++)
        r.b[i] = a.b[i - in->imm];
    x86_set_vector(cpu, in, 0, r);
}

EXEC(psrldq)
{
    X86Vector a = x86_get_vector(cpu, in, 0), r = { 0 };

    for (unsigned i = in->imm; i < 16; i++)
        r.b[i - in->imm] = a.b[i];
    x86_set_vector(cpu, in, 0, r);
}

VECTOR(palignr, LANES(b) {
    unsigned at = in->imm + i;

    r.b[i] = at < n ? b.b[at] : at < 2 * n ? a.b[at - n] : 0;
})

/* ---- order ----------------------------------------------------------------------------------- */

/* Lanes of @a and @b in turn, from the low half or the high half. */
#define UNPACK(id, field, high)                                                                    \
    VECTOR(id, LANES(field) {                                                                      \
        unsigned k = i / 2 + (high ? n / sizeof(r.field[0]) / 2 : 0);                              \
                                                                                                   \
        r.field[i] = i % 2 ? b.field[k] : a.field[k];                                              \
    })
UNPACK(punpcklbw, b, false)
UNPACK(punpcklwd, w, false)
UNPACK(punpckldq, d, false)
UNPACK(punpcklqdq, q, false)
UNPACK(punpckhbw, b, true)
UNPACK(punpckhwd, w, true)
UNPACK(punpckhdq, d, true)
UNPACK(punpckhqdq, q, true)
UNPACK(unpcklps, d, false)
UNPACK(unpcklpd, q, false)
UNPACK(unpckhps, d, true)
UNPACK(unpckhpd, q, true)

#define PACK(id, to, from, convert)                                                                \
    VECTOR(id, LANES(to) {                                                                         \
        unsigned half = n / sizeof(r.to[0]) / 2;                                                   \
                                                                                                   \
        r.to[i] = convert(i < half ? a.from[i] : b.from[i - half]);                                \
    })
PACK(packsswb, sb, sw, to_s8)
PACK(packuswb, b, sw, to_u8)
PACK(packssdw, sw, sd, to_s16)
PACK(packusdw, w, sd, to_u16)

EACH(pshufw, w, b.w[in->imm >> 2 * i & 3])
EACH(pshufd, d, b.d[in->imm >> 2 * i & 3])
EACH(pshuflw, w, i < 4 ? b.w[in->imm >> 2 * i & 3] : b.w[i])
EACH(pshufhw, w, i < 4 ? b.w[i] : b.w[4 + (in->imm >> 2 * (i - 4) & 3)])
EACH(pshufb, b, b.b[i] & 0x80 ? 0 : a.b[b.b[i] & (n - 1)])
EACH(shufps, d, (i < 2 ? &a : &b)->d[in->imm >> 2 * i & 3])
EACH(shufpd, q, (i < 1 ? &a : &b)->q[in->imm >> i & 1])
EACH(pblendw, w, (in->imm >> i & 1 ? &b : &a)->w[i])
EACH(blendps, d, (in->imm >> i & 1 ? &b : &a)->d[i])
EACH(blendpd, q, (in->imm >> i & 1 ? &b : &a)->q[i])
EACH(pblendvb, b, (cpu->xmm[0].sb[i] < 0 ? &b : &a)->b[i])
EACH(blendvps, d, (cpu->xmm[0].sd[i] < 0 ? &b : &a)->d[i])
EACH(blendvpd, q, (cpu->xmm[0].sq[i] < 0 ? &b : &a)->q[i])

EACH(pmovsxbw, sw, b.sb[i])
EACH(pmovsxbd, sd, b.sb[i])
EACH(pmovsxbq, sq, b.sb[i])
EACH(pmovsxwd, sd, b.sw[i])
EACH(pmovsxwq, sq, b.sw[i])
EACH(pmovsxdq, sq, b.sd[i])
EACH(pmovzxbw, w, b.b[i])
EACH(pmovzxbd, d, b.b[i])
EACH(pmovzxbq, q, b.b[i])
EACH(pmovzxwd, d, b.w[i])
EACH(pmovzxwq, q, b.w[i])
EACH(pmovzxdq, q, b.d[i])
EACH(movsldup, d, b.d[i & ~1u])
EACH(movshdup, d, b.d[i | 1])
EACH(movddup, q, b.q[0])

/* ---- moves ----------------------------------------------------------------------------------- */

#define MOVE(id)                                                                                   \
    EXEC(id)                                                                                       \
    {                                                                                              \
        x86_set_vector(cpu, in, 0, x86_get_vector(cpu, in, 1));                                    \
    }
MOVE(movups)
MOVE(movupd)
MOVE(movdqu)
MOVE(lddqu)
MOVE(movaps)
MOVE(movapd)
MOVE(movdqa)
MOVE(movntps)
MOVE(movntpd)
MOVE(movntdq)
MOVE(movntdqa)
MOVE(movntq)
MOVE(movd)

/* The low 64 bits; the rest of an XMM register becomes zero. */
static void move_low(X86Cpu *cpu, const X86Insn *in)
{
    X86Vector b = x86_get_vector(cpu, in, 1);

    x86_set_vector(cpu, in, 0, (X86Vector){ .q = { b.q[0] } });
}

EXEC(movq)
{
    move_low(cpu, in);
}

EXEC(movq2dq)
{
    move_low(cpu, in);
}

EXEC(movdq2q)
{
    move_low(cpu, in);
}

/* movss and movsd: between registers the rest stays, from memory it becomes zero. */
static void move_scalar(X86Cpu *cpu, const X86Insn *in, size_t size)
{
    X86Vector b = x86_get_vector(cpu, in, 1), r = b;

    if (in->operand[0].kind == X86_OPD_XMM && in->operand[1].kind == X86_OPD_XMM) {
        r = x86_get_vector(cpu, in, 0);
        memcpy(&r, &b, size);
    }
    x86_set_vector(cpu, in, 0, r);
}

EXEC(movss)
{
    move_scalar(cpu, in, 4);
}

EXEC(movsd)
{
    move_scalar(cpu, in, 8);
}

/* Moves quadword @from of the source to quadword @to; memory has only one. */
static void move_half(X86Cpu *cpu, const X86Insn *in, unsigned to, unsigned from)
{
    X86Vector b = x86_get_vector(cpu, in, 1), r;

    if (in->operand[0].kind == X86_OPD_MEM) {
        r.q[0] = b.q[from];
    } else {
        r = x86_get_vector(cpu, in, 0);
        r.q[to] = b.q[from];
    }
    x86_set_vector(cpu, in, 0, r);
}

EXEC(movlps)
{
    move_half(cpu, in, 0, 0);
}

EXEC(movlpd)
{
    move_half(cpu, in, 0, 0);
}

/* To memory the high half goes, from memory it comes. */
EXEC(movhps)
{
    move_half(cpu, in, 1, in->operand[0].kind == X86_OPD_MEM);
}

EXEC(movhpd)
{
    move_half(cpu, in, 1, in->operand[0].kind == X86_OPD_MEM);
}

EXEC(movhlps)
{
    move_half(cpu, in, 0, 1);
}

EXEC(movlhps)
{
    move_half(cpu, in, 1, 0);
}

/* ---- single lanes ---------------------------------------------------------------------------- */

#define SIGN_MASK(id, field)                                                                       \
    EXEC(id)                                                                                       \
    {                                                                                              \
        X86Vector r = x86_get_vector(cpu, in, 1);                                                  \
        const unsigned n = in->operand[1].size;                                                    \
        uint32_t mask = 0;                                                                         \
                                                                                                   \
        LANES(field) mask |= (uint32_t)(r.field[i] < 0) << i;                                      \
        x86_set(cpu, in, 0, mask);                                                                 \
    }
SIGN_MASK(movmskps, sd)
SIGN_MASK(movmskpd, sq)
SIGN_MASK(pmovmskb, sb)

#define EXTRACT(id, field, mask)                                                                   \
    EXEC(id)                                                                                       \
    {                                                                                              \
        x86_set(cpu, in, 0, x86_get_vector(cpu, in, 1).field[in->imm & (mask)]);                   \
    }
EXTRACT(pextrb, b, 15)
EXTRACT(extractps, d, 3)

EXEC(pextrw)
{
    unsigned lanes = in->operand[1].kind == X86_OPD_MMX ? 4 : 8;

    x86_set(cpu, in, 0, x86_get_vector(cpu, in, 1).w[in->imm & (lanes - 1)]);
}

EXEC(pextrd)
{
    X86Vector b = x86_get_vector(cpu, in, 1);

    x86_set(cpu, in, 0, in->operand[0].size == 8 ? b.q[in->imm & 1] : b.d[in->imm & 3]);
}

VECTOR(pinsrb, r.b[in->imm & 15] = b.b[0])
VECTOR(pinsrw, r.w[in->imm & (n / 2 - 1)] = b.w[0])

EXEC(pinsrd)
{
    uint64_t v = x86_get(cpu, in, 1);
    X86Vector r = x86_get_vector(cpu, in, 0);

    if (in->operand[1].size == 8)
        r.q[in->imm & 1] = v;
    else
        r.d[in->imm & 3] = v;
    x86_set_vector(cpu, in, 0, r);
}

EXEC(insertps)
{
    unsigned from = in->operand[1].kind == X86_OPD_MEM ? 0 : in->imm >> 6 & 3;
    uint32_t v = x86_get_vector(cpu, in, 1).d[from];
    X86Vector r = x86_get_vector(cpu, in, 0);

    r.d[in->imm >> 4 & 3] = v;
    for (unsigned i = 0; i < 4; i++)
        if (in->imm >> i & 1)
            r.d[i] = 0;
    x86_set_vector(cpu, in, 0, r);
}

/* Writes to DS:[rDI] those bytes of operand 0 whose byte of operand 1 is negative. */
static void store_masked(X86Cpu *cpu, const X86Insn *in)
{
    X86Vector v = x86_get_vector(cpu, in, 0), mask = x86_get_vector(cpu, in, 1), now;
    unsigned n = in->operand[0].size;
    unsigned segment = in->segment_prefix == X86_NO_REG ? X86_DS : in->segment_prefix;
    uint64_t linear;

    linear = x86_linear(cpu, segment, x86_reg(cpu, X86_RDI, in->address_size), n, X86_WRITE);
    x86_probe_write(cpu, linear, n, X86_BY_PROGRAM);
    x86_read_linear(cpu, linear, &now, n, X86_BY_PROGRAM);
    for (unsigned i = 0; i < n; i++)
        if (mask.sb[i] < 0)
            now.b[i] = v.b[i];
    x86_write_linear(cpu, linear, &now, n, X86_BY_PROGRAM);
}

EXEC(maskmovq)
{
    store_masked(cpu, in);
}

EXEC(maskmovdqu)
{
    store_masked(cpu, in);
}
