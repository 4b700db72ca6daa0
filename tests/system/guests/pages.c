/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes memory all the time and checks it all the time. Word i of page p holds a number that follows
 * from p and from how often the page was written, and a table of its own says how often that was: a page
 * that is older than its neighbours, or half written, shows. Prints "round N" after each round and "bad"
 * when something is lost.
 */
#include "guest.h"

enum { PAGES = 4096, PAGE_WORDS = 512, SPREAD = 7 };
#define MEMORY ((volatile uint64_t *)0x1000000)

static uint32_t written[PAGES];

static uint64_t value(uint64_t page, uint64_t count, uint64_t word)
{
    return (page << 32 | count) * UINT64_C(0x9e3779b97f4a7c15) + word;
}

static void write_page(uint64_t page)
{
    volatile uint64_t *p = MEMORY + page * PAGE_WORDS;
    uint64_t count = ++written[page];

    for (unsigned i = 0; i < PAGE_WORDS; i += 8)
        p[i] = value(page, count, i);
}

static bool check_page(uint64_t page)
{
    volatile uint64_t *p = MEMORY + page * PAGE_WORDS;

    for (unsigned i = 0; i < PAGE_WORDS; i += 8)
        if (p[i] != value(page, written[page], i))
            return false;
    return true;
}

void guest(void)
{
    uint64_t next = 0;

    for (unsigned i = 0; i < PAGES; i++)
        write_page(i);
    for (unsigned round = 1;; round++) {
        for (unsigned i = 0; i < PAGES / 4; i++) {
            next = (next * 5 + SPREAD) % PAGES;
            write_page(next);
        }
        for (unsigned i = 0; i < PAGES; i++)
            if (!check_page(i)) {
                print("bad ");
                print_hex(i);
                print("\n");
            }
        print("round ");
        print_hex(round);
        print("\n");
    }
}
