/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How instructions use registers and memory: operands, segments, the stack.
 */
#ifndef TARGET_X86_ACCESS_H
#define TARGET_X86_ACCESS_H

#include "target/x86/mmu.h"

/* The low @size bytes of @v. */
static inline uint64_t x86_low(uint64_t v, unsigned size)
{
    return size >= 8 ? v : v & ((UINT64_C(1) << 8 * size) - 1);
}

static inline int64_t x86_signed(uint64_t v, unsigned size)
{
    unsigned shift = 64 - 8 * size;

    return (int64_t)(v << shift) >> shift;
}

static inline uint64_t x86_reg(const X86Cpu *cpu, unsigned reg, unsigned size)
{
    return x86_low(cpu->gpr[reg], size);
}

/* Writing 4 bytes clears the high half; writing fewer keeps the rest. */
static inline void x86_set_reg(X86Cpu *cpu, unsigned reg, unsigned size, uint64_t v)
{
    uint64_t keep = size >= 4 ? 0 : ~((UINT64_C(1) << 8 * size) - 1);

    cpu->gpr[reg] = (cpu->gpr[reg] & keep) | x86_low(v, size);
}

/* ---- memory by segment and offset ------------------------------------------------------------ */

/* The offset that a memory operand means. */
uint64_t x86_offset(const X86Cpu *cpu, const X86Insn *in);

/*
 * The linear address of @len bytes at @offset of @segment. Raises #GP or #SS if the segment does
 * not allow the @access, and #AC if alignment is checked and missing (@len is then a power of two).
 */
uint64_t x86_linear(X86Cpu *cpu, unsigned segment, uint64_t offset, size_t len, X86Access access);

/* Finds X86Cpu.bound and flat. */
void x86_find_bounds(X86Cpu *cpu);

/* Numbers of 1, 2, 4 or 8 bytes. */
uint64_t x86_load(X86Cpu *cpu, unsigned segment, uint64_t offset, unsigned size);
void x86_store(X86Cpu *cpu, unsigned segment, uint64_t offset, unsigned size, uint64_t v);

/* The memory operand of @in (X86_OPD_MEM): @len bytes from @at bytes behind its start. */
void x86_read_mem(X86Cpu *cpu, const X86Insn *in, unsigned at, void *to, size_t len);
void x86_write_mem(X86Cpu *cpu, const X86Insn *in, unsigned at, const void *from, size_t len);

/* Raises what writing there would raise. */
void x86_probe_mem(X86Cpu *cpu, const X86Insn *in, unsigned at, size_t len);

/* ---- operands -------------------------------------------------------------------------------- */

/* The value of operand @i, with zeroes above its size. */
uint64_t x86_get(X86Cpu *cpu, const X86Insn *in, unsigned i);

/* Writes operand @i. */
void x86_set(X86Cpu *cpu, const X86Insn *in, unsigned i, uint64_t v);

/*
 * An operand that is read, changed and written: begin, compute, and commit until it succeeds, which
 * is at once but for locked accesses that another processor interfered with. Begin raises what the
 * write would raise. The value is then read again into *old.
 *
 *     X86Change c;
 *     uint64_t old = x86_change_begin(&c, cpu, in, 0), new;
 *     do
 *         new = old + 1;
 *     while (!x86_change_commit(&c, &old, new));
 */
typedef struct {
    X86Cpu *cpu;
    const X86Operand *operand;
    uint64_t linear; /* of a memory operand */
    X86Place place;
    bool is_locked;
    bool by_place;
} X86Change;

uint64_t x86_change_begin(X86Change *c, X86Cpu *cpu, const X86Insn *in, unsigned i);
/* The same for memory that the instruction's operand is not: bit strings. */
uint64_t x86_change_begin_at(X86Change *c, X86Cpu *cpu, const X86Insn *in, unsigned i,
                             uint64_t offset);
bool x86_change_commit(X86Change *c, uint64_t *old, uint64_t new_value);

/* ---- the stack ------------------------------------------------------------------------------- */

/* The stack pointer, of the stack's address size. */
static inline uint64_t x86_sp(const X86Cpu *cpu)
{
    return x86_low(cpu->gpr[X86_RSP], cpu->stack_size);
}

static inline void x86_set_sp(X86Cpu *cpu, uint64_t sp)
{
    x86_set_reg(cpu, X86_RSP, cpu->stack_size, sp);
}

/* Pushes and pops @size bytes. Nothing changes if they raise. */
void x86_push_value(X86Cpu *cpu, unsigned size, uint64_t v);
uint64_t x86_pop_value(X86Cpu *cpu, unsigned size);

/* Raises what a push of @size bytes would raise. */
void x86_probe_push(X86Cpu *cpu, unsigned size);

/* Reads @size bytes that stand @at bytes above the stack pointer. */
uint64_t x86_peek(X86Cpu *cpu, unsigned at, unsigned size);

/* ---- where execution goes on ----------------------------------------------------------------- */

/* Execution goes on at @rip of the code segment; raises #GP(0) if outside or not canonical. */
void x86_jump(X86Cpu *cpu, uint64_t rip, unsigned operand_size);

static inline bool x86_is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

#endif
