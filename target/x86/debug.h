/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What debuggers need of a processor: points where it stops, single steps, registers, memory.
 *
 * All is called while the processor does not run. Addresses are linear: outside 64-bit mode the
 * base of CS has been added (x86_code_address).
 *
 *     x86_debug_add(cpu, X86_POINT_BREAK, address, 1);
 *     why = x86_run(cpu, X86_NO_BUDGET);      X86_DEBUGGED, before the instruction
 *     x86_debug_step(cpu, false);             goes over it; x86_run at once would stay there
 *     why = x86_run(cpu, X86_NO_BUDGET);
 */
#ifndef TARGET_X86_DEBUG_H
#define TARGET_X86_DEBUG_H

#include "target/x86/mmu.h"

/* ---- points ---------------------------------------------------------------------------------- */

/*
 * Stops before the instruction at @linear, or after one that uses the @len bytes there. Guests see
 * nothing of it; translated code goes on at full speed but for the pages that are watched. False:
 * no room, or a watchpoint of no bytes.
 */
bool x86_debug_add(X86Cpu *cpu, X86PointKind kind, uint64_t linear, uint64_t len);

/* False if there is no such point. */
bool x86_debug_remove(X86Cpu *cpu, X86PointKind kind, uint64_t linear, uint64_t len);
void x86_debug_clear(X86Cpu *cpu);

/*
 * After X86_DEBUGGED: the watchpoint that was hit with the *@address that was used (its first byte
 * within the point), or NULL if it was a breakpoint.
 */
const X86Point *x86_debug_watch_hit(const X86Cpu *cpu, uint64_t *address);

/*
 * Executes one instruction, whatever breakpoint it has: X86_DEBUGGED, also after a watchpoint or
 * when it raised an exception, whose handler is then next. With @interrupts a pending one is taken
 * first, and counts as part of the step.
 */
X86Exit x86_debug_step(X86Cpu *cpu, bool interrupts);

/* ---- registers and memory -------------------------------------------------------------------- */

/* A register as gdb's target descriptions name them (org.gnu.gdb.i386.*), in that order. */
typedef struct {
    const char *name;    /* NULL ends the table */
    const char *feature; /* core, sse, segments, avx */
    uint16_t bits;
    const char *type;    /* gdb's: int64, code_ptr, i387_ext, vec128, ... */
    uint16_t kind, number;
} X86DebugRegister;

/* All registers of the 64-bit description. */
extern const X86DebugRegister x86_debug_registers[];

enum { X86_DEBUG_REGISTER_MAX = 16 };

/* The value, r->bits / 8 bytes in the guest's order. */
void x86_debug_read_register(const X86Cpu *cpu, const X86DebugRegister *r,
                             uint8_t to[X86_DEBUG_REGISTER_MAX]);

/*
 * False if the value may not be: a reserved bit of MXCSR, or a segment register, since those cannot
 * be loaded from outside.
 */
bool x86_debug_write_register(X86Cpu *cpu, const X86DebugRegister *r, const uint8_t *from);

/*
 * Reads or writes memory at a linear address, whatever its rights. False if some of it is not
 * there.
 */
bool x86_debug_read_memory(X86Cpu *cpu, uint64_t linear, void *to, size_t len);
bool x86_debug_write_memory(X86Cpu *cpu, uint64_t linear, const void *from, size_t len);

/* ---- for the processor ----------------------------------------------------------------------- */

bool x86_debug_is_at_break(const X86Cpu *cpu);
bool x86_debug_has_break(const X86Cpu *cpu, uint64_t linear);
bool x86_debug_watches_page(const X86Cpu *cpu, uint64_t page);
void x86_debug_note_access(X86Cpu *cpu, uint64_t linear, size_t len, X86Access access);

#endif
