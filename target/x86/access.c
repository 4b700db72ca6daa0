/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/x86/access.h"
#include "target/x86/debug.h"
#include <string.h>

/* ---- memory by segment and offset ------------------------------------------------------------ */

uint64_t x86_offset(const X86Cpu *cpu, const X86Insn *in)
{
    const X86Mem *m = &in->mem;
    uint64_t at = m->disp;

    if (m->rip)
        at += cpu->rip + in->length;
    if (m->base != X86_NO_REG)
        at += cpu->gpr[m->base];
    if (m->index != X86_NO_REG)
        at += cpu->gpr[m->index] * m->scale;
    if (in->op == X86_xlat)
        at += cpu->gpr[X86_RAX] & 0xff;
    return x86_low(at, in->address_size);
}

static void G_GNUC_NORETURN segment_fault(X86Cpu *cpu, unsigned segment)
{
    x86_raise_error(cpu, segment == X86_SS ? X86_SS_FAULT : X86_GP, 0);
}

/* True if [@offset, @offset + @len) is within @s. */
static bool within_limit(const X86Segment *s, uint64_t offset, size_t len)
{
    uint64_t last = offset + len - 1;
    bool is_down = (s->rights & (X86_AR_CODE | X86_AR_DOWN)) == X86_AR_DOWN;

    if (is_down)
        return offset > s->limit && last <= (s->rights & X86_AR_DB ? UINT32_MAX : 0xffff);
    return last <= s->limit;
}

static bool segment_allows(const X86Cpu *cpu, const X86Segment *s, X86Access access)
{
    if (x86_is_real(cpu) || x86_is_v86(cpu))
        return true;
    if (!(s->rights & X86_AR_P))
        return false;
    if (s->rights & X86_AR_CODE)
        return access != X86_WRITE && s->rights & X86_AR_WRITABLE;
    return access != X86_WRITE || s->rights & X86_AR_WRITABLE;
}

static int64_t bound_of(const X86Cpu *cpu, const X86Segment *s, X86Access access)
{
    bool is_down = (s->rights & (X86_AR_CODE | X86_AR_DOWN)) == X86_AR_DOWN;

    return segment_allows(cpu, s, access) && !is_down ? (int64_t)s->limit : -1;
}

void x86_find_bounds(X86Cpu *cpu)
{
    cpu->flat = 0;
    for (unsigned i = 0; i < X86_SEGMENTS; i++) {
        const X86Segment *s = &cpu->segment[i];
        int64_t read = bound_of(cpu, s, X86_READ), write = bound_of(cpu, s, X86_WRITE);

        cpu->bound[i][0] = read;
        cpu->bound[i][1] = write;
        if (!s->base && read == UINT32_MAX && (write == UINT32_MAX || i == X86_CS))
            cpu->flat |= 1 << i;
    }
}

static void check_alignment(X86Cpu *cpu, uint64_t linear, size_t len)
{
    if (cpu->cpl == 3 && cpu->flags & X86_AC && cpu->cr0 & X86_CR0_AM && linear & (len - 1))
        x86_raise_error(cpu, X86_AC_FAULT, 0);
}

static unsigned breakpoint_size(uint64_t dr7, unsigned i)
{
    static const uint8_t sizes[4] = { 1, 2, 8, 4 };

    return sizes[dr7 >> (18 + 4 * i) & 3];
}

/* Notes the data breakpoints that [@linear, @linear + @len) touches; they trap afterwards. */
static void check_breakpoints(X86Cpu *cpu, uint64_t linear, size_t len, X86Access access)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned kind = cpu->dr[7] >> (16 + 4 * i) & 3;
        uint64_t size = breakpoint_size(cpu->dr[7], i), at = cpu->dr[i] & ~(size - 1);

        if (!(cpu->dr[7] >> 2 * i & 3) || (kind != 3 && !(kind == 1 && access == X86_WRITE)))
            continue;
        if (linear < at + size && at < linear + len)
            cpu->data_breakpoints |= 1 << i;
    }
}

uint64_t x86_linear(X86Cpu *cpu, unsigned segment, uint64_t offset, size_t len, X86Access access)
{
    const X86Segment *s = &cpu->segment[segment];
    uint64_t linear;

    if (cpu->mode.bits == 64) {
        linear = offset + (segment >= X86_FS ? s->base : 0);
        if (!x86_is_canonical(linear) || !x86_is_canonical(linear + len - 1))
            segment_fault(cpu, segment);
    } else {
        if (!segment_allows(cpu, s, access) || !within_limit(s, offset, len))
            segment_fault(cpu, segment);
        linear = (uint32_t)(s->base + offset);
    }
    if (cpu->flags & X86_AC && len <= 16 && !(len & (len - 1)))
        check_alignment(cpu, linear, MIN(len, 8));
    if (cpu->dr[7] & 0xff)
        check_breakpoints(cpu, linear, len, access);
    if (cpu->debug.watches)
        x86_debug_note_access(cpu, linear, len, access);
    return linear;
}

uint64_t x86_load(X86Cpu *cpu, unsigned segment, uint64_t offset, unsigned size)
{
    return x86_load_linear(cpu, x86_linear(cpu, segment, offset, size, X86_READ), size,
                           X86_BY_PROGRAM);
}

void x86_store(X86Cpu *cpu, unsigned segment, uint64_t offset, unsigned size, uint64_t v)
{
    x86_store_linear(cpu, x86_linear(cpu, segment, offset, size, X86_WRITE), size, v,
                     X86_BY_PROGRAM);
}

/* Operands of 16 and 32 bytes of most SSE instructions must be aligned. */
static void check_vector(X86Cpu *cpu, const X86Insn *in, uint64_t linear, size_t len)
{
    if ((len == 16 || len == 32) && linear & (len - 1) && !(in->attributes & X86_A_UNALIGNED))
        x86_raise_error(cpu, X86_GP, 0);
}

static uint64_t operand_linear(X86Cpu *cpu, const X86Insn *in, unsigned at, size_t len,
                               X86Access access)
{
    uint64_t offset = x86_low(x86_offset(cpu, in) + at, in->address_size);
    uint64_t linear = x86_linear(cpu, in->mem.segment, offset, len, access);

    check_vector(cpu, in, linear, len);
    return linear;
}

void x86_read_mem(X86Cpu *cpu, const X86Insn *in, unsigned at, void *to, size_t len)
{
    x86_read_linear(cpu, operand_linear(cpu, in, at, len, X86_READ), to, len, X86_BY_PROGRAM);
}

void x86_write_mem(X86Cpu *cpu, const X86Insn *in, unsigned at, const void *from, size_t len)
{
    x86_write_linear(cpu, operand_linear(cpu, in, at, len, X86_WRITE), from, len, X86_BY_PROGRAM);
}

void x86_probe_mem(X86Cpu *cpu, const X86Insn *in, unsigned at, size_t len)
{
    x86_probe_write(cpu, operand_linear(cpu, in, at, len, X86_WRITE), len, X86_BY_PROGRAM);
}

/* ---- operands -------------------------------------------------------------------------------- */

uint64_t x86_get(X86Cpu *cpu, const X86Insn *in, unsigned i)
{
    const X86Operand *o = &in->operand[i];

    switch (o->kind) {
    case X86_OPD_GPR:
        return x86_reg(cpu, o->reg, o->size);
    case X86_OPD_HIGH:
        return cpu->gpr[o->reg] >> 8 & 0xff;
    case X86_OPD_MEM:
        return x86_load(cpu, in->mem.segment, x86_offset(cpu, in), o->size);
    case X86_OPD_DI:
        return x86_load(cpu, X86_ES, x86_reg(cpu, X86_RDI, in->address_size), o->size);
    case X86_OPD_IMM:
        return x86_low(in->imm, o->size);
    case X86_OPD_IMM2:
        return in->imm2;
    case X86_OPD_SEG:
        return cpu->segment[o->reg].selector;
    default:
        g_assert_not_reached();
    }
}

void x86_set(X86Cpu *cpu, const X86Insn *in, unsigned i, uint64_t v)
{
    const X86Operand *o = &in->operand[i];

    switch (o->kind) {
    case X86_OPD_GPR:
        x86_set_reg(cpu, o->reg, o->size, v);
        break;
    case X86_OPD_HIGH:
        cpu->gpr[o->reg] = (cpu->gpr[o->reg] & ~UINT64_C(0xff00)) | (v & 0xff) << 8;
        break;
    case X86_OPD_MEM:
        x86_store(cpu, in->mem.segment, x86_offset(cpu, in), o->size, v);
        break;
    case X86_OPD_DI:
        x86_store(cpu, X86_ES, x86_reg(cpu, X86_RDI, in->address_size), o->size, v);
        break;
    default:
        g_assert_not_reached();
    }
}

static uint64_t place_load(const X86Place *p, unsigned size)
{
    switch (size) {
    case 1:
        return __atomic_load_n(p->host, __ATOMIC_SEQ_CST);
    case 2:
        return GUINT16_FROM_LE(__atomic_load_n((uint16_t *)p->host, __ATOMIC_SEQ_CST));
    case 4:
        return GUINT32_FROM_LE(__atomic_load_n((uint32_t *)p->host, __ATOMIC_SEQ_CST));
    default:
        return GUINT64_FROM_LE(__atomic_load_n((uint64_t *)p->host, __ATOMIC_SEQ_CST));
    }
}

#define EXCHANGE(type, swap)                                                                       \
    {                                                                                              \
        type expected = swap((type)*old);                                                          \
        bool done = __atomic_compare_exchange_n((type *)p->host, &expected, swap((type)v), false,  \
                                                __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);               \
        *old = swap(expected);                                                                     \
        return done;                                                                               \
    }
#define SAME(x) (x)

static bool place_exchange(const X86Place *p, unsigned size, uint64_t *old, uint64_t v)
{
    switch (size) {
    case 1:
        EXCHANGE(uint8_t, SAME)
    case 2:
        EXCHANGE(uint16_t, GUINT16_TO_LE)
    case 4:
        EXCHANGE(uint32_t, GUINT32_TO_LE)
    default:
        EXCHANGE(uint64_t, GUINT64_TO_LE)
    }
}

uint64_t x86_change_begin_at(X86Change *c, X86Cpu *cpu, const X86Insn *in, unsigned i,
                             uint64_t offset)
{
    unsigned size = in->operand[i].size;

    *c = (X86Change){ .cpu = cpu, .operand = &in->operand[i],
                      .is_locked = in->lock || in->op == X86_xchg };
    c->linear = x86_linear(cpu, in->mem.segment, offset, size, X86_WRITE);
    x86_probe_write(cpu, c->linear, size, X86_BY_PROGRAM);
    c->place = x86_place(cpu, c->linear, 1, X86_WRITE, X86_BY_PROGRAM);
    /* Locked accesses that are not aligned are not atomic: see docs/architecture.md. */
    c->by_place = c->is_locked && c->place.host && !(c->linear & (size - 1));
    if (c->by_place)
        return place_load(&c->place, size);
    return x86_load_linear(cpu, c->linear, size, X86_BY_PROGRAM);
}

uint64_t x86_change_begin(X86Change *c, X86Cpu *cpu, const X86Insn *in, unsigned i)
{
    if (in->operand[i].kind == X86_OPD_MEM)
        return x86_change_begin_at(c, cpu, in, i, x86_offset(cpu, in));
    *c = (X86Change){ .cpu = cpu, .operand = &in->operand[i] };
    return x86_get(cpu, in, i);
}

bool x86_change_commit(X86Change *c, uint64_t *old, uint64_t v)
{
    const X86Operand *o = c->operand;

    switch (o->kind) {
    case X86_OPD_GPR:
        x86_set_reg(c->cpu, o->reg, o->size, v);
        return true;
    case X86_OPD_HIGH:
        c->cpu->gpr[o->reg] = (c->cpu->gpr[o->reg] & ~UINT64_C(0xff00)) | (v & 0xff) << 8;
        return true;
    default:
        if (c->by_place)
            return place_exchange(&c->place, o->size, old, x86_low(v, o->size));
        x86_store_linear(c->cpu, c->linear, o->size, v, X86_BY_PROGRAM);
        return true;
    }
}

/* ---- the stack ------------------------------------------------------------------------------- */

void x86_push_value(X86Cpu *cpu, unsigned size, uint64_t v)
{
    uint64_t sp = x86_low(x86_sp(cpu) - size, cpu->stack_size);

    x86_store(cpu, X86_SS, sp, size, v);
    x86_set_sp(cpu, sp);
}

void x86_probe_push(X86Cpu *cpu, unsigned size)
{
    uint64_t sp = x86_low(x86_sp(cpu) - size, cpu->stack_size);

    x86_probe_write(cpu, x86_linear(cpu, X86_SS, sp, size, X86_WRITE), size, X86_BY_PROGRAM);
}

uint64_t x86_peek(X86Cpu *cpu, unsigned at, unsigned size)
{
    return x86_load(cpu, X86_SS, x86_low(x86_sp(cpu) + at, cpu->stack_size), size);
}

uint64_t x86_pop_value(X86Cpu *cpu, unsigned size)
{
    uint64_t v = x86_peek(cpu, 0, size);

    x86_set_sp(cpu, x86_sp(cpu) + size);
    return v;
}

void x86_jump(X86Cpu *cpu, uint64_t rip, unsigned operand_size)
{
    rip = x86_low(rip, operand_size);
    if (cpu->mode.bits == 64 ? !x86_is_canonical(rip) : rip > cpu->segment[X86_CS].limit)
        x86_raise_error(cpu, X86_GP, 0);
    cpu->next = rip;
}
