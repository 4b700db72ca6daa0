/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Delivery of exceptions and interrupts: through the vector table, gates of 32 bits, or of 64 bits.
 */
#include "target/x86/segment.h"

/* The error code that names a gate of the IDT. */
static uint32_t gate_error(const X86Exception *e)
{
    return e->vector << 3 | 2;
}

static uint64_t return_address(const X86Cpu *cpu, const X86Exception *e)
{
    return e->is_trap ? cpu->next : cpu->rip;
}

/*
 * Faults set RF in the saved flags, so that the instruction is not stopped by a breakpoint again.
 */
static uint32_t saved_flags(const X86Cpu *cpu, const X86Exception *e)
{
    bool is_fault = !e->is_trap && !e->is_external && e->vector != X86_DB;

    return cpu->flags | (is_fault ? X86_RF : 0);
}

/* ---- real mode ------------------------------------------------------------------------------- */

static void deliver_real(X86Cpu *cpu, const X86Exception *e)
{
    uint32_t vector;
    uint64_t sp = x86_sp(cpu);
    const uint16_t frame[3] = { return_address(cpu, e), cpu->segment[X86_CS].selector, cpu->flags };

    if (4 * e->vector + 3 > cpu->idt.limit)
        x86_raise_error(cpu, X86_GP, gate_error(e));
    vector = x86_load_linear(cpu, cpu->idt.base + 4 * e->vector, 4, X86_BY_SYSTEM);
    for (unsigned i = 0; i < 3; i++)
        x86_store(cpu, X86_SS, x86_low(sp - 6 + 2 * i, cpu->stack_size), 2, frame[i]);
    x86_set_sp(cpu, sp - 6);
    cpu->flags &= ~(X86_IF | X86_TF | X86_AC | X86_RF);
    cpu->segment[X86_CS].selector = vector >> 16;
    cpu->segment[X86_CS].base = vector >> 16 << 4;
    cpu->rip = vector & 0xffff;
}

/* ---- gates ----------------------------------------------------------------------------------- */

typedef struct {
    uint16_t selector;
    uint64_t offset;
    unsigned type, ist, size;
    X86Descriptor code;
    unsigned cpl; /* at which the handler runs */
} Gate;

static X86Descriptor read_gate(X86Cpu *cpu, const X86Exception *e)
{
    unsigned size = cpu->is_long ? 16 : 8;
    X86Descriptor d = { .at = cpu->idt.base + size * e->vector };
    uint64_t v;

    if (size * e->vector + size - 1 > cpu->idt.limit)
        x86_raise_error(cpu, X86_GP, gate_error(e));
    v = x86_load_linear(cpu, d.at, 8, X86_BY_SYSTEM);
    d.low = v;
    d.high = v >> 32;
    if (cpu->is_long)
        d.base_high = x86_load_linear(cpu, d.at + 8, 4, X86_BY_SYSTEM);
    return d;
}

static bool is_gate_type(const X86Cpu *cpu, unsigned type)
{
    if (type == X86_INTERRUPT32 || type == X86_TRAP32)
        return true;
    return !cpu->is_long && (type == X86_INTERRUPT16 || type == X86_TRAP16 || type ==
                             X86_TASK_GATE);
}

/* Finds the code segment of a gate and the privilege level it is entered at. */
static void find_code(X86Cpu *cpu, Gate *g)
{
    unsigned type, dpl;

    if (x86_is_null(g->selector))
        x86_raise_error(cpu, X86_GP, 0);
    g->code = x86_get_descriptor(cpu, g->selector, X86_GP);
    type = x86_descriptor_type(&g->code);
    dpl = x86_descriptor_dpl(&g->code);
    if (x86_descriptor_is_system(&g->code) || !(type & X86_AR_CODE) || dpl > cpu->cpl ||
        (cpu->is_long && (g->code.high >> 21 & 3) != 1))
        x86_raise_error(cpu, X86_GP, g->selector & ~3);
    if (!x86_descriptor_is_present(&g->code))
        x86_raise_error(cpu, X86_NP, g->selector & ~3);
    g->cpl = type & X86_AR_DOWN ? cpu->cpl : dpl;
    /* From virtual-8086 mode one comes to level 0 only. */
    if (x86_is_v86(cpu) && g->cpl != 0)
        x86_raise_error(cpu, X86_GP, g->selector & ~3);
}

/* ---- the frame ------------------------------------------------------------------------------- */

typedef struct {
    X86Segment ss;
    uint64_t sp;
    unsigned sp_size;
} Stack;

static void stack_push(X86Cpu *cpu, Stack *s, unsigned size, uint64_t v)
{
    uint64_t linear;

    s->sp = x86_low(s->sp - size, s->sp_size);
    linear = cpu->is_long ? s->sp : (uint32_t)(s->ss.base + s->sp);
    if (cpu->is_long ? !x86_is_canonical(linear)
                     : s->sp + size - 1 > s->ss.limit && !(s->ss.rights & X86_AR_DOWN))
        x86_raise_error(cpu, X86_SS_FAULT, 0);
    x86_store_linear(cpu, linear, size, v, X86_BY_SYSTEM);
}

static Stack stack_for(X86Cpu *cpu, const Gate *g)
{
    bool inward = g->cpl < cpu->cpl;
    Stack s = { .ss = cpu->segment[X86_SS], .sp = x86_sp(cpu), .sp_size = cpu->stack_size };
    uint16_t selector;

    if (cpu->is_long) {
        if (g->ist) {
            if (36 + 8 * g->ist - 8 + 7 > cpu->task.limit)
                x86_raise_error(cpu, X86_TS, cpu->task.selector & ~3);
            s.sp = x86_load_linear(cpu, cpu->task.base + 36 + 8 * (g->ist - 1), 8, X86_BY_SYSTEM);
        } else if (inward) {
            s.sp = x86_stack_of_level(cpu, g->cpl, &selector);
        } else {
            s.sp = cpu->gpr[X86_RSP];
        }
        s.sp &= ~UINT64_C(15);
        s.sp_size = 8;
        if (inward)
            s.ss = (X86Segment){ .selector = g->cpl };
    } else if (inward) {
        s.sp = x86_stack_of_level(cpu, g->cpl, &selector);
        s.ss = x86_inner_stack(cpu, selector, g->cpl, X86_TS);
        s.sp_size = s.ss.rights & X86_AR_DB ? 4 : 2;
    }
    return s;
}

static void push_frame(X86Cpu *cpu, const Gate *g, const X86Exception *e, Stack *s)
{
    static const uint8_t order[] = { X86_GS, X86_FS, X86_DS, X86_ES };
    unsigned size = g->size;

    if (x86_is_v86(cpu))
        for (unsigned i = 0; i < 4; i++)
            stack_push(cpu, s, size, cpu->segment[order[i]].selector);
    if (cpu->is_long || g->cpl < cpu->cpl) {
        stack_push(cpu, s, size, cpu->segment[X86_SS].selector);
        stack_push(cpu, s, size, cpu->gpr[X86_RSP]);
    }
    stack_push(cpu, s, size, saved_flags(cpu, e));
    stack_push(cpu, s, size, cpu->segment[X86_CS].selector);
    stack_push(cpu, s, size, return_address(cpu, e));
    if (e->has_error)
        stack_push(cpu, s, size, e->error);
}

static void enter_handler(X86Cpu *cpu, Gate *g, const X86Exception *e)
{
    bool from_v86 = x86_is_v86(cpu), inward = g->cpl < cpu->cpl;
    X86Segment code = x86_segment_of(0, &g->code);
    Stack s = stack_for(cpu, g);

    if (cpu->is_long ? !x86_is_canonical(g->offset) : g->offset > code.limit)
        x86_raise_error(cpu, X86_GP, 0);
    push_frame(cpu, g, e, &s);
    cpu->flags &= ~(X86_TF | X86_NT | X86_RF | X86_VM);
    if (g->type == X86_INTERRUPT32 || g->type == X86_INTERRUPT16)
        cpu->flags &= ~X86_IF;
    if (from_v86) {
        cpu->segment[X86_ES] = cpu->segment[X86_DS] = (X86Segment){ 0 };
        cpu->segment[X86_FS] = cpu->segment[X86_GS] = (X86Segment){ 0 };
    }
    if (inward)
        cpu->segment[X86_SS] = s.ss;
    x86_set_code(cpu, g->selector, &g->code, g->cpl);
    x86_set_reg(cpu, X86_RSP, s.sp_size, s.sp);
    cpu->rip = g->offset;
}

static void deliver_gate(X86Cpu *cpu, const X86Exception *e)
{
    X86Descriptor d = read_gate(cpu, e);
    Gate g = { .type = x86_descriptor_type(&d), .selector = d.low >> 16 };

    if (!x86_descriptor_is_system(&d) || !is_gate_type(cpu, g.type) ||
        (e->is_software && x86_descriptor_dpl(&d) < cpu->cpl))
        x86_raise_error(cpu, X86_GP, gate_error(e));
    if (!x86_descriptor_is_present(&d))
        x86_raise_error(cpu, X86_NP, gate_error(e));
    if (g.type == X86_TASK_GATE) {
        cpu->next = return_address(cpu, e);
        x86_switch_task(cpu, g.selector, X86_BY_CALL, e);
        return;
    }
    g.offset = (d.low & 0xffff) | (g.type & 8 ? d.high & 0xffff0000 : 0) |
        (uint64_t)d.base_high << 32;
    g.size = cpu->is_long ? 8 : g.type & 8 ? 4 : 2;
    g.ist = cpu->is_long ? d.high & 7 : 0;
    find_code(cpu, &g);
    enter_handler(cpu, &g, e);
}

void x86_deliver(X86Cpu *cpu, const X86Exception *e)
{
    if (x86_is_real(cpu))
        deliver_real(cpu, e);
    else
        deliver_gate(cpu, e);
    if (e->vector == X86_NMI && e->is_external)
        cpu->nmi_blocked = true;
}
