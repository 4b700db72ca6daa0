/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What AVX and AVX2 have beyond longer forms of SSE: broadcasts, permutations, masks, gathering. */
#include "target/x86/wide.h"
#include <string.h>

#define WIDE(id, ...)                                                                              \
    EXEC(id)                                                                                       \
    {                                                                                              \
        X86Wide b = x86_get_wide(cpu, in, in->operands > 2 && in->operand[2].kind != X86_OPD_IMM   \
                                              ? 2 : 1);                                            \
        X86Wide a = in->operand[1].kind == X86_OPD_MEM ? b : x86_get_wide(cpu, in, 1), r = a;      \
        const unsigned n = in->operand[0].size;                                                    \
                                                                                                   \
        __VA_ARGS__;                                                                               \
        (void)n;                                                                                   \
        x86_set_wide(cpu, in, 0, r);                                                               \
    }
#define LANES(field) for (unsigned i = 0; i < n / sizeof(r.field[0]); i++)
/* One element after the other of @a, the first source, and @b, the last one. */
#define EACH(id, field, expression) WIDE(id, LANES(field) r.field[i] = (expression))

/* ---- broadcasts ------------------------------------------------------------------------------ */

EACH(vbroadcastss, d, b.d[0])
EACH(vbroadcastsd, q, b.q[0])
EACH(vbroadcastf128, q, b.q[i & 1])
EACH(vbroadcasti128, q, b.q[i & 1])
EACH(vpbroadcastb, b, b.b[0])
EACH(vpbroadcastw, w, b.w[0])
EACH(vpbroadcastd, d, b.d[0])
EACH(vpbroadcastq, q, b.q[0])

/* ---- halves ---------------------------------------------------------------------------------- */

static X86Vector chosen_half(const X86Wide *a, const X86Wide *b, unsigned choice)
{
    if (choice & 8)
        return (X86Vector){ .q = { 0 } };
    return (choice & 2 ? b : a)->lane[choice & 1];
}

/* The halves of both sources, as the immediate says. */
static void permute_halves(X86Cpu *cpu, const X86Insn *in)
{
    X86Wide b = x86_get_wide(cpu, in, 2), a = x86_get_wide(cpu, in, 1), r;

    r.lane[0] = chosen_half(&a, &b, in->imm);
    r.lane[1] = chosen_half(&a, &b, in->imm >> 4);
    x86_set_wide(cpu, in, 0, r);
}

EXEC(vperm2f128)
{
    permute_halves(cpu, in);
}

EXEC(vperm2i128)
{
    permute_halves(cpu, in);
}

static void insert_half(X86Cpu *cpu, const X86Insn *in)
{
    X86Wide b = x86_get_wide(cpu, in, 2), r = x86_get_wide(cpu, in, 1);

    r.lane[in->imm & 1] = b.lane[0];
    x86_set_wide(cpu, in, 0, r);
}

EXEC(vinsertf128)
{
    insert_half(cpu, in);
}

EXEC(vinserti128)
{
    insert_half(cpu, in);
}

static void extract_half(X86Cpu *cpu, const X86Insn *in)
{
    X86Wide a = x86_get_wide(cpu, in, 1);

    x86_set_wide(cpu, in, 0, (X86Wide){ .lane = { a.lane[in->imm & 1] } });
}

EXEC(vextractf128)
{
    extract_half(cpu, in);
}

EXEC(vextracti128)
{
    extract_half(cpu, in);
}

/* ---- permutations ---------------------------------------------------------------------------- */

/* By an immediate, or by the last source. */
WIDE(vpermilps, LANES(d) {
    unsigned choice = in->operand[2].kind == X86_OPD_IMM ? in->imm >> 2 * (i & 3) : b.d[i];

    r.d[i] = a.d[(i & ~3u) | (choice & 3)];
})
WIDE(vpermilpd, LANES(q) {
    unsigned choice = in->operand[2].kind == X86_OPD_IMM ? in->imm >> i : b.q[i] >> 1;

    r.q[i] = a.q[(i & ~1u) | (choice & 1)];
})
EACH(vpermd, d, b.d[a.d[i] & 7])
EACH(vpermps, d, b.d[a.d[i] & 7])
EACH(vpermq, q, b.q[in->imm >> 2 * i & 3])
EACH(vpermpd, q, b.q[in->imm >> 2 * i & 3])

/* ---- choices --------------------------------------------------------------------------------- */

EXEC(vpblendd)
{
    X86Wide b = x86_get_wide(cpu, in, 2), r = x86_get_wide(cpu, in, 1);

    for (unsigned i = 0; i < 8; i++)
        if (in->imm >> i & 1)
            r.d[i] = b.d[i];
    x86_set_wide(cpu, in, 0, r);
}

#define CHOOSE(id, field, sign)                                                                    \
    WIDE(id, {                                                                                     \
        X86Wide mask = x86_get_wide(cpu, in, 3);                                                   \
                                                                                                   \
        LANES(field) if (mask.sign[i] < 0) r.field[i] = b.field[i];                                \
    })
CHOOSE(vblendvps, d, sd)
CHOOSE(vblendvpd, q, sq)
CHOOSE(vpblendvb, b, sb)

/* ---- shifts ---------------------------------------------------------------------------------- */

EACH(vpsllvd, d, b.d[i] < 32 ? a.d[i] << b.d[i] : 0)
EACH(vpsllvq, q, b.q[i] < 64 ? a.q[i] << b.q[i] : 0)
EACH(vpsrlvd, d, b.d[i] < 32 ? a.d[i] >> b.d[i] : 0)
EACH(vpsrlvq, q, b.q[i] < 64 ? a.q[i] >> b.q[i] : 0)
EACH(vpsravd, sd, a.sd[i] >> MIN(b.d[i], 31))

/* ---- flags ----------------------------------------------------------------------------------- */

static void test_signs(X86Cpu *cpu, const X86Insn *in, uint64_t signs)
{
    X86Wide b = x86_get_wide(cpu, in, 1), a = x86_get_wide(cpu, in, 0);
    uint64_t both = 0, only_b = 0;

    for (unsigned i = 0; i < in->operand[0].size / 8; i++) {
        both |= a.q[i] & b.q[i] & signs;
        only_b |= ~a.q[i] & b.q[i] & signs;
    }
    x86_set_flags(cpu, X86_ARITH, x86_flag_if(!both, X86_ZF) | x86_flag_if(!only_b, X86_CF));
}

EXEC(vtestps)
{
    test_signs(cpu, in, UINT64_C(0x8000000080000000));
}

EXEC(vtestpd)
{
    test_signs(cpu, in, UINT64_C(0x8000000000000000));
}

/* ---- all registers --------------------------------------------------------------------------- */

static unsigned registers(const X86Cpu *cpu)
{
    return cpu->mode.bits == 64 ? 16 : 8;
}

EXEC(vzeroupper)
{
    memset(cpu->ymm_high, 0, registers(cpu) * sizeof(cpu->ymm_high[0]));
}

EXEC(vzeroall)
{
    memset(cpu->ymm_high, 0, registers(cpu) * sizeof(cpu->ymm_high[0]));
    memset(cpu->xmm, 0, registers(cpu) * sizeof(cpu->xmm[0]));
}

/* ---- memory by masks ------------------------------------------------------------------------- */

static bool is_chosen(const X86Wide *mask, unsigned i, unsigned size)
{
    return size == 4 ? mask->sd[i] < 0 : mask->sq[i] < 0;
}

/* Elements that are not chosen are not touched, so that nothing can be wrong with them. */
static void load_masked(X86Cpu *cpu, const X86Insn *in, unsigned size)
{
    X86Wide mask = x86_get_wide(cpu, in, 1), r = { .q = { 0 } };

    for (unsigned i = 0; i < in->operand[0].size / size; i++)
        if (is_chosen(&mask, i, size))
            x86_read_mem(cpu, in, i * size, r.b + i * size, size);
    x86_set_wide(cpu, in, 0, r);
}

static void store_masked(X86Cpu *cpu, const X86Insn *in, unsigned size)
{
    X86Wide mask = x86_get_wide(cpu, in, 1), v = x86_get_wide(cpu, in, 2);
    unsigned n = in->operand[0].size / size;

    /* Either all are written or none. */
    for (unsigned i = 0; i < n; i++)
        if (is_chosen(&mask, i, size))
            x86_probe_mem(cpu, in, i * size, size);
    for (unsigned i = 0; i < n; i++)
        if (is_chosen(&mask, i, size))
            x86_write_mem(cpu, in, i * size, v.b + i * size, size);
}

static void move_masked(X86Cpu *cpu, const X86Insn *in, unsigned size)
{
    if (in->operand[0].kind == X86_OPD_MEM)
        store_masked(cpu, in, size);
    else
        load_masked(cpu, in, size);
}

EXEC(vmaskmovps)
{
    move_masked(cpu, in, 4);
}

EXEC(vmaskmovpd)
{
    move_masked(cpu, in, 8);
}

EXEC(vpmaskmovd)
{
    move_masked(cpu, in, 4);
}

EXEC(vpmaskmovq)
{
    move_masked(cpu, in, 8);
}

/* ---- gathering ------------------------------------------------------------------------------- */

/*
 * Loads elements of @size by offsets of @index_size in a vector. What has been loaded stays when
 * one faults: its mask is cleared then.
 */
static void gather(X86Cpu *cpu, const X86Insn *in, unsigned index_size, unsigned size)
{
    uint8_t target = in->operand[0].reg, masks = in->operand[2].reg;
    X86Wide index = x86_wide_register(cpu, in->mem.index);
    unsigned n = (in->vex_l ? 32 : 16) / MAX(index_size, size);
    X86Insn one = *in;

    if (target == masks || target == in->mem.index || masks == in->mem.index)
        x86_raise(cpu, X86_UD);
    one.mem.index = X86_NO_REG;
    for (unsigned i = 0; i < n; i++) {
        X86Wide mask = x86_wide_register(cpu, masks), r = x86_wide_register(cpu, target);
        int64_t at = index_size == 4 ? index.sd[i] : index.sq[i];

        if (is_chosen(&mask, i, size)) {
            one.mem.disp = in->mem.disp + at * in->mem.scale;
            x86_read_mem(cpu, &one, 0, r.b + i * size, size);
        }
        memset(mask.b + i * size, 0, size);
        cpu->xmm[target] = r.lane[0];
        cpu->ymm_high[target] = r.lane[1];
        cpu->xmm[masks] = mask.lane[0];
        cpu->ymm_high[masks] = mask.lane[1];
    }
    for (unsigned i = n * size / 8; i < 4; i++) {
        X86Vector *t = i < 2 ? &cpu->xmm[target] : &cpu->ymm_high[target];
        X86Vector *m = i < 2 ? &cpu->xmm[masks] : &cpu->ymm_high[masks];

        t->q[i & 1] = m->q[i & 1] = 0;
    }
}

#define GATHER(id, index_size, size)                                                               \
    EXEC(id)                                                                                       \
    {                                                                                              \
        gather(cpu, in, index_size, size);                                                         \
    }
GATHER(vpgatherdd, 4, 4)
GATHER(vpgatherdq, 4, 8)
GATHER(vpgatherqd, 8, 4)
GATHER(vpgatherqq, 8, 8)
GATHER(vgatherdps, 4, 4)
GATHER(vgatherdpd, 4, 8)
GATHER(vgatherqps, 8, 4)
GATHER(vgatherqpd, 8, 8)
