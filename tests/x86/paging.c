/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page faults and their error codes, accessed and dirty bits, protection keys of the supervisor,
 * the TLB.
 */
#include "tests/lib/harness.h"

#if defined(__x86_64__)

#include "target/x86/mmu.h"
#include "tests/x86/lib/machine.h"

enum { P = 1, W = 2, U = 4, A = 1 << 5, D = 1 << 6, G = 1 << 8 };
#define NX (UINT64_C(1) << 63)

/* Makes programs of level 3 of what runs at level 0. */
static void to_user(Machine *m)
{
    m->cpu.segment[X86_CS].selector = SEL_USER_CODE;
    m->cpu.segment[X86_CS].rights |= 3 << X86_AR_DPL_SHIFT;
    m->cpu.segment[X86_SS].selector = SEL_USER_DATA;
    m->cpu.segment[X86_SS].rights |= 3 << X86_AR_DPL_SHIFT;
    m->cpu.cpl = 3;
}

static void expect_fault(Machine *m, uint32_t error, uint64_t address)
{
    g_assert_cmpuint(m->cpu.exception.vector, ==, X86_PF_FAULT);
    g_assert_cmphex(m->cpu.exception.error, ==, error);
    g_assert_cmphex(m->cpu.cr2, ==, address);
}

GUEST(read_data, 64, "mov 0x40010, %eax");
GUEST(write_data, 64, "mov $1, %eax; mov %eax, 0x40010");
GUEST(run_data, 64, "mov $0x40010, %eax; jmp *%rax");
GUEST(read_end, 64, "mov 0x40010, %eax; out %al, $0xf4");
GUEST(write_end, 64, "mov %eax, 0x40010; out %al, $0xf4");

/* What is not there faults with P clear, W for writes, U at level 3, I for fetches. */
static void test_not_present(void)
{
    for (unsigned user = 0; user < 2; user++) {
        g_autoptr(Machine) m = machine_new();

        machine_long(m);
        *machine_pte(m, DATA) = 0;
        if (user)
            to_user(m);
        RUN_TO_EXCEPTION(m, read_data);
        expect_fault(m, user * X86_PFE_U, DATA + 16);
        m->cpu.rip = CODE;
        RUN_TO_EXCEPTION(m, write_data);
        expect_fault(m, X86_PFE_W | user * X86_PFE_U, DATA + 16);
        m->cpu.rip = CODE;
        RUN_TO_EXCEPTION(m, run_data);
        expect_fault(m, X86_PFE_I | user * X86_PFE_U, DATA + 16);
    }
}

/*
 * Protection faults have P set; CR0.WP decides whether the supervisor may write what is read-only.
 */
static void test_protection(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    *machine_pte(m, DATA) = DATA | P | U;
    RUN_TO_EXCEPTION(m, write_data);
    expect_fault(m, X86_PFE_P | X86_PFE_W, DATA + 16);
    m->cpu.cr0 &= ~(uint64_t)X86_CR0_WP;
    m->cpu.rip = CODE;
    RUN(m, write_end);
    m->cpu.cr0 |= X86_CR0_WP;
    *machine_pte(m, DATA) = DATA | P | W;
    x86_tlb_flush(&m->cpu);
    to_user(m);
    m->cpu.rip = CODE;
    RUN_TO_EXCEPTION(m, read_data);
    expect_fault(m, X86_PFE_P | X86_PFE_U, DATA + 16);
}

static void test_no_execute(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    *machine_pte(m, DATA) |= NX;
    RUN_TO_EXCEPTION(m, run_data);
    expect_fault(m, X86_PFE_P | X86_PFE_I, DATA + 16);
    /* Without EFER.NXE the bit is reserved. */
    m->cpu.efer &= ~(uint64_t)X86_EFER_NXE;
    x86_tlb_flush(&m->cpu);
    m->cpu.rip = CODE;
    RUN_TO_EXCEPTION(m, read_data);
    expect_fault(m, X86_PFE_P | X86_PFE_RSVD, DATA + 16);
}

/* Address bits the processor does not have are reserved. */
static void test_reserved_bits(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    *machine_pte(m, DATA) |= UINT64_C(1) << 41;
    RUN_TO_EXCEPTION(m, write_data);
    expect_fault(m, X86_PFE_P | X86_PFE_RSVD | X86_PFE_W, DATA + 16);
}

/* Reading sets A, writing sets D too, in all tables A; a fault sets nothing in the page's entry. */
static void test_accessed_and_dirty(void)
{
    g_autoptr(Machine) m = machine_new();
    uint64_t *pte;

    machine_long(m);
    pte = machine_pte(m, DATA);
    RUN(m, read_end);
    g_assert_cmphex(*pte & (A | D), ==, A);
    g_assert_cmphex(*(uint64_t *)(m->ram + PAGES_AT) & A, ==, A);
    m->cpu.rip = CODE;
    m->ended = false;
    RUN(m, write_end);
    g_assert_cmphex(*pte & (A | D), ==, A | D);
    *pte = DATA | P | U;
    x86_tlb_flush(&m->cpu);
    m->cpu.rip = CODE;
    RUN_TO_EXCEPTION(m, write_data);
    g_assert_cmphex(*pte & (A | D), ==, 0);
}

/*
 * invlpg drops all of a large page, whichever of its addresses it names, and global pages, which a
 * load of CR3 keeps.
 */
GUEST(large, 64,
      "mov 0x41000, %eax; out %eax, $0xe9; mov 0x42000, %eax; out %eax, $0xe9\n"
      "movq $0x14007, 0x12000; invlpg 0x41000\n" /* the table of small pages instead */
      "mov 0x42000, %eax; out %eax, $0xe9\n"
      "movq $0x45107, 0x14218; mov 0x43000, %eax; out %eax, $0xe9\n"
      "movq $0x46107, 0x14218; mov %cr3, %rax; mov %rax, %cr3; mov 0x43000, %eax; out %eax, $0xe9\n"
      "invlpg 0x43000; mov 0x43000, %eax; out %eax, $0xe9; out %al, $0xf4");

static void test_large_and_global(void)
{
    g_autoptr(Machine) m = machine_new();
    uint64_t *small, *pde;

    machine_long(m);
    m->cpu.cr4 |= X86_CR4_PGE;
    /* A second table, which has another page at 42000. */
    small = (uint64_t *)(m->ram + 0x14000);
    for (unsigned i = 0; i < 512; i++)
        small[i] = i * 4096 | P | W | U;
    small[0x42] = 0x44000 | P | W | U;
    pde = (uint64_t *)(m->ram + PAGES_AT + 2 * 4096);
    *pde = P | W | U | 1 << 7;
    for (unsigned i = 1; i < 7; i++)
        m->ram[0x40000 + i * 4096] = i;
    RUN(m, large);
    g_assert_cmpuint(m->notes[0], ==, 1);
    g_assert_cmpuint(m->notes[1], ==, 2);
    g_assert_cmpuint(m->notes[2], ==, 4);
    g_assert_cmpuint(m->notes[3], ==, 5);
    g_assert_cmpuint(m->notes[4], ==, 5);
    g_assert_cmpuint(m->notes[5], ==, 6);
}

/* SMEP: the supervisor does not run the users' pages. */
static void test_smep(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    *machine_pte(m, CODE) = CODE | P | W;
    m->cpu.cr4 |= X86_CR4_SMEP;
    RUN_TO_EXCEPTION(m, run_data);
    expect_fault(m, X86_PFE_P | X86_PFE_I, DATA + 16);
}

GUEST(with_stac, 64, "stac; mov 0x40010, %eax; clac; mov 0x40010, %eax");

/* SMAP: nor does it use them as data, but with AC set. */
static void test_smap(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    m->cpu.cr4 |= X86_CR4_SMAP;
    RUN_TO_EXCEPTION(m, read_data);
    expect_fault(m, X86_PFE_P, DATA + 16);
    m->cpu.rip = CODE;
    RUN_TO_EXCEPTION(m, with_stac);
    expect_fault(m, X86_PFE_P, DATA + 16);
    g_assert_cmphex(m->cpu.rip, ==, CODE + 3 + 7 + 3);
}

GUEST(invalidates, 64,
      "mov 0x40000, %eax; out %eax, $0xe9\n"
      "movq $0x50007, 0x13200\n" /* the entry of DATA now leads to 0x50000 */
      "invlpg 0x40000; mov 0x40000, %eax; out %eax, $0xe9\n"
      "movq $0x40007, 0x13200; mov %cr3, %rax; mov %rax, %cr3\n"
      "mov 0x40000, %eax; out %eax, $0xe9; out %al, $0xf4");

/* After invlpg, and after a load of CR3, the new translation counts. */
static void test_invalidation(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    m->ram[DATA] = 4;
    m->ram[0x50000] = 5;
    RUN(m, invalidates);
    g_assert_cmpuint(m->notes[0], ==, 4);
    g_assert_cmpuint(m->notes[1], ==, 5);
    g_assert_cmpuint(m->notes[2], ==, 4);
}

GUEST(pcids, 64,
      "mov 0x40000, %eax\n"                                     /* in PCID 0 */
      "mov $0x10001, %eax; mov %rax, %cr3; mov 0x40000, %eax\n" /* in PCID 1 */
      "movq $0x50007, 0x13200\n"
      "movabs $0x8000000000010000, %rax; mov %rax, %cr3\n"      /* PCID 0 with nothing flushed */
      "mov 0x40000, %eax; out %eax, $0xe9\n"
      "mov $0x10001, %eax; mov %rax, %cr3; mov 0x40000, %eax; out %eax, $0xe9; out %al, $0xf4");

/* With bit 63 a load of CR3 keeps the translations of its PCID; without it they go. */
static void test_pcid(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    m->cpu.cr4 |= X86_CR4_PCIDE;
    m->ram[DATA] = 4;
    m->ram[0x50000] = 5;
    RUN(m, pcids);
    /* An entry may be dropped at any time, so the first answer may be either. */
    g_assert_true(m->notes[0] == 4 || m->notes[0] == 5);
    g_assert_cmpuint(m->notes[1], ==, 5);
}

/* 32-bit paging with a page of 4 MiB, and PAE with one of 2 MiB. */
GUEST(legacy, 32,
      "movl $0x87, 0x20000\n" /* 4 MiB at 0 */
      "mov $0x10, %eax; mov %eax, %cr4; mov $0x20000, %eax; mov %eax, %cr3\n"
      "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
      "mov 0x40000, %eax; out %eax, $0xe9\n"
      "mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
      "movl $0x22001, 0x21000; movl $0, 0x21004; movl $0x87, 0x22000; movl $0, 0x22004\n"
      "mov $0x20, %eax; mov %eax, %cr4; mov $0x21000, %eax; mov %eax, %cr3\n"
      "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
      "mov 0x40000, %eax; out %eax, $0xe9; out %al, $0xf4");

static void test_legacy_formats(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_protected(m);
    m->ram[DATA] = 9;
    RUN(m, legacy);
    g_assert_cmpuint(m->noted, ==, 2);
    g_assert_cmpuint(m->notes[0], ==, 9);
    g_assert_cmpuint(m->notes[1], ==, 9);
}

/* An access across two pages of which the second is missing changes nothing on the first. */
GUEST(crosses, 64, "movq $-1, 0x40ffc");

static void test_crossing_is_all_or_nothing(void)
{
    g_autoptr(Machine) m = machine_new();

    machine_long(m);
    *machine_pte(m, DATA + 4096) = 0;
    RUN_TO_EXCEPTION(m, crosses);
    expect_fault(m, X86_PFE_W, DATA + 4096);
    g_assert_cmphex(*(uint32_t *)(m->ram + DATA + 4092), ==, 0);
}

/* Each once interpreted and once translated. */
TRANSLATED(test_not_present)
TRANSLATED(test_protection)
TRANSLATED(test_no_execute)
TRANSLATED(test_reserved_bits)
TRANSLATED(test_accessed_and_dirty)
TRANSLATED(test_large_and_global)
TRANSLATED(test_smep)
TRANSLATED(test_smap)
TRANSLATED(test_invalidation)
TRANSLATED(test_pcid)
TRANSLATED(test_legacy_formats)
TRANSLATED(test_crossing_is_all_or_nothing)

const Test tests[] = {
    { "/x86/paging/not-present", test_not_present },
    { "/x86/paging/not-present-translated", test_not_present_translated },
    { "/x86/paging/protection", test_protection },
    { "/x86/paging/protection-translated", test_protection_translated },
    { "/x86/paging/no-execute", test_no_execute },
    { "/x86/paging/no-execute-translated", test_no_execute_translated },
    { "/x86/paging/reserved-bits", test_reserved_bits },
    { "/x86/paging/reserved-bits-translated", test_reserved_bits_translated },
    { "/x86/paging/accessed-and-dirty", test_accessed_and_dirty },
    { "/x86/paging/accessed-and-dirty-translated", test_accessed_and_dirty_translated },
    { "/x86/paging/large-and-global", test_large_and_global },
    { "/x86/paging/large-and-global-translated", test_large_and_global_translated },
    { "/x86/paging/smep", test_smep },
    { "/x86/paging/smep-translated", test_smep_translated },
    { "/x86/paging/smap", test_smap },
    { "/x86/paging/smap-translated", test_smap_translated },
    { "/x86/paging/invalidation", test_invalidation },
    { "/x86/paging/invalidation-translated", test_invalidation_translated },
    { "/x86/paging/pcid", test_pcid },
    { "/x86/paging/pcid-translated", test_pcid_translated },
    { "/x86/paging/32-bit-and-pae", test_legacy_formats },
    { "/x86/paging/32-bit-and-pae-translated", test_legacy_formats_translated },
    { "/x86/paging/crossing-is-all-or-nothing", test_crossing_is_all_or_nothing },
    { "/x86/paging/crossing-is-all-or-nothing-translated",
      test_crossing_is_all_or_nothing_translated },
    {}
};

#else

static void test_no_assembler(void)
{
    test_skip("guest code is assembled by the host's compiler, which is none for x86-64");
}

const Test tests[] = { { "/x86/paging", test_no_assembler }, {} };

#endif
