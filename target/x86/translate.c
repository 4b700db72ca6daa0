/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where blocks are kept and found, what makes them invalid, and the loop that runs them.
 *
 * A block is known by the linear and the physical address of its first instruction and by its
 * privilege. It is made of one page and jumps without asking only to blocks of the same page, for
 * which the same mapping holds; so a page's blocks can be dropped together, and a change of
 * mappings needs no search: every instruction that changes one ends in the loop, which looks at the
 * mapping again.
 */
#include "target/x86/access.h"
#include "target/x86/generate.h"
#include "target/x86/interpret.h"
#include <string.h>

enum { JUMPS = 4096 };

typedef struct X86Translator {
    CodeMemory code;
    X86Stubs stubs;
    uint8_t *blocks_start;
    GHashTable *pages;     /* physical page number to its first block */
    X86Block *jumps[JUMPS]; /* by RIP */
    bool hit;              /* code has been written to */
} X86Translator;

/* ---- blocks ---------------------------------------------------------------------------------- */

static gpointer page_key(uint64_t physical)
{
    return (gpointer)(uintptr_t)(physical >> 12);
}

static X86Block **jump_slot(X86Translator *t, uint64_t rip)
{
    return &t->jumps[(rip ^ rip >> 12) & (JUMPS - 1)];
}

bool x86_has_code(const X86Cpu *cpu, uint64_t physical)
{
    return cpu->translator && g_hash_table_contains(cpu->translator->pages, page_key(physical));
}

void x86_code_changed(X86Cpu *cpu, uint64_t physical)
{
    X86Translator *t = cpu->translator;
    X86Block *b = t ? g_hash_table_lookup(t->pages, page_key(physical)) : NULL;

    if (!b)
        return;
    for (; b; b = b->next)
        if (*jump_slot(t, b->rip) == b)
            *jump_slot(t, b->rip) = NULL;
    g_hash_table_remove(t->pages, page_key(physical));
    t->hit = true;
    cpu->chain_from = NULL;
}

static void drop_all(X86Cpu *cpu)
{
    X86Translator *t = cpu->translator;

    g_hash_table_remove_all(t->pages);
    memset(t->jumps, 0, sizeof(t->jumps));
    code_memory_reset(&t->code, t->blocks_start);
    cpu->chain_from = NULL;
}

static X86Block *make_block(X86Cpu *cpu, X86Place place)
{
    X86Translator *t = cpu->translator;
    X86Block *b;

    if (code_memory_left(&t->code) < X86_BLOCK_BYTES)
        drop_all(cpu);
    b = x86_generate_block(&t->code, cpu, &t->stubs, place.host, 4096 - (place.physical & 4095));
    if (!b)
        return NULL;
    b->physical = place.physical;
    b->next = g_hash_table_lookup(t->pages, page_key(place.physical));
    /* From now on writes to the page must be seen. */
    if (!b->next)
        x86_fast_flush(cpu);
    g_hash_table_insert(t->pages, page_key(place.physical), b);
    return b;
}

static bool is_block(const X86Block *b, const X86Cpu *cpu, uint64_t physical)
{
    return b->rip == cpu->rip && b->physical == physical && b->user == (cpu->cpl == 3);
}

/* The block for RIP, made if there is none; NULL if the instruction there must be interpreted. */
static X86Block *find_block(X86Cpu *cpu)
{
    X86Translator *t = cpu->translator;
    X86Block **slot = jump_slot(t, cpu->rip), *b = *slot;
    X86Place place;

    if (!x86_is_canonical(cpu->rip))
        return NULL;
    place = x86_place(cpu, cpu->rip, X86_FETCH, X86_BY_PROGRAM);
    if (!place.host)
        return NULL;
    if (b && is_block(b, cpu, place.physical))
        return b;
    for (b = g_hash_table_lookup(t->pages, page_key(place.physical)); b; b = b->next)
        if (is_block(b, cpu, place.physical))
            break;
    if (!b)
        b = make_block(cpu, place);
    if (b)
        *slot = b;
    return b;
}

/* ---- running --------------------------------------------------------------------------------- */

static void pack_flags(X86Cpu *cpu)
{
    cpu->packed_flags = (cpu->flags & 0xd5) << 8 | X86_FIXED << 8 | !!(cpu->flags & X86_OF);
}

static void unpack_flags(X86Cpu *cpu)
{
    cpu->flags = (cpu->flags & ~X86_ARITH) | (cpu->packed_flags >> 8 & 0xd5) |
                 (cpu->packed_flags & 1 ? X86_OF : 0);
}

/* Interprets one instruction of a block. 1: the block cannot go on. */
static int step(X86Cpu *cpu, const X86StepRecord *s)
{
    X86Translator *t = cpu->translator;

    unpack_flags(cpu);
    cpu->rip = s->rip;
    t->hit = false;
    x86_execute(cpu, &s->in);
    pack_flags(cpu);
    return s->in.attributes & X86_A_ENDS_BLOCK || cpu->rip != s->rip + s->in.length || t->hit ||
        cpu->events;
}

/*
 * What blocks do not look at is left to the interpreter: traps, breakpoints, checks of alignment.
 */
static bool can_run_blocks(const X86Cpu *cpu)
{
    bool aligned = cpu->cpl == 3 && cpu->flags & X86_AC && cpu->cr0 & X86_CR0_AM;

    return cpu->translator && cpu->mode.bits == 64 && !(cpu->flags & (X86_TF | X86_RF)) &&
        !cpu->shadow &&
           !(cpu->dr[7] & 0xff) && !aligned;
}

static void run_block(X86Cpu *cpu)
{
    X86Translator *t = cpu->translator;
    X86Block *b = find_block(cpu);
    void (*enter)(const uint8_t *code);

    if (!b) {
        cpu->chain_from = NULL;
        x86_step(cpu);
        return;
    }
    if (cpu->chain_from)
        x86_generate_chain(cpu->chain_from, b);
    cpu->chain_from = NULL;
    memcpy(&enter, &t->stubs.enter, sizeof(enter));
    pack_flags(cpu);
    enter(b->code);
    unpack_flags(cpu);
}

static X86Exit run(X86Cpu *cpu)
{
    jmp_buf trap;

    cpu->trap = &trap;
    cpu->chain_from = NULL;
    if (setjmp(trap)) {
        cpu->chain_from = NULL;
        if (cpu->stop_at_exceptions)
            return X86_EXCEPTION;
        if (!x86_handle(cpu))
            return X86_SHUTDOWN;
    }
    for (;;) {
        if (__atomic_load_n(&cpu->events, __ATOMIC_RELAXED)) {
            cpu->chain_from = NULL;
            if (!x86_take_events(cpu))
                return X86_RAN;
        }
        if (cpu->halted)
            return X86_HALTED;
        /* Blocks are not entered while something waits, such as an interrupt that is not let in. */
        if (!cpu->events && can_run_blocks(cpu))
            run_block(cpu);
        else
            x86_step(cpu);
    }
}

X86Exit x86_run(X86Cpu *cpu)
{
    uint64_t before = x86_generate_begin(cpu);
    X86Exit why = run(cpu);

    x86_generate_end(before);
    return why;
}

/* ---- making one ------------------------------------------------------------------------------ */

bool x86_translator_init(X86Cpu *cpu, size_t size)
{
    X86Translator *t;

    if (!x86_can_generate())
        return false;
    t = g_new0(X86Translator, 1);
    if (!code_memory_init(&t->code, MAX(size, 4 * X86_BLOCK_BYTES))) {
        g_free(t);
        return false;
    }
    t->pages = g_hash_table_new(NULL, NULL);
    x86_generate_stubs(&t->code, cpu, &t->stubs, step);
    t->blocks_start = t->code.at;
    cpu->translator = t;
    x86_fast_flush(cpu);
    return true;
}

void x86_translator_free(X86Cpu *cpu)
{
    X86Translator *t = cpu->translator;

    if (!t)
        return;
    cpu->translator = NULL;
    g_hash_table_unref(t->pages);
    code_memory_free(&t->code);
    g_free(t);
}
