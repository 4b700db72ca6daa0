/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What CPUID answers. Leaves that are not there answer as the manuals say: zeroes. */
#include "target/x86/cpuid.h"
#include "util/endian.h"
#include <string.h>

enum { EAX, EBX, ECX, EDX, OSXSAVE = 1 << 27, HYPERVISOR_LEAVES = 0x40000000 };
#define EXTENDED UINT32_C(0x80000000)
/* Flags that AMD repeats in the extended leaf. */
#define REPEATED UINT32_C(0x0183f3ff)

static bool is_intel(const X86Model *m)
{
    return !strcmp(m->info->vendor, "GenuineIntel");
}

static void put_vendor(const X86Model *m, uint32_t out[4])
{
    out[EBX] = le32_at(m->info->vendor);
    out[EDX] = le32_at(m->info->vendor + 4);
    out[ECX] = le32_at(m->info->vendor + 8);
}

static uint32_t signature(const X86Model *m)
{
    unsigned family = m->info->family, model = m->info->model;
    uint32_t v = m->info->stepping | (model & 15) << 4 | model >> 4 << 16;

    return family > 15 ? v | 15 << 8 | (family - 15) << 20 : v | family << 8;
}

static void leaf_1(const X86Model *m, const X86Cpu *cpu, unsigned index, unsigned count,
                   uint32_t out[4])
{
    out[EAX] = signature(m);
    out[EBX] = index << 24 | (count > 1 ? count << 16 : 0) | 8 << 8;
    out[ECX] = m->word[X86_WORD_1_ECX] | (cpu->cr4 & X86_CR4_OSXSAVE ? OSXSAVE : 0);
    out[EDX] = m->word[X86_WORD_1_EDX] | (count > 1 ? UINT32_C(1) << 28 : 0);
}

/* A level of cache as Intel's leaf 4 has it. */
static void cache(uint32_t out[4], unsigned type, unsigned level, unsigned ways, unsigned sets)
{
    out[EAX] = type | level << 5 | 1 << 8;
    out[EBX] = 63 | (ways - 1) << 22;
    out[ECX] = sets - 1;
    out[EDX] = 1;
}

static void leaf_4(const X86Model *m, uint32_t subleaf, uint32_t out[4])
{
    if (!is_intel(m))
        return;
    switch (subleaf) {
    case 0:
        cache(out, 1, 1, 8, 64);
        break;
    case 1:
        cache(out, 2, 1, 8, 64);
        break;
    case 2:
        cache(out, 3, 2, 16, 4096);
        break;
    }
}

/* Processors are cores of one package, with one thread each. */
static void leaf_b(unsigned index, unsigned count, uint32_t subleaf, uint32_t out[4])
{
    unsigned bits = count > 1 ? 32 - __builtin_clz(count - 1) : 0;

    out[ECX] = subleaf & 0xff;
    out[EDX] = index;
    if (subleaf == 0) {
        out[EBX] = 1;
        out[ECX] |= 1 << 8;
    } else if (subleaf == 1) {
        out[EAX] = bits;
        out[EBX] = count;
        out[ECX] |= 2 << 8;
    }
}

/* Of XSAVE's components there are x87, SSE, and with AVX the upper halves of YMM. */
static void leaf_d(const X86Model *m, const X86Cpu *cpu, uint32_t subleaf, uint32_t out[4])
{
    enum { X87_AND_SSE = 3, YMM = 4, SIZE = 576, YMM_SIZE = 256 };
    bool has_avx = m->word[X86_WORD_1_ECX] >> 28 & 1;

    if (!(m->word[X86_WORD_1_ECX] >> 26 & 1))
        return;
    if (subleaf == 0) {
        out[EAX] = X87_AND_SSE | (has_avx ? YMM : 0);
        out[EBX] = SIZE + (cpu->xcr0 & YMM ? YMM_SIZE : 0);
        out[ECX] = SIZE + (has_avx ? YMM_SIZE : 0);
    } else if (subleaf == 1) {
        out[EAX] = m->word[X86_WORD_D1_EAX];
        out[EBX] = SIZE + (cpu->xcr0 & YMM ? YMM_SIZE : 0);
    } else if (subleaf == 2 && has_avx) {
        out[EAX] = YMM_SIZE;
        out[EBX] = SIZE;
    }
}

static void basic(const X86Model *m, const X86Cpu *cpu, unsigned index, unsigned count,
                  uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    switch (leaf) {
    case 0:
        out[EAX] = m->info->level;
        put_vendor(m, out);
        break;
    case 1:
        leaf_1(m, cpu, index, count, out);
        break;
    case 2:
        if (is_intel(m)) {
            out[EAX] = 1;
            out[ECX] = 0x4d;
            out[EDX] = 0x2c307d;
        }
        break;
    case 4:
        leaf_4(m, subleaf, out);
        break;
    case 5:
        out[ECX] = 3;
        break;
    case 6:
        out[EAX] = m->word[X86_WORD_6_EAX];
        break;
    case 7:
        if (!subleaf) {
            out[EBX] = m->word[X86_WORD_7_EBX];
            out[ECX] = m->word[X86_WORD_7_ECX];
            out[EDX] = m->word[X86_WORD_7_EDX];
        }
        break;
    case 0xb:
        leaf_b(index, count, subleaf, out);
        break;
    case 0xd:
        leaf_d(m, cpu, subleaf, out);
        break;
    }
}

static void put_name(const X86Model *m, unsigned part, uint32_t out[4])
{
    char name[48] = { 0 };

    g_strlcpy(name, m->info->model_id, sizeof(name));
    for (unsigned i = 0; i < 4; i++)
        out[i] = le32_at(name + 16 * part + 4 * i);
}

static uint32_t repeated_flags(const X86Model *m)
{
    return is_intel(m) ? 0 : m->word[X86_WORD_1_EDX] & REPEATED;
}

static void extended(const X86Model *m, unsigned count, uint32_t leaf, uint32_t out[4])
{
    bool is_long = m->word[X86_WORD_EXT1_EDX] >> 29 & 1;

    switch (leaf - EXTENDED) {
    case 0:
        out[EAX] = m->info->xlevel;
        put_vendor(m, out);
        break;
    case 1:
        out[EAX] = signature(m);
        out[ECX] = m->word[X86_WORD_EXT1_ECX];
        out[EDX] = m->word[X86_WORD_EXT1_EDX] | repeated_flags(m);
        break;
    case 2 ... 4:
        put_name(m, leaf - EXTENDED - 2, out);
        break;
    case 5:
        out[EAX] = out[EBX] = 0x01ff01ff;
        out[ECX] = out[EDX] = 0x40020140;
        break;
    case 6:
        out[EBX] = 0x42004200;
        out[ECX] = 0x02008140;
        out[EDX] = 0x00808140;
        break;
    case 7:
        out[EDX] = m->word[X86_WORD_EXT7_EDX];
        break;
    case 8:
        out[EAX] = m->physical_bits | (is_long ? 48 << 8 : 32 << 8);
        out[EBX] = m->word[X86_WORD_EXT8_EBX];
        out[ECX] = count > 1 ? count - 1 : 0;
        break;
    }
}

/* The leaf by which guests know that they are emulated. */
static void hypervisor(uint32_t leaf, uint32_t out[4])
{
    if (leaf != HYPERVISOR_LEAVES)
        return;
    out[EAX] = HYPERVISOR_LEAVES + 1;
    out[EBX] = le32_at("TCGT");
    out[ECX] = le32_at("CGTC");
    out[EDX] = le32_at("GTCG");
}

void x86_cpuid(const X86Model *m, const X86Cpu *cpu, unsigned index, unsigned count, uint32_t leaf,
               uint32_t subleaf, uint32_t out[4])
{
    bool has_hypervisor = m->word[X86_WORD_1_ECX] >> 31;

    memset(out, 0, 4 * sizeof(*out));
    if (leaf >= EXTENDED && leaf <= m->info->xlevel)
        extended(m, count, leaf, out);
    else if (leaf >> 28 == 4 && has_hypervisor)
        hypervisor(leaf, out);
    else if (leaf <= m->info->level)
        basic(m, cpu, index, count, leaf, subleaf, out);
}
