/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of the interpreter's loop that translated code needs, too. All may raise. */
#ifndef TARGET_X86_INTERPRET_H
#define TARGET_X86_INTERPRET_H

#include "target/x86/cpu.h"

/* Fetches, decodes and executes the instruction at RIP. */
void x86_step(X86Cpu *cpu);

/* Executes @in, which stands at RIP, with all checks; RIP is then where execution goes on. */
void x86_execute(X86Cpu *cpu, const X86Insn *in);

/* The linear address of the instruction at RIP. */
static inline uint64_t x86_code_address(const X86Cpu *cpu)
{
    return cpu->mode.bits == 64 ? cpu->rip : (uint32_t)(cpu->segment[X86_CS].base + cpu->rip);
}

/*
 * The instruction at RIP, which stays until the next one is fetched. The second page is touched
 * only if it reaches there.
 */
const X86Insn *x86_fetch(X86Cpu *cpu);

/* True if @in leaves the pointers to the last x87 instruction alone. */
bool x86_is_x87_control(const X86Insn *in);

/* Delivers X86Cpu.exception, which has been raised. False: shutdown. May raise again. */
bool x86_handle(X86Cpu *cpu);

/* Looks at what other threads want: takes an interrupt. False: to stop. */
bool x86_take_events(X86Cpu *cpu);

#endif
