/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fills memory from 16 MiB on with random words, 960 MiB of them, and rests. */
#include "guest.h"

enum { MIB = 960 };
#define MEMORY ((uint64_t *)0x1000000)

void guest(void)
{
    uint64_t x = UINT64_C(0x9e3779b97f4a7c15);

    for (uint64_t i = 0; i < MIB * (UINT64_C(1) << 17); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        MEMORY[i] = x;
    }
    print("filled\n");
    for (;;)
        __asm__ volatile("cli\n hlt");
}
