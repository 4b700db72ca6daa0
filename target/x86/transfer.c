/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Far jumps, calls and returns, through gates where there are some, and IRET. */
#include "target/x86/segment.h"

static bool is_plain_mode(const X86Cpu *cpu)
{
    return x86_is_real(cpu) || x86_is_v86(cpu);
}

/* Raises #GP(0) unless execution can go on at @offset of @code. */
static void check_target(X86Cpu *cpu, const X86Descriptor *code, uint64_t offset)
{
    X86Segment s = x86_segment_of(0, code);
    bool is_64 = cpu->is_long && s.rights & X86_AR_L;

    if (is_64 ? !x86_is_canonical(offset) : offset > s.limit)
        x86_raise_error(cpu, X86_GP, 0);
}

/* ---- gates ----------------------------------------------------------------------------------- */

typedef struct {
    uint16_t selector; /* of the code segment */
    uint64_t offset;
    unsigned parameters;
    unsigned size; /* bytes of what is pushed */
    X86Descriptor code;
} Gate;

/*
 * Reads call gate @d and the code segment it leads to, checking what does not depend on the way in.
 */
static Gate call_gate(X86Cpu *cpu, uint16_t selector, X86Descriptor *d)
{
    bool is_16 = x86_descriptor_type(d) == X86_CALL16;
    Gate g = { .selector = d->low >> 16, .size = is_16 ? 2 : 4, .parameters = d->high & 31 };

    if (x86_descriptor_dpl(d) < cpu->cpl || x86_descriptor_dpl(d) < (selector & 3))
        x86_raise_error(cpu, X86_GP, selector & ~3);
    if (!x86_descriptor_is_present(d))
        x86_raise_error(cpu, X86_NP, selector & ~3);
    if (cpu->is_long) {
        if (is_16)
            x86_raise_error(cpu, X86_GP, selector & ~3);
        x86_get_second_half(cpu, d, selector);
        g.size = 8;
        g.parameters = 0;
    }
    g.offset = (d->low & 0xffff) | (is_16 ? 0 : d->high & 0xffff0000) |
        (uint64_t)d->base_high << 32;
    if (x86_is_null(g.selector))
        x86_raise_error(cpu, X86_GP, 0);
    g.code = x86_get_descriptor(cpu, g.selector, X86_GP);
    /* Of a long mode gate the code is always 64-bit code. */
    if (cpu->is_long && (g.code.high >> 21 & 3) != 1)
        x86_raise_error(cpu, X86_GP, g.selector & ~3);
    return g;
}

/* Task gates, task state segments and call gates by a jump; true if @d was one of the first two. */
static bool to_task(X86Cpu *cpu, uint16_t selector, X86Descriptor *d, X86TaskReason reason)
{
    unsigned type = x86_descriptor_type(d);
    bool is_gate = type == X86_TASK_GATE, is_task = type == X86_TSS32 || type == X86_TSS16;

    if (cpu->is_long || (!is_gate && !is_task))
        return false;
    if (x86_descriptor_dpl(d) < cpu->cpl || x86_descriptor_dpl(d) < (selector & 3))
        x86_raise_error(cpu, X86_GP, selector & ~3);
    if (!x86_descriptor_is_present(d))
        x86_raise_error(cpu, X86_NP, selector & ~3);
    x86_switch_task(cpu, is_gate ? d->low >> 16 : selector, reason, NULL);
    return true;
}

static void check_is_call_gate(X86Cpu *cpu, uint16_t selector, const X86Descriptor *d)
{
    unsigned type = x86_descriptor_type(d);

    if (type != X86_CALL32 && (type != X86_CALL16 || cpu->is_long))
        x86_raise_error(cpu, X86_GP, selector & ~3);
}

/* ---- jump ------------------------------------------------------------------------------------ */

void x86_far_jump(X86Cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size)
{
    X86Descriptor d;

    offset = x86_low(offset, operand_size);
    if (is_plain_mode(cpu)) {
        if (offset > cpu->segment[X86_CS].limit)
            x86_raise_error(cpu, X86_GP, 0);
        x86_load_segment(cpu, X86_CS, selector);
        cpu->next = offset;
        return;
    }
    if (x86_is_null(selector))
        x86_raise_error(cpu, X86_GP, 0);
    d = x86_get_descriptor(cpu, selector, X86_GP);
    if (x86_descriptor_is_system(&d)) {
        Gate g;

        if (to_task(cpu, selector, &d, X86_BY_JUMP))
            return;
        check_is_call_gate(cpu, selector, &d);
        g = call_gate(cpu, selector, &d);
        /* A jump through a gate stays at its privilege level; the selector's RPL does not count. */
        x86_check_code(cpu, g.selector, &g.code, 0, cpu->cpl);
        selector = g.selector;
        offset = g.offset;
        d = g.code;
    } else {
        x86_check_code(cpu, selector, &d, selector & 3, cpu->cpl);
    }
    check_target(cpu, &d, offset);
    x86_set_code(cpu, selector, &d, cpu->cpl);
    cpu->next = offset;
}

/* ---- call ------------------------------------------------------------------------------------ */

/* A stack that is not yet the current one, for pushes that may fail. */
typedef struct {
    X86Segment ss;
    uint64_t sp;
    unsigned sp_size;
    bool flat; /* 64-bit mode: SS has no base */
} Stack;

static void stack_push(X86Cpu *cpu, Stack *s, unsigned size, uint64_t v)
{
    uint64_t linear;

    s->sp = x86_low(s->sp - size, s->sp_size);
    linear = s->flat ? s->sp : (uint32_t)(s->ss.base + s->sp);
    if (s->flat ? !x86_is_canonical(linear)
                : s->sp + size - 1 > s->ss.limit && !(s->ss.rights & X86_AR_DOWN))
        x86_raise_error(cpu, X86_SS_FAULT, s->flat ? 0 : s->ss.selector & ~3);
    x86_store_linear(cpu, linear, size, v, X86_BY_SYSTEM);
}

static Stack inner_stack(X86Cpu *cpu, unsigned cpl)
{
    Stack s = { .flat = cpu->is_long };
    uint16_t selector;

    s.sp = x86_stack_of_level(cpu, cpl, &selector);
    if (cpu->is_long) {
        s.ss = (X86Segment){ .selector = cpl };
        s.sp_size = 8;
    } else {
        s.ss = x86_inner_stack(cpu, selector, cpl, X86_TS);
        s.sp_size = s.ss.rights & X86_AR_DB ? 4 : 2;
    }
    return s;
}

static void call_inner(X86Cpu *cpu, Gate *g)
{
    unsigned cpl = x86_descriptor_dpl(&g->code), size = g->size;
    Stack s = inner_stack(cpu, cpl);

    stack_push(cpu, &s, size, cpu->segment[X86_SS].selector);
    stack_push(cpu, &s, size, cpu->gpr[X86_RSP]);
    for (unsigned i = g->parameters; i > 0; i--)
        stack_push(cpu, &s, size, x86_peek(cpu, (i - 1) * size, size));
    stack_push(cpu, &s, size, cpu->segment[X86_CS].selector);
    stack_push(cpu, &s, size, cpu->next);
    check_target(cpu, &g->code, g->offset);
    cpu->segment[X86_SS] = s.ss;
    x86_set_code(cpu, g->selector, &g->code, cpl);
    x86_set_reg(cpu, X86_RSP, s.sp_size, s.sp);
    cpu->next = g->offset;
}

/* Pushes CS and the return address, then goes to @offset of @code at the same privilege. */
static void call_same(X86Cpu *cpu, uint16_t selector, X86Descriptor *code, uint64_t offset,
                      unsigned size)
{
    uint64_t sp = x86_sp(cpu);

    check_target(cpu, code, offset);
    x86_store(cpu, X86_SS, x86_low(sp - size, cpu->stack_size), size,
              cpu->segment[X86_CS].selector);
    x86_store(cpu, X86_SS, x86_low(sp - 2 * size, cpu->stack_size), size, cpu->next);
    x86_set_sp(cpu, sp - 2 * size);
    x86_set_code(cpu, selector, code, cpu->cpl);
    cpu->next = offset;
}

static void call_plain(X86Cpu *cpu, uint16_t selector, uint64_t offset, unsigned size)
{
    uint64_t sp = x86_sp(cpu);

    if (offset > cpu->segment[X86_CS].limit)
        x86_raise_error(cpu, X86_GP, 0);
    x86_store(cpu, X86_SS, x86_low(sp - size, cpu->stack_size), size,
              cpu->segment[X86_CS].selector);
    x86_store(cpu, X86_SS, x86_low(sp - 2 * size, cpu->stack_size), size, cpu->next);
    x86_set_sp(cpu, sp - 2 * size);
    x86_load_segment(cpu, X86_CS, selector);
    cpu->next = offset;
}

static void call_through_gate(X86Cpu *cpu, uint16_t selector, X86Descriptor *d)
{
    Gate g = call_gate(cpu, selector, d);
    unsigned type = x86_descriptor_type(&g.code), dpl = x86_descriptor_dpl(&g.code);

    if (x86_descriptor_is_system(&g.code) || !(type & X86_AR_CODE) || dpl > cpu->cpl)
        x86_raise_error(cpu, X86_GP, g.selector & ~3);
    if (!x86_descriptor_is_present(&g.code))
        x86_raise_error(cpu, X86_NP, g.selector & ~3);
    if (!(type & X86_AR_DOWN) && dpl < cpu->cpl)
        call_inner(cpu, &g);
    else
        call_same(cpu, g.selector, &g.code, g.offset, g.size);
}

void x86_far_call(X86Cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size)
{
    X86Descriptor d;

    offset = x86_low(offset, operand_size);
    if (is_plain_mode(cpu)) {
        call_plain(cpu, selector, offset, operand_size);
        return;
    }
    if (x86_is_null(selector))
        x86_raise_error(cpu, X86_GP, 0);
    d = x86_get_descriptor(cpu, selector, X86_GP);
    if (!x86_descriptor_is_system(&d)) {
        x86_check_code(cpu, selector, &d, selector & 3, cpu->cpl);
        call_same(cpu, selector, &d, offset, operand_size);
    } else if (!to_task(cpu, selector, &d, X86_BY_CALL)) {
        check_is_call_gate(cpu, selector, &d);
        call_through_gate(cpu, selector, &d);
    }
}

/* ---- return ---------------------------------------------------------------------------------- */

/* The code segment a return leads to: at the RPL of its selector, never further in. */
static X86Descriptor return_code(X86Cpu *cpu, uint16_t selector)
{
    X86Descriptor d;
    unsigned rpl = selector & 3, type, dpl;

    if (x86_is_null(selector))
        x86_raise_error(cpu, X86_GP, 0);
    d = x86_get_descriptor(cpu, selector, X86_GP);
    type = x86_descriptor_type(&d);
    dpl = x86_descriptor_dpl(&d);
    if (rpl < cpu->cpl || x86_descriptor_is_system(&d) || !(type & X86_AR_CODE) ||
        (type & X86_AR_DOWN ? dpl > rpl : dpl != rpl) ||
        (cpu->is_long && (d.high >> 21 & 3) == 3))
        x86_raise_error(cpu, X86_GP, selector & ~3);
    if (!x86_descriptor_is_present(&d))
        x86_raise_error(cpu, X86_NP, selector & ~3);
    return d;
}

/* The outer stack of a return to @cpl and to code @d. */
static X86Segment return_stack(X86Cpu *cpu, uint16_t selector, unsigned cpl, const X86Descriptor *d)
{
    bool to_64 = cpu->is_long && d->high >> 21 & 1;

    if (x86_is_null(selector)) {
        if (to_64 && cpl != 3 && (selector & 3) == cpl)
            return (X86Segment){ .selector = selector };
        x86_raise_error(cpu, X86_GP, 0);
    }
    return x86_inner_stack(cpu, selector, cpl, X86_GP);
}

static unsigned stack_pointer_size(const X86Cpu *cpu, const X86Segment *ss)
{
    return cpu->mode.bits == 64 ? 8 : ss->rights & X86_AR_DB ? 4 : 2;
}

void x86_far_return(X86Cpu *cpu, unsigned operand_size, unsigned release)
{
    unsigned size = operand_size;
    uint64_t offset = x86_peek(cpu, 0, size);
    uint16_t selector = x86_peek(cpu, size, size), ss_selector;
    X86Descriptor d;
    unsigned rpl = selector & 3;
    uint64_t sp;
    X86Segment ss;

    if (is_plain_mode(cpu)) {
        if (offset > cpu->segment[X86_CS].limit)
            x86_raise_error(cpu, X86_GP, 0);
        x86_load_segment(cpu, X86_CS, selector);
        x86_set_sp(cpu, x86_sp(cpu) + 2 * size + release);
        cpu->next = offset;
        return;
    }
    d = return_code(cpu, selector);
    check_target(cpu, &d, offset);
    if (rpl == cpu->cpl) {
        x86_set_sp(cpu, x86_sp(cpu) + 2 * size + release);
        x86_set_code(cpu, selector, &d, rpl);
        cpu->next = offset;
        return;
    }
    sp = x86_peek(cpu, 2 * size + release, size);
    ss_selector = x86_peek(cpu, 3 * size + release, size);
    ss = return_stack(cpu, ss_selector, rpl, &d);
    cpu->segment[X86_SS] = ss;
    x86_set_code(cpu, selector, &d, rpl);
    x86_set_reg(cpu, X86_RSP, stack_pointer_size(cpu, &ss), sp + release);
    x86_drop_inner_segments(cpu, rpl);
    cpu->next = offset;
}

/* ---- IRET ------------------------------------------------------------------------------------ */

uint32_t x86_loadable_flags(const X86Cpu *cpu, unsigned operand_size)
{
    uint32_t mask = X86_ARITH | X86_TF | X86_DF | X86_NT;

    if (operand_size > 2)
        mask |= X86_RF | X86_AC | X86_ID;
    if (cpu->cpl == 0)
        mask |= X86_IOPL;
    if (x86_is_real(cpu) || cpu->cpl <= x86_iopl(cpu))
        mask |= X86_IF;
    return mask;
}

static void set_flags(X86Cpu *cpu, uint32_t mask, uint64_t flags)
{
    cpu->flags = (cpu->flags & ~mask) | (flags & mask) | X86_FIXED;
}

static void iret_plain(X86Cpu *cpu, unsigned size)
{
    uint64_t offset = x86_peek(cpu, 0, size), flags = x86_peek(cpu, 2 * size, size);
    uint16_t selector = x86_peek(cpu, size, size);

    if (x86_is_v86(cpu) && x86_iopl(cpu) < 3)
        x86_raise_error(cpu, X86_GP, 0);
    if (offset > cpu->segment[X86_CS].limit)
        x86_raise_error(cpu, X86_GP, 0);
    set_flags(cpu, x86_loadable_flags(cpu, size), flags);
    x86_load_segment(cpu, X86_CS, selector);
    x86_set_sp(cpu, x86_sp(cpu) + 3 * size);
    cpu->next = offset;
}

static void iret_to_v86(X86Cpu *cpu, uint32_t offset, uint16_t selector, uint32_t flags)
{
    static const uint8_t order[] = { X86_SS, X86_ES, X86_DS, X86_FS, X86_GS };
    uint16_t selectors[5];
    uint32_t sp = x86_peek(cpu, 12, 4);

    for (unsigned i = 0; i < 5; i++)
        selectors[i] = x86_peek(cpu, 16 + 4 * i, 4);
    cpu->flags = (flags & (X86_ARITH | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT | X86_RF |
                           X86_AC |
                           X86_ID | X86_VIF | X86_VIP)) | X86_VM | X86_FIXED;
    for (unsigned i = 0; i < 5; i++)
        cpu->segment[order[i]] = x86_real_segment(selectors[i], true);
    cpu->segment[X86_CS] = x86_real_segment(selector, true);
    cpu->cpl = 3;
    x86_update_mode(cpu);
    cpu->gpr[X86_RSP] = sp;
    cpu->next = offset & 0xffff;
}

static void iret_protected(X86Cpu *cpu, unsigned size)
{
    uint64_t offset = x86_peek(cpu, 0, size), flags = x86_peek(cpu, 2 * size, size), sp = 0;
    uint16_t selector = x86_peek(cpu, size, size);
    unsigned rpl = selector & 3, was_64 = cpu->mode.bits == 64;
    X86Segment ss = cpu->segment[X86_SS];
    uint32_t mask;
    bool outward;
    X86Descriptor d;

    if (size == 4 && flags & X86_VM && cpu->cpl == 0 && !cpu->is_long) {
        iret_to_v86(cpu, offset, selector, flags);
        return;
    }
    d = return_code(cpu, selector);
    check_target(cpu, &d, offset);
    outward = rpl != cpu->cpl;
    /* In 64-bit mode SS:RSP is always there. */
    if (outward || was_64) {
        uint16_t ss_selector = x86_peek(cpu, 4 * size, size);

        sp = x86_peek(cpu, 3 * size, size);
        ss = return_stack(cpu, ss_selector, rpl, &d);
    }
    mask = x86_loadable_flags(cpu, size);
    if (outward || was_64)
        cpu->segment[X86_SS] = ss;
    else
        x86_set_sp(cpu, x86_sp(cpu) + 3 * size);
    x86_set_code(cpu, selector, &d, rpl);
    if (outward || was_64)
        x86_set_reg(cpu, X86_RSP, stack_pointer_size(cpu, &ss), sp);
    set_flags(cpu, mask, flags);
    if (outward)
        x86_drop_inner_segments(cpu, rpl);
    cpu->next = offset;
}

void x86_interrupt_return(X86Cpu *cpu, unsigned operand_size)
{
    if (is_plain_mode(cpu)) {
        iret_plain(cpu, operand_size);
    } else if (cpu->flags & X86_NT) {
        if (cpu->is_long)
            x86_raise_error(cpu, X86_GP, 0);
        x86_switch_task(cpu, x86_load_linear(cpu, cpu->task.base, 2, X86_BY_SYSTEM), X86_BY_RETURN,
                        NULL);
    } else {
        iret_protected(cpu, operand_size);
    }
    cpu->nmi_blocked = false;
}
