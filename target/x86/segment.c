/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/x86/segment.h"
#include "util/endian.h"
#include <string.h>

/* ---- descriptors ----------------------------------------------------------------------------- */

bool x86_find_descriptor(X86Cpu *cpu, uint16_t selector, X86Descriptor *d)
{
    bool is_local = selector & 4;
    uint64_t base = is_local ? cpu->ldt.base : cpu->gdt.base;
    uint32_t limit = is_local ? cpu->ldt.limit : cpu->gdt.limit;
    uint64_t v;

    if (x86_is_null(selector) || (selector | 7) > limit ||
        (is_local && !(cpu->ldt.rights & X86_AR_P)))
        return false;
    *d = (X86Descriptor){ .at = base + (selector & ~7) };
    v = x86_load_linear(cpu, d->at, 8, X86_BY_SYSTEM);
    d->low = v;
    d->high = v >> 32;
    return true;
}

X86Descriptor x86_get_descriptor(X86Cpu *cpu, uint16_t selector, unsigned vector)
{
    X86Descriptor d;

    if (!x86_find_descriptor(cpu, selector, &d))
        x86_raise_error(cpu, vector, selector & ~3);
    return d;
}

void x86_get_second_half(X86Cpu *cpu, X86Descriptor *d, uint16_t selector)
{
    uint32_t limit = selector & 4 ? cpu->ldt.limit : cpu->gdt.limit;
    uint64_t v;

    if (((selector & ~7) | 15) > limit)
        x86_raise_error(cpu, X86_GP, selector & ~3);
    v = x86_load_linear(cpu, d->at + 8, 8, X86_BY_SYSTEM);
    /* The type field of the second half must be that of no descriptor. */
    if (v >> 40 & 31)
        x86_raise_error(cpu, X86_GP, selector & ~3);
    d->base_high = v;
}

X86Segment x86_segment_of(uint16_t selector, const X86Descriptor *d)
{
    uint32_t limit = (d->high & 0xf0000) | (d->low & 0xffff);
    X86Segment s = {
        .selector = selector,
        .rights = d->high >> 8 & 0xf0ff,
        .limit = d->high >> 23 & 1 ? limit << 12 | 0xfff : limit,
        .base = d->low >> 16 | (d->high & 0xff) << 16 | (d->high & 0xff000000) |
                (uint64_t)d->base_high << 32,
    };

    return s;
}

void x86_mark_accessed(X86Cpu *cpu, X86Descriptor *d)
{
    if (d->high & 1 << 8)
        return;
    d->high |= 1 << 8;
    x86_store_linear(cpu, d->at + 5, 1, d->high >> 8 & 0xff, X86_BY_SYSTEM);
}

X86Segment x86_real_segment(uint16_t selector, bool v86)
{
    return (X86Segment){
        .selector = selector, .base = (uint32_t)selector << 4, .limit = 0xffff,
        .rights = X86_AR_P | X86_AR_S | X86_AR_WRITABLE | X86_AR_ACCESSED |
                  (v86 ? 3 << X86_AR_DPL_SHIFT : 0),
    };
}

/* ---- data segments --------------------------------------------------------------------------- */

static bool is_writable_data(const X86Descriptor *d)
{
    return !x86_descriptor_is_system(d) &&
           (x86_descriptor_type(d) & (X86_AR_CODE | X86_AR_WRITABLE)) == X86_AR_WRITABLE;
}

static void check_stack(X86Cpu *cpu, uint16_t selector, const X86Descriptor *d, unsigned cpl,
                        unsigned vector)
{
    if ((selector & 3) != cpl || x86_descriptor_dpl(d) != cpl || !is_writable_data(d))
        x86_raise_error(cpu, vector, selector & ~3);
    if (!x86_descriptor_is_present(d))
        x86_raise_error(cpu, X86_SS_FAULT, selector & ~3);
}

static void check_data(X86Cpu *cpu, uint16_t selector, const X86Descriptor *d)
{
    unsigned type = x86_descriptor_type(d), dpl = x86_descriptor_dpl(d);
    bool is_code = type & X86_AR_CODE, is_conforming = is_code && type & X86_AR_DOWN;

    if (x86_descriptor_is_system(d) || (is_code && !(type & X86_AR_WRITABLE)) ||
        (!is_conforming && (dpl < (selector & 3) || dpl < cpu->cpl)))
        x86_raise_error(cpu, X86_GP, selector & ~3);
    if (!x86_descriptor_is_present(d))
        x86_raise_error(cpu, X86_NP, selector & ~3);
}

static void load_null(X86Cpu *cpu, unsigned reg, uint16_t selector)
{
    /* In 64-bit mode the kernel may run without a stack segment. */
    if (reg == X86_SS && (cpu->mode.bits != 64 || cpu->cpl == 3 || (selector & 3) != cpu->cpl))
        x86_raise_error(cpu, X86_GP, 0);
    cpu->segment[reg] = (X86Segment){ .selector = selector };
}

/* Loads a segment register in real mode, where limit and rights stay ("big real mode"). */
static void load_real(X86Cpu *cpu, unsigned reg, uint16_t selector)
{
    if (x86_is_v86(cpu)) {
        cpu->segment[reg] = x86_real_segment(selector, true);
        return;
    }
    cpu->segment[reg].selector = selector;
    cpu->segment[reg].base = (uint32_t)selector << 4;
}

void x86_load_segment(X86Cpu *cpu, unsigned reg, uint16_t selector)
{
    X86Descriptor d;

    if (x86_is_real(cpu) || x86_is_v86(cpu)) {
        load_real(cpu, reg, selector);
    } else if (x86_is_null(selector)) {
        load_null(cpu, reg, selector);
    } else {
        d = x86_get_descriptor(cpu, selector, X86_GP);
        if (reg == X86_SS)
            check_stack(cpu, selector, &d, cpu->cpl, X86_GP);
        else
            check_data(cpu, selector, &d);
        x86_mark_accessed(cpu, &d);
        cpu->segment[reg] = x86_segment_of(selector, &d);
    }
    if (reg == X86_SS)
        x86_update_mode(cpu);
}

void x86_drop_inner_segments(X86Cpu *cpu, unsigned cpl)
{
    static const uint8_t regs[] = { X86_ES, X86_DS, X86_FS, X86_GS };

    for (unsigned i = 0; i < G_N_ELEMENTS(regs); i++) {
        X86Segment *s = &cpu->segment[regs[i]];
        bool is_conforming = (s->rights & (X86_AR_CODE | X86_AR_DOWN)) ==
            (X86_AR_CODE | X86_AR_DOWN);

        if (s->rights & X86_AR_P && !is_conforming && x86_dpl(s) < cpl)
            *s = (X86Segment){ 0 };
    }
}

/* ---- code and stack -------------------------------------------------------------------------- */

void x86_check_code(X86Cpu *cpu, uint16_t selector, const X86Descriptor *d, unsigned rpl,
                    unsigned cpl)
{
    unsigned type = x86_descriptor_type(d), dpl = x86_descriptor_dpl(d);
    bool is_long = d->high >> 21 & 1, is_32 = d->high >> 22 & 1;
    bool may = type & X86_AR_DOWN ? dpl <= cpl : rpl <= cpl && dpl == cpl;

    if (x86_descriptor_is_system(d) || !(type & X86_AR_CODE) || !may ||
        (cpu->is_long && is_long && is_32))
        x86_raise_error(cpu, X86_GP, selector & ~3);
    if (!x86_descriptor_is_present(d))
        x86_raise_error(cpu, X86_NP, selector & ~3);
}

void x86_set_code(X86Cpu *cpu, uint16_t selector, X86Descriptor *d, unsigned cpl)
{
    x86_mark_accessed(cpu, d);
    cpu->segment[X86_CS] = x86_segment_of((selector & ~3) | cpl, d);
    cpu->cpl = cpl;
    x86_update_mode(cpu);
}

X86Segment x86_inner_stack(X86Cpu *cpu, uint16_t selector, unsigned cpl, unsigned vector)
{
    X86Descriptor d = x86_get_descriptor(cpu, selector, vector);

    check_stack(cpu, selector, &d, cpl, vector);
    x86_mark_accessed(cpu, &d);
    return x86_segment_of(selector, &d);
}

static bool task_is_32(const X86Cpu *cpu)
{
    return cpu->task.rights & 8;
}

uint64_t x86_stack_of_level(X86Cpu *cpu, unsigned cpl, uint16_t *selector)
{
    unsigned at = cpu->is_long ? 4 + 8 * cpl : task_is_32(cpu) ? 4 + 8 * cpl : 2 + 4 * cpl;
    unsigned size = cpu->is_long ? 8 : task_is_32(cpu) ? 4 : 2;

    if (at + size + (cpu->is_long ? 0 : 2) - 1 > cpu->task.limit)
        x86_raise_error(cpu, X86_TS, cpu->task.selector & ~3);
    if (!cpu->is_long)
        *selector = x86_load_linear(cpu, cpu->task.base + at + size, 2, X86_BY_SYSTEM);
    return x86_load_linear(cpu, cpu->task.base + at, size, X86_BY_SYSTEM);
}

/* ---- ports ----------------------------------------------------------------------------------- */

void x86_check_port(X86Cpu *cpu, uint16_t port, unsigned size)
{
    uint32_t map, bits;

    if (x86_is_real(cpu) || (!x86_is_v86(cpu) && cpu->cpl <= x86_iopl(cpu)))
        return;
    if (!(cpu->task.rights & X86_AR_P) || !task_is_32(cpu) || cpu->task.limit < 103)
        x86_raise_error(cpu, X86_GP, 0);
    map = x86_load_linear(cpu, cpu->task.base + 102, 2, X86_BY_SYSTEM) + port / 8;
    if (map + 1 > cpu->task.limit)
        x86_raise_error(cpu, X86_GP, 0);
    bits = x86_load_linear(cpu, cpu->task.base + map, 2, X86_BY_SYSTEM) >> (port & 7);
    if (bits & ((1 << size) - 1))
        x86_raise_error(cpu, X86_GP, 0);
}
