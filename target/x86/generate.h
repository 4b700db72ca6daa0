/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making host code of guest instructions. Between translate.c, which keeps blocks, and generate.c.
 */
#ifndef TARGET_X86_GENERATE_H
#define TARGET_X86_GENERATE_H

#include "target/x86/translate.h"
#include "tcg/code.h"

/* Guest instructions from one entry to the next jump. */
typedef struct X86Block {
    uint64_t rip, physical; /* of the first instruction */
    bool user;              /* made for privilege level 3 */
    const uint8_t *code;
    struct X86Block *next; /* of the same page */
} X86Block;

/* An instruction that is interpreted in the middle of a block. */
typedef struct {
    X86Insn in;
    uint64_t rip;
} X86StepRecord;

/* The code all blocks share. */
typedef struct {
    const uint8_t *enter; /* called from C with a block's code */
    const uint8_t *leave; /* jumped to: saves the guest's registers, returns to C */
    const uint8_t *step;  /* called with a X86StepRecord in R9 */
} X86Stubs;

enum {
    X86_BLOCK_INSNS = 64,
    X86_BLOCK_BYTES = X86_BLOCK_INSNS * 512, /* more than any block takes */
};

/* True if this host can run what is generated here. */
bool x86_can_generate(void);

/*
 * Writes the shared code for @cpu; @step is called with the processor and the record, and says 1 to
 * leave.
 */
void x86_generate_stubs(CodeMemory *c, X86Cpu *cpu, X86Stubs *stubs,
                        int (*step)(X86Cpu *, const X86StepRecord *));

/*
 * Makes a block of the instructions at RIP, of which @len bytes may be looked at in @guest, all on
 * one page. NULL if the first instruction is none or goes beyond them. @c has X86_BLOCK_BYTES left.
 */
X86Block *x86_generate_block(CodeMemory *c, X86Cpu *cpu, const X86Stubs *stubs,
                             const uint8_t *guest, size_t len);

/* To be called around running blocks; the value of the first goes to the second. */
uint64_t x86_generate_begin(X86Cpu *cpu);
void x86_generate_end(uint64_t before);

/* Makes the jump at @from lead to @b. */
void x86_generate_chain(uint8_t *from, const X86Block *b);

#endif
