/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ends, or goes on, as its command line says. */
#include "guest.h"

static const char *command_line(void)
{
    return (const char *)(uint64_t)*(volatile uint32_t *)0x7228;
}

static bool is_asked(const char *word)
{
    const char *line = command_line();

    while (*word && *line == *word)
        line++, word++;
    return !*word;
}

static void triple_fault(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } none = { 0, 0 };

    __asm__ volatile("lidt %0\n ud2" : : "m"(none));
}

static void tick_for_ever(void)
{
    for (;;) {
        uint64_t until = time_stamp() + 30000000;

        while (time_stamp() < until)
            __asm__ volatile("pause");
        print("tick ");
        print_hex(time_stamp());
        print("\n");
    }
}

void guest(void)
{
    print("started\n");
    if (is_asked("off"))
        *(volatile uint8_t *)0xfea00200 = 5 << 2 | 0x20;
    if (is_asked("exit"))
        out32(EXIT_PORT, 21);
    if (is_asked("reset"))
        *(volatile uint8_t *)0xfea00202 = 0x42;
    if (is_asked("triple"))
        triple_fault();
    if (is_asked("ticks"))
        tick_for_ever();
    if (is_asked("panic"))
        out8(0x505, 1);
    for (;;)
        __asm__ volatile("cli\n hlt");
}
