/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hooks by which processors tell what they do, for a log. */
#ifndef TARGET_X86_LOG_H
#define TARGET_X86_LOG_H

#include "target/x86/cpu.h"

enum {
    X86_LOG_IN_ASM = 1,  /* .translated */
    X86_LOG_BLOCKS = 2,  /* .block: each time the loop goes to a block, or to one instruction */
    X86_LOG_NOCHAIN = 4, /* blocks go back to the loop, not to each other */
    X86_LOG_INT = 8,     /* .delivered */
    X86_LOG_PAGING = 16, /* .paging: CR0, CR3 or CR4 was written */
    X86_LOG_FAR = 32,    /* .far */
    X86_LOG_OUT_ASM = 64, /* .generated */
};

/* All on the processor's thread, with its registers in @cpu. */
typedef struct {
    void (*translated)(const X86Cpu *cpu, const uint8_t *code, size_t len); /* at RIP */
    /* The host's instructions at @code that it became; 64-bit x86. */
    void (*generated)(const X86Cpu *cpu, const uint8_t *code, size_t len);
    void (*block)(const X86Cpu *cpu);
    void (*delivered)(const X86Cpu *cpu, const X86Exception *e); /* it is about to be */
    void (*paging)(const X86Cpu *cpu); /* it was written */
    /* A far jump, call or return, @name, goes to the new CS at X86Cpu.next. */
    void (*far)(const X86Cpu *cpu, const char *name);
} X86LogHook;

/*
 * Which hooks are called. Changes only while processors stand still; x86_forget_code is then called
 * for each, because translated code depends on it.
 */
extern unsigned x86_log_items;
extern const X86LogHook *x86_log_hook; /* not NULL while items are set */

static inline bool x86_logs(unsigned items)
{
    return G_UNLIKELY(x86_log_items & items);
}

#endif
