/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs the multiboot image on our emulated processor, with the two ports it needs.
 * usage: emulate IMAGE WORK
 */
#include "target/x86/translate.h"
#include "util/endian.h"
#include <stdio.h>
#include <string.h>

enum { RAM = 256 << 20, INFO = 0x1000, LINE = 0x1100 };

static X86Cpu cpu;

static uint64_t port_read(void *opaque, uint16_t port, unsigned size)
{
    return UINT64_MAX;
}

static void port_write(void *opaque, uint16_t port, unsigned size, uint64_t value)
{
    if (port == 0xe9)
        putchar(value);
    else if (port == 0xf4)
        cpu.events |= X86_EVENT_STOP;
}

static int interrupt(void *opaque)
{
    return -1;
}

static uint64_t tsc(void *opaque)
{
    return __builtin_ia32_rdtsc();
}

static bool msr_read(void *opaque, uint32_t index, uint64_t *value)
{
    return false;
}

static bool msr_write(void *opaque, uint32_t index, uint64_t value)
{
    return false;
}

static void cpuid(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    memset(out, 0, 16);
}

/* Loads the segments of a 32-bit ELF file; its entry, or 0. */
static uint32_t load(const char *name, uint8_t *ram)
{
    g_autofree gchar *file = NULL;
    gsize len;
    const uint8_t *f, *h;

    if (!g_file_get_contents(name, &file, &len, NULL))
        return 0;
    f = (const uint8_t *)file;
    h = f + le32_at(f + 28);
    for (unsigned i = 0; i < le16_at(f + 44); i++, h += 32)
        if (le32_at(h) == 1)
            memcpy(ram + le32_at(h + 12), f + le32_at(h + 4), le32_at(h + 16));
    return le32_at(f + 24);
}

static void protected_mode(void)
{
    cpu.cr0 = X86_CR0_PE | X86_CR0_ET;
    for (unsigned i = 0; i < X86_SEGMENTS; i++)
        cpu.segment[i] = (X86Segment){ 16, 0xc093, UINT32_MAX, 0 };
    cpu.segment[X86_CS].selector = 8;
    cpu.segment[X86_CS].rights = 0xc09b;
    cpu.gpr[X86_RAX] = 0x2badb002;
    cpu.gpr[X86_RBX] = INFO;
    x86_update_mode(&cpu);
}

int main(int argc, char **argv)
{
    static const X86Machine machine = { port_read, port_write, interrupt, tsc, msr_read, msr_write,
                                        cpuid };
    static uint8_t ram[RAM] __attribute__((aligned(4096)));
    g_autoptr(MemoryMap) map = memory_map_new();
    uint32_t entry;

    if (argc != 3 || !(entry = load(argv[1], ram))) {
        fprintf(stderr, "usage: emulate IMAGE WORK\n");
        return 1;
    }
    memory_map_add_ram(map, 0, RAM, ram);
    cpu.memory = map;
    cpu.machine = &machine;
    cpu.features = X86_FEATURES_ALL;
    cpu.physical_bits = 40;
    x86_reset(&cpu);
    protected_mode();
    cpu.rip = entry;
    strcpy((char *)ram + LINE, argv[2]);
    le32_put(ram + INFO + 16, LINE);
    if (!x86_translator_init(&cpu, 32 << 20))
        fprintf(stderr, "interpreted\n");
    if (x86_run(&cpu, X86_NO_BUDGET) != X86_RAN) {
        fprintf(stderr, "the guest stopped at %" G_GINT64_MODIFIER "x\n", cpu.rip);
        return 1;
    }
    x86_translator_free(&cpu);
    return 0;
}
