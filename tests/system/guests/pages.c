/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes memory all the time and checks it all the time. Word i of page p holds a number that
 * follows from p and from how often the page was written, and a table of its own says how often
 * that was: a page that is older than its neighbours, or half written, shows. Prints "round N"
 * after each round and "bad" when something is lost. All the time registers of vectors and of the
 * x87 hold what nobody else puts there.
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

/* ---- registers ------------------------------------------------------------------------------- */

enum { CR4_OSFXSR = 3 << 9, CR4_OSXSAVE = 1 << 18, HAS_XSAVE = 1 << 26, HAS_AVX = 1 << 28 };
#define PATTERN UINT64_C(0x0123456789abcdef)
#define PI_MANTISSA UINT64_C(0xc90fdaa22168c235)

static bool has_avx;

static void fill_registers(void)
{
    uint32_t a = 1, b, c, d;
    uint64_t cr4;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
    has_avx = c & HAS_AVX && c & HAS_XSAVE;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_OSFXSR | (has_avx ? CR4_OSXSAVE : 0)));
    __asm__ volatile("fninit\n fldpi\n movq %0, %%xmm15\n punpcklqdq %%xmm15, %%xmm15"
                     :
                     : "r"(PATTERN));
    if (has_avx)
        __asm__ volatile("xsetbv\n vinsertf128 $1, %%xmm15, %%ymm15, %%ymm15"
                         : : "a"(7), "c"(0), "d"(0));
}

static void check_registers(void)
{
    struct {
        uint64_t mantissa;
        uint16_t exponent;
    } pi;
    uint64_t low, high, top = PATTERN;

    __asm__ volatile("fld %%st(0)\n fstpt %0" : "=m"(pi));
    __asm__ volatile("movq %%xmm15, %0\n movhlps %%xmm15, %%xmm14\n movq %%xmm14, %1"
                     : "=r"(low), "=r"(high));
    if (has_avx)
        __asm__ volatile("vextractf128 $1, %%ymm15, %%xmm14\n movq %%xmm14, %0" : "=r"(top));
    if (low != PATTERN || high != PATTERN || top != PATTERN)
        print("bad vector\n");
    if (pi.mantissa != PI_MANTISSA || pi.exponent != 0x4000)
        print("bad x87\n");
}

void guest(void)
{
    uint64_t next = 0;

    fill_registers();

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
        check_registers();
        print(has_avx ? "all " : "");
        print("round ");
        print_hex(round);
        print("\n");
    }
}
