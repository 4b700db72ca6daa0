/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The switch between two stacks, in assembly: switch-x86_64.S, switch-aarch64.S.
 *
 * What a stack pointer of a stopped stack points to, lowest address first:
 *
 *     x86-64    MXCSR and x87 control word (4 bytes each), r15 r14 r13 r12 rbx rbp, return address
 *     aarch64   x19 .. x30 (x30 is the return address), d8 .. d15
 *
 * scripts/gdb-coroutines.py reads the same picture.
 */
#ifndef IO_SWITCH_H
#define IO_SWITCH_H

#include <stdint.h>
#include <string.h>

/* Saves the callee-saved registers on this stack, its pointer in *@save, and continues @load. */
void switch_stack(void **save, void *load);

/*
 * Makes the stack that ends below @top, 16-byte aligned, start with @entry (which never returns).
 */
static inline void *switch_prepare(char *top, void (*entry)(void))
{
#if defined(__x86_64__)
    /* Ends in the zero return address of @entry; its stack is then aligned as after a call. */
    uint64_t frame[9] = { UINT64_C(0x0000037f00001f80), [7] = (uintptr_t)entry };
#elif defined(__aarch64__)
    uint64_t frame[20] = { [11] = (uintptr_t)entry };
#else
#error "no stack switch for this machine: configure --coroutine=ucontext"
#endif
    return memcpy(top - sizeof(frame), frame, sizeof(frame));
}

#endif
