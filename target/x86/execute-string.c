/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * String operations. One element is one step; a repeated operation does a number of steps, then
 * lets the interpreter look for interrupts and goes on with what is left: RIP stays until it is
 * done.
 */
#include "target/x86/execute.h"
#include "target/x86/segment.h"
#include <string.h>

enum { STEPS = 4096, PAGES = 128 };

typedef void Step(X86Cpu *cpu, const X86Insn *in);

static void advance(X86Cpu *cpu, const X86Insn *in, unsigned reg, unsigned size)
{
    int64_t by = cpu->flags & X86_DF ? -(int64_t)size : size;

    x86_set_reg(cpu, reg, in->address_size, cpu->gpr[reg] + by);
}

/* ---- whole pages ----------------------------------------------------------------------------- */

/* How many of at most @count elements from @offset on stay on its page and within its segment. */
static uint64_t on_page(const X86Cpu *cpu, const X86Insn *in, unsigned segment, uint64_t offset,
                        uint64_t count)
{
    const X86Segment *s = &cpu->segment[segment];
    unsigned size = in->operand[0].size;
    uint64_t linear = offset + (cpu->mode.bits != 64 || segment >= X86_FS ? s->base : 0);
    uint64_t bytes = 4096 - (linear & 4095);

    if (cpu->mode.bits != 64 && offset <= s->limit)
        bytes = MIN(bytes, s->limit - offset + UINT64_C(1));
    return MIN(count, bytes / size);
}

static void store_elements(uint8_t *to, uint64_t v, unsigned size, uint64_t count)
{
    if (size == 1) {
        memset(to, v, count);
        return;
    }
    v = GUINT64_TO_LE(v);
    for (uint64_t i = 0; i < count; i++)
        memcpy(to + i * size, &v, size);
}

/* Ascending, element by element: what has been written is read again. */
static void move_elements(uint8_t *to, const uint8_t *from, unsigned size, uint64_t count)
{
    if (to <= from || to >= from + size * count) {
        memmove(to, from, size * count);
        return;
    }
    for (uint64_t i = 0; i < count; i++)
        memmove(to + i * size, from + i * size, size);
}

/* Where [@offset, @offset + @len) of @segment leads; no host if one element is to be done alone. */
static X86Place string_place(X86Cpu *cpu, unsigned segment, uint64_t offset, size_t len,
                             X86Access access)
{
    return x86_place(cpu, x86_linear(cpu, segment, offset, len, access), len, access,
                     X86_BY_PROGRAM);
}

/* Does one page's worth of elements. False: nothing was done. */
static bool move_page(X86Cpu *cpu, const X86Insn *in)
{
    unsigned size = in->operand[0].size, address = in->address_size;
    uint64_t to = x86_reg(cpu, X86_RDI, address), from = x86_reg(cpu, X86_RSI, address);
    uint64_t count = on_page(cpu, in, X86_ES, to, x86_reg(cpu, X86_RCX, address));
    bool is_move = in->op == X86_movs;
    X86Place source = { 0 }, target;

    if (is_move)
        count = on_page(cpu, in, in->mem.segment, from, count);
    if (count < 2)
        return false;
    if (is_move)
        source = string_place(cpu, in->mem.segment, from, size * count, X86_READ);
    target = string_place(cpu, X86_ES, to, size * count, X86_WRITE);
    if (!target.host || (is_move && !source.host))
        return false;
    if (is_move) {
        move_elements(target.host, source.host, size, count);
        x86_set_reg(cpu, X86_RSI, address, from + size * count);
    } else {
        store_elements(target.host, cpu->gpr[X86_RAX], size, count);
    }
    x86_set_reg(cpu, X86_RDI, address, to + size * count);
    x86_set_reg(cpu, X86_RCX, address, x86_reg(cpu, X86_RCX, address) - count);
    return true;
}

/* True where movs and stos may be done a page at a time: nothing looks at single elements. */
static bool may_move_pages(const X86Cpu *cpu, const X86Insn *in)
{
    return (in->op == X86_movs || in->op == X86_stos) && !(cpu->dr[7] & 0xff) &&
           !cpu->debug.watches && !(cpu->flags & (X86_TF | X86_DF | X86_AC)) &&
           x86_reg(cpu, X86_RCX, in->address_size);
}

/* What lies on two pages, or in registers of devices, is moved alone. */
static void move_pages(X86Cpu *cpu, const X86Insn *in, Step *step)
{
    unsigned size = in->address_size;

    for (unsigned i = 0; i < PAGES; i++) {
        if (!move_page(cpu, in)) {
            step(cpu, in);
            x86_set_reg(cpu, X86_RCX, size, cpu->gpr[X86_RCX] - 1);
        }
        if (!x86_reg(cpu, X86_RCX, size))
            return;
    }
    cpu->next = cpu->rip;
}

static void repeat(X86Cpu *cpu, const X86Insn *in, Step *step)
{
    unsigned size = in->address_size;

    if (!in->repe && !in->repne) {
        step(cpu, in);
        return;
    }
    if (may_move_pages(cpu, in)) {
        move_pages(cpu, in, step);
        return;
    }
    for (unsigned n = 0; x86_reg(cpu, X86_RCX, size); n++) {
        bool is_watched = cpu->data_breakpoints || cpu->debug.is_hit;

        if (n == STEPS || (n && (cpu->flags & X86_TF || is_watched))) {
            cpu->next = cpu->rip;
            return;
        }
        step(cpu, in);
        x86_set_reg(cpu, X86_RCX, size, cpu->gpr[X86_RCX] - 1);
        if (in->attributes & X86_A_IS_REPE && !(cpu->flags & X86_ZF) != in->repne)
            return;
    }
    /* rCX is zeroed in its address size even if nothing was done. */
    if (size == 4)
        x86_set_reg(cpu, X86_RCX, size, 0);
}

static void step_movs(X86Cpu *cpu, const X86Insn *in)
{
    x86_set(cpu, in, 0, x86_get(cpu, in, 1));
    advance(cpu, in, X86_RSI, in->operand[0].size);
    advance(cpu, in, X86_RDI, in->operand[0].size);
}

static void step_stos(X86Cpu *cpu, const X86Insn *in)
{
    x86_set(cpu, in, 0, x86_get(cpu, in, 1));
    advance(cpu, in, X86_RDI, in->operand[0].size);
}

static void step_lods(X86Cpu *cpu, const X86Insn *in)
{
    x86_set(cpu, in, 0, x86_get(cpu, in, 1));
    advance(cpu, in, X86_RSI, in->operand[0].size);
}

/* ES:[rDI] is read first, as a page fault shows. */
static void step_cmps(X86Cpu *cpu, const X86Insn *in)
{
    uint64_t b = x86_get(cpu, in, 1), a = x86_get(cpu, in, 0);
    unsigned size = in->operand[0].size;

    x86_set_flags(cpu, X86_ARITH, x86_flags_sub(a, b, size));
    advance(cpu, in, X86_RSI, size);
    advance(cpu, in, X86_RDI, size);
}

static void step_scas(X86Cpu *cpu, const X86Insn *in)
{
    uint64_t a = x86_get(cpu, in, 0), b = x86_get(cpu, in, 1);
    unsigned size = in->operand[0].size;

    x86_set_flags(cpu, X86_ARITH, x86_flags_sub(a, b, size));
    advance(cpu, in, X86_RDI, size);
}

static void step_ins(X86Cpu *cpu, const X86Insn *in)
{
    unsigned size = in->operand[0].size;
    uint64_t offset = x86_reg(cpu, X86_RDI, in->address_size);
    uint16_t port = cpu->gpr[X86_RDX];

    /* The port is read only once it is certain that memory takes the value. */
    x86_probe_write(cpu, x86_linear(cpu, X86_ES, offset, size, X86_WRITE), size, X86_BY_PROGRAM);
    x86_set(cpu, in, 0, cpu->machine->port_read(cpu->machine_opaque, port, size));
    advance(cpu, in, X86_RDI, size);
}

static void step_outs(X86Cpu *cpu, const X86Insn *in)
{
    unsigned size = in->operand[1].size;
    uint64_t v = x86_get(cpu, in, 1);

    cpu->machine->port_write(cpu->machine_opaque, cpu->gpr[X86_RDX], size, v);
    advance(cpu, in, X86_RSI, size);
}

#define STRING(id)                                                                                 \
    EXEC(id)                                                                                       \
    {                                                                                              \
        repeat(cpu, in, step_##id);                                                                \
    }
STRING(movs)
STRING(stos)
STRING(lods)
STRING(cmps)
STRING(scas)

EXEC(ins)
{
    x86_check_port(cpu, cpu->gpr[X86_RDX], in->operand[0].size);
    repeat(cpu, in, step_ins);
}

EXEC(outs)
{
    x86_check_port(cpu, cpu->gpr[X86_RDX], in->operand[1].size);
    repeat(cpu, in, step_outs);
}
