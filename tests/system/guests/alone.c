/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Starts a second processor that asks for an INIT of its own while the first waits for its timer,
 * so that the last one to execute instructions is one that may execute none.
 */
#include "guest.h"

enum { SVR = 0xfee000f0, ICR_LOW = 0xfee00300, ICR_HIGH = 0xfee00310, TIMER = 0xfee00320,
       INITIAL = 0xfee00380, DIVIDE = 0xfee003e0, VECTOR = 0x50, PERIODIC = 1 << 17,
       PAGE = 0x8000 };

/* In real mode: counts for a while, turns x2APIC on, sends the INIT. */
static const uint8_t code[] = {
    0x66, 0xb9, 0x40, 0x0d, 0x03, 0x00, /* movl $200000, %ecx */
    0x66, 0x49, 0x75, 0xfc,             /* 1: decl %ecx; jnz 1b */
    0x66, 0xb9, 0x1b, 0, 0, 0,          /* movl $0x1b, %ecx */
    0x0f, 0x32,                         /* rdmsr */
    0x66, 0x0d, 0, 0x0c, 0, 0,          /* orl $0xc00, %eax */
    0x0f, 0x30,                         /* wrmsr */
    0x66, 0xb9, 0x30, 0x08, 0, 0,       /* movl $0x830, %ecx */
    0x66, 0xb8, 0, 0x45, 0, 0,          /* movl $0x4500, %eax */
    0x66, 0xba, 1, 0, 0, 0,             /* movl $1, %edx */
    0x0f, 0x30,                         /* wrmsr */
    0xf4, 0xeb, 0xfd,                   /* 1: hlt; jmp 1b */
};

void guest(void)
{
    for (unsigned i = 0; i < sizeof(code); i++)
        ((volatile uint8_t *)PAGE)[i] = code[i];
    interrupts_init();
    mmio_put(SVR, 0x1ff);
    mmio_put(DIVIDE, 11);
    mmio_put(TIMER, VECTOR | PERIODIC);
    mmio_put(ICR_HIGH, 1 << 24);
    mmio_put(ICR_LOW, 0x4500);
    mmio_put(ICR_LOW, 0x4600 | PAGE >> 12);
    mmio_put(INITIAL, 3000000);
    while (served[VECTOR] < 10)
        __asm__ volatile("sti\n hlt\n cli" : : : "memory");
    check("time has gone on", served[VECTOR] >= 10);
}
