/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files generate*.c share: the block being made, registers, flags, memory.
 *
 * The guest's RAX, RCX, RDX, RBX, RBP, RSI, RDI and R12 to R15 are in the host's registers of the
 * same name, its RSP is in R11, its R8 to R11 are in memory. The host's R8 holds addresses, R9 a
 * register from memory, R10 is scratch; RSP is the C stack. GS points to the processor.
 *
 * XMM registers and x87 are the host's own while X86Cpu.vectors_live or x87_live says so; C code
 * finds them in X86Cpu.
 */
#ifndef TARGET_X86_GENERATE_PARTS_H
#define TARGET_X86_GENERATE_PARTS_H

#include "target/x86/forms.h"
#include "target/x86/generate.h"
#include "target/x86/mmu.h"
#include "tcg/emit-x86-64.h"

#define AT_CPU(field) ((uint32_t)offsetof(X86Cpu, field))

typedef enum {
    FLAGS_SAVED,   /* in memory only */
    FLAGS_IN_HOST, /* in the host only */
    FLAGS_BOTH,
} FlagsState;

/* The way of one instruction that its fast path does not go; written after the block. */
enum { SLOW_JUMPS = 6 };
typedef struct {
    struct {
        uint8_t *from;
        uint8_t *found; /* where it goes on if the page is only not in the first table */
        bool write;
    } jump[SLOW_JUMPS];
    unsigned count;
    uint64_t rip;
    unsigned number; /* of the instruction in its block */
    uint8_t *back; /* NULL: the instruction ends the block */
    /* What the fast path has in the host there. */
    bool needs_flags, needs_vectors, needs_x87;
} Slow;

typedef struct {
    CodeMemory *c;
    X86Cpu *cpu;
    const X86Stubs *stubs;
    X86Key key;
    unsigned slot; /* of key in X86Cpu.jumps */
    const X86Insn *in; /* the current instruction */
    uint64_t start, rip, next; /* of the block; of the instruction; of the one after it */
    uint64_t base, limit; /* of the code segment outside 64-bit mode; else 0 */
    bool is_last; /* of the block */
    unsigned number, count; /* of the instruction; of all those of the block */
    FlagsState flags;
    bool vectors, x87; /* known to be live */
    bool opened; /* to interrupts, by sti: they are let in after the next instruction */
    Slow slow[X86_BLOCK_INSNS];
    unsigned slows;
    bool ended;
} Gen;

/* ---- registers ------------------------------------------------------------------------------- */

static inline bool x86_gen_in_memory(unsigned reg)
{
    return reg >= 8 && reg < 12;
}

static inline HostReg x86_gen_pinned(unsigned reg)
{
    return reg == X86_RSP ? H_R11 : reg;
}

static inline uint32_t x86_gen_gpr_at(unsigned reg)
{
    return AT_CPU(gpr) + 8 * reg;
}

/* The host register with guest register @reg, loaded into @scratch if it is in memory. */
HostReg x86_gen_use(Gen *g, unsigned reg, HostReg scratch);

/* Loads or stores (@opcode 8b or 89) @reg at the address in R8; 64 bits, or 32. */
void x86_gen_at_r8(Gen *g, uint8_t opcode, bool wide, HostReg reg);

/* ---- flags ----------------------------------------------------------------------------------- */

/* Makes sure that memory has them; that the host has them; that the host's may be changed. */
void x86_gen_save_flags(Gen *g);
void x86_gen_need_flags(Gen *g);
void x86_gen_spoil_flags(Gen *g);
/* The current instruction's templates have left its flags in the host. */
void x86_gen_flags_written(Gen *g);

/* ---- memory ---------------------------------------------------------------------------------- */

Slow *x86_gen_slow(Gen *g);
/* Takes the slow way on @condition. */
void x86_gen_slow_if(Gen *g, Slow *s, unsigned condition);
/* The slow way comes back here. */
void x86_gen_slow_end(Gen *g, Slow *s);

/* R8 := the offset that the memory operand means. */
void x86_gen_offset(Gen *g);

/*
 * R8, an offset in @segment that is zero above the address size, := its linear address; checked
 * against the segment outside 64-bit mode. Spoils R9 and the flags.
 */
void x86_gen_segment(Gen *g, Slow *s, unsigned segment, unsigned size, bool write);

/* R8 := the host address of the @size bytes at linear address R8; spoils R9, R10 and the flags. */
void x86_gen_check(Gen *g, Slow *s, unsigned size, bool write);

/* Both for the memory operand @i; it must be aligned if the processor wants that. */
void x86_gen_operand(Gen *g, Slow *s, unsigned i, bool write);

/* Numbers of 2, 4 or 8 bytes, or 1, at the address in R8; loads fill the register with zeroes. */
void x86_gen_load(Gen *g, unsigned size, HostReg to);
void x86_gen_store(Gen *g, unsigned size, HostReg from);

/* Interprets the instruction. */
void x86_gen_step(Gen *g);

/* ---- leaving a block ------------------------------------------------------------------------- */

/* Goes on at @rip; flags are saved. */
void x86_gen_leave_to(Gen *g, uint64_t rip);
void x86_gen_by_table(Gen *g, uint64_t rip);

/* ---- instructions; false: no template, nothing written --------------------------------------- */

bool x86_gen_passed(Gen *g);
bool x86_gen_special(Gen *g);
bool x86_gen_vector(Gen *g);
bool x86_gen_x87(Gen *g);

/* generate-flow.c. */
bool x86_gen_push(Gen *g);
bool x86_gen_pop(Gen *g);
bool x86_gen_leave(Gen *g);
bool x86_gen_pushf(Gen *g);
bool x86_gen_ret(Gen *g);
bool x86_gen_call(Gen *g);
bool x86_gen_jmp(Gen *g);
bool x86_gen_jcc(Gen *g);
bool x86_gen_count_jump(Gen *g);

/* The guest's own instruction with its operands where the host has them. */
void x86_gen_pass(Gen *g);

/* That alone: its registers are in the host's, its memory at R8. The flags are the new ones. */
void x86_gen_encode(Gen *g);

/* True if this host has the instruction. */
bool x86_gen_host_has(const X86Insn *in);

/* Which operand is memory; X86Insn.operands if none. */
unsigned x86_gen_memory_operand(const X86Insn *in);

#endif
