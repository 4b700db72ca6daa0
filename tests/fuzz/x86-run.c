/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as code, at level 0 and level 3, in each mode, with page tables, descriptor tables and
 * code in the same few writable pages: interpreted and translated it ends, and touches no memory
 * but the guest's.
 */
#include "target/x86/translate.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { PAGE = 4096, PAGES = 16, MEMORY = PAGES * PAGE, CODE = 0x1000, STACK = 0x3000, TABLES =
       0x4000, GDT = 0x8000 };
enum { STEPS = 300, CODE_BUFFER = 1 << 20, PATIENCE_US = 200 };

static uint64_t port_read(void *opaque, uint16_t port, unsigned size)
{
    return port;
}

static void port_write(void *opaque, uint16_t port, unsigned size, uint64_t value)
{
}

static int interrupt(void *opaque)
{
    return 0x20;
}

static uint64_t tsc(void *opaque)
{
    return 1;
}

static bool msr_read(void *opaque, uint32_t index, uint64_t *value)
{
    *value = index;
    return index < 0x1000;
}

static bool msr_write(void *opaque, uint32_t index, uint64_t value)
{
    return index < 0x1000;
}

static void cpuid(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    memset(out, 0, 16);
}

static const X86Machine machine = { port_read, port_write, interrupt, tsc, msr_read, msr_write,
                                    cpuid };

/* The first 2 MiB, which wrap around in the few pages there are, mapped onto themselves. */
static void make_tables(uint8_t *memory, bool is_long)
{
    uint64_t root = (TABLES + PAGE) | 7, directory = (TABLES + 2 * PAGE) | 7, big = 0x87, flat32 =
        0x87;
    static const uint64_t descriptors[] = {
        0, UINT64_C(0x00af9b000000ffff), UINT64_C(0x00cf93000000ffff), UINT64_C(0x00cf9b000000ffff),
        UINT64_C(0x00affb000000ffff), UINT64_C(0x00cff3000000ffff), UINT64_C(0x00008b0090000067),
        UINT64_C(0x0000890092000067), UINT64_C(0x0000ec0000181000), UINT64_C(0x00008500003800ff),
    };

    if (is_long) {
        memcpy(memory + TABLES, &root, 8);
        memcpy(memory + TABLES + PAGE, &directory, 8);
        memcpy(memory + TABLES + 2 * PAGE, &big, 8);
    } else {
        memcpy(memory + TABLES, &flat32, 4);
    }
    memcpy(memory + GDT, descriptors, sizeof(descriptors));
}

static void set_mode(X86Cpu *cpu, unsigned how)
{
    unsigned bits = how % 3 == 0 ? 64 : how % 3 == 1 ? 32 : 16, cpl = how & 4 ? 3 : 0;

    cpu->gdt = (X86Table){ GDT, 0x7f };
    cpu->idt = (X86Table){ GDT + 0x100, 0x3ff };
    cpu->task = (X86Segment){ 0x30, 0x8b, 0x67, 0x9000 };
    for (unsigned i = 0; i < X86_SEGMENTS; i++) {
        cpu->segment[i].limit = bits == 16 ? 0xffff : UINT32_MAX;
        cpu->segment[i].base = 0;
        cpu->segment[i].selector = 0x10 | cpl;
        cpu->segment[i].rights = 0x93 | cpl << 5 | (bits == 16 ? 0 : X86_AR_DB | X86_AR_G);
    }
    cpu->segment[X86_CS].rights |= X86_AR_CODE;
    if (bits == 16 && !(how & 8))
        return;
    cpu->cr0 |= X86_CR0_PE;
    cpu->cpl = cpl;
    if (how & 16)
        cpu->flags |= X86_IOPL | X86_TF;
    if (bits == 64) {
        cpu->segment[X86_CS].rights ^= X86_AR_L | X86_AR_DB;
        cpu->efer = X86_EFER_LMA | X86_EFER_LME | X86_EFER_SCE | X86_EFER_NXE;
        cpu->cr4 = X86_CR4_PAE;
    } else {
        cpu->cr4 = X86_CR4_PSE;
    }
    if (bits == 64 || how & 32) {
        cpu->cr3 = TABLES;
        cpu->cr0 |= X86_CR0_PG | X86_CR0_WP;
    }
    cpu->cr4 |= X86_CR4_OSFXSR | X86_CR4_OSXSAVE;
    cpu->xcr0 = 7;
}

/* Translated code has no budget: every now and then it is told to stop. */
static void *stop_always(void *arg)
{
    X86Cpu *cpu = arg;

    for (;;) {
        g_usleep(PATIENCE_US);
        __atomic_or_fetch(&cpu->events, X86_EVENT_STOP, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void start(X86Cpu *cpu, uint8_t *memory, MemoryMap *map, const uint8_t *data, size_t len)
{
    cpu->memory = map;
    cpu->machine = &machine;
    cpu->features = X86_FEATURES_ALL;
    cpu->physical_bits = 40;
    x86_reset(cpu);
    make_tables(memory, data[0] % 3 == 0);
    memcpy(memory + CODE, data + 2, len - 2);
    memcpy(memory + STACK, data + 2, len - 2);
    set_mode(cpu, data[0]);
    x86_update_mode(cpu);
    for (unsigned i = 0; i < 16; i++)
        cpu->gpr[i] = i == X86_RSP ? STACK : (uint64_t)data[1] << (i * 4) | STACK;
    cpu->rip = CODE;
    cpu->events = data[1] & 3;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static X86Cpu interpreted, translated;
    g_autoptr(MemoryMap) map = memory_map_new();
    g_autofree uint8_t *memory = NULL; /* g_free is free */

    if (len < 4 || len > 512)
        return 0;
    if (!translated.translator && x86_translator_init(&translated, CODE_BUFFER))
        g_thread_unref(g_thread_new("stop", stop_always, &translated));
    memory = aligned_alloc(PAGE, MEMORY);
    memset(memory, 0, MEMORY);
    memory_map_add_ram(map, 0, MEMORY, memory);
    start(&interpreted, memory, map, data, len);
    x86_interpret(&interpreted, STEPS);
    if (!translated.translator)
        return 0;
    memset(memory, 0, MEMORY);
    for (unsigned i = 0; i < PAGES; i++)
        x86_code_changed(&translated, i * PAGE, PAGE);
    start(&translated, memory, map, data, len);
    x86_run(&translated, X86_NO_BUDGET);
    return 0;
}
