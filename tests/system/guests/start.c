/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starts the second processor again and again, each time by an INIT and at once a SIPI. */
#include "guest.h"

enum { PAGE = 0x8000, COUNT = 0x8100, TIMES = 500, ICR_LOW = 0xfee00300, ICR_HIGH = 0xfee00310 };

/* In real mode: counts, and halts. */
static const uint8_t code[] = {
    0x31, 0xc0,                         /* xorw %ax, %ax */
    0x8e, 0xd8,                         /* movw %ax, %ds */
    0xf0, 0xff, 0x06, 0x00, 0x81,       /* lock incw COUNT */
    0xf4, 0xeb, 0xfd,                   /* 1: hlt; jmp 1b */
};

void guest(void)
{
    volatile uint16_t *count = (uint16_t *)COUNT;
    uint32_t missed = 0;

    for (unsigned i = 0; i < sizeof(code); i++)
        ((volatile uint8_t *)PAGE)[i] = code[i];
    *count = 0;
    mmio_put(ICR_HIGH, 1 << 24);
    for (uint16_t i = 0; i < TIMES && !missed; i++) {
        uint64_t deadline = time_stamp() + 20000000000;

        mmio_put(ICR_LOW, 0x4500);
        mmio_put(ICR_LOW, 0x4600 | PAGE >> 12);
        while (*count == i && time_stamp() < deadline)
            __asm__ volatile("pause");
        missed = *count != i + 1;
    }
    check_equal("every start is one", *count, TIMES);
}
