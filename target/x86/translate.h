/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Translated code: blocks of guest instructions made into host code, on x86-64 hosts.
 *
 * A translator belongs to one processor and is used on its thread.
 */
#ifndef TARGET_X86_TRANSLATE_H
#define TARGET_X86_TRANSLATE_H

#include "target/x86/code-pages.h"
#include "target/x86/cpu.h"

/*
 * Makes a translator for @cpu with @size bytes for code. False if the host cannot have one: then
 * @cpu is interpreted.
 */
bool x86_translator_init(X86Cpu *cpu, size_t size);
void x86_translator_free(X86Cpu *cpu);

/*
 * Runs @cpu, translated where there is a translator, else interpreted, until it stops, or has
 * executed @budget instructions: exactly that many, where one that raises counts and a string
 * operation counts as often as it lets interrupts in. X86_EVENT_STOP ends it, too.
 */
#define X86_NO_BUDGET UINT64_MAX
X86Exit x86_run(X86Cpu *cpu, uint64_t budget);

/*
 * How many instructions of the budget are still to be executed. Devices may ask on the processor's
 * thread, too: the instruction that led to them has been executed then.
 */
static inline uint64_t x86_budget_left(const X86Cpu *cpu)
{
    return cpu->left + cpu->untouched;
}

/* Forgets all blocks. While @cpu does not run. */
void x86_forget_code(X86Cpu *cpu);

/* True if there are blocks made of what stands on the page of @physical. */
bool x86_has_code(const X86Cpu *cpu, uint64_t physical);

/*
 * @cpu writes the @len bytes at @physical, on one page: blocks made of them are dropped. On its
 * thread; for others there is x86_code_written.
 */
void x86_code_changed(X86Cpu *cpu, uint64_t physical, size_t len);

/* Looks at what x86_code_pages_tell told @cpu. On its thread. */
void x86_take_code_mail(X86Cpu *cpu);

#endif
