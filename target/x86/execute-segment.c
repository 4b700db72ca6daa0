/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segment registers, descriptor tables, and questions about selectors. */
#include "target/x86/execute.h"
#include "target/x86/segment.h"
#include "util/endian.h"

EXEC(mov_from_seg)
{
    x86_set(cpu, in, 0, cpu->segment[in->operand[1].reg].selector);
}

EXEC(mov_to_seg)
{
    unsigned reg = in->operand[0].reg;

    x86_load_segment(cpu, reg, x86_get(cpu, in, 1));
    if (reg == X86_SS)
        cpu->shadow = true;
}

static void load_far(X86Cpu *cpu, const X86Insn *in, unsigned reg)
{
    unsigned size = in->operand[0].size;
    uint64_t at = x86_offset(cpu, in);
    uint64_t offset = x86_load(cpu, in->mem.segment, at, size);
    uint16_t selector = x86_load(cpu, in->mem.segment, x86_low(at + size, in->address_size), 2);

    x86_load_segment(cpu, reg, selector);
    x86_set(cpu, in, 0, offset);
}

#define LOAD_FAR(id, reg)                                                                          \
    EXEC(id)                                                                                       \
    {                                                                                              \
        load_far(cpu, in, reg);                                                                    \
    }
LOAD_FAR(les, X86_ES)
LOAD_FAR(lds, X86_DS)
LOAD_FAR(lss, X86_SS)
LOAD_FAR(lfs, X86_FS)
LOAD_FAR(lgs, X86_GS)

/* ---- tables ---------------------------------------------------------------------------------- */

/* With UMIP programs may not even look at where the tables are. */
static void check_umip(X86Cpu *cpu)
{
    if (cpu->cpl && cpu->cr4 & X86_CR4_UMIP)
        x86_raise_error(cpu, X86_GP, 0);
}

static void store_table(X86Cpu *cpu, const X86Insn *in, const X86Table *t)
{
    uint8_t image[10];

    check_umip(cpu);
    le16_put(image, t->limit);
    le64_put(image + 2, t->base);
    x86_write_mem(cpu, in, 0, image, in->operand[0].size);
}

static void load_table(X86Cpu *cpu, const X86Insn *in, X86Table *t)
{
    uint8_t image[10] = { 0 };
    uint64_t base;

    x86_read_mem(cpu, in, 0, image, in->operand[0].size);
    base = le64_at(image + 2);
    if (in->bits != 64)
        base &= in->operand_size == 2 ? 0xffffff : UINT32_MAX;
    else if (!x86_is_canonical(base))
        x86_raise_error(cpu, X86_GP, 0);
    *t = (X86Table){ .base = base, .limit = le16_at(image) };
}

EXEC(sgdt)
{
    store_table(cpu, in, &cpu->gdt);
}

EXEC(sidt)
{
    store_table(cpu, in, &cpu->idt);
}

EXEC(lgdt)
{
    load_table(cpu, in, &cpu->gdt);
}

EXEC(lidt)
{
    load_table(cpu, in, &cpu->idt);
}

static void check_protected(X86Cpu *cpu)
{
    if (x86_is_real(cpu) || x86_is_v86(cpu))
        x86_raise(cpu, X86_UD);
}

EXEC(sldt)
{
    check_protected(cpu);
    check_umip(cpu);
    x86_set(cpu, in, 0, cpu->ldt.selector);
}

EXEC(str)
{
    check_protected(cpu);
    check_umip(cpu);
    x86_set(cpu, in, 0, cpu->task.selector);
}

/* The system descriptor in the GDT that lldt or ltr loads. */
static X86Descriptor system_descriptor(X86Cpu *cpu, uint16_t selector, unsigned type,
                                       unsigned or_type)
{
    X86Descriptor d;

    if (selector & 4)
        x86_raise_error(cpu, X86_GP, selector & ~3);
    d = x86_get_descriptor(cpu, selector, X86_GP);
    if (!x86_descriptor_is_system(&d) ||
        (x86_descriptor_type(&d) != type && x86_descriptor_type(&d) != or_type))
        x86_raise_error(cpu, X86_GP, selector & ~3);
    if (!x86_descriptor_is_present(&d))
        x86_raise_error(cpu, X86_NP, selector & ~3);
    if (cpu->is_long)
        x86_get_second_half(cpu, &d, selector);
    return d;
}

EXEC(lldt)
{
    uint16_t selector = x86_get(cpu, in, 0);
    X86Descriptor d;

    check_protected(cpu);
    if (x86_is_null(selector)) {
        cpu->ldt = (X86Segment){ .selector = selector };
        return;
    }
    d = system_descriptor(cpu, selector, X86_LDT, X86_LDT);
    cpu->ldt = x86_segment_of(selector, &d);
}

EXEC(ltr)
{
    uint16_t selector = x86_get(cpu, in, 0);
    X86Descriptor d;

    check_protected(cpu);
    if (x86_is_null(selector))
        x86_raise_error(cpu, X86_GP, 0);
    d = system_descriptor(cpu, selector, X86_TSS32, cpu->is_long ? X86_TSS32 : X86_TSS16);
    d.high |= X86_TSS_BUSY << 8;
    x86_store_linear(cpu, d.at + 4, 4, d.high, X86_BY_SYSTEM);
    cpu->task = x86_segment_of(selector, &d);
}

/* ---- questions about selectors --------------------------------------------------------------- */

/* True if the program may see @d through @selector. */
static bool is_visible(const X86Cpu *cpu, uint16_t selector, const X86Descriptor *d)
{
    unsigned type = x86_descriptor_type(d), dpl = x86_descriptor_dpl(d);

    if (!x86_descriptor_is_system(d) && (type & (X86_AR_CODE | X86_AR_DOWN)) ==
        (X86_AR_CODE | X86_AR_DOWN))
        return true;
    return dpl >= cpu->cpl && dpl >= (selector & 3);
}

/* Finds what @selector names if its type is in the set @types of system types. */
static bool ask(X86Cpu *cpu, uint16_t selector, unsigned types, X86Descriptor *d)
{
    check_protected(cpu);
    if (!x86_find_descriptor(cpu, selector, d) || !is_visible(cpu, selector, d))
        return false;
    return !x86_descriptor_is_system(d) || types >> x86_descriptor_type(d) & 1;
}

enum {
    LIMIT_TYPES = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11,
    RIGHTS_TYPES = LIMIT_TYPES | 1 << 4 | 1 << 5 | 1 << 12,
    LONG_TYPES = 1 << 2 | 1 << 9 | 1 << 11 | 1 << 12,
};

EXEC(lar)
{
    X86Descriptor d;
    uint16_t selector = x86_get(cpu, in, 1);
    bool found = ask(cpu, selector, cpu->is_long ? RIGHTS_TYPES & LONG_TYPES : RIGHTS_TYPES, &d);

    if (found)
        x86_set(cpu, in, 0, d.high & 0x00f0ff00);
    x86_set_flags(cpu, X86_ZF, x86_flag_if(found, X86_ZF));
}

EXEC(lsl)
{
    X86Descriptor d;
    uint16_t selector = x86_get(cpu, in, 1);
    bool found = ask(cpu, selector, cpu->is_long ? LIMIT_TYPES & LONG_TYPES : LIMIT_TYPES, &d);

    if (found)
        x86_set(cpu, in, 0, x86_segment_of(selector, &d).limit);
    x86_set_flags(cpu, X86_ZF, x86_flag_if(found, X86_ZF));
}

static void verify(X86Cpu *cpu, const X86Insn *in, bool to_write)
{
    X86Descriptor d;
    bool yes = ask(cpu, x86_get(cpu, in, 0), 0, &d);
    unsigned type = yes ? x86_descriptor_type(&d) : 0;

    if (to_write)
        yes = yes && (type & (X86_AR_CODE | X86_AR_WRITABLE)) == X86_AR_WRITABLE;
    else
        yes = yes && (!(type & X86_AR_CODE) || type & X86_AR_WRITABLE);
    x86_set_flags(cpu, X86_ZF, x86_flag_if(yes, X86_ZF));
}

EXEC(verr)
{
    verify(cpu, in, false);
}

EXEC(verw)
{
    verify(cpu, in, true);
}

EXEC(arpl)
{
    uint64_t rpl = x86_get(cpu, in, 1) & 3, v;
    X86Change c;
    bool raise;

    check_protected(cpu);
    v = x86_change_begin(&c, cpu, in, 0);
    raise = (v & 3) < rpl;
    x86_change_commit(&c, &v, raise ? (v & ~UINT64_C(3)) | rpl : v);
    x86_set_flags(cpu, X86_ZF, x86_flag_if(raise, X86_ZF));
}

/* ---- bases ----------------------------------------------------------------------------------- */

static void check_base_access(X86Cpu *cpu)
{
    if (!(cpu->cr4 & X86_CR4_FSGSBASE))
        x86_raise(cpu, X86_UD);
}

static void write_base(X86Cpu *cpu, const X86Insn *in, unsigned reg)
{
    uint64_t v = x86_get(cpu, in, 0);

    check_base_access(cpu);
    if (!x86_is_canonical(v))
        x86_raise_error(cpu, X86_GP, 0);
    cpu->segment[reg].base = v;
}

EXEC(rdfsbase)
{
    check_base_access(cpu);
    x86_set(cpu, in, 0, cpu->segment[X86_FS].base);
}

EXEC(rdgsbase)
{
    check_base_access(cpu);
    x86_set(cpu, in, 0, cpu->segment[X86_GS].base);
}

EXEC(wrfsbase)
{
    write_base(cpu, in, X86_FS);
}

EXEC(wrgsbase)
{
    write_base(cpu, in, X86_GS);
}

EXEC(swapgs)
{
    uint64_t v = cpu->segment[X86_GS].base;

    cpu->segment[X86_GS].base = cpu->kernel_gs_base;
    cpu->kernel_gs_base = v;
}
