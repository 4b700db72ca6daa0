/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hardware task switches. The outgoing state goes to the old task state segment, the incoming comes
 * from the new one; selectors are loaded last and checked in the new task, which then takes the
 * fault.
 */
#include "target/x86/segment.h"

/* Where the fields are, in TSSs of 32 and of 16 bits. */
typedef struct {
    unsigned size, cr3, ip, flags, gpr, segments, ldt, limit;
    unsigned segment_count;
} Layout;

static const Layout layout_32 = { .size = 4, .cr3 = 28, .ip = 32, .flags = 36, .gpr = 40,
                                  .segments = 72,
                                  .ldt = 96, .limit = 103, .segment_count = 6 };
static const Layout layout_16 = { .size = 2, .ip = 14, .flags = 16, .gpr = 18, .segments = 34,
                                  .ldt = 42,
                                  .limit = 43, .segment_count = 4 };

/* In the order of the state segment. */
static const uint8_t segment_order[] = { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS };

typedef struct {
    uint32_t cr3, ip, flags, gpr[8];
    uint16_t segment[6], ldt;
    bool traps;
} Saved;

static const Layout *layout_of(const X86Segment *s)
{
    return s->rights & 8 ? &layout_32 : &layout_16;
}

static void save_task(X86Cpu *cpu, uint32_t flags)
{
    const Layout *l = layout_of(&cpu->task);
    uint64_t base = cpu->task.base;

    x86_store_linear(cpu, base + l->ip, l->size, cpu->next, X86_BY_SYSTEM);
    x86_store_linear(cpu, base + l->flags, l->size, flags, X86_BY_SYSTEM);
    for (unsigned i = 0; i < 8; i++)
        x86_store_linear(cpu, base + l->gpr + i * l->size, l->size, cpu->gpr[i], X86_BY_SYSTEM);
    for (unsigned i = 0; i < l->segment_count; i++)
        x86_store_linear(cpu, base + l->segments + i * l->size, 2,
                         cpu->segment[segment_order[i]].selector,
                         X86_BY_SYSTEM);
}

static Saved load_task(X86Cpu *cpu, const X86Segment *task)
{
    const Layout *l = layout_of(task);
    uint64_t base = task->base;
    Saved s = { .cr3 = cpu->cr3 };

    if (l->cr3)
        s.cr3 = x86_load_linear(cpu, base + l->cr3, 4, X86_BY_SYSTEM);
    s.ip = x86_load_linear(cpu, base + l->ip, l->size, X86_BY_SYSTEM);
    s.flags = x86_load_linear(cpu, base + l->flags, l->size, X86_BY_SYSTEM);
    for (unsigned i = 0; i < 8; i++)
        s.gpr[i] = x86_load_linear(cpu, base + l->gpr + i * l->size, l->size, X86_BY_SYSTEM);
    for (unsigned i = 0; i < l->segment_count; i++)
        s.segment[i] = x86_load_linear(cpu, base + l->segments + i * l->size, 2, X86_BY_SYSTEM);
    s.ldt = x86_load_linear(cpu, base + l->ldt, 2, X86_BY_SYSTEM);
    if (l == &layout_32)
        s.traps = x86_load_linear(cpu, base + 100, 2, X86_BY_SYSTEM) & 1;
    return s;
}

static void set_busy(X86Cpu *cpu, uint16_t selector, bool busy)
{
    uint64_t at = cpu->gdt.base + (selector & ~7) + 5;
    uint8_t v = x86_load_linear(cpu, at, 1, X86_BY_SYSTEM);

    x86_store_linear(cpu, at, 1, busy ? v | X86_TSS_BUSY : v & ~X86_TSS_BUSY, X86_BY_SYSTEM);
}

static void load_ldt(X86Cpu *cpu, uint16_t selector)
{
    X86Descriptor d;

    cpu->ldt = (X86Segment){ .selector = selector };
    if (x86_is_null(selector))
        return;
    if (selector & 4 || !x86_find_descriptor(cpu, selector, &d) || !x86_descriptor_is_system(&d) ||
        x86_descriptor_type(&d) != X86_LDT || !x86_descriptor_is_present(&d))
        x86_raise_error(cpu, X86_TS, selector & ~3);
    cpu->ldt = x86_segment_of(selector, &d);
}

static void load_code(X86Cpu *cpu, uint16_t selector)
{
    X86Descriptor d;
    unsigned rpl = selector & 3, type, dpl;

    if (!x86_find_descriptor(cpu, selector, &d))
        x86_raise_error(cpu, X86_TS, selector & ~3);
    type = x86_descriptor_type(&d);
    dpl = x86_descriptor_dpl(&d);
    if (x86_descriptor_is_system(&d) || !(type & X86_AR_CODE) ||
        (type & X86_AR_DOWN ? dpl > rpl : dpl != rpl))
        x86_raise_error(cpu, X86_TS, selector & ~3);
    if (!x86_descriptor_is_present(&d))
        x86_raise_error(cpu, X86_NP, selector & ~3);
    x86_set_code(cpu, selector, &d, rpl);
}

static void load_data(X86Cpu *cpu, unsigned reg, uint16_t selector)
{
    X86Descriptor d;
    unsigned type, dpl;

    cpu->segment[reg] = (X86Segment){ .selector = selector };
    if (x86_is_null(selector))
        return;
    if (!x86_find_descriptor(cpu, selector, &d))
        x86_raise_error(cpu, X86_TS, selector & ~3);
    type = x86_descriptor_type(&d);
    dpl = x86_descriptor_dpl(&d);
    if (x86_descriptor_is_system(&d) || ((type & X86_AR_CODE) && !(type & X86_AR_WRITABLE)) ||
        ((type & (X86_AR_CODE | X86_AR_DOWN)) != (X86_AR_CODE | X86_AR_DOWN) &&
         (dpl < (selector & 3) || dpl < cpu->cpl)))
        x86_raise_error(cpu, X86_TS, selector & ~3);
    if (!x86_descriptor_is_present(&d))
        x86_raise_error(cpu, X86_NP, selector & ~3);
    x86_mark_accessed(cpu, &d);
    cpu->segment[reg] = x86_segment_of(selector, &d);
}

/* Loads all selectors of the new task; before, the segments are as if they were null. */
static void load_selectors(X86Cpu *cpu, const Saved *s)
{
    for (unsigned i = 0; i < 6; i++)
        cpu->segment[segment_order[i]] = (X86Segment){ .selector = s->segment[i] };
    load_ldt(cpu, s->ldt);
    if (cpu->flags & X86_VM) {
        for (unsigned i = 0; i < 6; i++)
            cpu->segment[segment_order[i]] = x86_real_segment(s->segment[i], true);
        cpu->cpl = 3;
        x86_update_mode(cpu);
        return;
    }
    cpu->cpl = s->segment[1] & 3;
    load_code(cpu, s->segment[1]);
    cpu->segment[X86_SS] = x86_inner_stack(cpu, s->segment[2], cpu->cpl, X86_TS);
    x86_update_mode(cpu);
    for (unsigned i = 0; i < 6; i++)
        if (segment_order[i] != X86_CS && segment_order[i] != X86_SS)
            load_data(cpu, segment_order[i], s->segment[i]);
}

static void load_registers(X86Cpu *cpu, const Saved *s, bool is_32)
{
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = is_32 ? s->gpr[i] : (cpu->gpr[i] & ~UINT64_C(0xffff)) | s->gpr[i];
    cpu->rip = cpu->next = s->ip;
    cpu->flags = (s->flags & (X86_ARITH | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT | X86_RF |
                              X86_VM |
                              X86_AC | X86_ID)) | X86_FIXED;
    if (s->cr3 != cpu->cr3 && cpu->cr0 & X86_CR0_PG) {
        cpu->cr3 = s->cr3;
        if (cpu->cr4 & X86_CR4_PAE && !x86_load_pdptes(cpu, cpu->cr3))
            x86_raise_error(cpu, X86_GP, 0);
        x86_tlb_flush_nonglobal(cpu);
    }
}

/* The state segment @selector names, checked. */
static X86Segment find_task(X86Cpu *cpu, uint16_t selector, X86TaskReason reason)
{
    unsigned vector = reason == X86_BY_RETURN ? X86_TS : X86_GP, type;
    X86Descriptor d;
    X86Segment s;
    bool is_busy;

    if (selector & 4 || !x86_find_descriptor(cpu, selector, &d))
        x86_raise_error(cpu, vector, selector & ~3);
    type = x86_descriptor_type(&d) & ~X86_TSS_BUSY;
    is_busy = x86_descriptor_type(&d) & X86_TSS_BUSY;
    if (!x86_descriptor_is_system(&d) || (type != X86_TSS32 && type != X86_TSS16) ||
        is_busy != (reason == X86_BY_RETURN))
        x86_raise_error(cpu, vector, selector & ~3);
    if (!x86_descriptor_is_present(&d))
        x86_raise_error(cpu, X86_NP, selector & ~3);
    s = x86_segment_of(selector, &d);
    if (s.limit < layout_of(&s)->limit)
        x86_raise_error(cpu, X86_TS, selector & ~3);
    return s;
}

void x86_switch_task(X86Cpu *cpu, uint16_t selector, X86TaskReason reason, const X86Exception *e)
{
    X86Segment task = find_task(cpu, selector, reason);
    uint16_t old = cpu->task.selector;
    bool is_32 = layout_of(&task) == &layout_32;
    uint32_t flags = cpu->flags;
    Saved s;

    /* All that can fault on the old task's account, before anything changes. */
    s = load_task(cpu, &task);
    x86_probe_write(cpu, cpu->task.base, layout_of(&cpu->task)->limit + 1, X86_BY_SYSTEM);
    x86_probe_write(cpu, task.base, 2, X86_BY_SYSTEM);
    if (reason == X86_BY_RETURN)
        flags &= ~X86_NT;
    save_task(cpu, flags);
    if (reason != X86_BY_CALL)
        set_busy(cpu, old, false);
    if (reason == X86_BY_CALL) {
        x86_store_linear(cpu, task.base, 2, old, X86_BY_SYSTEM);
        s.flags |= X86_NT;
    }
    if (reason != X86_BY_RETURN)
        set_busy(cpu, selector, true);
    task.rights |= X86_TSS_BUSY;
    cpu->task = task;
    cpu->cr0 |= X86_CR0_TS;
    cpu->dr[7] &= ~UINT64_C(0x155);
    load_registers(cpu, &s, is_32);
    load_selectors(cpu, &s);
    if (s.ip > cpu->segment[X86_CS].limit)
        x86_raise_error(cpu, X86_GP, 0);
    if (e && e->has_error)
        x86_push_value(cpu, is_32 ? 4 : 2, e->error);
    if (s.traps) {
        cpu->dr[6] |= 1 << 15;
        x86_raise(cpu, X86_DB);
    }
}
