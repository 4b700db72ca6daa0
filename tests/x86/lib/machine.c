/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/x86/lib/machine.h"
#include "target/x86/translate.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 200000, SECONDS = 60, CODE_BUFFER = 4 << 20 };

bool machine_translates;

/* ---- what the processor sees of the machine -------------------------------------------------- */

static uint64_t port_read(void *opaque, uint16_t port, unsigned size)
{
    return port;
}

static void port_write(void *opaque, uint16_t port, unsigned size, uint64_t value)
{
    Machine *m = opaque;

    if (port == 0xe9) {
        g_assert_cmpuint(m->noted, <, NOTES);
        m->notes[m->noted++] = value;
    } else if (port == 0xf4) {
        m->ended = true;
        m->result = value;
        m->cpu.events |= X86_EVENT_STOP;
    }
}

static int interrupt(void *opaque)
{
    Machine *m = opaque;
    int vector = m->pending;

    m->pending = -1;
    m->cpu.events &= ~X86_EVENT_INTERRUPT;
    return vector;
}

static uint64_t tsc(void *opaque)
{
    static uint64_t ticks;

    return ticks++;
}

static bool msr_read(void *opaque, uint32_t index, uint64_t *value)
{
    return false;
}

static bool msr_write(void *opaque, uint32_t index, uint64_t value)
{
    return false;
}

static void cpuid(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    memset(out, 0, 4 * sizeof(out[0]));
}

Machine *machine_new(void)
{
    static const X86Machine parts = { port_read, port_write, interrupt, tsc, msr_read, msr_write,
                                      cpuid };
    Machine *m = g_new0(Machine, 1);

    m->ram = aligned_alloc(4096, RAM);
    memset(m->ram, 0, RAM);
    m->pending = -1;
    m->cpu.features = X86_FEATURES_ALL;
    m->cpu.physical_bits = 40;
    m->cpu.memory = memory_map_new();
    m->cpu.machine = &parts;
    m->cpu.machine_opaque = m;
    memory_map_add_ram(m->cpu.memory, 0, RAM, m->ram);
    x86_reset(&m->cpu);
    m->cpu.segment[X86_CS].selector = 0;
    m->cpu.segment[X86_CS].base = 0;
    m->cpu.rip = CODE;
    m->cpu.gpr[X86_RSP] = STACK_TOP;
    m->cpu.cr0 |= X86_CR0_NE;
    m->cpu.cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
    if (machine_translates && !x86_translator_init(&m->cpu, CODE_BUFFER))
        g_error("no translator");
    return m;
}

void machine_free(Machine *m)
{
    if (!m)
        return;
    x86_translator_free(&m->cpu);
    memory_map_free(m->cpu.memory);
    free(m->ram);
    g_free(m);
}

/* ---- tables ---------------------------------------------------------------------------------- */

uint64_t machine_segment(uint32_t base, uint32_t limit, unsigned access, unsigned flags)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 |
               (uint64_t)(base >> 24) << 56;
}

void machine_descriptor(Machine *m, unsigned selector, uint64_t value)
{
    memcpy(m->ram + GDT_AT + (selector & ~7), &value, 8);
}

static void load_flat(Machine *m, bool is_64)
{
    X86Cpu *cpu = &m->cpu;
    unsigned code = is_64 ? 0xa : 0xc;

    machine_descriptor(m, SEL_CODE, machine_segment(0, 0xfffff, 0x9b, code));
    machine_descriptor(m, SEL_DATA, machine_segment(0, 0xfffff, 0x93, 0xc));
    machine_descriptor(m, SEL_CODE32, machine_segment(0, 0xfffff, 0x9b, 0xc));
    machine_descriptor(m, SEL_CODE64, machine_segment(0, 0xfffff, 0x9b, 0xa));
    machine_descriptor(m, SEL_USER_CODE32, machine_segment(0, 0xfffff, 0xfb, 0xc));
    machine_descriptor(m, SEL_USER_DATA, machine_segment(0, 0xfffff, 0xf3, 0xc));
    machine_descriptor(m, SEL_USER_CODE, machine_segment(0, 0xfffff, 0xfb, code));
    machine_descriptor(m, SEL_TSS, machine_segment(TSS_AT, 0x7ff, 0x8b, 0));
    machine_descriptor(m, SEL_OTHER_TSS, machine_segment(OTHER_TSS_AT, 0x67, 0x89, 0));
    cpu->gdt = (X86Table){ GDT_AT, 0xff };
    cpu->idt = (X86Table){ IDT_AT, 0xfff };
    cpu->task = (X86Segment){ SEL_TSS, 0x8b, 0x7ff, TSS_AT };
    cpu->segment[X86_CS] = (X86Segment){ SEL_CODE, 0x9b | code << 12, UINT32_MAX, 0 };
    for (unsigned i = 0; i < X86_SEGMENTS; i++)
        if (i != X86_CS)
            cpu->segment[i] = (X86Segment){ SEL_DATA, 0x93 | 0xc000, UINT32_MAX, 0 };
    cpu->cr0 |= X86_CR0_PE;
}

static void put(Machine *m, uint32_t at, uint64_t v, unsigned size)
{
    memcpy(m->ram + at, &v, size);
}

void machine_protected(Machine *m)
{
    load_flat(m, false);
    put(m, TSS_AT + 4, INNER_STACK_TOP, 4);
    put(m, TSS_AT + 8, SEL_DATA, 4);
    put(m, TSS_AT + 102, 0x68, 2); /* the map of ports */
    memset(m->ram + TSS_AT + 0x68, 0xff, 0x700);
    x86_update_mode(&m->cpu);
}

uint64_t *machine_pte(Machine *m, uint64_t address)
{
    return (uint64_t *)(m->ram + PAGES_AT + 3 * 4096) + (address >> 12);
}

void machine_long(Machine *m)
{
    load_flat(m, true);
    for (unsigned level = 0; level < 3; level++)
        put(m, PAGES_AT + level * 4096, (PAGES_AT + (level + 1) * 4096) | 7, 8);
    for (unsigned i = 0; i < 512; i++)
        *machine_pte(m, i * 4096) = i * 4096 | 7;
    put(m, TSS_AT + 4, INNER_STACK_TOP, 8);
    put(m, TSS_AT + 36, IST_TOP, 8);
    put(m, TSS_AT + 102, 0x800, 2); /* no map of ports */
    m->cpu.cr4 |= X86_CR4_PAE;
    m->cpu.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE | X86_EFER_SCE;
    m->cpu.cr3 = PAGES_AT;
    m->cpu.cr0 |= X86_CR0_PG | X86_CR0_WP;
    x86_update_mode(&m->cpu);
}

void machine_gate(Machine *m, unsigned vector, uint32_t offset, unsigned type, unsigned dpl,
                  unsigned ist)
{
    uint32_t at = CODE + offset;
    uint64_t low = (at & 0xffff) | SEL_CODE << 16 | (uint64_t)ist << 32 |
                   (uint64_t)(0x80 | dpl << 5 | type) << 40 | (uint64_t)(at >> 16) << 48;
    unsigned size = m->cpu.is_long ? 16 : 8;

    put(m, IDT_AT + vector * size, low, 8);
}

/* ---- running --------------------------------------------------------------------------------- */

X86Exit machine_continue(Machine *m)
{
    /* Translated code has no budget: a guest that does not end ends the test. */
    alarm(SECONDS);
    return m->cpu.translator ? x86_run(&m->cpu, X86_NO_BUDGET) : x86_interpret(&m->cpu, STEPS);
}

X86Exit machine_run_to_exit(Machine *m, const uint8_t *code, size_t len)
{
    memcpy(m->ram + CODE, code, len);
    x86_code_changed(&m->cpu, CODE, len);
    return machine_continue(m);
}

void machine_run(Machine *m, const uint8_t *code, size_t len)
{
    X86Exit why = machine_run_to_exit(m, code, len);

    if (!m->ended)
        g_error("the guest did not end: exit %d, rip %" G_GINT64_MODIFIER
                "x, last exception %u, error %x, cr2 %"
                G_GINT64_MODIFIER "x", why, m->cpu.rip, m->cpu.exception.vector,
                    m->cpu.exception.error, m->cpu.cr2);
}

void machine_run_to_exception(Machine *m, const uint8_t *code, size_t len)
{
    m->cpu.stop_at_exceptions = true;
    g_assert_cmpint(machine_run_to_exit(m, code, len), ==, X86_EXCEPTION);
    m->cpu.stop_at_exceptions = false;
}
