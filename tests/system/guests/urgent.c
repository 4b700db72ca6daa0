/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An interrupt is too little urgent until CR8 is lowered, and even less urgent ones come meanwhile:
 * they must not make the processor forget it.
 */
#include "guest.h"

enum { ROUNDS = 4096, LESS = 0x21, VECTOR = 0x43 };

#define APIC 0xfee00000
#define IOAPIC 0xfec00000

void guest(void)
{
    uint32_t round = 0;

    interrupts_init();
    mmio_put(APIC + 0xf0, 0x1ff);
    mmio_put(IOAPIC, 0x10 + 2 * 2);
    mmio_put(IOAPIC + 0x10, LESS);
    /* The timer, 100,000 times a second. */
    out8(0x43, 0x34);
    out8(0x40, 12);
    out8(0x40, 0);
    do {
        __asm__ volatile("movq %0, %%cr8" : : "r"(5ULL));
        mmio_put(APIC + 0x300, 0x40000 | VECTOR);
        __asm__ volatile("sti\n nop\n nop\n cli");
        __asm__ volatile("movq %0, %%cr8" : : "r"(3ULL));
        for (volatile unsigned i = 0; i < round % 512; i++)
            ;
    } while (wait_served(VECTOR, ++round) && round < ROUNDS);
    check_equal("each was served once it was urgent", served[VECTOR], ROUNDS);
    check_equal("and no other, though it came", served[LESS] + (mmio_get(APIC + 0x210) & 2), 2);
}
