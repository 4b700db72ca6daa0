/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The x87 unit: its stack, its status, its saved forms. */
#ifndef TARGET_X86_X87_H
#define TARGET_X86_X87_H

#include "target/x86/cpu.h"

enum {
    X87_IE = 1 << 0,
    X87_DENORMAL = 1 << 1,
    X87_ZE = 1 << 2,
    X87_OE = 1 << 3,
    X87_UE = 1 << 4,
    X87_PE = 1 << 5,
    X87_SF = 1 << 6,
    X87_ES = 1 << 7,
    X87_C0 = 1 << 8,
    X87_C1 = 1 << 9,
    X87_C2 = 1 << 10,
    X87_C3 = 1 << 14,
    X87_B = 1 << 15,
    X87_EXCEPTIONS = 0x3f,
    X87_EARLY = X87_IE | X87_DENORMAL | X87_ZE, /* found before there is a result */
};

/* As after fninit. */
void x87_init(X87 *f);

/* The status word with TOP. */
static inline uint16_t x87_status(const X87 *f)
{
    return f->status | f->top << 11;
}

/* Sets the status word, TOP and what follows from them. */
void x87_set_status(X87 *f, uint16_t status);

/* Sets the control word; exceptions that are pending and no longer masked become visible. */
void x87_set_control(X87 *f, uint16_t control);

/* MMX makes all registers valid and ST(0) the first. */
static inline void x87_enter_mmx(X87 *f)
{
    f->top = 0;
    f->in_use = 0xff;
}

/* The full tag word, two bits for each physical register: valid, zero, special, empty. */
uint16_t x87_tags(const X87 *f);

#endif
