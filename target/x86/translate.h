/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Translated code: blocks of guest instructions made into host code, on x86-64 hosts.
 *
 * A translator belongs to one processor and is used on its thread.
 */
#ifndef TARGET_X86_TRANSLATE_H
#define TARGET_X86_TRANSLATE_H

#include "target/x86/cpu.h"

/* Makes a translator for @cpu with @size bytes for code. False if the host cannot have one:
    then @cpu is
 * interpreted. */
bool x86_translator_init(X86Cpu *cpu, size_t size);
void x86_translator_free(X86Cpu *cpu);

/*
 * Runs @cpu, translated where there is a translator and the code is 64-bit code, else interpreted,
 * until it stops; there is no budget, X86_EVENT_STOP ends it.
 */
X86Exit x86_run(X86Cpu *cpu);

/* True if there are blocks made of what stands on the page of @physical. */
bool x86_has_code(const X86Cpu *cpu, uint64_t physical);

/* The page of @physical is written, by the guest or by a device: blocks made of it are dropped. */
void x86_code_changed(X86Cpu *cpu, uint64_t physical);

#endif
