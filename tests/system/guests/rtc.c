/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prints what the clock shows, now and when its seconds have changed. */
#include "guest.h"

enum { SECONDS = 0, MINUTES = 2, HOURS = 4, DAY = 7, MONTH = 8, YEAR = 9, CENTURY = 0x32 };

static uint8_t get(uint8_t reg)
{
    out8(0x70, reg);
    return in8(0x71);
}

static void print_digits(uint8_t reg, const char *behind)
{
    uint8_t v = get(reg);
    char text[3] = { '0' + (v >> 4), '0' + (v & 15), 0 };

    print(text);
    print(behind);
}

/* Right behind a change, so that no other comes in between. */
static void print_time(void)
{
    uint8_t before = get(SECONDS);

    while (get(SECONDS) == before)
        ;
    print_digits(CENTURY, "");
    print_digits(YEAR, "-");
    print_digits(MONTH, "-");
    print_digits(DAY, " ");
    print_digits(HOURS, ":");
    print_digits(MINUTES, ":");
    print_digits(SECONDS, "\n");
}

void guest(void)
{
    print_time();
    print_time();
}
