/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What debuggers and deterministic runs ask of a processor, interpreted and translated. */
#include "tests/lib/harness.h"

#if defined(__x86_64__)

#include "target/x86/debug.h"
#include "target/x86/interpret.h"
#include "target/x86/translate.h"
#include "tests/x86/lib/machine.h"
#include <string.h>

enum { ROUNDS = 1000 };

static Machine *prepared(const uint8_t *code, const uint8_t *end, bool is_long)
{
    Machine *m = machine_new();

    if (is_long)
        machine_long(m);
    else
        machine_protected(m);
    memcpy(m->ram + CODE, code, end - code);
    return m;
}

static X86Exit go_on(Machine *m)
{
    return x86_run(&m->cpu, X86_NO_BUDGET);
}

/* A sum, a division, a store and a call in each round. */
GUEST(worker, 64,
      "xor %eax, %eax; xor %ebx, %ebx; mov $1000, %ecx; mov $0x40000, %edi\n"
      "again: add %rcx, %rax; mov %rax, (%rdi); push %rax; xor %edx, %edx; div %rcx\n"
      "pop %rax; call helper; rep stosb; mov $0x40000, %edi; inc %r8d; mov %r8d, %ecx\n"
      "neg %ecx; add $1000, %ecx; jnz again; out %al, $0xf4\n"
      "helper: add 0x41100, %rbx; incl 0x41100; ret");
extern const uint8_t again[], helper[];

static uint64_t at_label(const uint8_t *label)
{
    return CODE + (label - worker);
}

/* A breakpoint in a loop that is translated stops in each round, before the instruction. */
static void test_breakpoints(void)
{
    g_autoptr(Machine) m = prepared(worker, worker_end, true);

    g_assert_true(x86_debug_add(&m->cpu, X86_POINT_BREAK, at_label(helper), 1));
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t address;

        g_assert_cmpint(go_on(m), ==, X86_DEBUGGED);
        g_assert_cmphex(m->cpu.rip, ==, at_label(helper));
        g_assert_cmpuint(m->cpu.gpr[8], ==, i);
        g_assert_null(x86_debug_watch_hit(&m->cpu, &address));
        g_assert_cmpint(go_on(m), ==, X86_DEBUGGED);
        g_assert_cmphex(m->cpu.rip, ==, at_label(helper));
        g_assert_cmpint(x86_debug_step(&m->cpu, false), ==, X86_DEBUGGED);
        g_assert_cmphex(m->cpu.rip, ==, at_label(helper) + 8);
    }
    go_on(m);
    g_assert_true(m->ended);
}

/* Once code has been translated a breakpoint in its midst counts, and no longer once it is gone. */
static void test_breakpoint_comes_and_goes(void)
{
    g_autoptr(Machine) m = prepared(worker, worker_end, true);
    uint64_t middle = at_label(again) + 3; /* the store after the first addition */

    g_assert_true(x86_debug_add(&m->cpu, X86_POINT_BREAK, at_label(helper), 1));
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpint(go_on(m), ==, X86_DEBUGGED);
        x86_debug_step(&m->cpu, false);
    }
    g_assert_true(x86_debug_add(&m->cpu, X86_POINT_BREAK, middle, 1));
    g_assert_cmpint(go_on(m), ==, X86_DEBUGGED);
    g_assert_cmphex(m->cpu.rip, ==, middle);
    g_assert_true(x86_debug_remove(&m->cpu, X86_POINT_BREAK, middle, 1));
    g_assert_false(x86_debug_remove(&m->cpu, X86_POINT_BREAK, middle, 1));
    g_assert_cmpint(go_on(m), ==, X86_DEBUGGED);
    g_assert_cmphex(m->cpu.rip, ==, at_label(helper));
    x86_debug_clear(&m->cpu);
    go_on(m);
    g_assert_true(m->ended);
}

/* A watchpoint stops after the instruction that used the bytes, of the kinds that it is for. */
static void expect_watch(X86PointKind kind, uint64_t at, uint64_t len, bool hits, uint64_t rip)
{
    g_autoptr(Machine) m = prepared(worker, worker_end, true);
    const X86Point *p;
    uint64_t address;

    g_assert_false(x86_debug_add(&m->cpu, kind, at, 0));
    g_assert_true(x86_debug_add(&m->cpu, kind, at, len));
    if (!hits) {
        go_on(m);
        g_assert_true(m->ended);
        return;
    }
    for (unsigned i = 0; i < 50; i++) {
        g_assert_cmpint(go_on(m), ==, X86_DEBUGGED);
        p = x86_debug_watch_hit(&m->cpu, &address);
        g_assert_nonnull(p);
        g_assert_cmpint(p->kind, ==, kind);
        g_assert_cmphex(address, ==, at);
        g_assert_cmphex(m->cpu.rip, ==, rip);
    }
    x86_debug_clear(&m->cpu);
    go_on(m);
    g_assert_true(m->ended);
}

static void test_watchpoints(void)
{
    uint64_t after_add = at_label(helper) + 8, after_inc = at_label(helper) + 15;

    expect_watch(X86_POINT_READ, 0x41104, 2, true, after_add);
    expect_watch(X86_POINT_WRITE, 0x41102, 2, true, after_inc);
    expect_watch(X86_POINT_WRITE, 0x41104, 4, false, 0); /* another's four bytes */
    expect_watch(X86_POINT_ACCESS, 0x41107, 1, true, after_add);
    expect_watch(X86_POINT_READ, 0x500, 0x100, false, 0);
}

/* Steps lead over calls and through a repeated instruction. */
static void test_steps(void)
{
    g_autoptr(Machine) m = prepared(worker, worker_end, true), other = prepared(worker, worker_end,
                                                                                 true);
    for (unsigned n = 1; n < 200; n++) {
        g_assert_cmpint(x86_debug_step(&m->cpu, false), ==, X86_DEBUGGED);
        other->cpu.rip = CODE;
        memset(other->ram + DATA, 0, 4096);
        other->cpu.gpr[8] = 0;
        other->cpu.gpr[X86_RSP] = STACK_TOP;
        g_assert_cmpint(x86_run(&other->cpu, n), ==, X86_RAN);
        g_assert_cmphex(other->cpu.rip, ==, m->cpu.rip);
    }
}

GUEST(faults, 64, "ud2\nhandler: out %al, $0xf4");
extern const uint8_t handler[];

static void test_step_into_handler(void)
{
    g_autoptr(Machine) m = prepared(faults, faults_end, true);

    machine_gate(m, X86_UD, handler - faults, 14, 0, 0);
    g_assert_cmpint(x86_debug_step(&m->cpu, false), ==, X86_DEBUGGED);
    g_assert_cmphex(m->cpu.rip, ==, CODE + (handler - faults));
}

/* A pending interrupt is taken by a step only if that is asked for. */
static void test_step_with_interrupts(void)
{
    g_autoptr(Machine) m = prepared(worker, worker_end, true);

    machine_gate(m, 0x30, helper - worker, 14, 0, 0);
    m->cpu.flags |= X86_IF;
    m->pending = 0x30;
    x86_request(&m->cpu, X86_EVENT_INTERRUPT);
    x86_debug_step(&m->cpu, false);
    g_assert_cmphex(m->cpu.rip, ==, CODE + 2);
    x86_debug_step(&m->cpu, true);
    g_assert_cmphex(m->cpu.rip, ==, at_label(helper) + 8);
}

/*
 * Interpreted and translated, after each number of instructions the state is the same, however the
 * budgets were cut.
 */
static void test_budget(void)
{
    g_autoptr(Machine) m = prepared(worker, worker_end, true), whole = prepared(worker, worker_end,
                                                                                true);
    uint64_t sum = 0;

    for (unsigned n = 1; !m->ended; n = n % 371 + 1) {
        X86Exit why = x86_run(&m->cpu, n);
        uint64_t done = n - x86_budget_left(&m->cpu);

        g_assert_cmpint(why, ==, X86_RAN);
        if (!m->ended)
            g_assert_cmpuint(done, ==, n);
        sum += done;
        g_assert_true(x86_interpret(&whole->cpu, done) == X86_RAN);
        g_assert_cmphex(m->cpu.rip, ==, whole->cpu.rip);
        g_assert_cmpmem(m->cpu.gpr, sizeof(m->cpu.gpr), whole->cpu.gpr, sizeof(m->cpu.gpr));
    }
    g_assert_cmpuint(sum, ==, 4 + ROUNDS * 17 + 1);
}

/* Instructions that fault in the midst of a block count, those behind them do not. */
GUEST(faulting, 64,
      "mov $100, %ecx\n"
      "3: lea (%rcx, %rcx), %eax; mov 0x300000, %eax; inc %ebx; add %eax, %ebx; dec %ecx; jnz 3b\n"
      "out %al, $0xf4\n"
      "skip: addq $7, 8(%rsp); add $8, %rsp; iretq");
extern const uint8_t skip[];

static void test_budget_with_faults(void)
{
    g_autoptr(Machine) m = prepared(faulting, faulting_end, true);

    machine_gate(m, X86_PF_FAULT, skip - faulting, 14, 0, 0);
    g_assert_cmpint(x86_run(&m->cpu, 1 << 20), ==, X86_RAN);
    g_assert_true(m->ended);
    g_assert_cmpuint((1 << 20) - x86_budget_left(&m->cpu), ==, 1 + 100 * (6 + 3) + 1);
    g_assert_cmpuint(m->cpu.gpr[X86_RBX], ==, 100 + 2 * 5050);
}

/* ---- registers and memory -------------------------------------------------------------------- */

/* What is written to a register is read again; names are unique, and selectors are not loaded. */
static void test_registers(void)
{
    g_autoptr(Machine) m = prepared(worker, worker_end, true);

    static const uint8_t too_high[4] = { 0, 0, 1 };

    m->cpu.x87.control = 0x37f;
    for (const X86DebugRegister *r = x86_debug_registers; r->name; r++) {
        uint8_t kept[X86_DEBUG_REGISTER_MAX] = { 0 }, next[X86_DEBUG_REGISTER_MAX], now[16] = { 0 };
        unsigned bytes = r->bits / 8;

        x86_debug_read_register(&m->cpu, r, kept);
        memcpy(next, kept, sizeof(next));
        /* Of the tags only which registers are empty is a state of their own. */
        next[0] ^= strcmp(r->name, "ftag") ? 1 : 2;
        if (strlen(r->name) == 2 && r->name[1] == 's' && r->bits == 32) {
            g_assert_false(x86_debug_write_register(&m->cpu, r, next));
            g_assert_true(x86_debug_write_register(&m->cpu, r, kept));
            continue;
        }
        g_assert_true(x86_debug_write_register(&m->cpu, r, next));
        x86_debug_read_register(&m->cpu, r, now);
        g_assert_cmpmem(now, bytes, next, bytes);
        g_assert_true(x86_debug_write_register(&m->cpu, r, kept));
        for (const X86DebugRegister *o = x86_debug_registers; o < r; o++)
            g_assert_cmpstr(o->name, !=, r->name);
    }
    g_assert_cmpstr(x86_debug_registers[56].name, ==, "mxcsr");
    g_assert_false(x86_debug_write_register(&m->cpu, &x86_debug_registers[56], too_high));
}

/* Memory is read and written whatever its rights are, over page ends, and where code is. */
static void test_memory(void)
{
    g_autoptr(Machine) m = prepared(worker, worker_end, true);
    static const uint8_t nops[] = { 0x66, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90 };
    uint8_t back[8];

    *machine_pte(m, 0x42000) = 0x42000 | 5;
    *machine_pte(m, 0x43000) = 0;
    x86_tlb_flush(&m->cpu);
    g_assert_true(x86_debug_write_memory(&m->cpu, 0x41ffc, nops, 8));
    g_assert_true(x86_debug_read_memory(&m->cpu, 0x41ffc, back, 8));
    g_assert_cmpmem(back, 8, nops, 8);
    g_assert_false(x86_debug_write_memory(&m->cpu, 0x42ffc, nops, 8));
    g_assert_false(x86_debug_read_memory(&m->cpu, 0x42ffc, back, 8));
    /* The helper's addition goes while the loop runs. */
    x86_debug_add(&m->cpu, X86_POINT_BREAK, at_label(again), 1);
    for (unsigned i = 0; i < 500; i++) {
        go_on(m);
        x86_debug_step(&m->cpu, false);
    }
    x86_debug_clear(&m->cpu);
    g_assert_true(x86_debug_write_memory(&m->cpu, at_label(helper), nops, 8));
    go_on(m);
    g_assert_true(m->ended);
    g_assert_cmpuint(m->cpu.gpr[X86_RBX], ==, 498 * 499 / 2);
}

static void both(void (*test)(void))
{
    for (unsigned i = 0; i < 2; i++) {
        machine_translates = i;
        test();
    }
}

#define BOTH(name)                                                                                 \
    static void both_##name(void)                                                                  \
    {                                                                                              \
        both(test_##name);                                                                         \
    }
BOTH(breakpoints)
BOTH(breakpoint_comes_and_goes)
BOTH(watchpoints)
BOTH(steps)
BOTH(step_into_handler)
BOTH(step_with_interrupts)
BOTH(budget)
BOTH(budget_with_faults)
BOTH(registers)
BOTH(memory)

const Test tests[] = {
    { "/x86/debug/breakpoints", both_breakpoints },
    { "/x86/debug/breakpoint-comes-and-goes", both_breakpoint_comes_and_goes },
    { "/x86/debug/watchpoints", both_watchpoints },
    { "/x86/debug/steps", both_steps },
    { "/x86/debug/step-into-handler", both_step_into_handler },
    { "/x86/debug/step-with-interrupts", both_step_with_interrupts },
    { "/x86/debug/budget", both_budget },
    { "/x86/debug/budget-with-faults", both_budget_with_faults },
    { "/x86/debug/registers", both_registers },
    { "/x86/debug/memory", both_memory },
    {}
};

#else

const Test tests[] = { {} };

#endif
