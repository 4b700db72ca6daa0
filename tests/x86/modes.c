/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each instruction outside 64-bit mode interpreted and translated: real and virtual-8086 mode, 16
 * and 32-bit segments with bases and limits, at level 0 and 3. The host can show only flat
 * segments, so the two are compared with each other, from random states.
 *
 * FERRY_CASES, FERRY_SEED and FERRY_FIRST are those of the comparison with the host.
 */
#include "tests/lib/harness.h"

#if defined(__x86_64__)

#include "target/x86/mmu.h"
#include "target/x86/translate.h"
#include "target/x86/x87.h"
#include "tests/x86/lib/machine.h"
#include "tests/x86/lib/prepare.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What is set up and compared of memory, and where the segments are in it. */
enum { USED = 0x30000, BASE = 0x10000, START = 0x800, STEPS = 500, TEXT = 100, SHOWN = 10 };

typedef struct {
    const char *name;
    unsigned bits, cpl;
    bool real, v86, small_stack, odd_data;
} Mode;

static const Mode modes[] = {
    { "real", 16, 0, .real = true },
    { "big real", 16, 0, .real = true, .odd_data = true },
    { "virtual-8086", 16, 3, .v86 = true },
    { "16-bit", 16, 0 },
    { "16-bit, level 3", 16, 3, .odd_data = true },
    { "32-bit", 32, 0, .odd_data = true },
    { "32-bit, level 3, 16-bit stack", 32, 3, .small_stack = true },
    { "32-bit, flat", 32, 3 },
};

/* ---- where a case begins --------------------------------------------------------------------- */

static X86Segment real_segment(uint32_t base)
{
    return (X86Segment){ base >> 4, 0x93, 0xffff, base };
}

/* Data of every kind: with a limit, downwards, to read only, not present, the whole memory. */
static X86Segment odd_segment(Random *r, unsigned dpl)
{
    X86Segment s = { SEL_DATA, 0x93 | dpl << 5 | X86_AR_DB, 0xffff, BASE };

    switch (random_below(r, 7)) {
    case 0:
        s.limit = random_below(r, 0x10000);
        break;
    case 1:
        s.rights |= X86_AR_DOWN;
        s.limit = random_below(r, 0x10000);
        break;
    case 2:
        s.rights &= ~X86_AR_WRITABLE;
        break;
    case 3:
        s = (X86Segment){ 0 };
        break;
    case 4:
        s.base = 0;
        s.limit = UINT32_MAX;
        break;
    case 5:
        s.rights &= ~X86_AR_DB;
        break;
    }
    return s;
}

static X86Segment data_segment(const Mode *m, Random *r, unsigned i)
{
    if (m->real && m->odd_data && i != X86_SS && random_chance(r, 50))
        return (X86Segment){ 0, 0x93, UINT32_MAX, random_chance(r, 50) ? 0 : BASE };
    if (m->real || m->v86)
        return real_segment(BASE + random_below(r, 16) * 0x1000);
    if (m->odd_data && i != X86_SS)
        return odd_segment(r, m->cpl);
    return (X86Segment){ SEL_DATA | m->cpl, 0x93 | m->cpl << 5 | X86_AR_DB | X86_AR_G, UINT32_MAX,
                         m->bits == 16 || m->small_stack ? BASE : 0 };
}

static void set_segments(X86Cpu *cpu, const Mode *m, Random *r)
{
    bool flat = m->bits == 32 && !m->odd_data && !m->small_stack;
    X86Segment *cs = &cpu->segment[X86_CS];

    for (unsigned i = 0; i < X86_SEGMENTS; i++)
        cpu->segment[i] = data_segment(m, r, i);
    if (m->real || m->v86)
        *cs = real_segment(BASE);
    else
        *cs = (X86Segment){ SEL_CODE | m->cpl, 0x9b | m->cpl << 5 | (m->bits == 32 ? X86_AR_DB : 0),
                            flat ? UINT32_MAX : 0xfff, flat ? 0 : BASE };
    if (m->bits == 16 || m->small_stack)
        cpu->segment[X86_SS].rights &= ~X86_AR_DB;
}

static uint64_t offset(Random *r)
{
    switch (random_below(r, 5)) {
    case 0:
        return 0xffe0 + random_below(r, 0x40);
    case 1:
        return random_next(r);
    case 2:
        return (random_next(r) & 0xffff0000) | random_below(r, 0x10000);
    default:
        return random_below(r, 0x10000);
    }
}

static void set_up(Machine *m, const Mode *mode, const Generated *g, uint64_t seed)
{
    static FloatState f;
    Random r = { .state = seed };
    X86Cpu *cpu = &m->cpu;
    uint32_t at;

    x86_reset(cpu);
    cpu->cr0 = X86_CR0_ET | X86_CR0_NE | (mode->real ? 0 : X86_CR0_PE);
    cpu->cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
    cpu->flags = X86_FIXED | (random_next(&r) & (X86_ARITH | X86_DF | X86_IOPL)) |
                 (mode->v86 ? X86_VM : 0);
    cpu->stop_at_exceptions = true;
    set_segments(cpu, mode, &r);
    cpu->cpl = mode->cpl;
    x86_update_mode(cpu);
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = (uint32_t)offset(&r);
    random_float_state(&r, &f, &g->insn);
    memcpy(cpu->xmm, f.xmm, sizeof(f.xmm));
    memcpy(cpu->ymm_high, f.ymm_high, sizeof(f.ymm_high));
    cpu->xcr0 = 7;
    cpu->mxcsr = f.mxcsr;
    cpu->x87.control = f.control | 0x7f;
    /* At times at the end of the code segment. */
    cpu->rip = random_chance(&r, 5) ? 0x1000 - random_below(&r, 16) : START;
    at = cpu->segment[X86_CS].base + cpu->rip;
    memset(m->ram, 0xcc, USED);
    memcpy(m->ram + at, g->code, g->insn.length);
    for (unsigned page = 0; page < USED; page += 4096)
        x86_code_changed(cpu, page, 4096);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static const char *difference(const Machine *a, const Machine *b, uint32_t flags)
{
    const X86Cpu *x = &a->cpu, *y = &b->cpu;

    if (memcmp(x->gpr, y->gpr, sizeof(x->gpr)))
        return "registers";
    if (x->rip != y->rip)
        return "rip";
    if ((x->flags ^ y->flags) & flags)
        return "flags";
    for (unsigned i = 0; i < X86_SEGMENTS; i++)
        if (x->segment[i].selector != y->segment[i].selector ||
            x->segment[i].base != y->segment[i].base ||
            x->segment[i].limit != y->segment[i].limit ||
            x->segment[i].rights != y->segment[i].rights)
            return "segments";
    if (x->cr0 != y->cr0 || x->cr2 != y->cr2 || x->cr3 != y->cr3 || x->cr4 != y->cr4 ||
        x->efer != y->efer || x->cpl != y->cpl || x->gdt.base != y->gdt.base)
        return "system registers";
    if (memcmp(x->xmm, y->xmm, 16 * sizeof(x->xmm[0])) ||
        memcmp(x->ymm_high, y->ymm_high, sizeof(x->ymm_high)) || x->mxcsr != y->mxcsr)
        return "vectors";
    if (memcmp(x->x87.r, y->x87.r, sizeof(x->x87.r)) || x->x87.in_use != y->x87.in_use ||
        x->x87.ip != y->x87.ip || x->x87.dp != y->x87.dp || x->x87.ds != y->x87.ds)
        return "x87";
    return memcmp(a->ram, b->ram, USED) ? "memory" : NULL;
}

/* Those whose results are not the same twice or not defined, and that write to the test's ports. */
static bool is_left_out(const X86Insn *in)
{
    switch (in->op) {
    case X86_shld:
    case X86_shrd:
        return in->operand_size == 2;
    case X86_rdtsc:
    case X86_rdtscp:
    case X86_rdrand:
    case X86_rdseed:
    case X86_out:
    case X86_outs:
        return true;
    default:
        return false;
    }
}

static void show(const Mode *mode, const Generated *g, uint64_t number, const char *what,
                 const Machine *a, const Machine *b)
{
    char text[TEXT];

    x86_disassemble(&g->insn, START, text, sizeof(text));
    printf("# %s, %" PRIu64 ": %s: %s; rip %" PRIx64 ", exception %u interpreted, %" PRIx64
           ", %u translated; flags %x %x\n", mode->name, number, text, what, a->cpu.rip,
           a->cpu.exception.vector, b->cpu.rip, b->cpu.exception.vector, a->cpu.flags,
           b->cpu.flags);
}

typedef struct {
    Machine *interpreted, *translated;
    uint64_t compared, faulted, differ;
} Both;

static void run_case(Both *both, const Mode *mode, const Generated *g, uint64_t seed,
                     uint64_t number)
{
    static State start;
    X86Exit a, b;
    const char *what;
    uint32_t flags;

    set_up(both->interpreted, mode, g, seed);
    set_up(both->translated, mode, g, seed);
    memcpy(start.gpr, both->interpreted->cpu.gpr, sizeof(start.gpr));
    flags = ~undefined_flags(&g->insn, &start);
    a = x86_interpret(&both->interpreted->cpu, STEPS);
    b = x86_run(&both->translated->cpu, STEPS);
    /* What has written itself anew and goes on for ever runs instructions that no one knows. */
    if (a == X86_RAN && b == X86_RAN)
        return;
    both->compared++;
    both->faulted += both->interpreted->cpu.exception.vector != X86_BP;
    what = a != b ? "the end" : difference(both->interpreted, both->translated, flags);
    if (what && both->differ++ < SHOWN)
        show(mode, g, number, what, both->interpreted, both->translated);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = g_getenv(name);

    return text ? g_ascii_strtoull(text, NULL, 0) : otherwise;
}

static void compare(const Mode *mode)
{
    uint64_t cases = number_from("FERRY_CASES", test_is_slowed() ? 200 : 1500);
    uint64_t seed = number_from("FERRY_SEED", 1);
    X86DecodeMode decoded = { .bits = mode->bits, .features = X86_FEATURES_ALL };
    Both both = { machine_new() };

    machine_translates = true;
    both.translated = machine_new();
    machine_translates = false;
    for (uint64_t i = number_from("FERRY_FIRST", 0); i < cases; i++) {
        Random r = { .state = (seed << 40 ^ i * UINT64_C(0x9e3779b97f4a7c15)) | 1 };
        const X86Form *f = &x86_forms[random_below(&r, x86_form_count)];
        Generated g;

        generate(&g, &r, f, decoded);
        if (g.decoded == X86_DECODED && !is_left_out(&g.insn))
            run_case(&both, mode, &g, r.state, i);
    }
    printf("# %s: %" PRIu64 " compared, %" PRIu64 " of them with an exception\n", mode->name,
           both.compared, both.faulted);
    machine_free(both.interpreted);
    machine_free(both.translated);
    g_assert_cmpuint(both.differ, ==, 0);
    g_assert_cmpuint(both.compared, >, cases / 2);
}

static void test_modes(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++)
        compare(&modes[i]);
}

const Test tests[] = { { "/x86/modes/instructions", test_modes }, {} };

#else

const Test tests[] = { {} };

#endif
