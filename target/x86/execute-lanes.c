/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SSE operations with a VEX prefix. Nearly all work on each 128 bits alone: the function of the old
 * form runs for each lane, on two spare XMM registers that no guest sees.
 */
#include "target/x86/forms.h"
#include "target/x86/wide.h"
#include <string.h>

enum { TARGET = X86_SPARE_XMM, SOURCE };

X86Wide x86_wide_register(const X86Cpu *cpu, unsigned reg)
{
    return (X86Wide){ .lane = { cpu->xmm[reg], cpu->ymm_high[reg] } };
}

X86Wide x86_get_wide(X86Cpu *cpu, const X86Insn *in, unsigned i)
{
    const X86Operand *o = &in->operand[i];
    X86Wide v = { .q = { 0 } }, all;

    if (o->kind == X86_OPD_MEM) {
        x86_read_mem(cpu, in, 0, &v, o->size);
    } else {
        all = x86_wide_register(cpu, o->reg);
        memcpy(&v, &all, o->size);
    }
    return v;
}

void x86_set_wide(X86Cpu *cpu, const X86Insn *in, unsigned i, X86Wide v)
{
    const X86Operand *o = &in->operand[i];

    if (o->kind == X86_OPD_MEM) {
        x86_write_mem(cpu, in, 0, &v, o->size);
        return;
    }
    cpu->xmm[o->reg] = v.lane[0];
    cpu->ymm_high[o->reg] = o->size > 16 ? v.lane[1] : (X86Vector){ .q = { 0 } };
}

/* ---- how an instruction is cut into lanes ---------------------------------------------------- */

typedef struct {
    const X86Insn *in;
    unsigned lanes, source; /* which operand is the source */
    X86Wide first, second;  /* what the spare registers begin with, by lanes */
    bool has_first, has_second;
} Cut;

static bool is_vvvv(const X86Insn *in, unsigned i)
{
    return in->operands > i && x86_shapes[in->form->operand[i]].how == HOW_VVVV;
}

static unsigned lanes_of(const X86Insn *in)
{
    for (unsigned i = 0; i < in->operands; i++)
        if (in->operand[i].size == 32)
            return 2;
    return 1;
}

/* The operand whose lanes the target begins with: the first source, or the target itself. */
static unsigned first_of(const X86Insn *in)
{
    return is_vvvv(in, 1) || is_vvvv(in, 0) ? 1 : 0;
}

/* Of a source shorter than the target each lane takes its part; shift counts are for all. */
static X86Vector part(const Cut *c, unsigned lane)
{
    unsigned size = c->in->operand[c->source].size, step = size / c->lanes;
    X86Vector v = { .q = { 0 } };

    if (c->in->form->operand[c->source] == W16)
        return c->second.lane[0];
    memcpy(&v, c->second.b + lane * step, step);
    return v;
}

static Cut cut(X86Cpu *cpu, const X86Insn *in)
{
    unsigned first = first_of(in);
    Cut c = { .in = in, .lanes = lanes_of(in), .source = is_vvvv(in, 1) ? 2 : 1 };

    if (c.lanes == 2 && (in->operand[c.source].kind == X86_OPD_XMM ||
                         in->operand[c.source].kind == X86_OPD_MEM)) {
        c.has_second = true;
        c.second = x86_get_wide(cpu, in, c.source);
    }
    c.has_first = in->operand[0].kind == X86_OPD_XMM ||
                  (c.lanes == 2 && in->operand[0].kind == X86_OPD_MEM);
    if (c.has_first) {
        if (in->operand[first].kind == X86_OPD_XMM)
            c.first = x86_wide_register(cpu, in->operand[first].reg);
    }
    return c;
}

/* Immediates whose bits are for the elements of both lanes. */
static unsigned immediate_shift(const X86Insn *in)
{
    switch (in->op) {
    case X86_blendps:
        return 4;
    case X86_blendpd:
    case X86_shufpd:
        return 2;
    case X86_mpsadbw:
        return 3;
    default:
        return 0;
    }
}

/* The form without VEX of lane @lane. */
static X86Insn old_form(const Cut *c, unsigned lane)
{
    X86Insn old = *c->in;
    unsigned out = 1;

    /* Outside 64-bit mode general registers have 32 bits whatever the prefix says. */
    if (old.bits != 64)
        old.rex &= ~8;
    for (unsigned i = c->source; i < c->in->operands; i++)
        old.operand[out++] = c->in->operand[i];
    if (is_vvvv(c->in, 0)) {
        /* A shift by an immediate: its source has become the target. */
        old.operand[1] = c->in->operand[2];
        out = 2;
    }
    old.operands = out;
    if (c->has_first)
        old.operand[0] = (X86Operand){ X86_OPD_XMM, TARGET, MIN(c->in->operand[0].size, 16) };
    if (c->has_second && old.operand[1].kind != X86_OPD_IMM)
        old.operand[1] = (X86Operand){ X86_OPD_XMM, SOURCE, MIN(old.operand[1].size, 16) };
    if (lane)
        old.imm >>= immediate_shift(c->in);
    return old;
}

/* ---- running them ---------------------------------------------------------------------------- */

/* How many bits of a mask in a general register come from a lane. */
static unsigned mask_bits(const X86Insn *in)
{
    return in->op == X86_pmovmskb ? 16 : in->op == X86_movmskps ? 4 : 2;
}

typedef struct {
    X86Wide r;
    uint64_t mask;
    uint32_t flags;
} Result;

static void run_lane(X86Cpu *cpu, const Cut *c, X86Execute *function, unsigned lane, Result *to)
{
    X86Insn old = old_form(c, lane);
    unsigned step = c->in->operand[0].size / c->lanes;

    if (c->has_first)
        cpu->xmm[TARGET] = c->first.lane[lane];
    if (c->has_second)
        cpu->xmm[SOURCE] = part(c, lane);
    function(cpu, &old);
    if (c->in->operand[0].kind == X86_OPD_GPR)
        to->mask |= x86_reg(cpu, c->in->operand[0].reg, 4) << lane * mask_bits(c->in);
    to->flags &= cpu->flags;
    if (c->lanes == 1)
        to->r.lane[0] = cpu->xmm[TARGET];
    else
        memcpy(to->r.b + lane * step, &cpu->xmm[TARGET], step);
}

static void write_result(X86Cpu *cpu, const Cut *c, const Result *r)
{
    const X86Insn *in = c->in;

    if (c->lanes == 2 && in->flags_written)
        x86_set_flags(cpu, X86_ARITH, r->flags);
    /* Their result is XMM0, which no operand says. */
    if (in->op == X86_pcmpestrm || in->op == X86_pcmpistrm)
        cpu->ymm_high[0] = (X86Vector){ .q = { 0 } };
    if (in->attributes & X86_A_NO_WRITE)
        return;
    if (in->operand[0].kind == X86_OPD_GPR && c->lanes == 2)
        x86_set(cpu, in, 0, r->mask);
    else if (c->has_first)
        x86_set_wide(cpu, in, 0, r->r);
}

void x86_execute_lanes(X86Cpu *cpu, const X86Insn *in, X86Execute *function)
{
    Result r = { .flags = X86_ARITH };
    Cut c = cut(cpu, in);

    if (c.lanes == 2) {
        /* No lane may raise before all have run. */
        cpu->gathers_raised = true;
        cpu->raised = 0;
    }
    for (unsigned i = 0; i < c.lanes; i++) {
        cpu->raised &= 0xffffff; /* at its first step */
        run_lane(cpu, &c, function, i, &r);
    }
    if (c.lanes == 2) {
        cpu->gathers_raised = false;
        for (unsigned step = 0; step < 3; step++)
            x86_finish_float(cpu, cpu->raised >> 8 * step & 0x3f);
    }
    write_result(cpu, &c, &r);
}
