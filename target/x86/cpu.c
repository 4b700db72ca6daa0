/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/x86/cpu.h"
#include "target/x86/mmu.h"
#include "target/x86/x87.h"
#include <string.h>

void x86_reset(X86Cpu *cpu)
{
    static const X86Segment data = { .limit = 0xffff, .rights = X86_AR_P | X86_AR_S |
                                     X86_AR_WRITABLE |
                                                                X86_AR_ACCESSED };
    X86Cpu fresh = {
        .features = cpu->features, .physical_bits = cpu->physical_bits, .memory = cpu->memory,
        .machine = cpu->machine, .machine_opaque = cpu->machine_opaque, .trap = cpu->trap,
        .translator = cpu->translator,
        .rip = 0xfff0, .flags = X86_FIXED,
        .gdt.limit = 0xffff, .idt.limit = 0xffff,
        .ldt = { .limit = 0xffff, .rights = X86_AR_P | 2 },
        .task = { .limit = 0xffff, .rights = X86_AR_P | 11 },
        .cr0 = X86_CR0_ET | X86_CR0_NW | X86_CR0_CD,
        .dr = { [6] = 0xffff0ff0, [7] = 0x400 },
        .xcr0 = 1, .mxcsr = 0x1f80,
        .pat = UINT64_C(0x0007040600070406),
    };

    for (unsigned i = 0; i < X86_SEGMENTS; i++)
        fresh.segment[i] = data;
    fresh.segment[X86_CS].selector = 0xf000;
    fresh.segment[X86_CS].base = 0xffff0000;
    x87_init(&fresh.x87);
    fresh.x87.control = 0x40;
    *cpu = fresh;
    x86_tlb_flush(cpu);
    x86_update_mode(cpu);
}

void x86_update_mode(X86Cpu *cpu)
{
    const X86Segment *cs = &cpu->segment[X86_CS], *ss = &cpu->segment[X86_SS];
    bool is_64;

    cpu->is_long = cpu->efer & X86_EFER_LMA;
    is_64 = cpu->is_long && cs->rights & X86_AR_L;
    cpu->mode.features = cpu->features;
    cpu->mode.bits = is_64 ? 64 : cs->rights & X86_AR_DB ? 32 : 16;
    cpu->stack_size = is_64 ? 8 : ss->rights & X86_AR_DB ? 4 : 2;
    if (x86_is_real(cpu))
        cpu->cpl = 0;
    else if (x86_is_v86(cpu))
        cpu->cpl = 3;
}

static void G_GNUC_NORETURN raise_exception(X86Cpu *cpu, X86Exception e)
{
    cpu->exception = e;
    longjmp(*cpu->trap, 1);
}

void x86_raise(X86Cpu *cpu, unsigned vector)
{
    raise_exception(cpu, (X86Exception){ .vector = vector });
}

void x86_raise_error(X86Cpu *cpu, unsigned vector, uint32_t error)
{
    bool is_external = cpu->delivering && cpu->delivered.is_external;
    bool has_selector = vector >= X86_TS && vector <= X86_GP;

    if (x86_is_real(cpu))
        raise_exception(cpu, (X86Exception){ .vector = vector });
    /* The external-event bit: an interrupt or an exception led here, not the program. */
    if (has_selector && cpu->delivering && (is_external || !cpu->delivered.is_software))
        error |= 1;
    raise_exception(cpu, (X86Exception){ .vector = vector, .has_error = true, .error = error });
}
