/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Paging: linear addresses to physical ones, with rights, accessed and dirty bits, and a TLB.
 */
#ifndef TARGET_X86_MMU_H
#define TARGET_X86_MMU_H

#include "target/x86/cpu.h"

typedef enum { X86_READ, X86_WRITE, X86_FETCH } X86Access;

/* On whose behalf memory is used. */
typedef enum {
    X86_BY_PROGRAM, /* at the current privilege level */
    X86_BY_SYSTEM,  /* descriptor tables, task state: as the supervisor */
} X86By;

/* Where a linear address leads. */
typedef struct {
    uint64_t physical;
    uint8_t *host; /* NULL if it is no RAM; good up to the page's end */
    bool is_global;
} X86Place;

/*
 * Finds the @len bytes at @linear, on one page, for an @access; raises #PF (after setting CR2) if
 * it may not be. Code made of bytes that may be written is dropped.
 */
X86Place x86_place(X86Cpu *cpu, uint64_t linear, size_t len, X86Access access, X86By by);

/* Like x86_place, but for a debugger: no rights, no bits set. False if there is no page. */
bool x86_translate(X86Cpu *cpu, uint64_t linear, uint64_t *physical);

/*
 * Bytes at linear addresses, of any length up to a page; those that cross a page are checked on
 * both before anything is written.
 */
void x86_read_linear(X86Cpu *cpu, uint64_t linear, void *to, size_t len, X86By by);
void x86_write_linear(X86Cpu *cpu, uint64_t linear, const void *from, size_t len, X86By by);

/* Numbers of 1, 2, 4 or 8 bytes there. */
uint64_t x86_load_linear(X86Cpu *cpu, uint64_t linear, unsigned size, X86By by);
void x86_store_linear(X86Cpu *cpu, uint64_t linear, unsigned size, uint64_t value, X86By by);

/* Raises #PF if a write of @len bytes could not be done. */
void x86_probe_write(X86Cpu *cpu, uint64_t linear, size_t len, X86By by);

/* Drops translations: all; all that are not global; of one page; of one PCID. */
void x86_tlb_flush(X86Cpu *cpu);
void x86_tlb_flush_local(X86Cpu *cpu, unsigned pcid);
void x86_tlb_flush_page(X86Cpu *cpu, uint64_t linear);
void x86_tlb_flush_nonglobal(X86Cpu *cpu);

/* The table of pages that translated code uses at the current privilege: X86_FAST_*. */
unsigned x86_fast_table(const X86Cpu *cpu);

/*
 * Lets translated code at the current privilege use the page of @linear if that needs no asking. It
 * raises nothing.
 */
bool x86_fast_fill(X86Cpu *cpu, uint64_t linear, bool write);

/* Makes translated code ask before it writes to the page at @host. True if it has not done so. */
bool x86_fast_protect(X86Cpu *cpu, const uint8_t *host);

/* In table @key of X86Cpu.jumps, translated code goes on as @to says, whose address is @linear. */
void x86_note_jump(X86Cpu *cpu, unsigned key, X86Jump to, uint64_t linear, bool is_global);

/* Slots of the tables, as offsets in bytes; translated code computes them, too. */
#define X86_HASH 0x2545f491
enum {
    X86_JUMP_SHIFT = 16,
    X86_JUMP_MASK = (X86_JUMPS - 1) * sizeof(X86Jump),
    X86_FAST_SHIFT = 12 - 4,
    X86_FAST_MASK = (X86_FAST_SIZE - 1) * sizeof(X86FastEntry),
    X86_BEHIND_SHIFT = 24,
    X86_BEHIND_MASK = (X86_BEHIND_SIZE - 1) * sizeof(X86FastEntry),
};
static inline X86Jump *x86_jump_slot(X86Cpu *cpu, unsigned key, uint64_t rip)
{
    uint64_t at = rip * X86_HASH >> X86_JUMP_SHIFT & X86_JUMP_MASK;

    return &cpu->jumps[key][at / sizeof(X86Jump)];
}

static inline X86FastEntry *x86_fast_slot(X86Cpu *cpu, unsigned table, bool write, uint64_t page)
{
    uint64_t at = page >> X86_FAST_SHIFT & X86_FAST_MASK;

    return &cpu->fast[table][write][at / sizeof(X86FastEntry)];
}

static inline X86FastEntry *x86_behind_slot(X86Cpu *cpu, unsigned table, bool write, uint64_t page)
{
    uint64_t at = page * X86_HASH >> X86_BEHIND_SHIFT & X86_BEHIND_MASK;

    return &cpu->behind[table][write][at / sizeof(X86FastEntry)];
}

/*
 * Takes from translated code what it knows of pages that are not global: CR3 changes. The TLB keeps
 * what belongs to other PCIDs.
 */
void x86_leave_address_space(X86Cpu *cpu);

/* Forgets all of one table; all of X86Cpu.jumps. */
void x86_jumps_flush_key(X86Cpu *cpu, unsigned key);
void x86_jumps_flush(X86Cpu *cpu);

/* Reads the four page directory pointers of PAE paging; false if one has reserved bits set. */
bool x86_load_pdptes(X86Cpu *cpu, uint64_t cr3);

#endif
