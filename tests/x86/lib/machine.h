/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The smallest machine: one processor, 1 MiB of RAM, and two ports. Flat guest code runs at level 0
 * or wherever it goes from there.
 *
 *     port E9   what is written is noted
 *     port F4   what is written ends the run
 *
 * Guest code is assembled into the test by GUEST, and stands at CODE when it runs.
 */
#ifndef TESTS_X86_LIB_MACHINE_H
#define TESTS_X86_LIB_MACHINE_H

#include "target/x86/cpu.h"

enum {
    RAM = 1 << 20,
    CODE = 0x1000,
    STACK_TOP = 0x8000,
    INNER_STACK_TOP = 0x9000,
    IST_TOP = 0xa000,
    GDT_AT = 0xb000,
    IDT_AT = 0xc000,
    TSS_AT = 0xd000,
    OTHER_TSS_AT = 0xd800,
    PAGES_AT = 0x10000, /* page tables: four pages, and two of entries of 4 KiB */
    DATA = 0x40000,
    NOTES = 64,
};

/* Selectors in the GDT of machine_protected and machine_long. */
enum {
    SEL_CODE = 0x08, /* of the mode's size */
    SEL_DATA = 0x10,
    SEL_CODE32 = 0x18,
    SEL_CODE64 = 0x20,
    SEL_USER_CODE32 = 0x28 | 3,
    SEL_USER_DATA = 0x30 | 3,
    SEL_USER_CODE = 0x38 | 3, /* of the mode's size */
    SEL_TSS = 0x40,           /* 16 bytes in long mode */
    SEL_OTHER_TSS = 0x50,
    SEL_CALL_GATE = 0x58, /* set by tests */
    SEL_TASK_GATE = 0x68,
    SEL_SPARE = 0x70, /* set by tests */
};

typedef struct {
    X86Cpu cpu;
    uint8_t *ram;
    uint32_t notes[NOTES];
    unsigned noted;
    bool ended;
    uint32_t result;
    int pending; /* vector of an external interrupt, or -1 */
} Machine;

/* Machines made from now on translate 64-bit code. */
extern bool machine_translates;
#define TRANSLATED(test)                                                                           \
    static void test##_translated(void)                                                            \
    {                                                                                              \
        machine_translates = true;                                                                 \
        test();                                                                                    \
    }

/* A machine in real mode after reset, with CS:IP 0:CODE and SS:SP 0:STACK_TOP. */
Machine *machine_new(void);
void machine_free(Machine *m);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Machine, machine_free)

/* Puts it into protected mode, flat, 32 bits, no paging. */
void machine_protected(Machine *m);

/*
 * Puts it into 64-bit mode with the first 2 MiB mapped onto themselves, in pages of 4 KiB, for all.
 */
void machine_long(Machine *m);

/* The entry that maps the 4 KiB page of @address in machine_long. */
uint64_t *machine_pte(Machine *m, uint64_t address);

/* Sets gate @vector of the IDT to @offset (of CODE), of @type 14 or 15, with @dpl and @ist. */
void machine_gate(Machine *m, unsigned vector, uint32_t offset, unsigned type, unsigned dpl,
                  unsigned ist);

/* Writes 8 bytes of the GDT. */
void machine_descriptor(Machine *m, unsigned selector, uint64_t value);

/* A descriptor from base, limit, access byte and the four flags G, D, L, AVL. */
uint64_t machine_segment(uint32_t base, uint32_t limit, unsigned access, unsigned flags);

/* Loads @code and runs it until port F4 is written, which must happen. */
void machine_run(Machine *m, const uint8_t *code, size_t len);

/* Loads @code and runs it until it raises an exception, which is not delivered: see m->cpu. */
void machine_run_to_exception(Machine *m, const uint8_t *code, size_t len);

/* Loads @code and runs it until the processor stops in another way. */
X86Exit machine_run_to_exit(Machine *m, const uint8_t *code, size_t len);

/* Goes on where it stopped. */
X86Exit machine_continue(Machine *m);

/* Guest code @name of @bits; a label in it is at AT(name, label). */
#define GUEST(name, bits, text)                                                                    \
    asm(".pushsection .rodata\n\t.code" #bits "\n" #name ":\n" text "\n" #name "_end:\n"           \
        "\t.code64\n\t.popsection");                                                               \
    extern const uint8_t name[], name##_end[]
#define AT(name, label) "(" #label " - " #name " + 0x1000)"
#define RUN(m, name) machine_run(m, name, name##_end - name)
#define RUN_TO_EXCEPTION(m, name) machine_run_to_exception(m, name, name##_end - name)

#endif
