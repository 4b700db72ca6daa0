/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What translated code has to get right beyond single instructions: code that changes, memory that
 * moves.
 */
#include "tests/lib/harness.h"

#if defined(__x86_64__)

#include "target/x86/mmu.h"
#include "target/x86/translate.h"
#include "tests/x86/lib/machine.h"
#include <stdio.h>
#include <string.h>

static Machine *translating(void)
{
    Machine *m;

    machine_translates = true;
    m = machine_new();
    machine_long(m);
    return m;
}

/*
 * A loop changes the immediate of an instruction of its own page, before it and right after the
 * store.
 */
GUEST(modifies, 64,
      "xor %ebx, %ebx; mov $5, %ecx\n"
      "again: incb " AT(modifies, changed) " + 1\n"
      "changed: mov $0, %al\n"
      "movzbl %al, %eax; add %eax, %ebx; dec %ecx; jnz again\n"
      "mov %ebx, %eax; out %eax, $0xe9; out %al, $0xf4");

static void test_self_modifying(void)
{
    g_autoptr(Machine) m = translating();

    RUN(m, modifies);
    g_assert_cmpuint(m->notes[0], ==, 1 + 2 + 3 + 4 + 5);
}

/* The page a function is on is replaced by another by its page table entry and invlpg. */
GUEST(remaps, 64,
      "movl $0xc301b0, 0x40000; movl $0xc302b0, 0x50000\n" /* mov al, 1 or 2; ret */
      "mov $0x40000, %edi; call *%rdi; movzbl %al, %eax; out %eax, $0xe9\n"
      "movq $0x50007, 0x13200; invlpg 0x40000\n"
      "call *%rdi; movzbl %al, %eax; out %eax, $0xe9; out %al, $0xf4");

static void test_remapped_code(void)
{
    g_autoptr(Machine) m = translating();

    RUN(m, remaps);
    g_assert_cmpuint(m->notes[0], ==, 1);
    g_assert_cmpuint(m->notes[1], ==, 2);
}

/* Code is written through another mapping of its page. */
GUEST(aliases, 64,
      "movq $0x40007, 0x13280\n" /* 0x50000 is the same page as 0x40000 */
      "movl $0xc301b0, 0x40000; mov $0x40000, %edi; call *%rdi; call *%rdi\n"
      "movb $7, 0x50001; call *%rdi; movzbl %al, %eax; out %eax, $0xe9; out %al, $0xf4");

static void test_aliased_code(void)
{
    g_autoptr(Machine) m = translating();

    RUN(m, aliases);
    g_assert_cmpuint(m->notes[0], ==, 7);
}

/* A fault in the middle of a block finds the registers and flags of its instruction. */
GUEST(faults_in_block, 64,
      "mov $1, %eax; mov $7, %r9d; cmp $2, %eax; mov %r9, 0x40000; mov $9, %eax; stc");

static void test_fault_in_block(void)
{
    g_autoptr(Machine) m = translating();

    *machine_pte(m, DATA) = 0;
    RUN_TO_EXCEPTION(m, faults_in_block);
    g_assert_cmpuint(m->cpu.exception.vector, ==, X86_PF_FAULT);
    g_assert_cmphex(m->cpu.rip, ==, CODE + 5 + 6 + 3);
    g_assert_cmpuint(m->cpu.gpr[X86_RAX], ==, 1);
    g_assert_cmpuint(m->cpu.gpr[9], ==, 7);
    g_assert_cmphex(m->cpu.flags & X86_ARITH, ==, X86_CF | X86_AF | X86_SF | X86_PF);
}

/* An address that is not canonical is no other name of a page, whether that is at hand or not. */
GUEST(not_canonical, 64,
      "mov $1, %eax; movabs $0x8000000000040000, %rdi; mov (%rdi), %rax; mov 0x40000, %rax");

static void test_not_canonical(void)
{
    for (unsigned known = 0; known < 2; known++) {
        g_autoptr(Machine) m = translating();

        if (known)
            x86_fast_fill(&m->cpu, DATA, false);
        RUN_TO_EXCEPTION(m, not_canonical);
        g_assert_cmpuint(m->cpu.exception.vector, ==, X86_GP);
        g_assert_cmphex(m->cpu.rip, ==, CODE + 5 + 10);
        g_assert_cmpuint(m->cpu.gpr[X86_RAX], ==, 1);
    }
}

/* An endless loop of chained blocks ends when another thread wants it. */
GUEST(loops, 64, "1: incl 0x40000; inc %eax; test $1, %al; jz 1b; jmp 1b");

static void *stop_soon(void *arg)
{
    Machine *m = arg;

    while (__atomic_load_n((uint32_t *)(m->ram + DATA), __ATOMIC_RELAXED) < 1000)
        g_usleep(1000);
    __atomic_or_fetch(&m->cpu.events, X86_EVENT_STOP, __ATOMIC_SEQ_CST);
    return NULL;
}

static void test_stop(void)
{
    g_autoptr(Machine) m = translating();
    GThread *t = g_thread_new("stop", stop_soon, m);

    g_assert_cmpint(machine_run_to_exit(m, loops, loops_end - loops), ==, X86_RAN);
    g_thread_join(t);
    g_assert_cmpuint(m->cpu.gpr[X86_RAX], >, 1000);
}

/* Many pages of code, in a buffer that holds a part of them: all is made again and again. */
GUEST(calls_pages, 64,
      "mov $3, %ebp\n"
      "2: mov $0x100000 - 0x1000, %edi; xor %ebx, %ebx\n"
      "1: call *%rdi; sub $0x1000, %edi; cmp $0x20000, %edi; ja 1b\n"
      "dec %ebp; jnz 2b; mov %ebx, %eax; out %eax, $0xe9; out %al, $0xf4");

static void test_bounded_code(void)
{
    g_autoptr(Machine) m = translating();
    static const uint8_t function[] = { 0xff, 0xc3, 0xc3 }; /* inc ebx; ret */

    x86_translator_free(&m->cpu);
    g_assert_true(x86_translator_init(&m->cpu, 1));
    for (uint32_t at = 0x21000; at < 0x100000; at += 0x1000)
        memcpy(m->ram + at, function, sizeof(function));
    RUN(m, calls_pages);
    g_assert_cmpuint(m->notes[0], ==, 0x100 - 0x21);
}

/* Writes to a page table that stands on a page of code, and code that is a stack. */
GUEST(stack_on_code, 64,
      "mov $" AT(stack_on_code, here) ", %esp; mov $0x90909090, %eax\n"
      "movabs $0x04b0c3c3c3c3c3c3, %rbx; push %rbx\n"
      "jmp .Lnext\n.Lnext: nop; jmp before\n"
      ".skip 32, 0x90\n"
      "before: nop; nop; nop; nop; nop; nop; mov $3, %al\n"
      "here: movzbl %al, %eax; out %eax, $0xe9; out %al, $0xf4");

static void test_stack_on_code(void)
{
    g_autoptr(Machine) m = translating();

    /* The push has replaced six nops and "mov al, 3" by six rets and "mov al, 4". */
    m->ram[STACK_TOP] = 0;
    RUN_TO_EXCEPTION(m, stack_on_code);
    /* The first ret takes what was pushed as an address, which is not canonical. */
    g_assert_cmpuint(m->cpu.exception.vector, ==, X86_GP);
}

/* Data on the page of the code that writes it; code that is changed, and changed back. */
GUEST(mixed, 64,
      "xor %ebx, %ebx; mov $1000, %ecx\n"
      "1: incl " AT(mixed, counter) "\n"
      "2: add $1, %ebx; dec %ecx; jnz 1b\n"
      "mov " AT(mixed, counter) ", %eax; out %eax, $0xe9; mov %ebx, %eax; out %eax, $0xe9\n"
      "mov $20, %ecx; xor %ebx, %ebx\n"
      "3: call changing; xorb $3, " AT(mixed, changing) " + 1; dec %ecx; jnz 3b\n"
      "mov %ebx, %eax; out %eax, $0xe9; out %al, $0xf4\n"
      ".balign 64\n"
      "changing: mov $1, %al; movzbl %al, %eax; add %eax, %ebx; ret\n"
      ".balign 64\n"
      "counter: .long 0");

static void test_data_among_code(void)
{
    g_autoptr(Machine) m = translating();

    RUN(m, mixed);
    g_assert_cmpuint(m->notes[0], ==, 1000);
    g_assert_cmpuint(m->notes[1], ==, 1000);
    g_assert_cmpuint(m->notes[2], ==, 10 * (1 + 2));
}

/* The same address leads to other code in another address space, by jump, call and return. */
GUEST(spaces, 64,
      "mov $6, %ecx; mov $0x15000, %edi; mov $0x10000, %esi\n"
      "1: mov %rdi, %cr3; xchg %rdi, %rsi; mov $0x40000, %edx; call *%rdx\n"
      "movzbl %al, %eax; out %eax, $0xe9; dec %ecx; jnz 1b; out %al, $0xf4");

static void test_address_spaces(void)
{
    g_autoptr(Machine) m = translating();
    static const uint8_t one[] = { 0xb0, 1, 0xc3 }, two[] = { 0xb0, 2, 0xc3 };

    memcpy(m->ram + 0x40000, one, sizeof(one));
    memcpy(m->ram + 0x50000, two, sizeof(two));
    /* Other tables in which 40000 is 50000. */
    for (unsigned level = 0; level < 4; level++)
        memcpy(m->ram + 0x15000 + level * 4096, m->ram + PAGES_AT + level * 4096, 4096);
    for (unsigned level = 0; level < 3; level++)
        *(uint64_t *)(m->ram + 0x15000 + level * 4096) = (0x16000 + level * 4096) | 7;
    *(uint64_t *)(m->ram + 0x18000 + 0x40 * 8) = 0x50007;
    RUN(m, spaces);
    for (unsigned i = 0; i < 6; i++)
        g_assert_cmpuint(m->notes[i], ==, i & 1 ? 1 : 2);
}

/* An interrupt that waits is served after the instruction behind sti, also if that is a jump. */
GUEST(opens, 64,
      "mov $1, %eax; jmp 1f\n"
      ".skip 40, 0x90\n"
      "1: cli; mov $2, %eax; sti; jmp 2f; 2: mov $3, %eax; jmp 3f; 3: mov $4, %eax\n"
      "out %eax, $0xe9; out %al, $0xf4\n"
      "opened: out %eax, $0xe9; iretq");

extern const uint8_t opened[];

static void test_opened_by_sti(void)
{
    g_autoptr(Machine) m = translating();

    machine_gate(m, 0x50, opened - opens, 14, 0, 0);
    for (unsigned round = 0; round < 3; round++) {
        m->cpu.rip = CODE;
        m->cpu.flags &= ~X86_IF;
        m->noted = 0;
        m->pending = 0x50;
        m->cpu.events = X86_EVENT_INTERRUPT;
        m->ended = false;
        machine_run_to_exit(m, opens, opens_end - opens);
        g_assert_true(m->ended);
        g_assert_cmpuint(m->noted, ==, 2);
        g_assert_cmpuint(m->notes[0], ==, 2);
        g_assert_cmpuint(m->notes[1], ==, 4);
    }
}

/* A device writes code that has run. */
GUEST(is_written, 64,
      "mov $0x40000, %edi; mov $8, %ecx\n"
      "1: call *%rdi; movzbl %al, %eax; out %eax, $0xe9; in $0x77, %al; dec %ecx; jnz 1b\n"
      "out %al, $0xf4");

static uint64_t write_code(void *opaque, uint16_t port, unsigned size)
{
    Machine *m = opaque;

    m->ram[0x40001]++;
    x86_code_written(m->cpu.code_pages, 0x40001, 1);
    return 0;
}

static void test_code_from_device(void)
{
    g_autoptr(Machine) m = translating();
    static const uint8_t function[] = { 0xb0, 0, 0xc3 };
    X86Machine parts = *m->cpu.machine;

    parts.port_read = write_code;
    m->cpu.machine = &parts;
    memcpy(m->ram + 0x40000, function, sizeof(function));
    RUN(m, is_written);
    for (unsigned i = 0; i < 8; i++)
        g_assert_cmpuint(m->notes[i], ==, i);
}

const Test tests[] = {
    { "/x86/translate/self-modifying", test_self_modifying },
    { "/x86/translate/remapped-code", test_remapped_code },
    { "/x86/translate/aliased-code", test_aliased_code },
    { "/x86/translate/fault-in-block", test_fault_in_block },
    { "/x86/translate/stop", test_stop },
    { "/x86/translate/bounded-code", test_bounded_code },
    { "/x86/translate/stack-on-code", test_stack_on_code },
    { "/x86/translate/not-canonical", test_not_canonical },
    { "/x86/translate/data-among-code", test_data_among_code },
    { "/x86/translate/address-spaces", test_address_spaces },
    { "/x86/translate/opened-by-sti", test_opened_by_sti },
    { "/x86/translate/code-from-device", test_code_from_device },
    {}
};

#else

static void test_no_assembler(void)
{
    test_skip("guest code is assembled by the host's compiler, which is none for x86-64");
}

const Test tests[] = { { "/x86/translate", test_no_assembler }, {} };

#endif
