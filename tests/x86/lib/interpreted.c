/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running a snippet by ourselves, interpreted or translated, as a program at privilege level 3 in
 * long mode.
 */
#include "tests/x86/lib/snippet.h"
#include "target/x86/mmu.h"
#include "target/x86/translate.h"
#include "target/x86/x87.h"
#include <stdlib.h>
#include <string.h>

struct Executor {
    X86Cpu cpu;
    uint8_t *memory;
};

/* Physical memory: page tables, then code, then data. */
enum {
    ROOT = 0,
    DIRECTORIES = PAGE, /* page directory pointers */
    DIRECTORY = 2 * PAGE,
    CODE_TABLE = 3 * PAGE,
    DATA_TABLE = 4 * PAGE,
    CODE_PHYSICAL = 5 * PAGE,
    DATA_PHYSICAL = CODE_PHYSICAL + CODE_SIZE,
    MEMORY = DATA_PHYSICAL + DATA_SIZE,
    STEPS = 100000,
    CODE_BUFFER = 4 << 20,
};
enum { P = 1, W = 2, U = 4 };
#define NX (UINT64_C(1) << 63)

static void entry(uint8_t *memory, uint32_t table, unsigned index, uint64_t v)
{
    memcpy(memory + table + 8 * index, &v, 8);
}

static void make_tables(uint8_t *memory)
{
    entry(memory, ROOT, 0, DIRECTORIES | P | W | U);
    entry(memory, DIRECTORIES, 0, DIRECTORY | P | W | U);
    entry(memory, DIRECTORY, CODE_AT >> 21, CODE_TABLE | P | W | U);
    entry(memory, DIRECTORY, DATA_AT >> 21, DATA_TABLE | P | W | U);
    for (unsigned i = 0; i < CODE_SIZE / PAGE; i++)
        entry(memory, CODE_TABLE, i, (CODE_PHYSICAL + i * PAGE) | P | U);
    for (unsigned i = 0; i < DATA_SIZE / PAGE; i++)
        entry(memory, DATA_TABLE, i, (DATA_PHYSICAL + i * PAGE) | P | U | NX |
              (i < WRITABLE_SIZE / PAGE ? W : 0));
}

/* No machine: a program at level 3 never gets that far. */
static uint64_t no_time(void *opaque)
{
    return 0;
}

Executor *executor_new(Bases bases, bool translates)
{
    static const X86Machine machine = { .tsc = no_time };
    Executor *e = g_new0(Executor, 1);
    X86Cpu *cpu = &e->cpu;
    uint8_t *memory = aligned_alloc(4096, MEMORY);

    e->memory = memory;
    memset(memory, 0, MEMORY);
    make_tables(memory);
    cpu->features = X86_FEATURES_ALL;
    cpu->physical_bits = 40;
    cpu->memory = memory_map_new();
    cpu->machine = &machine;
    memory_map_add_ram(cpu->memory, 0, MEMORY, memory);
    x86_reset(cpu);
    cpu->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP | X86_CR0_NE | X86_CR0_MP | X86_CR0_ET |
        X86_CR0_AM;
    cpu->cr3 = ROOT;
    cpu->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
    cpu->xcr0 = 7;
    cpu->efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE | X86_EFER_SCE;
    cpu->segment[X86_FS].base = bases.fs;
    cpu->segment[X86_GS].base = bases.gs;
    cpu->task = (X86Segment){ 0 }; /* no map of ports */
    cpu->stop_at_exceptions = true;
    if (translates && !x86_translator_init(cpu, CODE_BUFFER))
        g_error("no translator");
    return e;
}

void executor_free(Executor *e)
{
    x86_translator_free(&e->cpu);
    memory_map_free(e->cpu.memory);
    g_free(e->memory);
    g_free(e);
}

static void set_segments(X86Cpu *cpu, unsigned bits)
{
    static const uint8_t flat[] = { X86_ES, X86_SS, X86_DS };

    cpu->cpl = 3;
    cpu->segment[X86_CS] = (X86Segment){
        .selector = bits == 64 ? 0x33 : 0x23, .limit = UINT32_MAX,
        .rights = 0xfb | X86_AR_G | (bits == 64 ? X86_AR_L : X86_AR_DB),
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(flat); i++)
        cpu->segment[flat[i]] = (X86Segment){ .selector = 0x2b, .limit = UINT32_MAX,
                                              .rights = 0xf3 | X86_AR_G | X86_AR_DB };
    for (unsigned i = X86_FS; i <= X86_GS; i++) {
        cpu->segment[i].selector = 0;
        cpu->segment[i].rights = 0;
    }
    x86_update_mode(cpu);
}

static void set_float(X86Cpu *cpu, const FloatState *f)
{
    cpu->x87.control = (f->control & 0x1f7f) | 0x40;
    cpu->x87.in_use = f->in_use;
    x87_set_status(&cpu->x87, f->status);
    for (unsigned i = 0; i < 8; i++)
        cpu->x87.r[(cpu->x87.top + i) & 7] = f->st[i];
    cpu->x87.ip = cpu->x87.dp = 0;
    cpu->mxcsr = f->mxcsr;
    memcpy(cpu->xmm, f->xmm, sizeof(f->xmm));
    memcpy(cpu->ymm_high, f->ymm_high, sizeof(f->ymm_high));
}

static void take_float(FloatState *f, const X86Cpu *cpu)
{
    f->control = cpu->x87.control;
    f->status = x87_status(&cpu->x87);
    f->in_use = cpu->x87.in_use;
    for (unsigned i = 0; i < 8; i++)
        f->st[i] = cpu->x87.r[(cpu->x87.top + i) & 7];
    f->ip = cpu->x87.ip;
    f->dp = cpu->x87.dp;
    f->mxcsr = cpu->mxcsr;
    memcpy(f->xmm, cpu->xmm, sizeof(f->xmm));
    memcpy(f->ymm_high, cpu->ymm_high, sizeof(f->ymm_high));
}

void executor_run(Executor *e, State *s, const uint8_t code[CODE_SIZE], unsigned bits)
{
    X86Cpu *cpu = &e->cpu;
    X86Exit why;

    memcpy(e->memory + CODE_PHYSICAL, code, CODE_SIZE);
    memcpy(e->memory + DATA_PHYSICAL, s->data, DATA_SIZE);
    for (unsigned i = 0; i < CODE_SIZE / PAGE; i++)
        x86_code_changed(cpu, CODE_PHYSICAL + i * PAGE, PAGE);
    memcpy(cpu->gpr, s->gpr, sizeof(cpu->gpr));
    cpu->rip = s->rip;
    cpu->flags = s->flags | X86_FIXED | X86_IF;
    set_segments(cpu, bits);
    set_float(cpu, &s->fp);
    why = cpu->translator ? x86_run(cpu, X86_NO_BUDGET) : x86_interpret(cpu, STEPS);
    memcpy(s->gpr, cpu->gpr, sizeof(cpu->gpr));
    memcpy(s->data, e->memory + DATA_PHYSICAL, DATA_SIZE);
    s->rip = why == X86_EXCEPTION && cpu->exception.is_trap ? cpu->next : cpu->rip;
    s->flags = cpu->flags;
    s->vector = why == X86_EXCEPTION ? cpu->exception.vector : ~0u;
    s->error = cpu->exception.has_error ? cpu->exception.error : 0;
    s->address = s->vector == X86_PF_FAULT ? cpu->cr2 : 0;
    take_float(&s->fp, cpu);
}
