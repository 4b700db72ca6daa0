/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/x86/cpu.h"
#include "target/x86/mmu.h"
#include "target/x86/segment.h"
#include "target/x86/x87.h"
#include <string.h>

void x86_reset(X86Cpu *cpu)
{
    static const X86Segment data = { .limit = 0xffff, .rights = X86_AR_P | X86_AR_S |
                                     X86_AR_WRITABLE |
                                                                X86_AR_ACCESSED };
    struct {
        X86Features features;
        uint8_t physical_bits;
        MemoryMap *memory;
        const X86Machine *machine;
        void *opaque;
        jmp_buf *trap;
        struct X86CodePages *code_pages;
        struct X86Translator *translator;
    } kept = { cpu->features, cpu->physical_bits, cpu->memory, cpu->machine, cpu->machine_opaque,
               cpu->trap, cpu->code_pages, cpu->translator };

    memset(cpu, 0, offsetof(X86Cpu, tlb));
    cpu->features = kept.features;
    cpu->physical_bits = kept.physical_bits;
    cpu->memory = kept.memory;
    cpu->machine = kept.machine;
    cpu->machine_opaque = kept.opaque;
    cpu->trap = kept.trap;
    cpu->code_pages = kept.code_pages;
    cpu->translator = kept.translator;
    cpu->rip = 0xfff0;
    cpu->flags = X86_FIXED;
    cpu->gdt.limit = cpu->idt.limit = 0xffff;
    cpu->ldt = (X86Segment){ .limit = 0xffff, .rights = X86_AR_P | X86_LDT };
    cpu->task = (X86Segment){ .limit = 0xffff, .rights = X86_AR_P | X86_TSS32 | X86_TSS_BUSY };
    cpu->cr0 = X86_CR0_ET | X86_CR0_NW | X86_CR0_CD;
    cpu->dr[6] = 0xffff0ff0;
    cpu->dr[7] = 0x400;
    cpu->xcr0 = 1;
    cpu->mxcsr = 0x1f80;
    cpu->pat = UINT64_C(0x0007040600070406);
    for (unsigned i = 0; i < X86_SEGMENTS; i++)
        cpu->segment[i] = data;
    cpu->segment[X86_CS].selector = 0xf000;
    cpu->segment[X86_CS].base = 0xffff0000;
    x87_init(&cpu->x87);
    cpu->x87.control = 0x40;
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
