/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the time stamp counter shows while instructions are executed, timers expire, the processor
 * waits for one, and a second processor counts besides.
 */
#include "guest.h"

enum { SVR = 0xfee000f0, ICR_LOW = 0xfee00300, ICR_HIGH = 0xfee00310, TIMER = 0xfee00320,
       INITIAL = 0xfee00380, DIVIDE = 0xfee003e0, VECTOR = 0x50, PERIODIC = 1 << 17,
       PAGE = 0x8000, COUNT = 0x8100, LOOPS = 1000 };

/* The second processor, in real mode: counts for ever. */
static const uint8_t code[] = {
    0x31, 0xc0,             /* xorw %ax, %ax */
    0x8e, 0xd8,             /* movw %ax, %ds */
    0xff, 0x06, 0x00, 0x81, /* 1: incw COUNT */
    0xeb, 0xfa,             /* jmp 1b */
};

static void show(const char *what)
{
    print(what);
    print(" ");
    print_hex(time_stamp());
    print("\n");
}

/* LOOPS times two instructions. */
static void loop(void)
{
    uint64_t n = LOOPS;

    __asm__ volatile("1: decq %0\n jnz 1b" : "+r"(n));
}

static void wait_by_halting(unsigned times)
{
    for (uint32_t i = served[VECTOR]; i + times > served[VECTOR];)
        __asm__ volatile("sti\n hlt\n cli" : : : "memory");
}

/* How often the second processor was seen to have counted further, in some turns of both. */
static unsigned changes_meanwhile(void)
{
    volatile uint16_t *count = (volatile uint16_t *)COUNT;
    unsigned changes = 0;

    for (unsigned n = 0; n < 400; n++) {
        uint16_t before = *count;

        loop();
        changes += *count != before;
    }
    return changes;
}

void guest(void)
{
    uint64_t before, between, after;

    for (unsigned i = 0; i < sizeof(code); i++)
        ((volatile uint8_t *)PAGE)[i] = code[i];
    interrupts_init();
    before = time_stamp();
    loop();
    between = time_stamp();
    loop();
    loop();
    after = time_stamp();
    print("loop ");
    print_hex(after - between - (between - before));
    print("\n");

    mmio_put(SVR, 0x1ff);
    mmio_put(DIVIDE, 11);
    mmio_put(TIMER, VECTOR | PERIODIC);
    before = time_stamp();
    mmio_put(INITIAL, 3000000);
    wait_by_halting(5);
    print("waited ");
    print_hex((time_stamp() - before) / 1000000);
    print("\n");
    for (unsigned i = 0; i < 20; i++) {
        wait_by_halting(1);
        loop();
        show("after a wait");
    }

    mmio_put(INITIAL, 300000);
    mmio_put(ICR_HIGH, 1 << 24);
    mmio_put(ICR_LOW, 0x4500);
    mmio_put(ICR_LOW, 0x4600 | PAGE >> 12);
    for (unsigned i = 0; i < 20; i++) {
        for (unsigned n = 0; n < 50; n++)
            loop();
        wait_by_halting(1);
        print_hex(*(volatile uint16_t *)COUNT);
        print(" ");
        show("beside another processor");
    }
    mmio_put(INITIAL, 0);
    print_hex(changes_meanwhile());
    print(" changes while no timer expires\n");
}
