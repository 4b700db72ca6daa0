/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mode switches, interrupts, privilege, gates, tasks, debugging: what the manuals say, on a bare
 * machine.
 */
#include "tests/lib/harness.h"

#if defined(__x86_64__)

#include "target/x86/mmu.h"
#include "tests/x86/lib/machine.h"
#include <string.h>

static void expect_exception(const Machine *m, unsigned vector, uint32_t error)
{
    g_assert_cmpuint(m->cpu.exception.vector, ==, vector);
    g_assert_cmphex(m->cpu.exception.error, ==, error);
}

static void expect_notes(const Machine *m, unsigned n, const uint32_t *notes)
{
    g_assert_cmpuint(m->noted, ==, n);
    for (unsigned i = 0; i < n; i++)
        g_assert_cmphex(m->notes[i], ==, notes[i]);
}
#define EXPECT_NOTES(m, ...)                                                                       \
    expect_notes(m, sizeof((uint32_t[]){ __VA_ARGS__ }) / 4, (uint32_t[]){ __VA_ARGS__ })

static uint32_t offset_of(const uint8_t *code, const uint8_t *label)
{
    return label - code;
}
#define LABEL(name) extern const uint8_t name[]

/* ---- modes ----------------------------------------------------------------------------------- */

GUEST(climbs, 16,
      "lgdtl " AT(climbs, gdtr) "\n"
      "mov %cr0, %eax; or $1, %al; mov %eax, %cr0\n"
      "ljmpl $0x18, $" AT(climbs, in_32) "\n"
      "gdtr: .word 0xff; .long 0xb000\n"
      ".code32\nin_32: mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
      "mov $0x12345678, %eax; out %eax, $0xe9\n"
      "mov $0x20, %eax; mov %eax, %cr4; mov $0x10000, %eax; mov %eax, %cr3\n"
      "mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr\n"
      "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
      "rdmsr; out %eax, $0xe9\n"
      "ljmp $0x20, $" AT(climbs, in_64) "\n"
      ".code64\nin_64: mov $0x123456789, %rax; shr $4, %rax; out %eax, $0xe9\n"
      "lcall *" AT(climbs, to_32) "; mov $3, %eax; out %eax, $0xe9; out %al, $0xf4\n"
      "to_32: .long " AT(climbs, compat) "; .word 0x18\n"
      ".code32\ncompat: dec %eax; mov %esp, %ebx; lret");

/* From real mode through protected and compatibility mode to 64-bit mode, and a call back. */
static void test_modes(void)
{
    g_autoptr(Machine) m = machine_new(), tables = machine_new();

    machine_long(tables);
    memcpy(m->ram + GDT_AT, tables->ram + GDT_AT, 256);
    memcpy(m->ram + PAGES_AT, tables->ram + PAGES_AT, 4 * 4096);
    RUN(m, climbs);
    EXPECT_NOTES(m, 0x12345678, 0x500, 0x12345678, 3);
    g_assert_cmpuint(m->cpu.mode.bits, ==, 64);
}

GUEST(real_interrupts, 16,
      "movw $" AT(real_interrupts, isr) ", 0x84; movw $0, 0x86\n" /* vector 21h */
      "mov $0x7000, %sp; int $0x21; mov %esp, %eax; out %eax, $0xe9; out %al, $0xf4\n"
      "isr: pushfw; pop %ax; and $0x200, %eax; out %eax, $0xe9; iret");

static void test_real_interrupt(void)
{
    g_autoptr(Machine) m = machine_new();

    m->cpu.flags |= X86_IF;
    RUN(m, real_interrupts);
    /* Interrupts are off in the handler. */
    EXPECT_NOTES(m, 0, 0x7000);
    g_assert_true(m->cpu.flags & X86_IF);
}

/* Big real mode: a limit loaded in protected mode stays when that is left. */
GUEST(big_real, 16,
      "lgdtl " AT(big_real, big_gdtr) "; mov %cr0, %eax; or $1, %al; mov %eax, %cr0\n"
      "mov $0x10, %bx; mov %bx, %ds\n"
      "and $0xfe, %al; mov %eax, %cr0; xor %bx, %bx; mov %bx, %ds\n"
      "mov $0x80000, %ebx; mov (%ebx), %eax; out %eax, $0xe9; out %al, $0xf4\n"
      "big_gdtr: .word 0xff; .long 0xb000");

static void test_big_real(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_descriptor(m, SEL_DATA, machine_segment(0, 0xfffff, 0x93, 0xc));
    m->ram[0x80000] = 0x77;
    RUN(m, big_real);
    EXPECT_NOTES(m, 0x77);
}

/* ---- interrupts and exceptions --------------------------------------------------------------- */

GUEST(to_user_and_back, 64,
      "pushq $0x33; pushq $0x7000; pushq $0x202; pushq $0x3b; pushq $" AT(to_user_and_back,
              user) "; iretq\n"
      "user: mov %cs, %eax; int $0x30; ud2\n"
      "in_kernel: out %eax, $0xe9; mov %rsp, %rax; out %eax, $0xe9\n"
      "mov %cs, %eax; out %eax, $0xe9; mov %ss, %eax; out %eax, $0xe9\n"
      "mov 8(%rsp), %rax; out %eax, $0xe9; mov 24(%rsp), %rax; out %eax, $0xe9; out %al, $0xf4");
LABEL(in_kernel);

/* An interrupt from level 3 comes to the stack of level 0 with five words, SS null. */
static void test_interrupt_from_user(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    machine_gate(m, 0x30, offset_of(to_user_and_back, in_kernel), 14, 3, 0);
    RUN(m, to_user_and_back);
    EXPECT_NOTES(m, 0x3b, INNER_STACK_TOP - 40, SEL_CODE, 0, 0x3b, 0x7000);
}

/* int n through a gate of level 0 is a general protection fault that names the gate. */
static void test_gate_privilege(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    machine_gate(m, 0x30, 0, 14, 0, 0);
    machine_gate(m, X86_GP, offset_of(to_user_and_back, in_kernel), 14, 0, 0);
    RUN(m, to_user_and_back);
    /* The stack holds the error code first. */
    g_assert_cmphex(m->notes[1], ==, INNER_STACK_TOP - 48);
    g_assert_cmphex(m->cpu.delivered.error, ==, 0x30 << 3 | 2);
}

GUEST(faults, 64,
      "mov 0x40000, %eax\n"
      "handler: mov %rsp, %rax; out %eax, $0xe9; pop %rax; out %eax, $0xe9; pop %rax; "
      "out %eax, $0xe9\n"
      "out %al, $0xf4");
LABEL(handler);

/* A page fault with an interrupt stack table entry: on that stack, aligned, with its error code. */
static void test_interrupt_stack_table(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    *machine_pte(m, DATA) = 0;
    machine_gate(m, X86_PF_FAULT, offset_of(faults, handler), 14, 0, 1);
    RUN(m, faults);
    EXPECT_NOTES(m, IST_TOP - 48, 0, CODE);
}

/* A fault while a page fault is delivered is a double fault; one more shuts the processor down. */
static void test_double_and_triple_fault(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    *machine_pte(m, DATA) = 0;
    machine_gate(m, X86_DOUBLE_FAULT, offset_of(faults, handler), 14, 0, 0);
    RUN(m, faults);
    g_assert_cmpuint(m->cpu.delivered.vector, ==, X86_DOUBLE_FAULT);
    EXPECT_NOTES(m, STACK_TOP - 48, 0, CODE);
    memset(m->ram + IDT_AT, 0, 4096);
    m->cpu.rip = CODE;
    g_assert_cmpint(machine_run_to_exit(m, faults, faults_end - faults), ==, X86_SHUTDOWN);
}

GUEST(waits, 64,
      "sti; mov $1, %eax; hlt; mov $9, %eax; out %eax, $0xe9; out %al, $0xf4\n"
      "external: out %eax, $0xe9; mov (%rsp), %rbx; iretq");
LABEL(external);

/*
 * The instruction after sti is not interrupted; hlt ends by an interrupt and execution goes on
 * after.
 */
static void test_external_interrupt(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    machine_gate(m, 0x50, offset_of(waits, external), 14, 0, 0);
    m->pending = 0x50;
    m->cpu.events = X86_EVENT_INTERRUPT;
    g_assert_cmpint(machine_run_to_exit(m, waits, waits_end - waits), ==, X86_HALTED);
    EXPECT_NOTES(m, 1);
    m->pending = 0x50;
    m->cpu.events = X86_EVENT_INTERRUPT;
    machine_continue(m);
    g_assert_true(m->ended);
    EXPECT_NOTES(m, 1, 1, 9);
}

/* ---- system calls ---------------------------------------------------------------------------- */

GUEST(calls_system, 64,
      "mov $0xc0000081, %ecx; mov $0x00280008, %edx; xor %eax, %eax; wrmsr\n"
      "inc %ecx; mov $" AT(calls_system, entry) ", %eax; xor %edx, %edx; wrmsr\n"
      "mov $0xc0000084, %ecx; mov $0x200, %eax; wrmsr\n"
      "mov $" AT(calls_system, program) ", %ecx; mov $0x202, %r11d; sysretq\n"
      "program: mov %cs, %eax; out %eax, $0xe9; mov %ss, %eax; syscall\n"
      "back: ud2\n"
      "entry: out %eax, $0xe9; mov %cs, %eax; out %eax, $0xe9; mov %ss, %eax; out %eax, $0xe9\n"
      "mov %rcx, %rax; out %eax, $0xe9; mov %r11, %rax; out %eax, $0xe9; pushfq; pop %rax\n"
      "out %eax, $0xe9; out %al, $0xf4");
LABEL(back);

static void test_syscall(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    /* The program may use ports. */
    m->cpu.flags |= X86_IOPL;
    machine_descriptor(m, SEL_TSS + 16, 0);
    m->cpu.task.limit = 0x7ff;
    m->ram[TSS_AT + 102] = 0x68;
    m->ram[TSS_AT + 103] = 0;
    RUN(m, calls_system);
    EXPECT_NOTES(m, 0x3b, 0x33, 0x8, 0x10, CODE + offset_of(calls_system, back), 0x202, 0x2);
}

/* ---- segments -------------------------------------------------------------------------------- */

GUEST(reads_es, 32, "mov $0x70, %eax; mov %eax, %es; mov %es:(%ebx), %eax; out %al, $0xf4");
GUEST(writes_es, 32, "mov $0x70, %eax; mov %eax, %es; mov %eax, %es:(%ebx); out %al, $0xf4");

static void run_with_spare(const uint8_t *code, size_t len, uint64_t descriptor, uint32_t offset,
                           int vector,
                           uint32_t error)
{
    g_autoptr(Machine) m = machine_new();

    machine_protected(m);
    machine_descriptor(m, SEL_SPARE, descriptor);
    m->cpu.gpr[X86_RBX] = offset;
    if (vector < 0) {
        machine_run(m, code, len);
        /* Loading it marked the descriptor. */
        g_assert_true(m->ram[GDT_AT + SEL_SPARE + 5] & 1);
    } else {
        machine_run_to_exception(m, code, len);
        expect_exception(m, vector, error);
    }
}
#define WITH_SPARE(code, ...) run_with_spare(code, code##_end - code, __VA_ARGS__)

static void test_segment_checks(void)
{
    uint64_t data = machine_segment(DATA, 0xff, 0x92, 4), down = machine_segment(DATA, 0xff, 0x96,
            4);

    /* Limits, in both directions. */
    WITH_SPARE(reads_es, data, 0xfc, -1, 0);
    WITH_SPARE(reads_es, data, 0xfd, X86_GP, 0);
    WITH_SPARE(reads_es, down, 0xff, X86_GP, 0);
    WITH_SPARE(reads_es, down, 0x100, -1, 0);
    /* Kinds: read-only data, code that may and may not be read, a system segment. */
    WITH_SPARE(writes_es, machine_segment(DATA, 0xff, 0x90, 4), 0, X86_GP, 0);
    WITH_SPARE(reads_es, machine_segment(DATA, 0xff, 0x9a, 4), 0, -1, 0);
    WITH_SPARE(reads_es, machine_segment(DATA, 0xff, 0x98, 4), 0, X86_GP, SEL_SPARE);
    WITH_SPARE(reads_es, machine_segment(DATA, 0xff, 0x82, 4), 0, X86_GP, SEL_SPARE);
    /* Not present. */
    WITH_SPARE(reads_es, machine_segment(DATA, 0xff, 0x12, 4), 0, X86_NP, SEL_SPARE);
}

GUEST(loads_ss, 32, "mov $0x70, %eax; mov %eax, %ss");

static void test_stack_segment_checks(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_protected(m);
    machine_descriptor(m, SEL_SPARE, machine_segment(0, 0xff, 0x12, 4));
    RUN_TO_EXCEPTION(m, loads_ss);
    expect_exception(m, X86_SS_FAULT, SEL_SPARE);
    machine_descriptor(m, SEL_SPARE, machine_segment(0, 0xff, 0xf2, 4));
    m->cpu.rip = CODE;
    RUN_TO_EXCEPTION(m, loads_ss);
    expect_exception(m, X86_GP, SEL_SPARE);
}

GUEST(asks, 32,
      "mov $0x70, %eax; lar %eax, %ebx; mov %ebx, %eax; out %eax, $0xe9; mov $0x70, %eax; "
      "lsl %eax, %ebx\n"
      "mov %ebx, %eax; out %eax, $0xe9; mov $0x70, %eax; verw %ax; lahf; movzbl %ah, %eax; "
      "and $0x40, %eax\n"
      "out %eax, $0xe9; mov $0x78, %eax; lar %eax, %ebx; lahf; movzbl %ah, %eax; and $0x40, %eax\n"
      "out %eax, $0xe9; out %al, $0xf4");

static void test_selector_questions(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_protected(m);
    machine_descriptor(m, SEL_SPARE, machine_segment(DATA, 0x12345, 0x92, 0xc));
    RUN(m, asks);
    EXPECT_NOTES(m, 0xc09200, 0x12345fff, 0x40, 0);
}

/* ---- call gates ------------------------------------------------------------------------------ */

/* From level 3, with two parameters, through a gate to level 0 and back. */
GUEST(through_gate, 32,
      "pushl $0x33; pushl $0x7000; pushl $0x2b; pushl $" AT(through_gate, outside) "; lret\n"
      "outside: pushl $0x111; pushl $0x222; lcall $0x58, $0; mov %esp, %ebx; int $0x30\n"
      "inside: mov %esp, %eax; out %eax, $0xe9; mov 8(%esp), %eax; out %eax, $0xe9; "
      "mov 12(%esp), %eax\n"
      "out %eax, $0xe9; mov %cs, %eax; out %eax, $0xe9; mov %ss, %eax; out %eax, $0xe9; lret $8\n"
      "ends: mov %ebx, %eax; out %eax, $0xe9; out %al, $0xf4");
LABEL(inside);
LABEL(ends);

static void test_call_gate(void)
{
    g_autoptr(Machine) m = machine_new();
    uint32_t to = CODE + offset_of(through_gate, inside);

    machine_protected(m);
    machine_gate(m, 0x30, offset_of(through_gate, ends), 14, 3, 0);
    machine_descriptor(m, SEL_CALL_GATE, (to & 0xffff) | SEL_CODE << 16 |
                       UINT64_C(0x0000ec0200000000));
    RUN(m, through_gate);
    EXPECT_NOTES(m, INNER_STACK_TOP - 24, 0x222, 0x111, SEL_CODE, SEL_DATA, 0x7000);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

GUEST(switches, 32,
      "mov $0xabc, %esi; lcall $0x50, $0; mov %esi, %eax; out %eax, $0xe9\n"
      "str %eax; out %eax, $0xe9; mov %cr0, %eax; and $8, %eax; out %eax, $0xe9; out %al, $0xf4\n"
      "other: mov %esi, %eax; out %eax, $0xe9; str %eax; out %eax, $0xe9; pushf; pop %eax; "
      "and $0x4000, %eax\n"
      "out %eax, $0xe9; mov %esp, %eax; out %eax, $0xe9; iret; mov $0x55, %eax; out %eax, $0xe9; "
      "out %al, $0xf4");
LABEL(other);

static void put(Machine *m, uint32_t at, uint32_t v)
{
    memcpy(m->ram + at, &v, 4);
}

static void make_other_task(Machine *m, uint32_t eip)
{
    static const struct {
        unsigned at;
        uint32_t v;
    } fields[] = { { 28, 0 },         { 36, 2 },         { 56, 0x6000 },   { 64, 0x777 },
                      { 72, SEL_DATA },
                   { 76, SEL_CODE }, { 80, SEL_DATA }, { 84, SEL_DATA }, { 88, 0 },
                              { 92, 0 },
                   { 96, 0 },         { 100, 0x680000 } };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        put(m, OTHER_TSS_AT + fields[i].at, fields[i].v);
    put(m, OTHER_TSS_AT + 32, eip);
}

/* A call to another task and iret back: registers, NT, the link, the busy bits, CR0.TS. */
static void test_task_switch(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_protected(m);
    make_other_task(m, CODE + offset_of(switches, other));
    RUN(m, switches);
    EXPECT_NOTES(m, 0x777, SEL_OTHER_TSS, 0x4000, 0x6000, 0xabc, SEL_TSS, 8);
    g_assert_cmphex(*(uint16_t *)(m->ram + OTHER_TSS_AT), ==, SEL_TSS);
    g_assert_cmphex(m->ram[GDT_AT + SEL_OTHER_TSS + 5], ==, 0x89);
    g_assert_cmphex(m->ram[GDT_AT + SEL_TSS + 5], ==, 0x8b);
    /* The other task's saved EIP is after its iret. */
    g_assert_cmphex(*(uint32_t *)(m->ram + OTHER_TSS_AT + 32), >, CODE +
                    offset_of(switches, other) + 20);
}

GUEST(faults_to_task, 32,
      "mov %es:0x200, %eax\nerror_task: pop %eax; out %eax, $0xe9; out %al, $0xf4");
LABEL(error_task);

/* A fault through a task gate pushes its error code on the new task's stack. */
static void test_task_gate(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_protected(m);
    make_other_task(m, CODE + offset_of(faults_to_task, error_task));
    m->cpu.segment[X86_ES].limit = 0xff;
    put(m, IDT_AT + 8 * X86_GP, SEL_OTHER_TSS << 16);
    put(m, IDT_AT + 8 * X86_GP + 4, 0x8500);
    RUN(m, faults_to_task);
    EXPECT_NOTES(m, 0);
    g_assert_cmphex(*(uint32_t *)(m->ram + TSS_AT + 32), ==, CODE);
}

/* ---- virtual-8086 mode ----------------------------------------------------------------------- */

GUEST(to_v86, 32,
      "pushl $4; pushl $3; pushl $2; pushl $1; pushl $0x500; pushl $0x100; pushl $0x20002\n"
      "pushl $0x100; pushl $" AT(to_v86, v86) " - 0x1000; iret\n"
      ".code16\nv86: mov %ds, %bx; mov %bx, 0x10; mov $0x1234, %ax; int $0x21\n"
      ".code32\ncaught: pop %eax; out %eax, $0xe9; mov 8(%esp), %eax; and $0x20000, %eax; "
      "out %eax, $0xe9\n"
      "mov 20(%esp), %eax; out %eax, $0xe9; mov %ds, %eax; out %eax, $0xe9; out %al, $0xf4");
LABEL(caught);

static void test_v86(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_protected(m);
    machine_gate(m, X86_GP, offset_of(to_v86, caught), 14, 0, 0);
    RUN(m, to_v86);
    /* int n at IOPL 0 faults; the frame has the segments, which are null in the handler. */
    EXPECT_NOTES(m, 0, 0x20000, 1, 0);
    g_assert_cmphex(*(uint16_t *)(m->ram + 0x20 + 0x10), ==, 2);
}

/* ---- ports ----------------------------------------------------------------------------------- */

GUEST(uses_ports, 32, "in $0x44, %al; in $0x45, %al; out %al, $0xf4");

static void test_port_map(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_protected(m);
    m->ram[TSS_AT + 0x68 + 8] = 0xef; /* port 44h is free */
    m->cpu.cpl = 3;
    RUN_TO_EXCEPTION(m, uses_ports);
    expect_exception(m, X86_GP, 0);
    g_assert_cmphex(m->cpu.rip, ==, CODE + 2);
}

/* ---- debugging ------------------------------------------------------------------------------- */

GUEST(is_stepped, 64,
      "pushfq; orl $0x100, (%rsp); popfq; nop; mov %ss, %eax; mov %eax, %ss; nop; nop; ud2\n"
      "step: push %rax; mov 8(%rsp), %rax; out %eax, $0xe9; pop %rax; "
      "iretq\nstep_end: out %al, $0xf4");
LABEL(step);
LABEL(step_end);

/*
 * A trap after each instruction but that which loads SS, beginning after the one that follows popf.
 */
static void test_single_step(void)
{
    g_autoptr(Machine) m = machine_new();
    uint32_t base = CODE + 9;

    machine_long(m);
    machine_gate(m, X86_DB, offset_of(is_stepped, step), 14, 0, 0);
    machine_gate(m, X86_UD, offset_of(is_stepped, step_end), 14, 0, 0);
    RUN(m, is_stepped);
    EXPECT_NOTES(m, base + 1, base + 3, base + 6, base + 7);
    g_assert_true(m->cpu.dr[6] & 1 << 14);
}

GUEST(is_watched, 64,
      "mov $" AT(is_watched, stop) ", %eax; mov %rax, %dr0; mov $0x40008, %eax; mov %rax, %dr1\n"
      "mov $0xd00005, %eax; mov %rax, %dr7\n" /* DR0: code; DR1: 4 bytes, writes */
      "nop\nstop: mov 0x40008, %ebx; mov %eax, 0x4000a; nop; out %al, $0xf4\n"
      "caught_break: mov (%rsp), %rax; out %eax, $0xe9; mov %dr6, %rax; out %eax, $0xe9; "
      "xor %eax, %eax\n"
      "mov %rax, %dr6; orl $0x10000, 16(%rsp); iretq");
LABEL(stop);
LABEL(caught_break);

/*
 * A breakpoint stops before the instruction, once if RF is set for the return; a watch after the
 * write.
 */
static void test_breakpoints(void)
{
    g_autoptr(Machine) m = machine_new();
    uint32_t at = CODE + offset_of(is_watched, stop);

    machine_long(m);
    machine_gate(m, X86_DB, offset_of(is_watched, caught_break), 14, 0, 0);
    RUN(m, is_watched);
    EXPECT_NOTES(m, at, 0xffff0ff1, at + 14, 0xffff0ff2);
}

GUEST(guards, 64, "mov $0x2400, %eax; mov %rax, %dr7; mov %dr6, %rax");

/* DR7.GD: even looking at a debug register traps. */
static void test_general_detect(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    RUN_TO_EXCEPTION(m, guards);
    g_assert_cmpuint(m->cpu.exception.vector, ==, X86_DB);
    g_assert_true(m->cpu.dr[6] & 1 << 13);
}

/* ---- what is refused ------------------------------------------------------------------------- */

GUEST(bad_cr0, 64, "mov $0x80000000, %eax; mov %rax, %cr0");
GUEST(bad_cr4, 64, "xor %eax, %eax; mov %rax, %cr4");
GUEST(bad_msr, 64, "mov $0x12345, %ecx; rdmsr");
GUEST(bad_base, 64, "mov $0xc0000100, %ecx; mov $0x80000000, %edx; wrmsr");
GUEST(bad_address, 64, "movabs $0x800000000000, %rax; mov (%rax), %eax");
GUEST(bad_stack, 64, "movabs $0x800000001000, %rsp; push %rax");
GUEST(bad_jump, 64, "movabs $0x800000000000, %rax; jmp *%rax");

static void test_refused(void)
{
    static const struct {
        const uint8_t *code, *end;
        unsigned vector;
    } cases[] = {
        { bad_cr0, bad_cr0_end, X86_GP },   { bad_cr4, bad_cr4_end, X86_GP },
        { bad_msr, bad_msr_end, X86_GP },   { bad_base, bad_base_end, X86_GP },
        { bad_address, bad_address_end, X86_GP }, { bad_stack, bad_stack_end, X86_SS_FAULT },
        { bad_jump, bad_jump_end, X86_GP },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        g_autoptr(Machine) m = machine_new();

        machine_long(m);
        machine_run_to_exception(m, cases[i].code, cases[i].end - cases[i].code);
        expect_exception(m, cases[i].vector, 0);
    }
}

GUEST(misaligned, 64, "mov 1(%rbx), %eax");

/* #AC needs CR0.AM, EFLAGS.AC and level 3. */
static void test_alignment_check(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    m->cpu.gpr[X86_RBX] = DATA;
    m->cpu.cr0 |= X86_CR0_AM;
    m->cpu.flags |= X86_AC;
    m->cpu.cpl = 3;
    RUN_TO_EXCEPTION(m, misaligned);
    expect_exception(m, X86_AC_FAULT, 0);
}

GUEST(uses_fpu, 64, "fld1");
GUEST(uses_sse, 64, "xorps %xmm0, %xmm0");
GUEST(pending, 64,
      "fninit; movw $0x37e, 0x40000; fldcw 0x40000; fldz; fld1; fldz; fdivp; fsqrt; fnclex\n"
      "fchs; fld1; fchs; fsqrt; nop; fnop");

/* CR0.TS and EM, CR4.OSFXSR; an x87 exception shows at the next waiting instruction. */
static void test_float_state(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    m->cpu.cr0 |= X86_CR0_TS;
    RUN_TO_EXCEPTION(m, uses_fpu);
    g_assert_cmpuint(m->cpu.exception.vector, ==, X86_NM);
    m->cpu.rip = CODE;
    RUN_TO_EXCEPTION(m, uses_sse);
    g_assert_cmpuint(m->cpu.exception.vector, ==, X86_NM);
    m->cpu.cr0 &= ~(uint64_t)X86_CR0_TS;
    m->cpu.cr4 &= ~(uint64_t)X86_CR4_OSFXSR;
    m->cpu.rip = CODE;
    RUN_TO_EXCEPTION(m, uses_sse);
    g_assert_cmpuint(m->cpu.exception.vector, ==, X86_UD);
    m->cpu.rip = CODE;
    RUN_TO_EXCEPTION(m, pending);
    g_assert_cmpuint(m->cpu.exception.vector, ==, X86_MF);
    g_assert_cmphex(m->cpu.rip, ==, CODE + (pending_end - pending) - 2);
}

GUEST(
    reads_xcr, 64,
    "xor %ecx, %ecx; xgetbv; out %eax, $0xe9; inc %ecx; xgetbv; out %eax, $0xe9; inc %ecx; xgetbv");

/* XCR0, and with XSAVEC what is in use; others do not exist. */
static void test_extended_control_registers(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    m->cpu.cr4 |= X86_CR4_OSXSAVE;
    m->cpu.xcr0 = 3;
    RUN_TO_EXCEPTION(m, reads_xcr);
    g_assert_cmpuint(m->cpu.exception.vector, ==, X86_GP);
    EXPECT_NOTES(m, 3, 3);
    m->cpu.features &= ~X86_FEATURE(X86_F_XSAVEC);
    m->noted = 0;
    m->cpu.rip = CODE;
    RUN_TO_EXCEPTION(m, reads_xcr);
    EXPECT_NOTES(m, 3);
}

GUEST(uses_avx, 64, "vxorps %xmm1, %xmm0, %xmm0; mov $1, %eax; out %al, $0xf4");
GUEST(uses_bmi, 64, "andn %eax, %ebx, %ecx; mov $1, %eax; out %al, $0xf4");

/* @vector, or ~0u if it runs. */
static void expect_of(Machine *m, const uint8_t *code, const uint8_t *end, unsigned vector)
{
    m->cpu.rip = CODE;
    m->ended = false;
    m->cpu.stop_at_exceptions = true;
    machine_run_to_exit(m, code, end - code);
    if (vector == ~0u)
        g_assert_true(m->ended);
    else
        g_assert_cmpuint(m->cpu.exception.vector, ==, vector);
    g_assert_cmpint(m->ended, ==, vector == ~0u);
}

/* CR4.OSXSAVE and both bits of XCR0, then CR0.TS; a model without AVX, or without BMI. */
static void test_avx_is_enabled(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    m->cpu.xcr0 = 7;
    expect_of(m, uses_avx, uses_avx_end, X86_UD);
    m->cpu.cr4 |= X86_CR4_OSXSAVE;
    m->cpu.xcr0 = 3;
    expect_of(m, uses_avx, uses_avx_end, X86_UD);
    m->cpu.xcr0 = 7;
    expect_of(m, uses_avx, uses_avx_end, ~0u);
    m->cpu.cr0 |= X86_CR0_TS;
    expect_of(m, uses_avx, uses_avx_end, X86_NM);
    expect_of(m, uses_bmi, uses_bmi_end, ~0u);
    m->cpu.cr0 &= ~(uint64_t)X86_CR0_TS;
}

static void test_avx_is_announced(void)
{
    g_autoptr(Machine) m = machine_new();

    m->cpu.features &= ~(X86_FEATURE(X86_F_AVX) | X86_FEATURE(X86_F_BMI1));
    machine_long(m);
    m->cpu.cr4 |= X86_CR4_OSXSAVE;
    m->cpu.xcr0 = 7;
    expect_of(m, uses_avx, uses_avx_end, X86_UD);
    expect_of(m, uses_bmi, uses_bmi_end, X86_UD);
}

GUEST(sets_xcr, 64,
      "xor %ecx, %ecx; xor %edx, %edx; mov %ebx, %eax; xsetbv; xgetbv; out %al, $0xf4");

/* The upper halves need SSE, x87 is always there, and a model without AVX has no third bit. */
static void test_xcr0_values(void)
{
    static const struct {
        unsigned value;
        bool avx, ok;
    } values[] = { { 7, true, true },  { 5, true, false }, { 3, true, true }, { 2, true, false },
                   { 6, true, false }, { 7, false, false }, { 15, true, false } };

    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        g_autoptr(Machine) m = machine_new();

        machine_long(m);
        if (!values[i].avx)
            m->cpu.features &= ~X86_FEATURE(X86_F_AVX);
        m->cpu.cr4 |= X86_CR4_OSXSAVE;
        m->cpu.gpr[X86_RBX] = values[i].value;
        expect_of(m, sets_xcr, sets_xcr_end, values[i].ok ? ~0u : X86_GP);
        if (values[i].ok)
            g_assert_cmpuint(m->result, ==, values[i].value);
    }
}

/*
 * What YMM registers hold is saved and comes back; vzeroupper makes the component an unused one,
 * which xsavec leaves out; restoring without it clears the halves, without asking for it keeps
 * them.
 */
GUEST(saves_ymm, 64,
      "mov $7, %eax; xor %edx, %edx; mov $0x40000, %edi; mov $0x41000, %esi\n"
      "vpcmpeqd %ymm3, %ymm3, %ymm3; vmovdqu %ymm3, (%rsi); xsave (%rdi)\n"
      "mov 512(%rdi), %ebx; mov 624(%rdi), %ecx\n"
      "vzeroupper; vextractf128 $1, %ymm3, %xmm4; vmovd %xmm4, %ebp\n"
      "mov $7, %eax; xrstor (%rdi); vextractf128 $1, %ymm3, %xmm4; vmovd %xmm4, %r8d\n"
      "mov $3, %eax; xsavec 0x1000(%rdi); mov $7, %eax; vzeroupper; xsavec 0x800(%rdi)\n"
      "mov 0xa00(%rdi), %r9d; mov 0xa08(%rdi), %r10\n"
      "mov $4, %eax; xrstor (%rdi); mov $3, %eax; xrstor 0x1000(%rdi)\n"
      "vextractf128 $1, %ymm3, %xmm4; vmovd %xmm4, %r11d; mov $7, %eax; xrstor 0x800(%rdi)\n"
      "vextractf128 $1, %ymm3, %xmm4; vmovd %xmm4, %r12d; mov $1, %eax; out %al, $0xf4");

static void test_saved_ymm(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    m->cpu.cr4 |= X86_CR4_OSXSAVE;
    m->cpu.xcr0 = 7;
    RUN(m, saves_ymm);
    g_assert_cmphex(m->cpu.gpr[X86_RBX] & 6, ==, 6);
    g_assert_cmphex(m->cpu.gpr[X86_RCX], ==, UINT32_MAX);
    g_assert_cmphex(m->cpu.gpr[X86_RBP], ==, 0);
    g_assert_cmphex(m->cpu.gpr[8], ==, UINT32_MAX);
    g_assert_cmphex(m->cpu.gpr[9] & 6, ==, 2);
    g_assert_cmphex(m->cpu.gpr[10], ==, UINT64_C(0x8000000000000007));
    g_assert_cmphex(m->cpu.gpr[11], ==, UINT32_MAX);
    g_assert_cmphex(m->cpu.gpr[12], ==, 0);
}

/* Kernels use these hints on every processor with long mode, whatever it announces. */
GUEST(hints, 64,
      "prefetchw (%rbx, %rax); prefetch (%rbx); nopw 0(%rax); endbr64; pause; rep bsf %eax, %ecx\n"
      "mov $1, %eax; out %eax, $0xe9; out %al, $0xf4");

static void test_hints_of_old_processors(void)
{
    g_autoptr(Machine) m = machine_new();

    m->cpu.features = X86_FEATURE(X86_F_BASE) | X86_FEATURE(X86_F_LONG) | X86_FEATURE(X86_F_MSR) |
                      X86_FEATURE(X86_F_SSE2);
    machine_long(m);
    RUN(m, hints);
    EXPECT_NOTES(m, 1);
}

/* Each once interpreted and once translated. */
TRANSLATED(test_modes)
TRANSLATED(test_hints_of_old_processors)
TRANSLATED(test_extended_control_registers)
TRANSLATED(test_avx_is_enabled)
TRANSLATED(test_avx_is_announced)
TRANSLATED(test_xcr0_values)
TRANSLATED(test_saved_ymm)
TRANSLATED(test_real_interrupt)
TRANSLATED(test_big_real)
TRANSLATED(test_interrupt_from_user)
TRANSLATED(test_gate_privilege)
TRANSLATED(test_interrupt_stack_table)
TRANSLATED(test_double_and_triple_fault)
TRANSLATED(test_external_interrupt)
TRANSLATED(test_syscall)
TRANSLATED(test_segment_checks)
TRANSLATED(test_stack_segment_checks)
TRANSLATED(test_selector_questions)
TRANSLATED(test_call_gate)
TRANSLATED(test_task_switch)
TRANSLATED(test_task_gate)
TRANSLATED(test_v86)
TRANSLATED(test_port_map)
TRANSLATED(test_single_step)
TRANSLATED(test_breakpoints)
TRANSLATED(test_general_detect)
TRANSLATED(test_refused)
TRANSLATED(test_alignment_check)
TRANSLATED(test_float_state)

const Test tests[] = {
    { "/x86/system/modes", test_modes },
    { "/x86/system/modes-translated", test_modes_translated },
    { "/x86/system/real-interrupt", test_real_interrupt },
    { "/x86/system/real-interrupt-translated", test_real_interrupt_translated },
    { "/x86/system/big-real", test_big_real },
    { "/x86/system/big-real-translated", test_big_real_translated },
    { "/x86/system/interrupt-from-user", test_interrupt_from_user },
    { "/x86/system/interrupt-from-user-translated", test_interrupt_from_user_translated },
    { "/x86/system/gate-privilege", test_gate_privilege },
    { "/x86/system/gate-privilege-translated", test_gate_privilege_translated },
    { "/x86/system/interrupt-stack-table", test_interrupt_stack_table },
    { "/x86/system/interrupt-stack-table-translated", test_interrupt_stack_table_translated },
    { "/x86/system/double-and-triple-fault", test_double_and_triple_fault },
    { "/x86/system/double-and-triple-fault-translated", test_double_and_triple_fault_translated },
    { "/x86/system/external-interrupt", test_external_interrupt },
    { "/x86/system/external-interrupt-translated", test_external_interrupt_translated },
    { "/x86/system/syscall", test_syscall },
    { "/x86/system/syscall-translated", test_syscall_translated },
    { "/x86/system/segment-checks", test_segment_checks },
    { "/x86/system/segment-checks-translated", test_segment_checks_translated },
    { "/x86/system/stack-segment-checks", test_stack_segment_checks },
    { "/x86/system/stack-segment-checks-translated", test_stack_segment_checks_translated },
    { "/x86/system/selector-questions", test_selector_questions },
    { "/x86/system/selector-questions-translated", test_selector_questions_translated },
    { "/x86/system/call-gate", test_call_gate },
    { "/x86/system/call-gate-translated", test_call_gate_translated },
    { "/x86/system/task-switch", test_task_switch },
    { "/x86/system/task-switch-translated", test_task_switch_translated },
    { "/x86/system/task-gate", test_task_gate },
    { "/x86/system/task-gate-translated", test_task_gate_translated },
    { "/x86/system/v86", test_v86 },
    { "/x86/system/v86-translated", test_v86_translated },
    { "/x86/system/port-map", test_port_map },
    { "/x86/system/port-map-translated", test_port_map_translated },
    { "/x86/system/single-step", test_single_step },
    { "/x86/system/single-step-translated", test_single_step_translated },
    { "/x86/system/breakpoints", test_breakpoints },
    { "/x86/system/breakpoints-translated", test_breakpoints_translated },
    { "/x86/system/general-detect", test_general_detect },
    { "/x86/system/general-detect-translated", test_general_detect_translated },
    { "/x86/system/refused", test_refused },
    { "/x86/system/refused-translated", test_refused_translated },
    { "/x86/system/alignment-check", test_alignment_check },
    { "/x86/system/alignment-check-translated", test_alignment_check_translated },
    { "/x86/system/extended-control-registers", test_extended_control_registers },
    { "/x86/system/extended-control-registers-translated",
      test_extended_control_registers_translated },
    { "/x86/system/hints-of-old-processors", test_hints_of_old_processors },
    { "/x86/system/hints-of-old-processors-translated", test_hints_of_old_processors_translated },
    { "/x86/system/avx-is-enabled", test_avx_is_enabled },
    { "/x86/system/avx-is-enabled-translated", test_avx_is_enabled_translated },
    { "/x86/system/avx-is-announced", test_avx_is_announced },
    { "/x86/system/avx-is-announced-translated", test_avx_is_announced_translated },
    { "/x86/system/xcr0-values", test_xcr0_values },
    { "/x86/system/xcr0-values-translated", test_xcr0_values_translated },
    { "/x86/system/saved-ymm", test_saved_ymm },
    { "/x86/system/saved-ymm-translated", test_saved_ymm_translated },
    { "/x86/system/float-state", test_float_state },
    { "/x86/system/float-state-translated", test_float_state_translated },
    {}
};

#else

static void test_no_assembler(void)
{
    test_skip("guest code is assembled by the host's compiler, which is none for x86-64");
}

const Test tests[] = { { "/x86/system", test_no_assembler }, {} };

#endif
