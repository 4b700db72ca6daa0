/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making host code of guest instructions. Between translate.c, which keeps blocks, and generate.c.
 */
#ifndef TARGET_X86_GENERATE_H
#define TARGET_X86_GENERATE_H

#include "target/x86/translate.h"
#include "tcg/code.h"

/*
 * What the code of a block takes for granted of the processor, besides the address. Whatever
 * changes it ends in the loop.
 */
typedef union {
    struct {
        uint8_t table; /* X86_FAST_* */
        uint8_t bits;
        uint8_t stack; /* bytes of the stack pointer */
        uint8_t flat;  /* X86Cpu.flat; 0 in 64-bit mode */
        bool sse : 1, sse_float : 1, x87 : 1; /* may be passed to the host */
        bool avx : 1; /* likewise, and X86Cpu.has_wide */
        bool is_supervisor : 1, is_v86 : 1, is_protected : 1; /* neither real nor virtual-8086 */
        bool counts : 1; /* instructions, against a budget */
    };
    uint64_t all;
} X86Key;

X86Key x86_key(const X86Cpu *cpu);

enum { X86_PATCH = 5 };

/* Guest instructions from one entry to the next jump. */
typedef struct X86Block {
    uint64_t rip, physical; /* of the first instruction */
    uint64_t base, limit; /* of its code segment; 0 in 64-bit mode */
    X86Key key;
    uint16_t length; /* of its instructions */
    bool is_dead; /* its instructions were written to, and not compared since */
    uint8_t *code;  /* looks for events first */
    uint8_t *body;  /* what comes after that */
    uint8_t *dead;  /* goes on with the block that took its place */
    uint8_t code_kept[X86_PATCH], body_kept[X86_PATCH]; /* while dead jumps stand there */
    const uint8_t *guest; /* the instructions as they were */
    struct X86Block *next, *next_hashed; /* of the same page; of the same hash */
} X86Block;

/* The code all blocks share. */
typedef struct {
    const uint8_t *enter; /* called from C with a block's code */
    const uint8_t *leave; /* jumped to: saves the guest's registers, returns to C */
    const uint8_t *leave_r9; /* likewise; execution goes on at R9 */
    const uint8_t *step;  /* called with the address of an instruction in R9: interprets it */
    const uint8_t *load_vectors, *load_x87; /* called */
    /*
     * Called with a linear address in R8 and its last byte's page in R9, which are not in
     * X86Cpu.fast but may be in X86Cpu.behind: then R8 becomes the host address, and ZF is set.
     */
    const uint8_t *look_behind[X86_FASTS][2];
} X86Stubs;

enum {
    X86_BLOCK_INSNS = 64,
    X86_BLOCK_BYTES = X86_BLOCK_INSNS * 512, /* more than any block takes */
};

/* True if the host has YMM registers. */
bool x86_host_has_avx(void);

/* True if this host can run what is generated here. */
bool x86_can_generate(void);

/*
 * Writes the shared code for @cpu. @step is called with the processor and the address, and says 1
 * to leave; @pack_x87 is called before the host's x87 takes X86Cpu.x87_image.
 */
void x86_generate_stubs(CodeMemory *c, X86Cpu *cpu, X86Stubs *stubs,
                        int (*step)(X86Cpu *, uint64_t), void (*pack_x87)(X86Cpu *));

/*
 * Makes a block of the instructions at RIP, of which @len bytes may be looked at in @guest, all on
 * one page; one that goes beyond them is interpreted. @c has X86_BLOCK_BYTES left. @slot is the
 * table of X86Cpu.jumps for @key.
 */
X86Block *x86_generate_block(CodeMemory *c, X86Cpu *cpu, const X86Stubs *stubs, X86Key key,
                             unsigned slot, const uint8_t *guest, size_t len);

/* To be called around running blocks; the value of the first goes to the second. */
uint64_t x86_generate_begin(X86Cpu *cpu);
void x86_generate_end(uint64_t before);

/* Makes the jump at @from lead to @b; past its look for events if that is enough once in a loop. */
void x86_generate_chain(uint8_t *from, const X86Block *b, bool once_in_loop);

/* Makes all that leads to @b go elsewhere; takes that back. */
void x86_generate_kill(X86Block *b);
void x86_generate_revive(X86Block *b);

#endif
